"""The divergences under test, and random finite distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import divergences

NAMED = [divergences.named(name) for name in divergences.NAMES]
FAMILIES = [
    *(divergences.alpha(value) for value in (-1.0, -0.3, 0.5, 1.5, 3.0)),
    *(divergences.skew_jensen_shannon(weight) for weight in (0.05, 0.9)),
]
TABLE = [*NAMED, *FAMILIES]
SMOOTH = [d for d in TABLE if d.ratio_trains]


def no_name(divergence):
    """The same divergence for which `swapped` has to make up the forms."""
    return divergences.Divergence(**{**vars(divergence), "opposite": None})


DERIVED = [
    *(
        divergences.swapped(no_name(d))
        for d in (
            *(divergences.named(n) for n in ("total_variation", "kl", "neyman", "jeffreys", "gan")),
            divergences.skew_jensen_shannon(0.2),
        )
    ),
    divergences.mixture([0.3, 0.7], [divergences.kl, divergences.jensen_shannon]),
    divergences.mixture([2.0, 0.0, 1.0], [divergences.pearson, divergences.kl, divergences.squared_hellinger]),
    divergences.swapped(divergences.mixture([2.0, 1.0], [divergences.pearson, divergences.gan])),
    divergences.from_generator(lambda u: (u - 1) ** 4, name="quartic"),
    divergences.from_generator(lambda u: u * jnp.log(u), name="entropy"),
    divergences.from_generator(divergences.jensen_shannon.generator, name="js"),
]
EVERY = [*TABLE, *DERIVED]
QUICK = [*NAMED, FAMILIES[2], FAMILIES[5], DERIVED[1], DERIVED[6], DERIVED[9]]
CASES = [pytest.param(each, marks=() if any(each is q for q in QUICK) else pytest.mark.slow) for each in EVERY]
SOME = [
    divergences.mixture([0.3, 0.7], [divergences.kl, divergences.pearson]),
    divergences.swapped(no_name(divergences.alpha(1.5))),
]


def name(divergence):
    return divergence.name if isinstance(divergence, divergences.Divergence) else None


def slope(function):
    """The derivative of an elementwise function, elementwise."""
    return lambda x: jax.vjp(function, x)[1](jnp.ones_like(x))[0]


def pairs(count=50, states=6, spread=1.5):
    """Random pairs of distributions, two arrays of log-probabilities [count, states]."""
    logits = np.random.default_rng(0).normal(size=(2, count, states)) * spread
    return tuple(jnp.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True))))


def definition(divergence, log_p, log_q):
    """``Σ q f(p/q)`` in numpy where all is positive."""
    ratio = np.exp(np.asarray(log_p) - np.asarray(log_q))
    return np.sum(np.exp(np.asarray(log_q)) * np.asarray(divergence.generator(jnp.asarray(ratio))), -1)

"""Random finite spaces: pairs of joints whose every factor is a free table."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from vifx import Joint, evidence, factor
from vifx.verification import tabular

X, Y, Z, W = 4, 3, 3, 2


def vae():
    return (
        Joint(evidence("x"), factor("z | x", tabular(X, states=Z), name="encoder")),
        Joint(factor("z", tabular(states=Z), name="prior"), factor("x | z", tabular(Z, states=X), name="decoder")),
    )


def bottom_up():
    return (
        Joint(
            evidence("x"),
            factor("z | x", tabular(X, states=Z), name="encoder"),
            factor("w | z", tabular(Z, states=W), name="top_encoder"),
        ),
        Joint(
            factor("w", tabular(states=W), name="prior"),
            factor("z | w", tabular(W, states=Z), name="middle"),
            factor("x | z", tabular(Z, states=X), name="decoder"),
        ),
    )


def top_down():
    return (
        Joint(
            evidence("x"),
            factor("w | x", tabular(X, states=W), name="encoder"),
            factor("z | w, x", tabular(W, X, states=Z), name="low_encoder"),
        ),
        Joint(
            factor("w", tabular(states=W), name="prior"),
            factor("z | w", tabular(W, states=Z), name="middle"),
            factor("x | z, w", tabular(Z, W, states=X), name="decoder"),
        ),
    )


def conditional():
    return (
        Joint(evidence("x", "y"), factor("z | x, y", tabular(X, Y, states=Z), name="encoder")),
        Joint(
            evidence("y"),
            factor("z | y", tabular(Y, states=Z), name="prior"),
            factor("x | z, y", tabular(Z, Y, states=X), name="decoder"),
        ),
    )


def labelled():
    return (
        Joint(evidence("x", "y"), factor("z | x, y", tabular(X, Y, states=Z), name="encoder")),
        Joint(
            factor("y", tabular(states=Y), name="labels"),
            factor("z", tabular(states=Z), name="prior"),
            factor("x | z, y", tabular(Z, Y, states=X), name="decoder"),
        ),
    )


def unlabelled():
    return (
        Joint(
            evidence("x"),
            factor("y | x", tabular(X, states=Y), name="classifier"),
            factor("z | x, y", tabular(X, Y, states=Z), name="encoder"),
        ),
        Joint(
            factor("y", tabular(states=Y), name="labels"),
            factor("z", tabular(states=Z), name="prior"),
            factor("x | z, y", tabular(Z, Y, states=X), name="decoder"),
        ),
    )


def supervised():
    return (
        Joint(evidence("x", "y")),
        Joint(evidence("x"), factor("y | x", tabular(X, states=Y), name="classifier")),
    )


def mixture():
    return Joint(evidence("x")), Joint(factor("x", tabular(states=X), name="table"))


PAIRS = {f.__name__: f for f in (vae, bottom_up, top_down, conditional, labelled, unlabelled, supervised, mixture)}


def batch(seed: int = 0, examples: int = 12):
    generator = np.random.default_rng(seed)
    return {
        "x": jnp.asarray(np.concatenate([np.arange(X), generator.integers(0, X, examples - X)])),
        "y": jnp.asarray(generator.integers(0, Y, examples)),
    }

"""Tiny spaces of states, with a network that is a table and with matrices of transitions as the oracle."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import vifx
from vifx import diffusion
from vifx.core.nets import from_functions


def table(noise, elements):
    """Free logits of every element for every state of all, which move with the level: ``a[z] + t b[z]``."""

    def init(key, z, t):
        return jax.random.normal(key, (2, *(noise.states,) * elements, elements, noise.classes))

    def apply(params, z, t):
        at = tuple(z[:, index] for index in range(elements))
        return params[0][at] + t[..., None] * params[1][at]

    return from_functions(init, apply)


def chains(noise, elements, steps, **options):
    """The forward chain as a function of data, and a reverse chain."""
    net = diffusion.discrete_reverse(table(noise, elements), noise, (elements,), steps=steps)
    params, state = net.init(jax.random.key(3))
    return diffusion.discrete_forward(noise, steps=steps, **options), net, params, net.apply(params, state)[0]


def problem(noise, elements, steps, **options):
    """The objective of data of some elements."""
    forward, reverse, *_ = chains(noise, elements, steps, **options)
    return vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", forward)),
        vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.unnoised(noise))),
    )


def matrices(noise, steps):
    """``Q_t`` of every step, ``[T, S, S]``, rows z_{t−1}; and their products from the start, ``[T + 1, S, S]``."""
    states, classes = noise.states, noise.classes
    resting = np.zeros(states)
    if noise.masks:
        resting[classes] = 1
    else:
        resting[:] = 1 / classes
    alpha = np.asarray(noise.survival.of(jnp.linspace(0.0, 1.0, steps + 1)), np.float64)
    kept = alpha[1:] / alpha[:-1]
    each = kept[:, None, None] * np.eye(states) + (1 - kept)[:, None, None] * resting[None, None]
    products = [np.eye(states)]
    for one in each:
        products.append(products[-1] @ one)
    return each, np.array(products)


def reverse_matrix(noise, steps, t, told):
    """``q(z_{t−1} | z_t)`` of one element by Bayes' rule: rows z_t, of which `told` has x̂, ``[S, K]``."""
    each, products = matrices(noise, steps)
    law = np.pad(told, ((0, 0), (0, noise.states - noise.classes)))
    joint = np.einsum("zx,xs,sz->zs", law, products[t - 1], each[t - 1])
    total = joint.sum(1, keepdims=True)
    return np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)

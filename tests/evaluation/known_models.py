"""Models whose densities and images are known: an affine generator, and a flow that scales images of six pixels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import vifx
from vifx.core.types import Net
from vifx.flows import checked

PIXELS = {"x": np.random.default_rng(0).integers(0, 256, (30, 2, 3, 1)).astype(np.uint8)}


def affine(latent=2, shift=0.0, scale=1.0):
    """x = shift + scale·z, with its parameters and state."""
    net = Net(
        init=lambda key, *inputs: ({"shift": jnp.zeros((1, latent)), "scale": jnp.ones((1, latent))}, {}),
        apply=lambda params, state, z, key=None, train=False: (params["shift"] + params["scale"] * z, state),
    )
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(latent)), vifx.implicit("x | z", net, name="generator")
    )
    params = {"generator": {"shift": jnp.full((1, latent), shift), "scale": jnp.full((1, latent), scale)}}
    return generative, params, {"generator": {}}


def scaled(factor):
    """z = factor·x + shift, flattened, on images of six pixels; the shift is the one parameter."""

    def init(key, x, given):
        return {"shift": jnp.zeros(())}, {}

    def forward(params, state, x, given, key):
        z = factor * x.reshape(len(x), -1) + params["shift"]
        return z, jnp.full(len(x), z.shape[1] * jnp.log(factor))

    def inverse(params, state, z, given, key):
        x = (z - params["shift"]) / factor
        return x.reshape(len(z), 2, 3, 1), jnp.full(len(z), -z.shape[1] * jnp.log(factor))

    return checked("scaled", init, forward, inverse)


def model(bijection, base=None, shift=0.0):
    base = vifx.standard_normal(6) if base is None else base
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    return generative, {"flow": {"shift": jnp.asarray(shift)}}, {"flow": {}}

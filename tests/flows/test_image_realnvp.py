"""RealNVP of images: both directions, which pixels the couplings keep, and that it trains."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, perturbed

from vifx import flows
from vifx.distributions import standard_normal
from vifx.networks import ConvConditioner, ZeroConv

X = np.random.default_rng(0).uniform(size=(4, 4, 4, 1))
CLASSES = np.eye(3)[[0, 1, 2, 1]]


def small(**options):
    return flows.image_realnvp(**{"levels": 2, "depth": 2, "hidden": 3} | options)


@cache
def start(levels, dtype, conditional):
    """Initialization is most of what these tests cost: each is done once."""
    given = jnp.asarray(CLASSES, dtype) if conditional else None
    return small(levels=levels).init(jax.random.key(0), jnp.asarray(X, dtype), given)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("levels", "dtype"),
    [
        (1, "float32"),
        pytest.param(2, "float32", marks=pytest.mark.slow),
        pytest.param(2, "float64", marks=pytest.mark.slow),
    ],
)
def test_both_directions_and_the_jacobian_agree(levels, dtype):
    with jax.enable_x64(dtype == "float64"):
        params, state = start(levels, dtype, True)
        params = perturbed(jax.random.key(1), params, 0.1)
        x, given = jnp.asarray(X, dtype), jnp.asarray(CLASSES, dtype)
        check(small(levels=levels), x, given, params=params, state=state)


@pytest.mark.thorough
def test_the_composition_of_the_paper(x64):
    """Two levels, from shipped parts: checkerboard couplings, a squeeze, channel couplings, a split, and again."""
    x = jnp.asarray(X)
    params, state = start(2, "float64", False)
    params = perturbed(jax.random.key(1), params, 0.1)
    checker, _, channel, split = params

    def pair(params, state, x, masks):
        total = 0.0
        layers = []
        for mask in masks:
            body = ConvConditioner(3, blocks=1)
            layers += [flows.actnorm(), flows.coupling(body, flows.affine(bound=2.0), mask=mask, head=ZeroConv)]
        for own, kept, layer in zip(params, state, layers, strict=True):
            own, kept = jax.tree.map(lambda leaf: leaf[0], (own, kept))
            x, log_det = layer.forward(own, kept, x)
            total = total + log_det
        return x, total

    checkers = [flows.checkerboard(), flows.checkerboard(swapped=True)]
    h, total = pair(checker, state[0], x, checkers)
    h = jnp.concatenate([h[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=-1)
    h, log_det = pair(channel, state[2], h, [flows.channels(), flows.channels(swapped=True)])
    total = total + log_det
    a, b = h[..., :2], h[..., 2:]
    head = split["prior"]["head"]["Conv_0"]
    outputs = jax.lax.conv_general_dilated(
        a, head["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    outputs = outputs + head["bias"][None, None, None]
    leaving = (b - outputs[..., :2]) * jnp.exp(-outputs[..., 2:])
    total = total - outputs[..., 2:].sum((1, 2, 3))
    a, log_det = pair(split["rest"][0], state[3]["rest"][0], a, checkers)
    last = split["rest"][1][1]
    a = (a.reshape(4, 8) - last["mean"][None]) * jnp.exp(-last["log_scale"])[None]
    z, found = small().forward(params, state, x)
    np.testing.assert_allclose(z, jnp.concatenate([a, leaving.reshape(4, 8)], 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found, total + log_det - last["log_scale"].sum(), rtol=1e-10)


@pytest.mark.thorough
def test_every_pixel_is_changed_and_depends_on_its_neighbours(x64):
    """After a pair of opposite masks no element is left as it was, at any level."""
    params, state = start(2, "float64", False)
    params = perturbed(jax.random.key(1), params, 0.3)
    jacobian = jax.jit(jax.jacfwd(lambda x: small().forward(params, state, x)[0][0]))(jnp.asarray(X[:1]))
    jacobian = np.asarray(jacobian).reshape(16, 16)
    assert ((np.abs(jacobian) > 0).sum(axis=1) > 1).all()


@pytest.mark.thorough
def test_gradients_are_finite_and_reach_every_parameter(x64):
    x, flow = jnp.asarray(X), flows.Flow(standard_normal(16), small())
    params, state = start(2, "float64", False)
    params = perturbed(jax.random.key(1), params, 0.1)
    slopes = jax.jit(jax.grad(lambda params: -jnp.mean(flow.log_prob(params, state, x))))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(np.asarray(slope)).all(), path
        assert np.any(np.asarray(slope) != 0), path


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: small(levels=0), "levels must be an integer ≥ 1, got 0"),
        (lambda: small(depth=3), "depth must be even, masks come in pairs, got 3; take 4"),
        (lambda: small(hidden=0), "hidden must be an integer ≥ 1, got 0"),
        (lambda: small(blocks=0), "blocks must be an integer ≥ 1, got 0"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r"image_realnvp: needs images .* divisible by 2\^3 = 8, got \[4, 4, 4, 1\]"):
        small(levels=4).init(jax.random.key(0), jnp.asarray(X, jnp.float32))

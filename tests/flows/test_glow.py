"""Glow: both directions, one step by hand, classes, and that it trains."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flows.oracle import check, perturbed
from jax import lax

import vifx
from vifx import flows, training
from vifx.distributions import standard_normal

X = np.random.default_rng(0).uniform(size=(4, 4, 4, 1))
CLASSES = np.eye(3)[[0, 1, 2, 1]]


def small(**options):
    return flows.glow(**{"levels": 2, "depth": 2, "hidden": 3} | options)


@cache
def start(levels, dtype, conditional):
    """Initialization is most of what these tests cost: each is done once."""
    given = jnp.asarray(CLASSES, dtype) if conditional else None
    return small(levels=levels).init(jax.random.key(0), jnp.asarray(X, dtype), given)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        params, state = start(2, dtype, True)
        params = perturbed(jax.random.key(1), params, 0.1)
        check(small(), jnp.asarray(X, dtype), jnp.asarray(CLASSES, dtype), params=params, state=state)


def convolution(x, layer):
    y = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + layer["bias"][None, None, None]


@pytest.mark.thorough
def test_it_is_its_published_steps(x64):
    """One level of two steps, then the last scale, in the order and with the networks of the paper."""
    x, bijection = jnp.asarray(X), small(levels=1)
    params, state = start(1, "float64", False)
    params = perturbed(jax.random.key(1), params)
    h = jnp.concatenate([x[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=-1)
    total = 0.0
    for index in range(2):
        norm, mix, layer = jax.tree.map(lambda leaf, i=index: leaf[i], params[1])
        fixed = jax.tree.map(lambda leaf, i=index: leaf[i], state[1][1])
        h = (h - norm["mean"][None, None, None]) / jnp.exp(norm["log_scale"])[None, None, None]
        total = total - 4 * norm["log_scale"].sum()
        lower = jnp.tril(mix["factors"], -1) + jnp.eye(4)
        upper = jnp.triu(mix["factors"], 1) + jnp.diag(fixed["sign"] * jnp.exp(jnp.diag(mix["factors"])))
        weight = fixed["permutation"] @ lower @ upper
        h = jnp.einsum("nhwc,oc->nhwo", h, weight)
        total = total + 4 * jnp.linalg.slogdet(weight)[1]
        a, b = h[..., :2], h[..., 2:]
        hidden = jax.nn.relu(convolution(a, layer["body"]["Conv_0"]))
        hidden = jax.nn.relu(convolution(hidden, layer["body"]["Conv_1"]))
        outputs = convolution(hidden, layer["head"]["Conv_0"])
        scale = jax.nn.sigmoid(outputs[..., :2] + 2) / jax.nn.sigmoid(2.0)
        h = jnp.concatenate([a, b * scale + outputs[..., 2:]], axis=-1)
        total = total + jnp.log(scale).sum((1, 2, 3))
    last = params[2][1]
    expected = (h.reshape(4, 16) - last["mean"][None]) / jnp.exp(last["log_scale"])[None]
    z, log_det = bijection.forward(params, state, x)
    np.testing.assert_allclose(z, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_det, total - last["log_scale"].sum(), rtol=1e-10)


@pytest.mark.thorough
def test_scales_are_those_of_the_given_elementwise_map():
    """With ``|log a| ≤ 2`` two steps of eight changed elements add at most 32 nats; Glow's own go far below −32."""
    x = jnp.asarray(X, jnp.float32)
    params, state = start(1, "float32", False)
    norm, mix, layer = params[1]
    far = (params[0], (norm, mix, perturbed(jax.random.key(1), layer, 30.0)), params[2])
    added = {}
    for name, options in (("bounded", {"elementwise": flows.affine(bound=2.0)}), ("sigmoid", {})):
        forward = jax.jit(small(levels=1, **options).forward)
        added[name] = np.asarray(forward(far, state, x)[1] - forward(params, state, x)[1])
    assert np.all(np.abs(added["bounded"]) < 32 + 1e-3)
    assert np.max(np.abs(added["bounded"])) > 1
    assert np.any(added["sigmoid"] < -32)


@pytest.mark.thorough
def test_it_starts_as_rotations_of_normalized_channels(x64):
    """The coupling changes nothing yet: the log-determinant is that of the first actnorm of each level."""
    x, bijection = jnp.asarray(X), small(levels=1)
    params, state = start(1, "float64", False)
    z, log_det = bijection.forward(params, state, x)
    blocks = np.concatenate([X[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=-1)
    norms = params[1][0]
    np.testing.assert_allclose(norms["log_scale"][0], np.log(blocks.std((0, 1, 2))), rtol=1e-12)
    np.testing.assert_allclose(log_det, np.full(4, -4 * np.asarray(norms["log_scale"]).sum()), rtol=1e-10)
    np.testing.assert_allclose(np.asarray(z).reshape(4, 2, 2, 4).mean((0, 1, 2)), np.zeros(4), atol=1e-10)


@pytest.mark.thorough
def test_a_level_is_one_scan_however_it_is_unrolled(x64):
    x = jnp.asarray(X)
    params, state = start(1, "float64", False)
    params = perturbed(jax.random.key(1), params, 0.1)
    expected = small(levels=1).forward(params, state, x)
    for one, other in zip(small(levels=1, unroll=True).forward(params, state, x), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.thorough
def test_classes_reach_every_level():
    """Densities of one image under every class differ once trained weights have moved, at every level."""
    x, given = jnp.asarray(X, jnp.float32), jnp.asarray(CLASSES, jnp.float32)
    params, state = start(2, "float32", True)
    params = perturbed(jax.random.key(1), params, 0.1)
    forward = jax.jit(small().forward)
    z, _ = forward(params, state, x, given)
    other, _ = forward(params, state, x, given[::-1])
    changed = np.abs(np.asarray(z - other))
    assert changed[:, :8].max() > 1e-3  # the coarse scale comes first
    assert changed[:, 8:].max() > 1e-3
    np.testing.assert_array_equal(z, forward(params, state, x, given)[0])


@pytest.mark.thorough
def test_it_trains():
    """Images of one bright half: the likelihood rises by maximum likelihood, through the public steps."""
    key = jax.random.key(0)
    side = jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(64, 1, 1, 1))
    ramp = jnp.where(jnp.arange(4) < 2, 1.0, 0.0)[None, None, :, None]
    noise = jax.random.uniform(jax.random.fold_in(key, 1), (64, 4, 4, 1))
    x = 0.7 * jnp.where(side, ramp, 1 - ramp) + 0.3 * noise
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x")),
        vifx.Joint(vifx.transformed("x", standard_normal(16), small(levels=1, hidden=8), name="flow")),
    )
    step = training.optimize(objective, optax.adam(5e-3))
    state = training.start(jax.random.key(1), step, objective, {"x": x})
    update = training.compile(step)
    nll = []
    for _ in range(60):
        state, metrics = update(state, {"x": x})
        nll.append(float(metrics["nll/x"]))
    assert np.isfinite(nll).all()
    assert nll[-1] < nll[0] - 3.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: small(levels=0), "levels must be an integer ≥ 1, got 0"),
        (lambda: small(depth=0), "depth must be an integer ≥ 1, got 0"),
        (lambda: small(hidden=0), "glow: hidden must be an integer ≥ 1, got 0"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r"divisible by 2\^3 = 8, got \[4, 4, 4, 1\]"):
        small(levels=3).init(jax.random.key(0), jnp.asarray(X, jnp.float32))

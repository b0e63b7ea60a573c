"""Multi-scale flows against the same composition by hand, and sizes that they must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, perturbed

from vifx import flows

X = np.random.default_rng(0).gamma(2.0, size=(5, 4, 4, 1))


def normalized(level):
    del level
    return flows.actnorm()


def squeezed(x):
    """Blocks of pixels as channels, by four strided slices."""
    return np.concatenate([x[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=-1)


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("levels", [1, 2])
def test_both_directions_and_the_jacobian_agree(levels, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(flows.multiscale(normalized, levels), jnp.asarray(X, dtype))


@pytest.mark.thorough
def test_two_levels_by_hand(x64):
    """Initialized level by level, and the same number in the end."""
    x, bijection = jnp.asarray(X), flows.multiscale(normalized, 2)
    params, state = bijection.init(jax.random.key(0), x)
    fine = squeezed(X)
    mean, scale = fine.mean((0, 1, 2)), fine.std((0, 1, 2))
    fine = (fine - mean) / scale
    coarse = squeezed(fine[..., :2])
    below_mean, below_scale = coarse.mean((0, 1, 2)), coarse.std((0, 1, 2))
    coarse = (coarse - below_mean) / below_scale
    norm, split = params[1], params[2]
    np.testing.assert_allclose(norm["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(split["rest"][1]["mean"], below_mean, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(split["rest"][1]["log_scale"], np.log(below_scale), rtol=1e-10)
    z, log_det = bijection.forward(params, state, x)
    expected = np.concatenate([coarse.reshape(5, -1), fine[..., 2:].reshape(5, -1)], axis=1)
    np.testing.assert_allclose(z, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_det, np.full(5, -4 * np.log(scale).sum() - np.log(below_scale).sum()), rtol=1e-12)


def test_the_last_scale_has_a_learned_mean_and_scale(x64):
    x = jnp.asarray(X)
    params, state = flows.last_scale().init(jax.random.key(0), x)
    np.testing.assert_array_equal(flows.last_scale().forward(params, state, x)[0], X.reshape(5, 16))
    params = perturbed(jax.random.key(1), params)
    z, log_det = flows.last_scale().forward(params, state, x)
    mean, log_scale = np.asarray(params[1]["mean"]), np.asarray(params[1]["log_scale"])
    np.testing.assert_allclose(z, (X.reshape(5, 16) - mean) / np.exp(log_scale), rtol=1e-12)
    np.testing.assert_allclose(log_det, np.full(5, -log_scale.sum()), rtol=1e-12)
    check(flows.last_scale(), x)


def test_blocks_and_bodies_know_their_level():
    seen = []

    def block(level):
        seen.append(("block", level))
        return flows.identity()

    def body(level):
        seen.append(("body", level))

    flows.multiscale(block, 3, body=body)
    assert sorted(seen) == [("block", 0), ("block", 1), ("block", 2), ("body", 0), ("body", 1)]


@pytest.mark.parametrize(
    ("levels", "shape", "message"),
    [
        (
            3,
            (2, 28, 28, 1),
            r"height and width are divisible by 2\^3 = 8, got \[2, 28, 28, 1\]; pad or crop .* fewer levels",
        ),
        (1, (2, 4, 3, 1), r"divisible by 2\^1 = 2, got \[2, 4, 3, 1\]"),
        (1, (2, 4), r"needs images \[examples, height, width, channels\]"),
    ],
)
def test_sizes_that_do_not_divide(levels, shape, message):
    with pytest.raises(ValueError, match=message):
        flows.multiscale(normalized, levels).init(jax.random.key(0), jnp.ones(shape))


def test_levels_must_be_positive():
    for levels in (0, -1, 1.5, True):
        with pytest.raises((TypeError, ValueError), match="levels must be an integer ≥ 1"):
            flows.multiscale(normalized, levels)


@pytest.mark.thorough
def test_a_constant_channel_inside_a_scan_is_named():
    """A scan hides the data from actnorm, so the assembly looks at the parameters that come out."""
    x = jnp.asarray(X, jnp.float32).at[:, 1::2, 1::2].set(0.5)
    bijection = flows.multiscale(lambda level: flows.stack(flows.actnorm(), 2), 1)
    with pytest.raises(
        ValueError, match=r"params\[1\]\['log_scale'\] is not finite at \[0, 3\].*last index is the channel"
    ):
        bijection.init(jax.random.key(0), x)
    assert not np.isfinite(jax.jit(bijection.init)(jax.random.key(0), x)[0][1]["log_scale"]).all()

"""Residual blocks: the oracle, the certificate, the estimates' bias and their gradients, derivatives of the inverse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from flows.oracle import check, jacobians
from flows.places import place
from jax.flatten_util import ravel_pytree

from vifx import flows, nets

X = np.random.default_rng(0).standard_normal((5, 3))
L = 0.8
WEIGHTS = np.array([1.0, -0.5, 2.0, 0.3, -1.5])


def given(dtype):
    return jnp.asarray(np.cos(X[:, :2]), dtype)


def body():
    """Dense layers of the caller's own, with tanh, that see what the block is conditioned on."""

    def init(key, x, *parents):
        width = x.shape[1] + sum(y.shape[1] for y in parents)
        keys = jax.random.split(key, 2)
        return {
            "Dense_0": {"kernel": jax.random.normal(keys[0], (width, 6), x.dtype), "bias": jnp.ones(6, x.dtype)},
            "Dense_1": {"kernel": jax.random.normal(keys[1], (6, x.shape[1]), x.dtype)},
        }

    def apply(params, x, *parents):
        hidden = jnp.tanh(jnp.concatenate([x, *parents], axis=1) @ params["Dense_0"]["kernel"])
        return (hidden + params["Dense_0"]["bias"][None]) @ params["Dense_1"]["kernel"]

    return nets.from_functions(init, apply)


def squashed():
    """One layer with tanh, whose Jacobian is near its bound where x is small."""

    def init(key, x):
        return {"kernel": jax.random.normal(key, (3, 3), x.dtype), "bias": jnp.zeros(3, x.dtype)}

    return nets.from_functions(init, lambda params, x: jnp.tanh(x @ params["kernel"] + params["bias"][None]))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("build", "conditional"),
    [
        (lambda: flows.residual_block((8, 8)), False),
        (lambda: flows.stack(flows.residual_block((8,), lipschitz=L), 3), True),
        (lambda: flows.residual_block(body(), lipschitz=0.9), True),
    ],
    ids=["widths", "stacked", "network"],
)
def test_both_directions_and_the_jacobian_agree(build, conditional, dtype):
    with jax.enable_x64(dtype == "float64"):
        block, x, own = build(), jnp.asarray(X, dtype), given(dtype) if conditional else None
        params, state = place(block, x, own)
        check(block, x, own, params=params, state=state)


@pytest.mark.thorough
def test_images_are_vectors(x64):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((3, 2, 2, 1)))
    block = flows.residual_block((8,), lipschitz=L)
    params, state = place(block, x)
    check(block, x, params=params, state=state)


@pytest.mark.thorough
def test_a_linear_branch_in_closed_form(x64):
    """``z = (I + W) x``: value, inverse and determinant are those of a matrix, at the certificate itself."""
    linear = nets.from_functions(
        lambda key, x: {"kernel": jax.random.normal(key, (3, 3), x.dtype)}, lambda params, x: x @ params["kernel"]
    )
    block = flows.residual_block(linear, lipschitz=0.97)
    params, state = block.init(jax.random.key(0), jnp.asarray(X))
    kernel = np.asarray(params["kernel"])
    assert np.linalg.norm(kernel, 2) > 1
    matrix = np.eye(3) + 0.97 * kernel / np.linalg.norm(kernel, 2)
    z, log_det = block.forward(params, state, jnp.asarray(X))
    np.testing.assert_allclose(z, X @ matrix, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.full(5, np.linalg.slogdet(matrix)[1]), rtol=1e-12)
    np.testing.assert_allclose(block.inverse(params, state, z)[0], X, rtol=1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_certificate_holds_at_every_parameter(x64, scale):
    """No difference quotient, and no singular value of a Jacobian, is above L."""
    x = jnp.asarray(np.random.default_rng(2).standard_normal((100, 3)))
    for body in ((8, 8), squashed()):
        block = flows.residual_block(body, lipschitz=L)
        params, state = place(block, x, scale=scale)
        params = {**params, "bias": 0 * params["bias"]} if "bias" in params else params  # no saturation of tanh
        singular = np.linalg.svd(jacobians(block, params, state, x) - np.eye(3), compute_uv=False)
        assert singular.max() <= L
        g = np.asarray(block.forward(params, state, x)[0]) - np.asarray(x)
        apart = np.linalg.norm(x[:, None] - x[None], axis=-1) + np.eye(100)
        assert (np.linalg.norm(g[:, None] - g[None], axis=-1) / apart).max() <= L
    assert scale < 1 or singular.max() > 0.9 * L  # the bound is one that is met


@pytest.mark.thorough
@pytest.mark.parametrize("sharpness", [-2.0, 0.5, 6.0])
def test_the_activation_keeps_the_bound_and_meets_it(x64, sharpness):
    """One hidden unit with large kernels: the slope of g is L times that of LipSwish, whose largest is 0.9999."""
    block, x = flows.residual_block((1,), lipschitz=L), jnp.linspace(-60, 60, 8001)[:, None]
    layers = {f"Dense_{index}": {"kernel": jnp.full((1, 1), 7.0), "bias": jnp.zeros(1)} for index in (0, 1)}
    params = layers | {"LipSwish_0": {"sharpness": jnp.asarray(sharpness)}}
    slope = np.exp(np.asarray(block.forward(params, {}, x)[1])) - 1
    assert 0.999 * L < slope.max() <= L


@pytest.mark.thorough
def test_it_starts_as_the_identity():
    x = jnp.asarray(X, jnp.float32)
    block = flows.residual_block((8, 8))
    z, log_det = block.forward(*block.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(5))


@pytest.mark.thorough
def test_derivatives_of_the_inverse(x64):
    """By parameters, values and conditioning, against differences; forward and reverse agree."""
    block, x = flows.residual_block((6,), lipschitz=L), jnp.asarray(X)
    params, state = place(block, x, given("float64"))
    flat, rebuild = ravel_pytree((params, x, given("float64")))

    def loss(flat):
        params, z, given = rebuild(flat)
        x, log_det = block.inverse(params, state, z, given)
        return jnp.sum(jnp.sin(x)) + jnp.sum(log_det**2)

    direction = jnp.cos(jnp.arange(float(flat.size)))
    _, slope = jax.jit(lambda flat: jax.jvp(loss, (flat,), (direction,)))(flat)
    both = jax.jit(jax.value_and_grad(loss))
    value = [both(flat + step * direction)[0] for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (value[0] - value[1]) / 2e-5, rtol=1e-7)
    np.testing.assert_allclose(both(flat)[1] @ direction, slope, rtol=1e-12)


@pytest.fixture(scope="module")
def setting():
    """A block near its bound, the exact log-determinants, and their gradient by parameters and values."""
    with jax.enable_x64(True):
        block, x = flows.residual_block(squashed(), lipschitz=L), jnp.asarray(0.5 * X)
        params, state = place(block, x, scale=1.0)
        # Symmetric, so that the powers of the Jacobian have traces that matter.
        params = {"kernel": params["kernel"] + params["kernel"].T, "bias": 0.1 * params["bias"]}
        exact = block.forward(params, state, x)[1]

        @jax.jit
        def gradient(params, x):
            return jax.grad(lambda p, x: jnp.sum(WEIGHTS * block.forward(p, state, x)[1]), (0, 1))(params, x)

        yield params, state, x, np.asarray(exact), _flat(gradient(params, x))


def _flat(tree):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def _draws(setting, draws, **settings):
    """Values ``[draws, examples]`` and gradients ``[draws, numbers]`` of an estimate."""
    params, state, x = setting[:3]
    block = flows.residual_block(squashed(), lipschitz=L, **settings)

    def one(key):
        def total(params, x):
            log_det = block.forward(params, state, x, key=key)[1]
            return jnp.sum(WEIGHTS * log_det), log_det

        gradient, log_det = jax.grad(total, (0, 1), has_aux=True)(params, x)
        return log_det, jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)])

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(9), draws)))


def _z(samples, mean):
    return np.abs(samples.mean(0) - mean) / np.maximum(samples.std(0, ddof=1) / np.sqrt(len(samples)), 1e-12)


def _directions(gradients, mean):
    """Four random directions in place of every entry: as many tests as the threshold is meant for."""
    directions = np.random.default_rng(5).standard_normal((len(mean), 4))
    return gradients @ directions, mean @ directions


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{"terms": 1}, {"terms": 3, "survival": 0.5}], ids=["default", "published"])
def test_the_roulette_is_unbiased(setting, settings, x64):
    values, gradients = _draws(setting, 10_000, log_det="roulette", **settings)
    assert _z(values, setting[3]).max() < 4.26
    assert _z(*_directions(gradients, setting[4])).max() < 4.26


@pytest.mark.thorough
def test_the_series_is_biased_within_its_bound(setting, x64):
    """The control of the test above: a series that ends is off, by more than noise and by less than the bound."""
    values, gradients = _draws(setting, 10_000, log_det="series", terms=1)
    assert _z(values, setting[3]).max() > 10
    assert _z(*_directions(gradients, setting[4])).max() > 10
    params, state, x, exact = setting[:4]
    jacobian = jacobians(flows.residual_block(squashed(), lipschitz=L), params, state, x) - np.eye(3)
    for terms in (1, 4):
        values, _ = _draws(setting, 10_000, log_det="series", terms=terms)
        powers = [np.trace(np.linalg.matrix_power(jacobian, k), axis1=1, axis2=2) for k in range(1, terms + 1)]
        partial_sum = sum((-1) ** (k + 1) / k * power for k, power in enumerate(powers, 1))
        assert _z(values, partial_sum).max() < 4.26
        bound = 3 * L ** (terms + 1) / ((terms + 1) * (1 - L))
        assert np.abs(partial_sum - exact).max() <= bound
        noise = 4.26 * values.std(0).max() / np.sqrt(len(values))
        assert np.abs(values.mean(0) - exact).max() <= bound + noise


def test_the_bound_is_attained(x64):
    """``g(x) = −L x``: every term of the series has the bound's sign and size, so that only its slack remains."""
    minus = nets.from_functions(lambda key, x: {"kernel": -jnp.eye(3)}, lambda params, x: x @ params["kernel"])
    for terms in (2, 8, 60):
        block = flows.residual_block(minus, lipschitz=0.97, log_det="series", terms=terms)
        params, state = block.init(jax.random.key(0), jnp.asarray(X))
        found = block.forward(params, state, jnp.asarray(X), key=jax.random.key(1))[1]
        rest = found - 3 * np.log1p(-0.97)
        expected = 3 * sum(0.97**k / k for k in range(terms + 1, 3000))
        np.testing.assert_allclose(rest, np.full(5, expected), rtol=1e-10)
        assert expected <= 3 * 0.97 ** (terms + 1) / ((terms + 1) * (1 - 0.97))


def test_both_directions_of_an_estimate_cancel(setting, x64):
    params, state, x = setting[:3]
    block = flows.residual_block(squashed(), lipschitz=L, log_det="roulette")
    z, log_det = block.forward(params, state, x, key=jax.random.key(4))
    back, log_det_back = block.inverse(params, state, z, key=jax.random.key(4))
    np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: flows.residual_block((4,), lipschitz=1.0),
            ValueError,
            r"lipschitz must be a number in \(0, 1\), got 1.0",
        ),
        (lambda: flows.residual_block((4,), log_det="trace"), ValueError, "must be one of exact, series, roulette"),
        (lambda: flows.residual_block((4,), terms=0), ValueError, "terms must be an integer ≥ 1, got 0"),
        (lambda: flows.residual_block((4,), survival=0.5), ValueError, "survival must be between 0 and 1 and is for"),
        (lambda: flows.residual_block((4, 0)), ValueError, r"a network\[1\] must be an integer ≥ 1, got 0"),
        (lambda: flows.residual_block(()), ValueError, "at least one"),
        (lambda: flows.residual_block(7), TypeError, "not a network must be a sequence of integers ≥ 1, got 7"),
    ],
)
def test_bad_settings(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Scaled(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.LayerNorm()(linen.Dense(3)(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Scaled(), r"'LayerNorm_0/bias' of shape|'LayerNorm_0/scale' of shape \[3\] is neither"),
        (linen.Dense(2), r"maps \[5, 3\] to \[5, 2\]"),
        (nets.from_functions(lambda key, x: {}, lambda params, x: x), "no kernel to bound"),
    ],
)
def test_bodies_without_a_certificate(network, message):
    with pytest.raises(ValueError, match=message):
        flows.residual_block(network).init(jax.random.key(0), jnp.asarray(X, jnp.float32))


@pytest.mark.first(1)
@pytest.mark.parametrize("log_det", ["series", "roulette"])
def test_an_estimate_needs_a_key(log_det):
    block, x = flows.residual_block((4,), log_det=log_det), jnp.asarray(X, jnp.float32)
    params, state = block.init(jax.random.key(0), x)
    for run in (block.forward, block.inverse):
        with pytest.raises(ValueError, match="is an estimate and needs key="):
            run(params, state, x)

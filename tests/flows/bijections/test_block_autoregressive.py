"""Block autoregressive layers: NumPyro's network, the Jacobian, the root of every element, extremes, and mass one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, jacobians
from flows.places import place
from numpyro.nn import block_neural_arn

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 3))


def of_numpyro(params, x, hidden, min_slope):
    """The same network by NumPyro, gated and with tanh, which has one gate for all elements."""
    _, apply = block_neural_arn.BlockNeuralAutoregressiveNN(
        x.shape[1], list(hidden), residual="gated", activation=block_neural_arn.Tanh()
    )
    layers = []
    for index in range(len(hidden) + 1):
        own = params[f"Block_{index}"]
        elements, below, _, above = own["kernel"].shape
        kernel = own["kernel"].reshape(elements * below, elements * above)
        layers.append((kernel, own["log_scale"].reshape(-1), own["bias"].reshape(-1)))
        layers.append(())
    share = (1 - min_slope) / (1 + jnp.exp(-params["gate"][0]))
    gate = jnp.log(share) - jnp.log1p(-share)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return apply(((), (tuple(layers[:-1]), ()), gate), x)


def at_a_place(hidden):
    """A layer at a random place, with one gate for all elements, as NumPyro has it."""
    bijection, x = flows.block_autoregressive(hidden=hidden, min_slope=0.05), jnp.asarray(X)
    params, _ = place(bijection, x)
    return bijection, {**params, "gate": jnp.full(3, 0.7)}, x


def test_it_is_the_network_of_numpyro(x64):
    bijection, params, x = at_a_place((4,))
    found = jax.jit(bijection.forward)(params, {}, x)
    z, log_slope = jax.jit(lambda params: of_numpyro(params, x, (4,), 0.05))(params)
    np.testing.assert_allclose(found[0], z, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[1], jnp.sum(log_slope, axis=1), rtol=1e-11, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("hidden", [(4,), (5, 3)])
def test_its_gradients_are_those_of_numpyro(x64, hidden):
    """Of the value and of the log-determinant in every parameter, and in the sum of the gates."""
    bijection, params, x = at_a_place(hidden)

    def ours(params):
        z, log_det = bijection.forward(params, {}, x)
        return jnp.sum(z**3) + jnp.sum(log_det)

    def theirs(params):
        z, log_slope = of_numpyro(params, x, hidden, 0.05)
        return jnp.sum(z**3) + jnp.sum(log_slope)

    (value, found), (other, expected) = (jax.jit(jax.value_and_grad(each))(params) for each in (ours, theirs))
    np.testing.assert_allclose(value, other, rtol=1e-11)
    for index in range(len(hidden) + 1):
        for name in ("kernel", "log_scale", "bias"):
            one, two = (np.asarray(each[f"Block_{index}"][name]) for each in (found, expected))
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(np.sum(found["gate"]), expected["gate"][0], rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [None, "reversed", (2, 0, 1)])
def test_both_directions_and_the_jacobian_agree(order, dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection, x = flows.block_autoregressive(hidden=(4, 4), order=order), jnp.asarray(X, dtype)
        given = jnp.asarray(np.cos(X[:, :2]), dtype)
        params, state = place(bijection, x, given)
        check(bijection, x, given, params=params, state=state)
        jacobian = jacobians(bijection, params, state, x, given)
        own = {None: (0, 1, 2), "reversed": (2, 1, 0)}.get(order, order)
        jacobian = jacobian[:, own][:, :, own]
        np.testing.assert_array_equal(jacobian[:, *np.triu_indices(3, 1)], np.zeros((5, 3)))
        assert np.all(jacobian[:, range(3), range(3)] >= 1e-3)
        assert np.all(jacobian[:, *np.tril_indices(3, -1)] != 0)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_inverse_is_exact_to_rounding(dtype):
    """Far out and with steep networks: each element found to the rounding of z, divided by the slope."""
    eps = np.finfo(dtype).eps
    with jax.enable_x64(dtype == "float64"):
        bijection = flows.block_autoregressive(hidden=(6,))
        z = jnp.asarray(np.concatenate([3 * X, [[-1e4, 0.0, 1e4], [0.0, 0.0, 0.0]]]), dtype)
        params, state = place(bijection, z, scale=1.5)
        x, log_det = jax.jit(bijection.inverse)(params, state, z)
        again, log_det_forward = jax.jit(bijection.forward)(params, state, x)
        size = np.maximum(np.abs(np.asarray(x)).max(1, keepdims=True), 10)
        assert np.all(np.abs(again - z) <= 60 * eps * size)
        np.testing.assert_allclose(log_det, -np.asarray(log_det_forward), rtol=1e-5)


@pytest.mark.thorough
def test_derivatives_of_the_inverse(x64):
    """Those of the implicit function theorem: of parameters, z and given, against the forward map's."""
    bijection, x, given = flows.block_autoregressive(hidden=(4,)), jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    params, state = place(bijection, x, given)

    def there(params, given, x):
        return bijection.forward(params, state, x, given)[0]

    def back(params, given, z):
        return bijection.inverse(params, state, z, given)[0]

    z = there(params, given, x)
    draw = np.random.default_rng(5)
    tangents = jax.tree.map(lambda leaf: jnp.asarray(draw.standard_normal(leaf.shape)), (params, given))
    _, moved = jax.jit(lambda: jax.jvp(lambda p, g: there(p, g, x), (params, given), tangents))()
    _, found = jax.jit(lambda: jax.jvp(lambda p, g: back(p, g, z), (params, given), tangents))()
    jacobian = jacobians(bijection, params, state, x, given)
    expected = -np.linalg.solve(jacobian, np.asarray(moved)[:, :, None])[:, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    weights = jnp.asarray(draw.standard_normal(X.shape))
    pulled = jax.jit(jax.grad(lambda p, g: jnp.sum(weights * back(p, g, z)), argnums=(0, 1)))(params, given)
    inner = sum(float(jnp.sum(a * b)) for a, b in zip(jax.tree.leaves(pulled), jax.tree.leaves(tangents), strict=True))
    assert inner == pytest.approx(float(jnp.sum(weights * found)), rel=1e-9)


@pytest.mark.thorough
def test_extreme_parameters_stay_finite():
    """Weights of exp(±1000), gates of ±1000 and inputs of ±1e4, in single precision: values and gradients."""
    bijection, x = flows.block_autoregressive(hidden=(3, 3)), jnp.asarray(np.concatenate([X, 1e4 * X]), jnp.float32)
    params, state = place(bijection, x)
    for scale in (1.0, 1000.0):
        own = {
            name: jnp.sign(part) * scale if name == "gate" else {**part, "kernel": jnp.sign(part["kernel"]) * scale}
            for name, part in params.items()
        }

        def total(params, x):
            z, log_det = bijection.forward(params, state, x)
            back, _ = bijection.inverse(params, state, z)
            return jnp.sum(z) + jnp.sum(log_det) + jnp.sum(back), (z, log_det, back)

        found = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(own, x)
        for leaf in jax.tree.leaves(found):
            assert bool(jnp.all(jnp.isfinite(leaf)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.block_autoregressive(hidden=()), "hidden must have at least one integer ≥ 1"),
        (lambda: flows.block_autoregressive(min_slope=0), r"min_slope must be a number in \(0, 1\), got 0"),
        (lambda: flows.block_autoregressive(order="backwards"), "block_autoregressive: order must be None, 'reversed'"),
        (
            lambda: flows.block_autoregressive(order=(1, 0)).init(jax.random.key(0), jnp.ones((2, 3))),
            "order has 2 elements and the event 3",
        ),
        (lambda: flows.bnaf(0), "bnaf: depth must be an integer ≥ 1, got 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()

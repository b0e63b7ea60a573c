"""NICE: volume preserving up to its scale, RealNVP at zero log-scale, normalized."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.assemblies import block, check_the_integral
from flows.oracle import check, perturbed

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 3))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_directions_and_the_jacobian_agree(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(X, dtype)
        check(flows.nice(3, hidden=(6,)), x, jnp.cos(x[:, :2]))


def test_the_density_is_normalized(x64):
    check_the_integral(flows.nice(2, hidden=(5,), activation=jnp.tanh), points=600)


@pytest.mark.thorough
def test_it_is_realnvp_at_zero_log_scale(x64):
    """Value, log-determinant and gradient: the columns of RealNVP's head that make shifts are NICE's head."""
    x, options = jnp.asarray(X), {"hidden": (6,), "activation": jnp.tanh}
    nice = flows.nice(3, **options)
    realnvp = flows.chain(flows.realnvp(3, **options), flows.scale())
    params, state = nice.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    widened = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.concatenate((jnp.zeros_like(leaf), leaf), axis=-1)
            if any(getattr(step, "key", "") == "head" for step in path)
            else leaf
        ),
        params,
    )

    @jax.jit
    def run(params, widened):
        def objective(params, bijection):
            z, log_det = bijection.forward(params, state, x)
            return jnp.sum(z**3) - jnp.sum(log_det), (z, log_det)

        return [
            jax.value_and_grad(objective, has_aux=True)(tree, bijection)
            for tree, bijection in ((params, nice), (widened, realnvp))
        ]

    (value, gradient), (expected, expected_gradient) = run(params, widened)
    chex.assert_trees_all_close(value, expected, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(a, b[..., b.shape[-1] - a.shape[-1] :], rtol=1e-11, atol=1e-12)
    # Volume preserving up to the scale, whatever the couplings do.
    np.testing.assert_array_equal(value[1][1], np.full(4, np.sum(params[1]["log_scale"])))


@pytest.mark.thorough
def test_odd_depths_end_with_a_coupling_of_the_first_kind(x64):
    """Three couplings: a pair and one more, so that the first half is left as it is by the first and the last."""
    x, bijection = jnp.asarray(X), flows.nice(3, hidden=(4,))
    params, state = bijection.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    one, other = (flows.coupling(flows.dense((4,)), flows.additive(), mask=flows.halves(swapped=s)) for s in (0, 1))
    (pairs, last), scale = params
    expected = x
    for layer, own in ((one, block(pairs, 0)[0]), (other, block(pairs, 0)[1]), (one, last)):
        expected, _ = layer.forward(own, {"body": {}, "head": {}}, expected)
    expected = expected * jnp.exp(scale["log_scale"])[None]
    np.testing.assert_allclose(bijection.forward(params, state, x)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("depth", [0, 2.0, True])
def test_depth_counts_couplings(depth):
    with pytest.raises((TypeError, ValueError), match="depth must be an integer ≥ 1"):
        flows.nice(depth)

"""What every assembly on vectors must do: start as stated, be normalized, stack as the chain, and read its classes."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from flows.oracle import perturbed

from vifx import flows
from vifx.distributions import standard_normal

WIDTH = 12.0


def check_the_integral(bijection, given=None, *, points=1200, scale=0.3):
    """Sum the density over a grid of the plane, at random parameters, in float64.

    The trapezoidal rule is exact to rounding for smooth functions that vanish at the border; the kinks of splines and
    of piecewise linear conditioners leave an error of the square of the spacing.
    """
    axis = jnp.linspace(-WIDTH, WIDTH, points)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    given = None if given is None else jnp.broadcast_to(given[None], (len(grid), len(given)))
    flow = flows.Flow(standard_normal(2), bijection)
    params, state = jax.jit(flow.init)(jax.random.key(3), grid[:4], None if given is None else given[:4])
    params = perturbed(jax.random.key(4), params, scale)
    log_prob = jax.jit(flow.log_prob)(params, state, grid, given)
    assert float(jnp.ptp(log_prob[jnp.sum(grid**2, axis=1) < 1])) > 0.1
    total = float(jnp.sum(jnp.exp(log_prob))) * (2 * WIDTH / (points - 1)) ** 2
    assert abs(total - 1) < 1e-4, total


def check_the_unrolled_chain(stacked, chained, arrange, x):
    """The same parameters in a scan and one after another: value, log-determinant and gradient."""
    params, state = jax.jit(stacked.init)(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)

    def objective(params, bijection, arrange):
        z, log_det = bijection.forward(arrange(params), arrange(state), x)
        return jnp.sum(z**3) - jnp.sum(log_det), (z, log_det)

    run = lambda bijection, arrange: jax.jit(  # noqa: E731
        jax.value_and_grad(lambda params: objective(params, bijection, arrange), has_aux=True)
    )(params)
    chex.assert_trees_all_close(run(stacked, lambda tree: tree), run(chained, arrange), rtol=1e-11, atol=1e-12)


def block(tree, index):
    """The parameters of one copy of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], tree)

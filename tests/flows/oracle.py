"""What every bijection must satisfy: round trips, and log-determinants of the automatic Jacobian.

Tolerances scale with the conditioning of the map, as an absolute one is wrong for any but tame flows: a round trip
errs by at most 20 eps ‖y‖ ‖J⁻¹‖ and a log-determinant by at most 20 eps cond(J).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def perturbed(key, params, scale=0.3):
    """Parameters at a random place around the initial ones, drawn by NumPy, which compiles nothing."""
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def moved(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(np.asarray(leaf) + scale * draw.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(moved, params)


def jacobians(bijection, params, state, x, given=None, *, direction="forward"):
    """The Jacobian of every example, ``[examples, elements, elements]`` in float64, by automatic differentiation."""
    function = getattr(bijection, direction)

    def one(row, own):
        own = None if own is None else jax.tree.map(lambda leaf: leaf[None], own)
        return function(params, state, row[None], own)[0].reshape(-1)

    compiled = jax.jit(jax.vmap(jax.jacfwd(one), in_axes=(0, None if given is None else 0)))
    return np.asarray(compiled(x, given), np.float64).reshape(len(x), x[0].size, x[0].size)


def check(bijection, x, given=None, *, seed=0, scale=0.3, factor=20.0, params=None, state=None):
    """Compare both directions with each other and with the Jacobian at random parameters; return them."""
    if params is None:
        params, state = jax.jit(bijection.init)(jax.random.key(seed), x, given)
        params = perturbed(jax.random.key(seed + 1), params, scale)
    z, log_det = jax.jit(bijection.forward)(params, state, x, given)
    back, log_det_back = jax.jit(bijection.inverse)(params, state, z, given)
    assert z.dtype == x.dtype
    assert log_det.dtype == x.dtype
    assert back.shape == x.shape
    jacobian = jacobians(bijection, params, state, x, given)
    singular = np.linalg.svd(jacobian, compute_uv=False)
    condition = singular[:, 0] / singular[:, -1]
    eps = np.finfo(x.dtype).eps
    flat = lambda value: np.asarray(value, np.float64).reshape(len(x), -1)  # noqa: E731
    size = np.linalg.norm(flat(z), axis=1) / singular[:, -1] + np.linalg.norm(flat(x), axis=1)
    assert np.all(np.linalg.norm(flat(back) - flat(x), axis=1) <= factor * eps * size)
    _, exact = np.linalg.slogdet(jacobian)
    allowed = factor * eps * np.maximum(condition, np.abs(exact) + 1)
    assert np.all(np.abs(np.asarray(log_det, np.float64) - exact) <= allowed)
    assert np.all(np.abs(np.asarray(log_det, np.float64) + np.asarray(log_det_back, np.float64)) <= 2 * allowed)
    return params, state

"""A residual block that is invertible because its branch is a contraction."""

from __future__ import annotations

__all__ = ["residual_block"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.contraction import contraction
from vifx.flows.bijections.fixed_point import residual_inverse
from vifx.flows.bijections.power_series import estimated_log_det
from vifx.flows.checked import checked


def residual_block(
    body: Any,
    *,
    lipschitz: float = 0.97,
    log_det: str = "exact",
    terms: int = 8,
    survival: float | None = None,
) -> Bijection:
    """Add a contraction: ``z = x + g(x)``, ``‖g(x₁) − g(x₂)‖ ≤ L ‖x₁ − x₂‖``, ``L < 1``.

    The bound holds at every parameter, since each kernel is scaled down to a spectral norm of ``L^(1/layers)`` where
    it is above. `forward` is one pass; `inverse` is the fixed-point iteration ``x ← z − g(x)`` to machine precision,
    about ``log(eps)/log(L)`` passes at worst, with derivatives by the implicit function theorem. The
    log-determinant, in nats, with J the Jacobian of g in n elements:

    * ``"exact"``: the determinant of ``I + J``, by n products with J and one factorization for each example;
    * ``"series"``: ``Σ_{k ≤ terms} (−1)^(k+1) vᵀ J^k v / k`` with v of random signs. Its expectation, and with it each
      draw's distance from what the whole series would have given, is off by at most
      ``n · L^(terms+1) / ((terms+1)(1−L))``;
    * ``"roulette"``: the same with a random number of terms, each divided by the probability of reaching it: unbiased.
      Its variance is finite for every g if ``survival > L²``; smaller values, such as the published 0.5, are
      cheaper and rely on J being smaller than its bound.

    Estimates need `key`; the gradients of their logarithmic densities are unbiased too (within the same bound for
    ``"series"``), in memory that does not grow with the terms. The parameters are the same for all three, so what was
    trained by an estimate is evaluated exactly.

    Args:
      body: hidden widths, such as ``(64, 64)``: dense layers with LipSwish between them, the last one zero at first, so
        that the block starts as the identity, and `given` entering the first. Or a network of ``(x, *given)`` that
        returns x's shape, made of dense layers (kernels and biases) and 1-Lipschitz activations such as tanh or ReLU:
        the caller is responsible for the activations.
      lipschitz: L, between 0 and 1.
      log_det: ``"exact"``, ``"series"`` or ``"roulette"``.
      terms: how many terms of the series are always there, at least 1.
      survival: the probability with which the roulette goes on after each further term; None for L, which needs
        ``L/(1−L)`` further terms on average.

    Raises:
      ValueError: a hyperparameter is out of its range, or an estimate is used without `key`.
      TypeError: `body` is neither widths nor a network.

    References: Behrmann et al., Invertible Residual Networks, 2019, arXiv:1811.00995; Chen et al., Residual Flows for
    Invertible Generative Modeling, 2019, arXiv:1906.02735.
    """
    require_number(lipschitz, "residual_block: lipschitz", above=0, below=1)
    require_choice(log_det, ("exact", "series", "roulette"), "residual_block: log_det")
    require_integer(terms, "residual_block: terms")
    if survival is not None and (log_det != "roulette" or not 0 < survival < 1):
        raise ValueError(
            f"residual_block: survival must be between 0 and 1 and is for log_det='roulette', got {survival!r} with "
            f"log_det={log_det!r}."
        )
    net = contraction(body, lipschitz)
    going_on = (lipschitz if survival is None else survival) if log_det == "roulette" else None

    def branch(constants: tuple[PyTree, PyTree, Any], rows: Array, shape: tuple[int, ...]) -> Array:
        params, state, given = constants
        return net.apply(params, state, rows.reshape(shape), given)[0].reshape(rows.shape)

    def own_log_det(constants: Any, rows: Array, shape: tuple[int, ...], key: Key | None) -> Array:
        def residual(constants: Any, rows: Array) -> Array:
            return branch(constants, rows, shape)

        if log_det == "exact":
            return _exact(lambda rows: residual(constants, rows), rows)
        if key is None:
            raise ValueError(
                f"residual_block: log_det={log_det!r} is an estimate and needs key=; pass one, or use "
                "log_det='exact' with the same parameters."
            )
        return estimated_log_det(key, residual, constants, rows, terms=terms, survival=going_on)

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        rows, constants = x.reshape(x.shape[0], -1), (params, state, given)
        z = rows + branch(constants, rows, x.shape)
        return z.reshape(x.shape), own_log_det(constants, rows, x.shape, key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        rows, constants = z.reshape(z.shape[0], -1), (params, state, given)
        x = residual_inverse(lambda rows: branch(constants, rows, z.shape), rows, lipschitz)
        return x.reshape(z.shape), -own_log_det(constants, x, z.shape, key)

    return checked("residual_block", net.init, forward, inverse, scalars=True)


def _exact(residual: Any, rows: Array) -> Array:
    """``log det(I + J)`` for each row; the determinant is positive, as that of a small perturbation of I."""
    basis = jnp.eye(rows.shape[1], dtype=rows.dtype)

    def column(direction: Array) -> Array:
        return jax.jvp(residual, (rows,), (jnp.broadcast_to(direction, rows.shape),))[1]

    jacobian = jax.vmap(column, out_axes=2)(basis)
    return jnp.linalg.slogdet(basis[None] + jacobian)[1]

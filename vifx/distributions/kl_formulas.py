"""Closed forms of KL(p ‖ q) for pairs of families, in nats: a list of what is known, each tested against quadrature.

A family is recognized by its exact class: a subclass may have another density, so its divergence is drawn.
The registries of other libraries are not consulted, because some of their entries are truncated series.
"""

from __future__ import annotations

__all__ = ["formula"]

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import betaln, digamma, gammaln

from vifx.core.types import Array
from vifx.distributions.multivariate_normal import MultivariateNormal
from vifx.distributions.normal import Normal
from vifx.distributions.poisson import Poisson

_Parameters: TypeAlias = tuple[Array, ...]
_EULER = 0.5772156649015329


def formula(inference: Any, generative: Any) -> Callable[[], Array] | None:
    """Return a function that computes KL(inference ‖ generative) of two known families, or None.

    * ``normal``, ``log-normal``: ``½ [ r² + ((μ − ν)/τ)² − 1 ] − log r`` with ``r = σ/τ``;
    * vectors of normals, multivariate and low-rank normals, in any pairing:
      ``½ [ ‖T⁻¹ S‖² + ‖T⁻¹(μ − ν)‖² − d ] + log|T| − log|S|`` with covariances ``S Sᵀ`` and ``T Tᵀ``;
    * ``half-normal``: ``½ (r² − 1) − log r``; ``Laplace``: ``(|μ − ν| + σ e^{−|μ−ν|/σ})/τ − 1 − log r``;
    * ``gamma``, of which the exponential has concentration 1, and Weibull against gamma (Bauckhage, 2014);
    * ``beta``, ``Dirichlet``; ``Poisson``: ``λ log(λ/κ) − λ + κ``;
    * ``uniform``: the log ratio of the widths, +∞ unless the second interval holds the first.

    Args:
      inference: p, batch ``[*batch]``.

    Returns:
      A function without arguments whose result is in nats, ``[*batch]``.
    """
    first = _gaussian(inference)
    second = _gaussian(generative, after=None if first is None else first.root)
    if first is not None and second is not None:
        return (lambda: _gaussian_kl(first, second)) if first.loc.shape[-1] == second.loc.shape[-1] else None
    known = _family(inference), _family(generative)
    if known[0] is None or known[1] is None:
        return None
    kl = _FORMULAS.get((known[0].name, known[1].name))
    if kl is None:
        return None
    one, other = known[0].parameters(inference), known[1].parameters(generative)
    event = 1 if known[0].name == "dirichlet" else 0
    if event and one[0].shape[-1:] != other[0].shape[-1:]:
        return None
    return lambda: kl(*jnp.broadcast_arrays(*one, *other))


class _Family(NamedTuple):
    """How a class is read: the family that it is, and its parameters."""

    name: str
    parameters: Callable[[Any], _Parameters]


def _named(name: str, *attributes: str) -> _Family:
    return _Family(name, lambda d: tuple(jnp.asarray(getattr(d, attribute)) for attribute in attributes))


_FAMILIES: Mapping[type, _Family] = {
    Normal: _named("normal", "loc", "scale"),
    numpyro.Normal: _named("normal", "loc", "scale"),
    numpyro.LogNormal: _named("log-normal", "loc", "scale"),
    numpyro.HalfNormal: _named("half-normal", "scale"),
    numpyro.Laplace: _named("laplace", "loc", "scale"),
    numpyro.Gamma: _named("gamma", "concentration", "rate"),
    numpyro.Exponential: _Family("gamma", lambda d: (jnp.ones_like(jnp.asarray(d.rate)), jnp.asarray(d.rate))),
    numpyro.Weibull: _named("weibull", "concentration", "scale"),
    numpyro.Beta: _named("beta", "concentration1", "concentration0"),
    numpyro.Dirichlet: _named("dirichlet", "concentration"),
    numpyro.Uniform: _named("uniform", "low", "high"),
    Poisson: _named("poisson", "log_rate"),
    numpyro.Poisson: _Family("poisson", lambda d: (jnp.log(jnp.asarray(d.rate)),)),
}


def _family(distribution: Any) -> _Family | None:
    return _FAMILIES.get(type(distribution))


def _normal(loc: Array, scale: Array, prior_loc: Array, prior_scale: Array) -> Array:
    ratio = scale / prior_scale
    return 0.5 * (ratio**2 + ((loc - prior_loc) / prior_scale) ** 2 - 1) - jnp.log(ratio)


def _half_normal(scale: Array, prior_scale: Array) -> Array:
    ratio = scale / prior_scale
    return 0.5 * (ratio**2 - 1) - jnp.log(ratio)


def _laplace(loc: Array, scale: Array, prior_loc: Array, prior_scale: Array) -> Array:
    apart = jnp.abs(loc - prior_loc)
    mean = (apart + scale * jnp.exp(-apart / scale)) / prior_scale
    return mean - 1 - jnp.log(scale / prior_scale)


def _gamma(shape: Array, rate: Array, prior_shape: Array, prior_rate: Array) -> Array:
    constant = gammaln(prior_shape) - gammaln(shape) + (shape - prior_shape) * digamma(shape)
    return constant + prior_shape * jnp.log(rate / prior_rate) + shape * (prior_rate / rate - 1)


def _weibull_gamma(shape: Array, scale: Array, prior_shape: Array, prior_rate: Array) -> Array:
    # E log x = log scale − γ/shape, and E x = scale Γ(1 + 1/shape).
    mean = jnp.exp(gammaln(1 + 1 / shape))
    of_logs = jnp.log(shape) - _EULER - 1 + prior_shape * (_EULER / shape - jnp.log(scale * prior_rate))
    return of_logs + gammaln(prior_shape) + scale * prior_rate * mean


def _beta(one: Array, zero: Array, prior_one: Array, prior_zero: Array) -> Array:
    constant = _log_beta(prior_one, prior_zero) - _log_beta(one, zero)
    of_logs = (one - prior_one) * digamma(one) + (zero - prior_zero) * digamma(zero)
    return constant + of_logs - (one + zero - prior_one - prior_zero) * digamma(one + zero)


def _log_beta(one: Array, zero: Array) -> Array:
    """``log B(α, β)``: JAX's own in single precision; in double precision that is wrong by 1e-7 above 8."""
    if one.dtype != jnp.float64:
        return betaln(one, zero)
    return gammaln(one) + gammaln(zero) - gammaln(one + zero)


def _dirichlet(concentration: Array, prior: Array) -> Array:
    total = jnp.sum(concentration, axis=-1)
    each = gammaln(prior) - gammaln(concentration) + (concentration - prior) * digamma(concentration)
    apart = jnp.sum(concentration - prior, axis=-1)
    return gammaln(total) - gammaln(jnp.sum(prior, axis=-1)) + jnp.sum(each, axis=-1) - apart * digamma(total)


def _poisson(log_rate: Array, prior_log_rate: Array) -> Array:
    possible = log_rate > -jnp.inf
    safe = jnp.where(possible, log_rate, 0)
    events = jnp.where(possible, jnp.exp(safe) * (safe - jnp.where(possible, prior_log_rate, 0) - 1), 0)
    return events + jnp.exp(prior_log_rate)


def _uniform(low: Array, high: Array, prior_low: Array, prior_high: Array) -> Array:
    inside = (prior_low <= low) & (high <= prior_high)
    return jnp.where(inside, jnp.log((prior_high - prior_low) / (high - low)), jnp.inf)


_FORMULAS: Mapping[tuple[str, str], Callable[..., Array]] = {
    ("normal", "normal"): _normal,
    ("log-normal", "log-normal"): _normal,
    ("half-normal", "half-normal"): _half_normal,
    ("laplace", "laplace"): _laplace,
    ("gamma", "gamma"): _gamma,
    ("weibull", "gamma"): _weibull_gamma,
    ("beta", "beta"): _beta,
    ("dirichlet", "dirichlet"): _dirichlet,
    ("poisson", "poisson"): _poisson,
    ("uniform", "uniform"): _uniform,
}


class _Gaussian(NamedTuple):
    """A normal distribution of vectors.

    Attributes:
      loc: ``[*batch, d]``.
      root: a Cholesky factor of the covariance, ``[*batch, d, d]``; None where the elements are independent.
      variance: of each element, ``[*batch, d]``.
      log_det: half the log-determinant of the covariance, ``[*batch]``.
    """

    loc: Array
    root: Array | None
    variance: Array
    log_det: Array


def _gaussian(distribution: Any, after: Array | None = None) -> _Gaussian | None:
    """Return a normal distribution of vectors as such, None if it is not one; factored `after` another one."""
    kind = type(distribution)
    if kind is numpyro.Independent and distribution.reinterpreted_batch_ndims == 1:
        base: Any = distribution.base_dist
        shape = base.batch_shape
        while type(base) is numpyro.ExpandedDistribution:
            base = base.base_dist
        if type(base) not in (Normal, numpyro.Normal):
            return None
        loc, scale = (jnp.broadcast_to(jnp.asarray(each), shape) for each in (base.loc, base.scale))
        return _Gaussian(loc, None, scale**2, jnp.sum(jnp.log(scale), axis=-1))
    if kind in (MultivariateNormal, numpyro.MultivariateNormal):
        root = jnp.asarray(distribution.scale_tril)
        diagonal = jnp.abs(jnp.diagonal(root, axis1=-2, axis2=-1))
        log_det = jnp.sum(jnp.log(diagonal), axis=-1)
        return _Gaussian(jnp.asarray(distribution.loc), root, jnp.sum(root**2, axis=-1), log_det)
    if kind is numpyro.LowRankMultivariateNormal:
        return _low_rank(distribution, after)
    return None


def _low_rank(distribution: Any, after: Array | None) -> _Gaussian:
    """Read ``N(μ, W Wᵀ + diag(v))``, whose determinant is that of ``I + Wᵀ diag(v)⁻¹ W`` times that of ``diag(v)``."""
    loadings = _later(jnp.asarray(distribution.cov_factor), after)
    noise = jnp.asarray(distribution.cov_diag)
    small = jnp.einsum("...ir,...i,...is->...rs", loadings, 1 / noise, loadings)
    small = jnp.linalg.cholesky(small + jnp.broadcast_to(jnp.eye(small.shape[-1], dtype=small.dtype), small.shape))
    log_det = jnp.sum(jnp.log(jnp.diagonal(small, axis1=-2, axis2=-1)), axis=-1) + 0.5 * jnp.sum(
        jnp.log(noise), axis=-1
    )
    own = jnp.sum(loadings**2, axis=-1) + noise
    size = noise.shape[-1]
    dense = jnp.einsum("...ir,...jr->...ij", loadings, loadings)
    dense = dense + jnp.broadcast_to(jnp.eye(size, dtype=noise.dtype), dense.shape) * noise[..., None]
    return _Gaussian(jnp.asarray(distribution.loc), jnp.linalg.cholesky(_later(dense, small)), own, log_det)


def _later(value: Array, other: Array | None) -> Array:
    """Return a value that exists only after another one.

    jaxlib splits a batch of factorizations over XLA's CPU threads, and on two threads two batches at once wait for each
    other for ever. A zero made of the other value is added, because XLA drops an optimization barrier too early.
    """
    if other is None:
        return value
    zero = jnp.minimum(jnp.abs(jnp.nan_to_num(jax.lax.stop_gradient(other.reshape(-1)[0]))), 0)
    return value + zero.astype(value.dtype)


def _gaussian_kl(first: _Gaussian, second: _Gaussian) -> Array:
    shape = jax.lax.broadcast_shapes(first.loc.shape, second.loc.shape, first.variance.shape, second.variance.shape)
    loc, prior_loc = (jnp.broadcast_to(each.loc, shape) for each in (first, second))
    log_det = jnp.broadcast_to(second.log_det, shape[:-1]) - jnp.broadcast_to(first.log_det, shape[:-1])
    if second.root is None:
        variance, prior_variance = (jnp.broadcast_to(each.variance, shape) for each in (first, second))
        squares = (variance + (loc - prior_loc) ** 2) / prior_variance
        return 0.5 * (jnp.sum(squares, axis=-1) - shape[-1]) + log_det
    square = (*shape, shape[-1])
    root = first.root
    if root is None:
        scale = jnp.broadcast_to(jnp.sqrt(first.variance), shape)
        root = jnp.broadcast_to(jnp.eye(shape[-1], dtype=scale.dtype), square) * scale[..., None]
    columns = jnp.concatenate([jnp.broadcast_to(root, square), (loc - prior_loc)[..., None]], axis=-1)
    white = solve_triangular(jnp.broadcast_to(second.root, square), columns, lower=True)
    return 0.5 * (jnp.sum(white**2, axis=(-2, -1)) - shape[-1]) + log_det

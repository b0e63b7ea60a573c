"""Sequences whose steps are linear regressions on the step before, for every state of a chain."""

from __future__ import annotations

__all__ = ["autoregressive"]

import math
from functools import partial

import jax.numpy as jnp
import numpy as np

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import MultivariateNormal
from vifx.distributions.autoregressive_steps import AutoregressiveSteps, step_before
from vifx.distributions.small_matrices import product, squared_norm, times, transposed, triangular_inverse
from vifx.em.families.covariances import multiplied
from vifx.em.families.noise_priors import log_noise_prior, noise_mode
from vifx.em.families.priors import InverseWishart, require_prior
from vifx.em.families.seed_statistics import needs_values, softened
from vifx.em.family import Family


def autoregressive(states: int, *, floor: float = 1e-6, prior: InverseWishart | None = None) -> Family:
    """Sequences with ``x_t | x_{t−1}, z_t = s ~ N(A_s x_{t−1} + b_s, Σ_s)`` and ``x_0 = 0``: a switching regression.

    ``em.hmm(em.autoregressive, 3, length=50)`` is an autoregressive hidden Markov model: the factor
    ``factor("x | z", autoregressive(3), name="emissions")`` of x ``[examples, length, d]`` given z
    ``[examples, length]``. `forecast` goes on from the last observation of each sequence. The M step is a
    regression for every state, weighted by the responsibilities of the steps, exact under ``Σ_s ≥ floor · I``. A state
    that nothing belongs to keeps its parameters.

    Args:
      states: the number of states K of the chain.
      floor: the least variance of the noise in any direction, in the squared units of the data.
      prior: of Σ; None for maximum likelihood.

    Returns:
      A family of sequences with parameters ``transitions`` A ``[K, d, d]``, ``offset`` b ``[K, d]`` and ``scale_tril``
      ``[K, d, d]``, the Cholesky factors of Σ.

    Raises:
      ValueError: a number is out of range, or values or parents that are not sequences.
      TypeError: `prior` is not an `InverseWishart`.

    Reference: Hamilton (1989), A new approach to the economic analysis of nonstationary time series.
    """
    number = require_integer(states, "autoregressive: states")
    least = require_number(floor, "autoregressive: floor", above=0)
    own = require_prior(prior, InverseWishart, "autoregressive")

    return Family(
        init=partial(_init, number, least, own),
        apply=_apply,
        features=_regressors,
        prepare=_prepare,
        maximize=partial(_best, least, own),
        log_prior=lambda params, _: log_noise_prior(own, params["scale_tril"]),
        degrees=lambda params: params["offset"].size * (1 + params["offset"].shape[1]) + _triangles(params),
        log_probs=_log_probs,
        statistics=_statistics,
        estimates=_estimates,
        sequences=True,
    )


def _init(
    number: int, least: float, prior: InverseWishart | None, key: Key, value: Array | None, *parents: Array
) -> tuple[PyTree, PyTree]:
    _only_a_chain(parents)
    x = _sequences(needs_values("autoregressive", value))
    size = x.shape[-1]
    blank = {
        "transitions": jnp.zeros((number, size, size), x.dtype),
        "offset": jnp.zeros((number, size), x.dtype),
        "scale_tril": jnp.broadcast_to(jnp.eye(size, dtype=x.dtype), (number, size, size)),
    }
    responsibilities = softened(key, x.reshape(-1, size), number).reshape(*x.shape[:2], number)
    return _best(least, prior, blank, {}, _statistics((), _regressors({}, x), responsibilities)), {}


def _apply(
    params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
) -> tuple[AutoregressiveSteps, PyTree]:
    del key, train
    (path,) = _only_a_chain(parents)
    at = path.astype(jnp.int32)
    noise = MultivariateNormal(*(params[name][at.reshape(-1)] for name in ("offset", "scale_tril")))
    return AutoregressiveSteps(noise, path.shape[1], params["transitions"][at]), state


def _best(least: float, prior: InverseWishart | None, params: PyTree, state: PyTree, statistics: Array) -> PyTree:
    del state
    size = params["offset"].shape[-1]
    count = statistics[:, -1, -1]
    known = count > 10 * jnp.finfo(count.dtype).eps
    share = statistics / jnp.where(known, count, 1)[:, None, None]
    targets, products, moments = share[:, :size, :size], share[:, :size, size:], share[:, size:, size:]
    best = products @ jnp.linalg.pinv(moments, hermitian=True)
    # The residual's moment as one quadratic form, symmetric up to rounding.
    residual = targets - best @ transposed(products) - products @ transposed(best)
    spread = noise_mode(prior, residual + best @ moments @ transposed(best), count, jnp.ones(size, count.dtype))
    values, vectors = jnp.linalg.eigh(spread)
    spread = vectors * jnp.sqrt(jnp.maximum(values, least))[:, None, :]
    scale = jnp.linalg.cholesky(spread @ transposed(spread))
    found = {"transitions": best[..., :size], "offset": best[..., size], "scale_tril": scale}
    return {
        name: jnp.where(known.reshape(-1, *(1,) * (new.ndim - 1)), new, params[name]) for name, new in found.items()
    }


def _estimates(params: PyTree) -> dict[str, np.ndarray]:
    regressions, offsets = (np.asarray(params[name], np.float64) for name in ("transitions", "offset"))
    return {"regressions": regressions, "offsets": offsets, "covariances": multiplied(params["scale_tril"])}


def _triangles(params: PyTree) -> int:
    number, size = params["offset"].shape
    return number * size * (size + 1) // 2


def _only_a_chain(parents: tuple[Array, ...]) -> tuple[Array, ...]:
    if len(parents) != 1 or parents[0].ndim != 2:
        raise ValueError(
            "autoregressive: the one parent must be a chain of states [examples, length], got shapes "
            f"{[list(parent.shape) for parent in parents]}; give sequences of one length."
        )
    return parents


def _sequences(value: Array) -> Array:
    if value.ndim != 3 or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"autoregressive: values must be sequences of vectors [examples, length, d], got {value.dtype}"
            f"{list(value.shape)}; numbers are x[..., None]."
        )
    return value


def _regressors(state: PyTree, value: Array) -> Array:
    """Return ``[x_t, x_{t−1}, 1]`` of every step, ``[examples, T, 2d + 1]``."""
    del state
    x = _sequences(value)
    return jnp.concatenate([x, step_before(x), jnp.ones_like(x[..., :1])], axis=-1)


def _prepare(params: PyTree, state: PyTree) -> tuple[Array, Array]:
    """Return what makes a standard normal of the regressors, ``[K, d, 2d + 1]``, and the constants ``[K]``."""
    del state
    inverse, size = triangular_inverse(params["scale_tril"]), params["offset"].shape[-1]
    known = jnp.concatenate([params["transitions"], params["offset"][..., None]], axis=-1)
    white = jnp.concatenate([inverse, -product(inverse, known)], axis=-1)
    log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(params["scale_tril"], axis1=-2, axis2=-1))), axis=-1)
    return white, -log_det - 0.5 * size * math.log(2 * math.pi)


def _log_probs(prepared: tuple[Array, Array], features: Array) -> Array:
    white, constants = prepared
    square = squared_norm(times(white[None, None], features[:, :, None]))
    return jnp.broadcast_to(constants[None, None], square.shape) - 0.5 * square


def _statistics(prepared: PyTree, features: Array, responsibilities: Array) -> Array:
    del prepared
    return jnp.einsum("ntk,nti,ntj->kij", responsibilities.astype(features.dtype), features, features)

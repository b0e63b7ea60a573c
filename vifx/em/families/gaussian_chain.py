"""Gaussian chains as the latent of sequences, with the closed-form M step of linear dynamical systems."""

from __future__ import annotations

__all__ = ["gaussian_chain"]

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import GaussianChain
from vifx.distributions.lengths import inside, possible
from vifx.em.families.covariances import floored_cholesky, multiplied
from vifx.em.families.held import Held
from vifx.em.families.noise_priors import NoisePrior, log_noise_prior, noise_mode, require_noise_prior
from vifx.em.families.regression import (
    ChainMoments,
    Regression,
    best_blocks,
    cancelled,
    free_numbers,
    regressors,
)
from vifx.em.family import Family

Noise: TypeAlias = Literal["full", "diagonal"]


def gaussian_chain(
    latent: int,
    *,
    length: int,
    noise: Noise = "full",
    prior: NoisePrior | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
    parallel: bool = False,
) -> Family:
    """``z_1 ~ N(m, P)``, ``z_{t+1} = A z_t + b + ε``, ``ε ~ N(0, Q)``: the prior of a linear dynamical system.

    In ``factor("z", gaussian_chain(4, length=50), name="chain")`` one value of z is a whole path ``[T, D]``. Its M step
    is the regression of each step on the one before, on expected moments: with ``y = (z_{t−1}, 1)``,
    ``(A, b) = (Σ E z_t yᵀ)(Σ E y yᵀ)⁻¹`` and Q the mean of ``E (z_t − A z_{t−1} − b)(…)ᵀ``.

    Known parents follow the notation, in any order: inputs u ``[examples, T, U]``, in floating point, add ``B u_{t+1}``
    to the step from t to t+1; lengths, integers ``[examples]`` from 1 to T, end each sequence.

    Args:
      latent: D, the size of a state.
      length: T, the steps of the longest sequence.
      noise: the form of Q: ``"full"`` or ``"diagonal"``.
      prior: of Q, an `InverseWishart`, or of each variance of a diagonal one an `InverseGamma`; None for maximum
        likelihood.
      fixed: parameters that are known and do not move, by name, such as ``{"transitions": A, "offset": b}``.
      floor: the least variance of P and Q in any direction, in squared units of z.
      parallel: whether time is divided by an associative scan.

    Returns:
      A family with parameters ``initial_mean [D]`` and ``initial_scale_tril [D, D]`` of the first state,
      ``transitions`` A ``[D, D]``, ``offset`` b ``[D]``, ``scale_tril [D, D]``, the Cholesky factor of Q, and
      ``inputs`` B ``[D, U]`` where there are inputs; without those that are fixed.

    Raises:
      ValueError: a number is out of range, a fixed parameter is unknown or of another shape, or parents that are
        neither inputs nor lengths.
      TypeError: `prior` is another one.

    References:
      Shumway & Stoffer (1982), An approach to time series smoothing and forecasting using the EM algorithm;
      Ghahramani & Hinton (1996), Parameter estimation for linear dynamical systems.
    """
    own = _Chain(latent, length, noise, prior, fixed, floor, parallel)
    return Family(
        init=own.init,
        apply=own.apply,
        features=lambda _, value: own.checked(value),
        prepare=lambda params, _: own.held.all(params),
        log_probs=lambda prepared, value: own.chain(prepared, ()).log_prob(value)[:, None],
        statistics=own.statistics,
        maximize=own.maximize,
        log_prior=own.log_prior,
        degrees=own.degrees,
        magnitude=_magnitude,
        estimates=lambda params: _estimates(own.held.all(params)),
    )


class _Chain:
    """The conditional of `gaussian_chain` and its M step."""

    def __init__(
        self,
        latent: int,
        length: int,
        noise: Noise,
        prior: NoisePrior | None,
        fixed: Mapping[str, ArrayLike] | None,
        floor: float,
        parallel: bool,
    ) -> None:
        for name, number in (("latent", latent), ("length", length)):
            require_integer(number, f"gaussian_chain: {name}")
        self.latent, self.length, self.parallel = latent, length, parallel
        self.noise = require_choice(noise, get_args(Noise), "gaussian_chain: noise")
        self.floor = require_number(floor, "gaussian_chain: floor", least=0)
        self.held = Held("gaussian_chain", fixed, _shapes(latent))
        self.prior = require_noise_prior(prior, "gaussian_chain", diagonal=noise == "diagonal")

    def init(self, key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        inputs, lengths = self.parents(parents)
        if lengths is not None:
            inside("gaussian_chain", lengths, len(lengths), self.length)
        size, dtype = 0 if inputs is None else inputs.shape[-1], jnp.result_type(float)
        identity = jnp.eye(self.latent, dtype=dtype)
        noise = jax.random.normal(key, (self.latent, self.latent), dtype) / np.sqrt(self.latent)
        start = {
            "initial_mean": jnp.zeros(self.latent, dtype),
            "initial_scale_tril": identity,
            "transitions": 0.9 * identity + 0.1 * noise,
            "offset": jnp.zeros(self.latent, dtype),
            "scale_tril": 0.5 * identity,
            **({"inputs": jnp.zeros((self.latent, size), dtype)} if size else {}),
        }
        if value is None:
            return self.held.free(start), {}
        if parents:
            raise ValueError("gaussian_chain: a chain that is observed has no inputs and no lengths; leave them out.")
        sums = self.statistics(start, value, jnp.ones((len(value), 1), dtype))
        return self.maximize(self.held.free(start), {}, sums), {}

    def apply(
        self, params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[GaussianChain, PyTree]:
        del key, train
        return self.chain(params, parents), state

    def chain(self, params: PyTree, parents: Sequence[Array]) -> GaussianChain:
        params = self.held.all(params)
        inputs, lengths = self.parents(parents)
        mean, offset = params["initial_mean"], params["offset"]
        if inputs is not None:
            moved = inputs[:, 1:].astype(offset.dtype) @ params["inputs"].T
            offset = moved + jnp.broadcast_to(offset, moved.shape)
        if parents:
            mean = jnp.broadcast_to(mean, (len(parents[0]), self.latent))
        if lengths is not None:
            wrong = possible(lengths, self.length).astype(mean.dtype)
            mean = mean + jnp.broadcast_to(wrong[:, None], mean.shape)
        first, transitions, scale = params["initial_scale_tril"], params["transitions"], params["scale_tril"]
        return GaussianChain(mean, first, transitions, offset, scale, self.length, parallel=self.parallel)

    def statistics(
        self, prepared: PyTree, features: Array | None, expected: Array | ChainMoments, *parents: Array
    ) -> PyTree:
        del prepared
        if not isinstance(expected, ChainMoments):
            expected = _of_paths(self.checked(features), jnp.sum(expected, axis=1))
        return _sums(expected, self.parents(parents)[0])

    def maximize(self, params: PyTree, state: PyTree, statistics: PyTree) -> PyTree:
        del state
        old = self.held.all(params)
        steps, first = statistics["steps"], statistics["first"]
        new, residual = best_blocks(steps, old, ("transitions", "inputs", "offset"), self.held)
        start, spread = best_blocks(first, old, ("initial_mean",), self.held)
        factor, initial = self._noise(residual, steps.count), self._factor(spread)
        new |= {**start, "scale_tril": jnp.where(steps.count > 0, factor, old["scale_tril"])}
        new["initial_scale_tril"] = jnp.where(first.count > 0, initial, old["initial_scale_tril"])
        return self.held.free(new)

    def log_prior(self, params: PyTree, state: PyTree) -> Array:
        del state
        factor = self.held.all(params)["scale_tril"]
        return log_noise_prior(self.prior, jnp.diagonal(factor) if self.noise == "diagonal" else factor)

    def _noise(self, residual: Array, count: Array) -> Array:
        """Return the Cholesky factor of Q."""
        units = jnp.ones(self.latent, residual.dtype)
        if self.noise == "full":
            return self._factor(noise_mode(self.prior, residual, count, units))
        return self._factor(jnp.diag(noise_mode(self.prior, jnp.diagonal(residual), count, units)))

    def _factor(self, covariance: Array) -> Array:
        return floored_cholesky(covariance, self.floor, jnp.eye(len(covariance), dtype=covariance.dtype))

    def degrees(self, params: PyTree) -> int:
        return free_numbers(params, ("scale_tril",) if self.noise == "diagonal" else ())

    def parents(self, parents: Sequence[Array]) -> tuple[Array | None, Array | None]:
        """Return the inputs ``[examples, T, U]`` and the lengths ``[examples]``."""
        inputs = [each for each in parents if each.ndim == 3 and jnp.issubdtype(each.dtype, jnp.floating)]
        lengths = [each for each in parents if each.ndim == 1 and jnp.issubdtype(each.dtype, jnp.integer)]
        wrong = len(inputs) + len(lengths) < len(parents) or max(len(inputs), len(lengths)) > 1
        if wrong or any(each.shape[1] != self.length for each in inputs):
            raise ValueError(
                f"gaussian_chain: its parents may be inputs [examples, {self.length}, inputs] in floating point and "
                f"lengths, integers [examples]; got "
                f"{', '.join(f'{each.dtype}{list(each.shape)}' for each in parents)}."
            )
        return next(iter(inputs), None), next(iter(lengths), None)

    def checked(self, value: Array | None) -> Array:
        """Return the values of a chain that is observed."""
        if value is None or value.ndim != 3 or value.shape[1:] != (self.length, self.latent):
            shape = "no values" if value is None else f"shape {list(value.shape)}"
            wanted = f"[examples, {self.length}, {self.latent}]"
            raise ValueError(f"gaussian_chain: values must be paths {wanted}, got {shape}.")
        return value


def _shapes(latent: int) -> dict[str, tuple[int | None, ...]]:
    vector, matrix = (latent,), (latent, latent)
    return {
        "initial_mean": vector,
        "initial_scale_tril": matrix,
        "transitions": matrix,
        "offset": vector,
        "scale_tril": matrix,
        "inputs": (latent, None),
    }


def _estimates(params: Mapping[str, Array]) -> dict[str, np.ndarray]:
    found = {name: np.asarray(leaf, np.float64) for name, leaf in params.items() if "tril" not in name}
    return {
        **found,
        "initial_covariance": multiplied(params["initial_scale_tril"]),
        "transition_covariance": multiplied(params["scale_tril"]),
    }


def _of_paths(value: Array, weights: Array) -> ChainMoments:
    """Return the moments of paths that are known."""
    zeros = jnp.zeros((*value.shape, value.shape[-1]), value.dtype)
    spread = jnp.broadcast_to(weights[:, None], value.shape[:2]).astype(value.dtype)
    return ChainMoments(value, zeros, zeros[:, 1:], spread)


def _sums(moments: ChainMoments, inputs: Array | None) -> dict[str, Regression]:
    means, covariances, cross, weights = moments
    latent = means.shape[-1]
    later = weights[:, 1:]
    y = regressors(means[:, :-1], *(() if inputs is None else (inputs[:, 1:],)))
    own = (slice(None, latent), slice(None, latent))
    inner = jnp.einsum("nt,nti,ntj->ij", later, y, y)
    inner = inner.at[own].add(jnp.einsum("nt,ntij->ij", later, covariances[:, :-1]))
    products = jnp.einsum("nt,nti,ntj->ij", later, means[:, 1:], y)
    products = products.at[own].add(jnp.einsum("nt,ntij->ij", later, cross))
    start = weights[:, 0]
    return {
        "steps": Regression(_second(means[:, 1:], covariances[:, 1:], later), products, inner, jnp.sum(later)),
        "first": Regression(
            _second(means[:, :1], covariances[:, :1], start[:, None]),
            (start @ means[:, 0])[:, None],
            jnp.sum(start)[None, None],
            jnp.sum(start),
        ),
    }


def _second(means: Array, covariances: Array, weights: Array) -> Array:
    return jnp.einsum("nt,nti,ntj->ij", weights, means, means) + jnp.einsum("nt,ntij->ij", weights, covariances)


def _magnitude(prepared: PyTree, statistics: dict[str, Regression]) -> Array:
    steps = cancelled(prepared["scale_tril"], prepared, ("transitions", "inputs", "offset"), statistics["steps"])
    return steps + cancelled(prepared["initial_scale_tril"], prepared, ("initial_mean",), statistics["first"])

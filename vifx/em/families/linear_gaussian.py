"""Linear-Gaussian emissions: what is observed of a Gaussian chain, with missing observations."""

from __future__ import annotations

__all__ = ["linear_gaussian"]

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_choice, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import AffineNormal, EachStep
from vifx.distributions.affine_normal import masked_factor
from vifx.distributions.lengths import inside, possible
from vifx.distributions.linear_evidence import LinearEvidence, whitened_steps
from vifx.em.families.covariances import ROUNDING, floored_cholesky, multiplied
from vifx.em.families.gaussian_chain import Noise
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
from vifx.em.families.seed_statistics import needs_values
from vifx.em.families.standardized import in_units, of_standardized, standardized
from vifx.em.families.valid_values import if_concrete
from vifx.em.families.whitening import Whitening, whiten
from vifx.em.family import Family

Role: TypeAlias = Literal["inputs", "mask", "lengths"]
"""What a known parent of an emission is."""
_BLOCKS = ("loadings", "inputs", "mean")
"""The parameters that side by side are the coefficients of the regression."""


class _Known(NamedTuple):
    """The parents of an emission beside its chain.

    Attributes:
      inputs: u, ``[examples, T, U]``.
      mask: what is observed, ``[examples, T]`` or ``[examples, T, d]``.
      lengths: ``[examples]``.
    """

    inputs: Array | None
    mask: Array | None
    lengths: Array | None

    def observed(self, x: Array) -> Array | None:
        """Return which elements are observed, ``[examples, T, d]``, or for whole steps ``[examples, T, 1]``."""
        found = self.mask
        if found is not None:
            if found.shape not in (x.shape[:2], x.shape):
                raise ValueError(
                    f"linear_gaussian: the mask must have the shape {list(x.shape[:2])} or {list(x.shape)} of what may "
                    f"be observed, got {list(found.shape)}."
                )
            found = found if found.ndim == 3 else found[:, :, None]
        if self.lengths is not None:
            within = inside("linear_gaussian", self.lengths, *x.shape[:2])[:, :, None]
            found = within if found is None else found & jnp.broadcast_to(within, found.shape)
        return found


def linear_gaussian(
    *,
    parents: Sequence[Role] = (),
    noise: Noise = "diagonal",
    prior: NoisePrior | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
) -> Family:
    """``x_t = C z_t + d + ε``, ``ε ~ N(0, R)``: the emissions of a linear dynamical system, of sequences ``[T, d]``.

    ``factor("x | z", linear_gaussian(), name="emissions")`` has a chain z ``[examples, T, D]`` as its parent, as
    `gaussian_chain` makes it. The M step is the regression of the observations on the states, on expected moments: with
    ``y = (z, 1)``, ``(C, d) = (Σ x E yᵀ)(Σ E y yᵀ)⁻¹`` and R the mean of ``E (x − C z − d)(…)ᵀ``.

    Known parents follow the chain: ``factor("x | z, mask", linear_gaussian(parents=("mask",)), name="emissions")``.
    What is missing may hold anything, has no density, and counts for nothing. With a full R, a step that is observed in
    part is completed by its expectation given the rest of it.

    Args:
      parents: what each known parent is, in the order of the notation: ``"inputs"`` u ``[examples, T, U]``, in floating
        point, which add ``B u_t``; ``"mask"``, booleans ``[examples, T]`` or for each element ``[examples, T, d]``,
        which say what is **observed**; ``"lengths"``, integers ``[examples]``, which end each sequence.
      noise: the form of R: ``"diagonal"`` or ``"full"``.
      prior: of R, an `InverseWishart`, or of each variance of a diagonal one an `InverseGamma`; None for maximum
        likelihood.
      fixed: parameters that are known and do not move, by name, such as ``{"loadings": C, "mean": d}``.
      floor: the least variance of R in any direction, in squared units of the data.

    Returns:
      A family with parameters ``loadings`` C ``[d, D]``, ``mean`` d ``[d]``, ``scale [d]``, the standard deviations of
      the noise, or ``scale_tril [d, d]``, and ``inputs`` B ``[d, U]`` where there are inputs; without those that are
      fixed. It starts from the principal directions of what is observed.

    Raises:
      ValueError: a number is out of range, a fixed parameter is unknown, parents of another kind, or a mask without any
        observation.
      TypeError: `prior` is another one.

    References:
      Shumway & Stoffer (1982); Ghahramani & Hinton (1996).
    """
    own = _Emission(parents, noise, prior, fixed, floor)
    sums = _completed if noise == "full" else _observed_sums

    def statistics(prepared: PyTree, x: Array, moments: ChainMoments, *parents: Array) -> Regression:
        return sums(prepared, x, moments, own.known(parents))

    return Family(
        init=own.init,
        apply=own.apply,
        features=lambda state, value: whiten(state, _floating(value)),
        prepare=own.prepare,
        log_probs=own.evidence,
        statistics=statistics,
        maximize=own.maximize,
        log_prior=lambda params, _: log_noise_prior(own.prior, own.held.all(params)[own.spread]),
        degrees=free_numbers,
        magnitude=lambda prepared, sums: cancelled(prepared[own.spread], prepared, _BLOCKS, sums),
        estimates=lambda params: _estimates(own.held.all(params)),
    )


class _Emission:
    """The conditional of `linear_gaussian` and its M step."""

    def __init__(
        self,
        parents: Sequence[Role],
        noise: Noise,
        prior: NoisePrior | None,
        fixed: Mapping[str, ArrayLike] | None,
        floor: float,
    ) -> None:
        if isinstance(parents, str) or len(set(parents)) < len(parents) or not set(parents) <= set(get_args(Role)):
            raise ValueError(
                f"linear_gaussian: parents must be some of {', '.join(map(repr, get_args(Role)))}, each once, got "
                f"{parents!r}."
            )
        self.roles = tuple(parents)
        require_choice(noise, get_args(Noise), "linear_gaussian: noise")
        self.floor = require_number(floor, "linear_gaussian: floor", least=0)
        self.prior = require_noise_prior(prior, "linear_gaussian", diagonal=noise == "diagonal")
        self.spread = "scale" if noise == "diagonal" else "scale_tril"
        shapes = {"loadings": (None, None), "mean": (None,), "inputs": (None, None)}
        own = (None,) if noise == "diagonal" else (None, None)
        self.held = Held("linear_gaussian", fixed, {**shapes, self.spread: own})

    def init(self, key: Key, value: Array | None, chain: Array, *parents: Array) -> tuple[PyTree, PyTree]:
        x, known = _checked(needs_values("linear_gaussian", value), chain), self.known(parents)
        state, white, count = standardized(x, known.observed(x))
        latent, size = chain.shape[-1], x.shape[-1]
        sizes, axes = jnp.linalg.eigh(jnp.einsum("nti,ntj->ij", white, white) / count)
        kept = min(latent, size)
        principal = axes[:, ::-1][:, :kept] * jnp.sqrt(jnp.maximum(sizes[::-1][:kept], 0.01))[None]
        noisy = 0.1 * jax.random.normal(key, (size, latent), x.dtype)
        inputs = {} if known.inputs is None else {"inputs": jnp.zeros((size, known.inputs.shape[-1]), x.dtype)}
        half = jnp.full(size, 0.5, x.dtype)
        start = {
            "loadings": noisy.at[:, :kept].add(principal),
            "mean": jnp.zeros(size, x.dtype),
            self.spread: half if self.spread == "scale" else jnp.diag(half),
            **inputs,
        }
        return self.held.free(in_units(start, state)), state

    def apply(
        self, params: PyTree, state: PyTree, chain: Array, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[EachStep, PyTree]:
        del key, train
        params, known = self.held.all(params), self.known(parents)
        loc = chain @ params["loadings"].T
        loc = loc + _explained(params, known, loc.shape)
        scale = params[self.spread]
        mask = known._replace(lengths=None).observed(loc)
        flat = None if mask is None else jnp.broadcast_to(mask, loc.shape).reshape(-1, loc.shape[-1])
        factor = jnp.diag(scale) if scale.ndim == 1 else scale
        each = AffineNormal(loc.reshape(-1, loc.shape[-1]), factor, observed=flat)
        return EachStep(each, loc.shape[1], lengths=known.lengths), state

    def known(self, parents: Sequence[Array]) -> _Known:
        """Return the known parents by what they are; without any, as of what is to come, all is observed."""
        if not parents and "inputs" not in self.roles:
            return _Known(None, None, None)
        if len(parents) != len(self.roles):
            raise ValueError(
                f"linear_gaussian: its known parents are {', '.join(self.roles) or 'none'} (parents=), but the factor "
                f"has {len(parents)} beside the chain."
            )
        found: dict[str, Array] = dict(zip(self.roles, parents, strict=True))
        rules = {
            "inputs": ("[examples, T, inputs] in floating point", (3,), jnp.floating),
            "mask": ("booleans [examples, T] or [examples, T, d]", (2, 3), jnp.bool_),
            "lengths": ("integers [examples]", (1,), jnp.integer),
        }
        for role, each in found.items():
            what, axes, kind = rules[role]
            if each.ndim not in axes or not jnp.issubdtype(each.dtype, kind):
                raise ValueError(f"linear_gaussian: {role} must be {what}, got {each.dtype}{list(each.shape)}.")
        if "mask" in found:
            if_concrete(_some, found["mask"])
        return _Known(*(found.get(role) for role in get_args(Role)))

    def prepare(self, params: PyTree, state: Whitening) -> PyTree:
        return {**of_standardized(self.held.all(params), state), "log_scale": -jnp.log(state.matrix)}

    def evidence(self, prepared: PyTree, x: Array, *parents: Array) -> LinearEvidence:
        """Return what observations say of the states; the scale of the standardized data belongs to their density."""
        known = self.known(parents)
        observed = known.observed(x)
        seen = None if observed is None else jnp.broadcast_to(observed, x.shape)
        residual = x - _explained(prepared, known, x.shape)
        found = whitened_steps(residual, prepared["loadings"], prepared[self.spread], seen)
        scales = jnp.broadcast_to(prepared["log_scale"], x.shape)
        constants = found.constants - jnp.sum(scales if seen is None else jnp.where(seen, scales, 0), axis=-1)
        if known.lengths is not None:
            wrong = possible(known.lengths, x.shape[1]).astype(x.dtype)
            constants = constants + jnp.broadcast_to(wrong[:, None], constants.shape)
        return found._replace(constants=constants)

    def maximize(self, params: PyTree, state: Whitening, sums: Regression) -> PyTree:
        old = of_standardized(self.held.all(params), state)
        new, residual = best_blocks(sums, old, _BLOCKS, self.held)
        residual = noise_mode(self.prior, residual, sums.count, state.matrix)
        if self.spread == "scale":
            rounding = ROUNDING * float(jnp.finfo(residual.dtype).eps)
            best = jnp.sqrt(jnp.maximum(residual, jnp.maximum(self.floor * state.matrix**2, rounding)))
        else:
            best = floored_cholesky(residual, self.floor, jnp.diag(state.matrix))
        new[self.spread] = jnp.where(sums.count > 0, best, old[self.spread])
        return self.held.free(in_units(new, state))


def _estimates(params: Mapping[str, Array]) -> dict[str, np.ndarray]:
    found = {name: np.asarray(leaf, np.float64) for name, leaf in params.items() if "scale" not in name}
    # Those of the chain are inputs, too.
    found = {
        {"inputs": "emission_inputs", "mean": "emission_mean"}.get(name, name): leaf for name, leaf in found.items()
    }
    noise = multiplied(params["scale_tril"]) if "scale_tril" in params else np.asarray(params["scale"], np.float64) ** 2
    return {**found, "emission_covariance": noise}


def _checked(x: Array, chain: Array) -> Array:
    if x.ndim != 3 or chain.ndim != 3 or chain.shape[:2] != x.shape[:2]:
        raise ValueError(
            "linear_gaussian: values must be sequences [examples, T, d] and their first parent a chain "
            f"[examples, T, D], got shapes {list(x.shape)} and {list(chain.shape)}."
        )
    return _floating(x)


def _floating(x: Array) -> Array:
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def _some(mask: np.ndarray) -> None:
    if not mask.any():
        raise ValueError("linear_gaussian: the mask says that nothing is observed; True stands for an observation.")


def _explained(prepared: PyTree, known: _Known, shape: tuple[int, ...]) -> Array:
    """Return ``B u_t + d``, what is expected of the observations without their states."""
    mean = jnp.broadcast_to(prepared["mean"], shape)
    return mean if known.inputs is None else mean + known.inputs.astype(mean.dtype) @ prepared["inputs"].T


def _regressors(moments: ChainMoments, known: _Known) -> tuple[Array, int]:
    return regressors(moments.means, *(() if known.inputs is None else (known.inputs,))), moments.means.shape[-1]


def _observed_sums(prepared: PyTree, x: Array, moments: ChainMoments, known: _Known) -> Regression:
    """Return the moments of diagonal noise: each element over the steps where it is observed."""
    del prepared
    y, latent = _regressors(moments, known)
    own, observed = (..., slice(None, latent), slice(None, latent)), known.observed(x)
    if observed is None or observed.shape[-1] == 1:
        weights = moments.weights if observed is None else jnp.where(observed[:, :, 0], moments.weights, 0)
        x = jnp.where(weights[:, :, None] > 0, x, 0)
        inner = jnp.einsum("nt,nti,ntj->ij", weights, y, y)
        inner = inner.at[own].add(jnp.einsum("nt,ntij->ij", weights, moments.covariances))
        products = jnp.einsum("nt,ntd,ntk->dk", weights, x, y)
        count = jnp.broadcast_to(jnp.sum(weights), x.shape[-1:])
        return Regression(jnp.einsum("nt,ntd->d", weights, x**2), products, inner, count)
    each = jnp.where(observed, moments.weights[:, :, None], 0)
    x = jnp.where(observed, x, 0)
    inner = jnp.einsum("ntd,nti,ntj->dij", each, y, y)
    inner = inner.at[own].add(jnp.einsum("ntd,ntij->dij", each, moments.covariances))
    products = jnp.einsum("ntd,ntd,ntk->dk", each, x, y)
    return Regression(jnp.einsum("ntd,ntd->d", each, x**2), products, inner, jnp.sum(each, axis=(0, 1)))


def _completed(prepared: PyTree, x: Array, moments: ChainMoments, known: _Known) -> Regression:
    """Return the moments of full noise, with what is missing of a step replaced by its expectation.

    With the gain K of what is observed, ``x̂ = K x + (I − K)(C z + B u + d)`` and covariance ``(I − K) R``.
    """
    y, latent = _regressors(moments, known)
    observed, weights = known.observed(x), moments.weights
    own = (..., slice(None, latent), slice(None, latent))
    if observed is not None:
        weights = jnp.where(jnp.any(observed, axis=-1), weights, 0)
    inner = jnp.einsum("nt,nti,ntj->ij", weights, y, y)
    inner = inner.at[own].add(jnp.einsum("nt,ntij->ij", weights, moments.covariances))
    if observed is None or observed.shape[-1] == 1:
        x = jnp.where(weights[:, :, None] > 0, x, 0)
        targets, products = (jnp.einsum("nt,nti,ntj->ij", weights, x, other) for other in (x, y))
        return Regression(targets, products, inner, jnp.sum(weights))
    factor = prepared["scale_tril"]
    covariance = factor @ factor.T
    masked = masked_factor(jnp.broadcast_to(factor, (*x.shape, x.shape[-1])), observed)
    rows = jnp.where(observed[..., :, None], jnp.broadcast_to(covariance, (*x.shape, x.shape[-1])), 0)
    gain = jnp.swapaxes(jax.scipy.linalg.cho_solve((masked, True), rows), -1, -2)
    rest = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), gain.shape) - gain
    fitted = _explained(prepared, known, x.shape) + moments.means @ prepared["loadings"].T
    filled = jnp.einsum("ntij,ntj->nti", gain, jnp.where(observed, x, 0)) + jnp.einsum("ntij,ntj->nti", rest, fitted)
    moved = rest @ prepared["loadings"]
    products = jnp.einsum("nt,nti,ntj->ij", weights, filled, y)
    products = products.at[:, :latent].add(jnp.einsum("nt,ntij,ntjk->ik", weights, moved, moments.covariances))
    targets = jnp.einsum("nt,nti,ntj->ij", weights, filled, filled)
    targets = targets + jnp.einsum("nt,ntij,ntjk,ntlk->il", weights, moved, moments.covariances, moved)
    targets = targets + jnp.einsum("nt,ntij,jk->ik", weights, rest, covariance)
    return Regression(0.5 * (targets + targets.T), products, inner, jnp.sum(weights))

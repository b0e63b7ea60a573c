"""Linear dynamical systems: Gaussian chains that are observed with noise."""

from __future__ import annotations

__all__ = ["lds"]

from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_integer
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.em.families.gaussian_chain import Noise, gaussian_chain
from vifx.em.families.linear_gaussian import Role, linear_gaussian
from vifx.em.families.noise_priors import NoisePrior
from vifx.em.model import Model

_KNOWN = ("inputs", "mask", "lengths")


def lds(
    latent: int,
    *,
    length: int,
    given: tuple[str, ...] = (),
    noise: Noise = "diagonal",
    prior: NoisePrior | None = None,
    chain_prior: NoisePrior | None = None,
    chain: Mapping[str, ArrayLike] | None = None,
    emissions: Mapping[str, ArrayLike] | None = None,
    floor: float = 1e-6,
    parallel: bool = False,
) -> Model:
    """A linear dynamical system ``z_{t+1} = A z_t + b + N(0, Q)``, ``x_t = C z_t + d + N(0, R)``, with its posterior.

    It is only the assembly of `gaussian_chain` and `linear_gaussian`; its E step is the Kalman smoother. Data are
    ``[sequences, length, d]``; the posterior is a `GaussianChain` with `means`, `covariances` and `cross_covariances`.
    Sequences of several lengths may be a list. What is `given` makes data a mapping:
    ``em.fit(key, em.lds(4, length=50, given=("mask",)), {"x": x, "mask": m})``.

    Args:
      latent: D, the size of a state.
      length: the number of steps of every sequence, of the longest one.
      given: what is known beside x: ``"mask"``, which observations there are, booleans ``[sequences, length]`` or
        ``[sequences, length, d]``, where x may be any number if there is none; ``"lengths"`` of the sequences, integers
        ``[sequences]``; ``"inputs"``, ``[sequences, length, inputs]``, which move the state.
      noise: the form of R: ``"diagonal"`` or ``"full"``.
      prior: of R, an `InverseGamma` of each variance, or an `InverseWishart` of a full one; None for maximum
        likelihood.
      chain_prior: of Q, an `InverseWishart`.
      chain: parameters of the chain that are known, by name, as ``fixed`` of `gaussian_chain`.
      emissions: those of the emissions, as ``fixed`` of `linear_gaussian`.
      floor: the least variance of any noise in any direction.
      parallel: whether time is divided by an associative scan.

    Raises:
      ValueError: a number is out of range, or a name is not one of these.

    References:
      Kalman (1960); Rauch, Tung & Striebel (1965); Shumway & Stoffer (1982); Ghahramani & Hinton (1996).

    Example:
      >>> from vifx import em
      >>> print(em.lds(4, length=50, given=("mask",)).generative)
      p̃(mask) · chain(z) · emissions(x | z, mask)
    """
    require_integer(length, "lds: length")
    if isinstance(given, str):
        raise ValueError(f"lds: given must be some of {', '.join(map(repr, _KNOWN))}, got {given!r}.")

    @lru_cache(maxsize=32)  # one model for all sequences of a length, and so one compiled program
    def assembled(length: int, given: tuple[str, ...]) -> Model:
        if [name for name in given if name not in _KNOWN]:
            raise ValueError(f"lds: given must be some of {', '.join(map(repr, _KNOWN))}, got {given!r}.")
        moving = gaussian_chain(latent, length=length, prior=chain_prior, fixed=chain, floor=floor, parallel=parallel)
        moved = [name for name in ("inputs", "lengths") if name in given]
        seen: list[Role] = [name for name in ("mask", "lengths") if name in given]
        observed = linear_gaussian(parents=seen, noise=noise, prior=prior, fixed=emissions, floor=floor)
        generative = Joint(
            *([evidence(*given)] if given else []),
            factor(f"z | {', '.join(moved)}" if moved else "z", moving, name="chain"),
            factor(", ".join(["x | z", *seen]), observed, name="emissions"),
        )
        check = partial(_check, length)
        return Model.of(generative, None, check=check, latent_axes=2, steps=length, variant=assembled)

    return assembled(length, tuple(given))


def _check(length: int, x: np.ndarray) -> None:
    if x.ndim != 3 or x.shape[1] != length:
        raise ValueError(
            f"lds: x must be sequences [sequences, {length}, d], got shape {list(x.shape)}; one sequence alone is "
            "x[None], and sequences of numbers are x[..., None]."
        )

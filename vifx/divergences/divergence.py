"""What an f-divergence is: a convex function, with the forms of its bound that do not overflow."""

from __future__ import annotations

__all__ = ["Divergence"]

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array

PROBED = np.linspace(-12, 12, 49) + 0.1  # nats: kinks of f are more likely at round numbers

Elementwise = Callable[[Array], Array]


@dataclass(frozen=True)
class Divergence:
    """``D_f(P ‖ Q) = E_Q f(dP/dQ)`` for a convex f with f(1) = 0, and its bound from samples.

    With the conjugate ``f*(t) = sup_{u>0} (u t − f(u))``, equations (9) and (10) bound the divergence from below:
    ``D_f ≥ E_P[T] − E_Q[f*(T)]``, tight at ``T = f′(dP/dQ)``. The bound has two parametrizations, both elementwise:

    * *ratio*: the critic outputs the log density ratio ℓ, and `critic_value` and `conjugate_value` are T and
      f*(T); tight at ``ℓ = log dP/dQ``, for every f;
    * *activation*: the critic outputs any v, and `activation` and `activated_conjugate` are T and f*(T).

    No form overflows: where an exponential ``e^{kℓ}`` would exceed ``e^c``, with ``c = log(largest float) − 8``
    (80.7 in single, 701.8 in double precision), it goes on as ``e^c (1 + log(1 + kℓ − c))``, with a positive
    slope. Below that every value is exact. T and f*(T) see the same continued argument, so that what they bound
    the divergence by stays a lower bound everywhere. Values are in nats, or have no unit where f has no logarithm.

    Attributes:
      name: the identifier, ``"pearson"``.
      formula: what it is, in plain text.
      latex: the same in LaTeX.
      generator: f, elementwise, for u > 0.
      critic_value: ``ℓ ↦ T = f′(e^ℓ)``.
      conjugate_value: ``ℓ ↦ f*(T) = e^ℓ f′(e^ℓ) − f(e^ℓ)``.
      conjugate: ``t ↦ f*(t)``, infinite outside of its domain; None if it is not known in closed form.
      domain: the open range of f′. Where ``f(0)`` is finite, f* is ``−f(0)`` below it.
      conjugate_range: the open range of ``f*(f′(u))`` over u > 0; its lower end is −f(0).
      activation: ``v ↦ T``, monotone, onto the domain; the output activation that was published for f, if any.
      activated_conjugate: ``v ↦ f*(activation(v))``; None exactly if `activation` is.
      at_equality: f(1) = D_f(P ‖ P); zero but for the GAN value.
      normal_value: ``(loc_p, scale_p, loc_q, scale_q) ↦ D_f`` between normals, if there is a closed form.
      opposite: makes the divergence with swapped arguments, if that has a name of its own.

    Raises:
      ValueError: if the domain is empty, or only one of `activation` and `activated_conjugate` is given.

    Reference: Nowozin, Cseke and Tomioka, f-GAN, 2016, arXiv:1606.00709.

    Example:
      >>> import jax.numpy as jnp
      >>> from vifx import divergences
      >>> pearson = divergences.pearson
      >>> print(pearson.formula, float(pearson.generator(jnp.array(3.0))))
      Σ (P − Q)²/Q 4.0
    """

    name: str
    formula: str
    latex: str
    generator: Elementwise = field(repr=False)
    critic_value: Elementwise = field(repr=False)
    conjugate_value: Elementwise = field(repr=False)
    conjugate: Elementwise | None = field(repr=False)
    domain: tuple[float, float]
    activation: Elementwise | None = field(repr=False)
    activated_conjugate: Elementwise | None = field(repr=False)
    conjugate_range: tuple[float, float] = field(kw_only=True)
    at_equality: float = 0.0
    normal_value: Callable[[Array, Array, Array, Array], Array] | None = field(default=None, repr=False)
    opposite: Callable[[], Divergence] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.domain[0] < self.domain[1]:
            raise ValueError(f"domain of {self.name} must be an interval (low, high) with low < high: {self.domain}.")
        if (self.activation is None) != (self.activated_conjugate is None):
            raise ValueError(f"{self.name}: give both activation and activated_conjugate, or neither of them.")

    @property
    def ratio_trains(self) -> bool:
        """Whether a critic can learn in the ratio parametrization: whether ``dT/dℓ`` is other than 0 anywhere.

        Not by total variation, whose ``T = ½ sign ℓ`` has no gradient, nor by any other f of straight pieces.
        """
        return _has_slope(self.critic_value)

    @property
    def at_zero(self) -> float:
        """f(0), what a unit of Q's mass costs where P has none: *inventing*; possibly infinite."""
        return 0.0 - self.conjugate_range[0]

    @property
    def at_infinity(self) -> float:
        """f′(∞) = lim f(u)/u, what a unit of P's mass costs where Q has none: *missing*; possibly infinite."""
        return self.domain[1]


@cache
def _has_slope(critic_value: Elementwise) -> bool:
    with jax.ensure_compile_time_eval():
        ratio = jnp.asarray(PROBED, jnp.float32)
        slope = jax.jit(lambda at: jax.jvp(critic_value, (at,), (jnp.ones_like(at),))[1])(ratio)
        return bool(np.any(np.asarray(slope) != 0))

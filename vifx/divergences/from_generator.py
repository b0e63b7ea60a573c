"""A divergence from its convex function alone."""

from __future__ import annotations

__all__ = ["from_generator"]

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.core.types import Array
from vifx.divergences.divergence import Divergence
from vifx.divergences.numerics import EXPONENT_MARGIN, around_zero, at_ends, bounded

CHECKED = 12.0  # nats: convexity is checked at ratios between e^−12 and e^12
POINTS_PER_NAT = 8
TOLERANCE = 1e-9  # of f and its slopes, in double precision
FARTHEST = (600.0, 300.0, 150.0, 60.0)  # nats: where limits are read off, at the first that gives finite values
EXACT_TO = 16.0  # nats: f*(T) keeps eight digits of a double
QUARTERS = np.arange(1, 5) / 4
LOST_DIGITS = 1e-2  # the relative error of f*(T) at which the argument stops growing


Generator = Callable[[Array], Array]


class _Probe(NamedTuple):
    """f and f′ in double precision at the ratios ``e^ℓ``."""

    ratio: NDArray[np.float64]
    value: NDArray[np.float64]
    slope: NDArray[np.float64]


def from_generator(generator: Generator, *, name: str, formula: str = "", latex: str = "") -> Divergence:
    """Return the divergence ``D_f = E_Q f(dP/dQ)`` of a convex function f with f(1) = 0.

    T, f*(T) and the domain follow by automatic differentiation, equation (10): ``T = f′(e^ℓ)``,
    ``f*(T) = e^ℓ f′(e^ℓ) − f(e^ℓ)``. The conjugate in closed form and an activation stay None.

    f is checked in double precision at ratios from ``e^−12`` to ``e^12``. Since ``f*(T)`` is a difference, digits
    are lost at large ratios: from the L on where an error of 1 % is estimated for the type at hand, or where
    anything overflows, ℓ goes on as ``L + x/(1 + x)`` with ``x = ℓ − L``, increasing and finite. What results is
    still a lower bound, up to that error. The gradient is taken as ``d f*(T) = e^ℓ dT``, not of the difference.

    Args:
      generator: f, elementwise on floats u > 0, made of JAX operations.
      name: what to call it.
      formula: plain text; f in words if not given.
      latex: the same in LaTeX.

    Raises:
      ValueError: if f is not finite, convex, or zero at 1, or is affine; the message names the point and the value.
      TypeError: if f is not elementwise or not a float.

    >>> import jax.numpy as jnp
    >>> quartic = from_generator(lambda u: (u - 1) ** 4, name="quartic")
    >>> [float(form(jnp.log(2.0)).round(4)) for form in (quartic.critic_value, quartic.conjugate_value)]
    [4.0, 7.0]
    """
    checked = np.linspace(-CHECKED, CHECKED, 2 * int(CHECKED) * POINTS_PER_NAT + 1)
    _check(_probe(generator, checked), name)
    lowest, highest = ([_probe(generator, side * far * QUARTERS) for far in FARTHEST] for side in (-1, 1))
    domain = _limit([p.slope for p in lowest], -math.inf), _limit([p.slope for p in highest], math.inf)
    bottom = -_limit([p.value for p in lowest], math.inf)
    top = _limit([_conjugate_of(_probe(generator, EXACT_TO * QUARTERS))], math.inf)
    reach = cache(partial(_reach, generator))

    def within(ratio: Array) -> Array:
        return bounded(ratio, *reach(ratio.dtype.name))

    def critic_value(ratio: Array) -> Array:
        return at_ends(ratio, _slope(generator, within(ratio)), domain)

    def conjugate_value(ratio: Array) -> Array:
        return at_ends(ratio, _conjugate_value(generator, within(ratio)), (bottom, top))

    return Divergence(
        name=name,
        formula=formula or f"Σ Q f(P/Q), f = {name}",
        latex=latex or r"\sum Q\, f(P/Q)",
        generator=generator,
        critic_value=critic_value,
        conjugate_value=conjugate_value,
        conjugate=None,
        domain=domain,
        conjugate_range=(bottom, top),
        activation=None,
        activated_conjugate=None,
    )


def _value_and_slope(generator: Generator, u: Array) -> tuple[Array, Array]:
    """Return f and f′, elementwise."""
    return jax.jvp(generator, (u,), (jnp.ones_like(u),))


def _slope(generator: Generator, ratio: Array) -> Array:
    return _value_and_slope(generator, jnp.exp(ratio))[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _conjugate_value(generator: Generator, ratio: Array) -> Array:
    u = jnp.exp(ratio)
    value, slope = _value_and_slope(generator, u)
    return u * slope - value


def _tangent(generator: Generator, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """``d f*(T) = e^ℓ dT``, without the cancellation in the derivative of the difference."""
    _, tangent = jax.jvp(partial(_slope, generator), primals, tangents)
    return _conjugate_value(generator, primals[0]), jnp.exp(primals[0]) * tangent


_conjugate_value.defjvp(_tangent)


def _probe(generator: Generator, ratio: NDArray[np.float64]) -> _Probe:
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        u = jnp.asarray(np.exp(ratio))
        value, slope = jax.jit(_value_and_slope, static_argnums=0)(generator, u)
        if value.shape != u.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"generator must map floats elementwise, but maps {u.dtype}{list(u.shape)} to "
                f"{value.dtype}{list(value.shape)}; write it with jax.numpy operations on one array"
            )
        return _Probe(ratio, np.asarray(value, np.float64), np.asarray(slope, np.float64))


def _check(probe: _Probe, name: str) -> None:
    """Refuse what is not finite, convex, zero at one and curved."""
    u, value, slope = np.exp(probe.ratio), probe.value, probe.slope
    for what, numbers in (("f", value), ("f′", slope)):
        if not np.all(np.isfinite(numbers)):
            at = int(np.argmin(np.isfinite(numbers)))
            raise ValueError(f"generator of {name} must be finite for u > 0, but {what}({u[at]:.4g}) = {numbers[at]}")
    at_one = value[len(u) // 2]
    if abs(at_one) > TOLERANCE:
        raise ValueError(
            f"generator of {name} must be zero at 1, but f(1) = {at_one:.6g}; subtract it: f(u) − f(1) generates the "
            "same gradients"
        )
    secant = np.diff(value) / np.diff(u)
    size = np.maximum(np.abs(slope[1:]), np.abs(slope[:-1])) + np.maximum(np.abs(value[1:]), 1) / np.diff(u) * 1e-3
    slack = TOLERANCE * (1 + size)
    # A convex function's secant lies between the slopes at its ends.
    bad = (slope[:-1] > secant + slack) | (secant > slope[1:] + slack)
    if np.any(bad):
        at = int(np.argmax(bad))
        raise ValueError(
            f"generator of {name} must be convex, but between u = {u[at]:.4g} and {u[at + 1]:.4g} its slope goes from "
            f"{slope[at]:.6g} over {secant[at]:.6g} to {slope[at + 1]:.6g}; −f is the usual cause"
        )
    if np.ptp(slope) <= TOLERANCE * (1 + np.max(np.abs(slope))):
        raise ValueError(
            f"generator of {name} must be curved, but f′ = {slope[0]:.6g} everywhere: an affine function gives zero "
            "for every pair of distributions"
        )


def _limit(probes: list[NDArray[np.float64]], otherwise: float) -> float:
    """The limit of a monotone sequence at four even steps of ℓ, if its increments shrink geometrically."""
    values = next((v for v in probes if np.all(np.isfinite(v))), None)
    if values is None:
        return otherwise
    last, steps = float(values[-1]), np.diff(values)
    if np.all(np.abs(steps) <= 10 * TOLERANCE * (1 + abs(last))):
        return last if abs(last) > TOLERANCE else 0.0
    if np.any(steps == 0):
        return last if steps[-1] == 0 else otherwise
    first, second = float(steps[1] / steps[0]), float(steps[2] / steps[1])
    if abs(second) > 0.95 or abs(first - second) > 0.02:
        return otherwise
    limit = last + float(steps[2]) * second / (1 - second)
    return limit if abs(limit) > TOLERANCE else 0.0


def _conjugate_of(probe: _Probe) -> NDArray[np.float64]:
    return np.exp(probe.ratio) * probe.slope - probe.value


def _reach(generator: Generator, dtype: str) -> tuple[float, float]:
    """Return the largest interval of ℓ around 0 in which T, f*(T) and their gradients are accurate in a type."""
    kind = jnp.finfo(dtype)
    largest = math.log(float(kind.max)) - EXPONENT_MARGIN
    ratio = np.linspace(-largest, largest, 641)
    with np.errstate(all="ignore"), jax.enable_x64(True), jax.ensure_compile_time_eval():
        probe = _probe(generator, ratio)
        given = jnp.asarray(ratio, dtype)
        forms = (partial(_slope, generator), partial(_conjugate_value, generator))
        pairs = [jax.vjp(form, given) for form in forms]
        seen = [given for value, pull in pairs for given in (value, *pull(jnp.ones_like(value)))]
        finite = np.all([np.abs(np.asarray(s, np.float64)) <= np.exp(largest) for s in seen], axis=0)
        error = float(kind.eps) * (np.exp(ratio) * np.abs(probe.slope) + np.abs(probe.value))
        good = finite & (error <= LOST_DIGITS * (1 + np.abs(_conjugate_of(probe))))
    return around_zero(ratio, good)

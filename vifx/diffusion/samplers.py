"""Samplers: from noise to data by one denoiser, with as many steps as one likes; each is one scan."""

from __future__ import annotations

__all__ = ["Sampler", "ancestral", "ddim", "drawn_path", "heun", "require_sampler"]

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import ArgumentError, require, require_integer, require_number
from vifx.core.types import Array, Key
from vifx.diffusion.noise_schedule import NoiseLevel, noise_level
from vifx.loops import scan


class Sampler(NamedTuple):
    """How a chain in continuous time draws z_0.

    Attributes:
      draw: ``(key, chain, z_1, examples) -> z_0``, with the `Denoising`, the noise ``[rows, *event]``, and whose
        parents each row has, integers ``[rows]``, or None.
      label: its name and its settings.
    """

    draw: Callable[[Key, Any, Array, Array | None], Array]
    label: str


def require_sampler(sampler: Sampler | None, steps: int | None, name: str, like: str) -> None:
    """Refuse what is not a sampler, and a sampler of a chain of T steps.

    Args:
      name: of the function that is given it.
      like: a call that makes one.

    Raises:
      TypeError: if it is something else.
      ValueError: if the chain has steps of its own.
    """
    require(sampler, (Sampler, type(None)), f"{name}: sampler", "a Sampler", f"give vifx.diffusion.{like}")
    if sampler is not None and steps is not None:
        raise ArgumentError(
            f"{name}: sampler",
            f"is for continuous time, and a chain of {steps} steps is drawn step by step; leave steps out: the "
            "network is the same",
            value=sampler,
        )


def ancestral(*, steps: int = 256) -> Sampler:
    """Step by step as a reverse chain of that many steps: ``z_s ~ p(z_s | z_t, x̂(z_t, t))``.

    Args:
      steps: how many, at equally spaced times.

    Raises:
      ValueError: `steps` < 1.

    Reference: Ho, Jain & Abbeel (2020), arXiv:2006.11239.
    """
    return ddim(steps=steps, eta=1.0)._replace(label=f"ancestral(steps={steps})")


def ddim(*, steps: int = 50, eta: float = 0.0) -> Sampler:
    """``z_s = α_s x̂ + √(σ_s² − η² σ²) ε̂ + η σ ε``, σ² the bridge's variance: deterministic at η = 0, ancestral at 1.

    Args:
      steps: how many, at equally spaced times.
      eta: η, how much of the noise is drawn anew, in [0, 1].

    Raises:
      ValueError: `steps` < 1, or `eta` out of range.

    Reference: Song, Meng & Ermon (2021), Denoising diffusion implicit models, arXiv:2010.02502.
    """
    require_integer(steps, "ddim: steps")
    require_number(eta, "ddim: eta", least=0, most=1)

    def draw(key: Key, chain: Any, last: Array, examples: Array | None) -> Array:
        return drawn_path(key, chain, last, steps, examples=examples, eta=eta)[:, 0]

    return Sampler(draw, f"ddim(steps={steps}, eta={eta:g})")


def drawn_path(key: Key, chain: Any, last: Array, steps: int, *, examples: Array | None = None, eta: float) -> Array:
    """Draw a path from its last point: ``[rows, steps + 1, *event]``, z_0 first, by the rule of `ddim`."""
    grid = chain.grid(steps + 1)
    before, after = (NoiseLevel(*(each[part] for each in grid)) for part in (slice(0, -1), slice(1, None)))

    def back(z: Array, each: tuple[Key, NoiseLevel, NoiseLevel]) -> tuple[Array, Array]:
        own, earlier, level = each
        told = chain.denoise(z, jnp.broadcast_to(level.gamma, z.shape[:1]), examples)
        new = -jnp.expm1(earlier.gamma - level.gamma)  # the bridge has the variance σ_s² times this
        moved = earlier.alpha * told.data + earlier.sigma * jnp.sqrt(1 - eta**2 * new) * told.noise
        if eta > 0:
            moved = moved + eta * earlier.sigma * jnp.sqrt(new) * jax.random.normal(own, z.shape, z.dtype)
        return moved, moved

    first, path = scan(back, last, (jax.random.split(key, steps), before, after), reverse=True)
    # The first point is apart, so that a program which reads it alone keeps no path.
    later = jnp.concatenate([path[1:], last[None]])
    return jnp.concatenate([first[:, None], jnp.moveaxis(later, 0, 1)], axis=1)


def heun(*, steps: int = 18, rho: float | None = 7.0) -> Sampler:
    """Heun's method on the probability-flow equation ``d(z/α) = ε̂ d(σ/α)``: deterministic, of second order.

    The last step, to z_0, is as the others, since z_0 has noise; a step takes the denoiser twice.

    Args:
      steps: how many.
      rho: the grid of σ/α is equally spaced in its power 1/ρ (Karras et al.); None for equally spaced times.

    Raises:
      ValueError: `steps` < 1, or `rho` is not positive.

    Reference: Karras et al. (2022), Elucidating the design space of diffusion-based generative models,
    arXiv:2206.00364.
    """
    require_integer(steps, "heun: steps")
    if rho is not None:
        require_number(rho, "heun: rho", above=0)

    def draw(key: Key, chain: Any, last: Array, examples: Array | None) -> Array:
        del key
        grid = chain.grid(steps + 1)
        if rho is not None:
            ends = chain.grid(2).gamma / (2 * rho)
            low, high = jnp.exp(ends[0]), jnp.exp(ends[1])
            gamma = 2 * rho * jnp.log(low + (high - low) * jnp.linspace(0.0, 1.0, steps + 1))
            # The ends are what networks and bounds know, not what rounding makes of them.
            gamma = jnp.concatenate([grid.gamma[:1], gamma[1:-1], grid.gamma[-1:]])
            grid = noise_level(gamma, chain.schedule.variance)
        before, after = (NoiseLevel(*(each[part] for each in grid)) for part in (slice(0, -1), slice(1, None)))

        def slope(moving: Array, level: NoiseLevel) -> Array:
            return chain.denoise(level.alpha * moving, jnp.broadcast_to(level.gamma, last.shape[:1]), examples).noise

        def back(moving: Array, each: tuple[NoiseLevel, NoiseLevel]) -> tuple[Array, None]:
            earlier, level = each
            length = jnp.exp(earlier.gamma / 2) - jnp.exp(level.gamma / 2)
            one = slope(moving, level)
            two = slope(moving + length * one, earlier)
            return moving + length * (one + two) / 2, None

        moved, _ = scan(back, last / grid.alpha[-1], (before, after), reverse=True)
        return moved * grid.alpha[0]

    return Sampler(draw, f"heun(steps={steps}, rho={rho})")

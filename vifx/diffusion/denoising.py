"""The reverse chain: noise to data, by a denoiser."""

from __future__ import annotations

__all__ = ["Denoising"]

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key, PyTree
from vifx.diffusion.gaussian_steps import bridge
from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule
from vifx.diffusion.prediction import Prediction
from vifx.diffusion.samplers import Sampler, ancestral, drawn_path
from vifx.diffusion.step_weights import StepWeights
from vifx.distributions import Normal

Denoiser = Callable[..., Prediction]


class Denoising(numpyro.Distribution):
    """``q(z) = q(z_T) Π_t q(z_{t−1} | z_t)``: paths ``[points, *event]`` from z_0 on; `reverse` makes it.

    A step is the bridge with what the denoiser predicts in the place of the data,
    ``q(z_{t−1} | z_t) = p(z_{t−1} | z_t, x̂(z_t, t))``, and ``q(z_T) = N(0, (α_T² + σ_T²) I)``.

    Args:
      denoise: ``(z, gamma, examples=None) -> Prediction`` at ``[rows, *event]`` and ``[rows]``, where `examples` says
        whose parents a row has, integers ``[rows]``.
      schedule: γ(t).
      steps: T, or None for continuous time.
      event: the shape of one value.
      examples: how many members the batch has; None without parents.
      learned: the parameters of the schedule.
      sampler: how the ends are drawn in continuous time.
      weighting: of the steps in training.
    """

    pytree_data_fields = ("learned",)
    pytree_aux_fields = ("denoise", "schedule", "steps", "event", "examples", "sampler", "weighting")

    def __init__(
        self,
        denoise: Denoiser,
        schedule: NoiseSchedule,
        steps: int | None,
        event: tuple[int, ...],
        *,
        examples: int | None = None,
        learned: PyTree = None,
        sampler: Sampler | None = None,
        weighting: StepWeights | None = None,
    ) -> None:
        self.denoise, self.schedule, self.steps, self.event = denoise, schedule, steps, tuple(event)
        self.examples, self.learned, self.sampler, self.weighting = examples, learned, sampler, weighting
        batch = () if examples is None else (examples,)
        super().__init__(batch, ((steps or 1) + 1, *event), validate_args=False)

    def grid(self, points: int) -> NoiseLevel:
        """Return γ, α and σ at equally spaced times from 0 to 1, ``[points]``."""
        return self.schedule.level(jnp.linspace(0.0, 1.0, points), self.learned)

    @property
    def prior_scale(self) -> Array:
        """The standard deviation of z at the last time."""
        return self.schedule.ends.norm[1]

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """All paths."""
        return numpyro.constraints.independent(numpyro.constraints.real, len(self.event_shape))

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable: they are."""
        return True

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths ``[*sample_shape, *batch, points, *event]``, in one scan."""
        lead = (*sample_shape, *self.batch_shape)
        rows = math.prod(lead)
        begin, rest = jax.random.split(key)
        noise = jax.random.normal(begin, (rows, *self.event), jnp.result_type(float))
        last = self.prior_scale.astype(noise.dtype) * noise
        examples = None if self.examples is None else jnp.tile(jnp.arange(self.examples), rows // self.examples)
        if self.steps is not None:
            path = drawn_path(rest, self, last, self.steps, examples=examples, eta=1.0)
        else:
            sampler = ancestral() if self.sampler is None else self.sampler
            path = jnp.stack([sampler.draw(rest, self, last, examples), last], axis=1)
        return path.reshape(*lead, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """Return ``log q(z_T) + Σ_t log q(z_{t−1} | z_t)`` in nats of paths ``[..., *batch, T + 1, *event]``.

        The denoiser runs once for each step, one step after the other.

        Raises:
          ValueError: in continuous time, where the ends alone have no density of closed form.
        """
        if self.steps is None:
            raise ValueError(
                "a reverse chain in continuous time has no density of its ends; compare it with forward(...) by kl, or "
                "take the density of the same denoiser's flow, diffusion.flow"
            )
        lead = value.shape[: value.ndim - len(self.event_shape)]
        paths = jnp.broadcast_to(value, (*lead, *self.event_shape)).reshape(-1, *self.event_shape)
        rows = len(paths)
        examples = None if self.examples is None else jnp.tile(jnp.arange(self.examples), rows // self.examples)
        grid = self.grid(self.steps + 1)
        points = jnp.moveaxis(paths, 1, 0)
        prior = Normal(jnp.zeros_like(points[-1]), jnp.broadcast_to(self.prior_scale, points[-1].shape))

        def add(found: Array, each: Any) -> tuple[Array, None]:
            earlier, later, *levels = each
            before, level = (NoiseLevel(*(jnp.broadcast_to(one, (rows,)) for one in each)) for each in levels)
            step = bridge(later, self.denoise(later, level.gamma, examples).data, before, level)
            return found + step.log_prob(earlier), None

        whole = prior.to_event(len(self.event)).log_prob(points[-1])
        before, after = (NoiseLevel(*(each[part] for each in grid)) for part in (slice(0, -1), slice(1, None)))
        found, _ = jax.lax.scan(add, whole, (points[:-1], points[1:], before, after))
        return found.reshape(lead)

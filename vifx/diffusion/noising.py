"""The forward chain: data to noise, with nothing to learn but how it is compared."""

from __future__ import annotations

__all__ = ["Noising", "forward"]

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require, require_integer
from vifx.core.nets import from_functions
from vifx.core.types import Array, Estimate, Key, Net, PyTree
from vifx.diffusion.denoising import Denoising
from vifx.diffusion.gaussian_steps import marginal, step
from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule
from vifx.diffusion.step_divergence import divergence
from vifx.diffusion.step_times import Proposal, Times, times_of
from vifx.networks import Pixels


class Noising(numpyro.Distribution):
    """``p(z | x) = p(z_0 | x) Π_t p(z_t | z_{t−1})``: paths ``[points, *event]`` from z_0 on; `forward` makes it.

    ``z_t = α_t x + σ_t ε`` at each time by itself, and the steps are normal. There are T + 1 points, at 0, 1/T, …, 1;
    in continuous time the two ends.

    Args:
      x: data, floating ``[rows, *event]``.
      schedule: γ(t).
      steps: T, or None for continuous time.
      times: which steps its divergence from a `Denoising` is estimated at.
      proposal: the parameters of `times`.
    """

    pytree_data_fields = ("x", "proposal")
    pytree_aux_fields = ("schedule", "steps", "times")

    def __init__(
        self, x: Array, schedule: NoiseSchedule, steps: int | None, *, times: Times, proposal: PyTree = None
    ) -> None:
        self.x, self.schedule, self.steps, self.times, self.proposal = x, schedule, steps, times, proposal
        super().__init__(x.shape[:1], ((steps or 1) + 1, *x.shape[1:]), validate_args=False)

    def grid(self) -> NoiseLevel:
        """Return γ, α and σ at the points of a path."""
        if self.steps is None:
            return self.schedule.ends
        return self.schedule.level(jnp.linspace(0.0, 1.0, self.steps + 1, dtype=self.x.dtype))

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """All paths."""
        return numpyro.constraints.independent(numpyro.constraints.real, len(self.event_shape))

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable: they are."""
        return True

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths ``[*sample_shape, rows, points, *event]``.

        In units of α the noise adds up, ``z_t/α_t = x + Σ_s √(e^{γ_s} − e^{γ_{s−1}}) ε_s``. The first point has noise
        of its own, so that a program which reads no other one draws no other.
        """
        grid = self.grid()
        before, after = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        axis = len(sample_shape) + 1
        along = (1,) * axis, (1,) * len(self.event_shape[1:])

        def at_points(each: Array) -> Array:
            return each.reshape(*along[0], each.shape[0], *along[1])

        x = jnp.broadcast_to(self.x, (*sample_shape, *self.x.shape))
        noise = jax.random.normal(before, x.shape, x.dtype)
        first = jnp.expand_dims(x + jnp.exp(grid.gamma[0] / 2) * noise, axis)
        added = jnp.exp(grid.gamma[:-1] / 2) * jnp.sqrt(jnp.expm1(jnp.diff(grid.gamma)))
        later = (*shape[:axis], shape[axis] - 1, *shape[axis + 1 :])
        more = at_points(added) * jax.random.normal(after, later, x.dtype)
        rest = (first + jnp.cumsum(more, axis=axis)) * at_points(grid.alpha[1:])
        return jnp.concatenate([first * grid.alpha[0], rest], axis=axis)

    def log_prob(self, value: Array) -> Array:
        """Return ``log p(z_0 | x) + Σ_t log p(z_t | z_{t−1})`` in nats of paths ``[..., rows, points, *event]``."""
        lead = value.shape[: value.ndim - len(self.event_shape)]
        path = jnp.broadcast_to(value, (*lead, *self.event_shape))
        paths = path.reshape(-1, *self.event_shape)
        grid = self.grid()
        first, before, after = (grid.at_rows(part, len(paths)) for part in (slice(0, 1), slice(0, -1), slice(1, None)))
        x = jnp.broadcast_to(self.x, (*lead, *self.x.shape[1:])).reshape(-1, *self.x.shape[1:])
        found = marginal(x, first).log_prob(paths[:, 0])
        earlier, later = (each.reshape(-1, *self.x.shape[1:]) for each in (paths[:, :-1], paths[:, 1:]))
        each = step(earlier, before, after).log_prob(later).reshape(len(paths), -1)
        return (found + jnp.sum(each, axis=1)).reshape(lead)

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an estimate of KL(self ‖ other) in nats, ``[rows]``, in its parts; None if other is not a `Denoising`.

        See `vifx.diffusion.step_divergence`.

        Raises:
          ValueError: if the two differ in schedule, steps or the shape of values.
        """
        return divergence(self, other) if isinstance(other, Denoising) else None


def forward(
    schedule: NoiseSchedule, *, steps: int | None = None, times: Times = "low_discrepancy"
) -> Callable[[Array], Noising] | Net:
    """The forward chain as a function of the data, for ``factor("z | x", ...)``.

    ``p(z | x) = p(z_0 | x) Π_t p(z_t | z_{t−1})`` with ``z_t = α_t x + σ_t ε``. One value of z is a path
    ``[T + 1, *event]`` from z_0, the data with little noise, to z_T, nearly noise alone; without `steps` time is
    continuous, and z is its two ends, ``[2, *event]``. Its divergence from the chain of `reverse` is taken in closed
    form at each step, see `vifx.diffusion.step_divergence`; 8-bit pixels are scaled as `vifx.networks.Pixels` does.

    Args:
      schedule: how much noise there is at each time.
      steps: T, or None for continuous time.
      times: which steps the divergence is estimated at:

        * ``"low_discrepancy"``: one for each example, ``(u + i/B) mod 1`` over the batch;
        * ``"uniform"``: one for each example, drawn by itself;
        * ``"all"``: every one, for few steps;
        * a proposal of `importance`, whose parameters, if it learns, its factor owns.

    Raises:
      TypeError: `schedule` is not a `NoiseSchedule`, or `steps` not an integer.
      ValueError: `steps` < 1, all steps of continuous time, or a learned schedule of T steps.

    References: Sohl-Dickstein et al. (2015), arXiv:1503.03585; Ho, Jain & Abbeel (2020), arXiv:2006.11239; Kingma et
    al. (2021), Variational diffusion models, arXiv:2107.00630.

    Example:
      >>> import vifx
      >>> from vifx import diffusion
      >>> print(vifx.factor("z | x", diffusion.forward(diffusion.cosine(), steps=1000)))
      noising(z | x)
    """
    require(schedule, NoiseSchedule, "forward: schedule", "a NoiseSchedule", "make one with vifx.diffusion.cosine()")
    if steps is not None:
        require_integer(steps, "forward: steps")
    times_of(times, "forward: times")
    if times == "all" and steps is None:
        raise ValueError("forward: times='all' sums T steps; give steps=, or draw one time for each example")
    if schedule.is_learned and steps is not None:
        raise ValueError(
            f"forward: {schedule.label} has parameters of the denoiser, which a path of {steps} steps would need; "
            "leave steps out, so that z is its two ends, whose noise is fixed"
        )

    def noising(x: Array, proposal: PyTree = None) -> Noising:
        x = Pixels()(x) if x.dtype == jnp.uint8 else x
        return Noising(x, schedule, steps, times=times, proposal=proposal)

    if not (isinstance(times, Proposal) and times.learns):
        return noising
    return from_functions(lambda key, x: times.init(), lambda params, x: noising(x, params))  # noqa: ARG005

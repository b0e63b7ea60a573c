"""The forward chain of categorical data, with nothing to learn but how it is compared."""

from __future__ import annotations

__all__ = ["Corrupting", "discrete_forward"]

from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require, require_choice, require_integer
from vifx.core.nets import from_functions
from vifx.core.types import Array, Estimate, Key, Net, PyTree
from vifx.diffusion.corruption import Corruption
from vifx.diffusion.restoring import Restoring, every_path
from vifx.diffusion.state_divergence import States, state_divergence
from vifx.diffusion.step_times import Proposal, Times, times_of


class Corrupting(numpyro.Distribution):
    """``p(z | x) = 1[z_0 = x] Π_t p(z_t | z_{t−1})``: paths ``[points, *event]``; `discrete_forward` makes it.

    Elements are replaced independently of each other. There are T + 1 points, at 0, 1/T, …, 1; in continuous time the
    two ends.

    Args:
      x: data, integers ``[rows, *event]``.
      noise: what replaces them.
      steps: T, or None for continuous time.
      times: which steps its divergence from a `Restoring` is estimated at.
      states: how the expectation over z_t is taken there.
      proposal: the parameters of `times`.
    """

    pytree_data_fields = ("x", "proposal")
    pytree_aux_fields = ("noise", "steps", "times", "states")
    is_fixed = True

    def __init__(
        self,
        x: Array,
        noise: Corruption,
        steps: int | None,
        *,
        times: Times,
        states: States = "drawn",
        proposal: PyTree = None,
    ) -> None:
        self.x, self.noise, self.steps, self.times, self.states = x, noise, steps, times, states
        self.proposal = proposal
        super().__init__(x.shape[:1], ((steps or 1) + 1, *x.shape[1:]), validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable: they are not."""
        return False

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """All paths."""
        states = numpyro.constraints.integer_interval(0, self.noise.states - 1)
        return numpyro.constraints.independent(states, len(self.event_shape))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths ``[*sample_shape, rows, points, *event]``, all points at once.

        An element has the value that it was given last, of the data or of noise.
        """
        survives, anew = jax.random.split(key)
        grid = self.noise.survival.grid((self.steps or 1) + 1)
        steps, axis = len(grid) - 1, len(sample_shape) + 1
        shape = (*sample_shape, *self.batch_shape, steps, *self.event_shape[1:])

        def at_points(each: Array) -> Array:
            along = each.reshape(*(1,) * axis, steps, *(1,) * len(self.event_shape[1:]))
            return jnp.broadcast_to(along, shape)

        lost = jax.random.uniform(survives, shape, grid.dtype) < at_points(1 - grid[1:] / grid[:-1])
        since = jax.lax.cummax(jnp.where(lost, at_points(jnp.arange(1, steps + 1)), 0), axis=axis)
        x = jnp.expand_dims(jnp.broadcast_to(self.x, (*sample_shape, *self.x.shape)), axis)
        given = jnp.concatenate([x, self.noise.resting(anew, shape, x.dtype)], axis=axis)
        # The first point is apart, so that a program which reads it alone draws nothing.
        return jnp.concatenate([x, jnp.take_along_axis(given, since, axis=axis)], axis=axis)

    def log_prob(self, value: Array) -> Array:
        """Return ``log p(z | x)`` in nats of paths ``[..., rows, points, *event]``; −∞ where z_0 is not x."""
        lead = value.shape[: value.ndim - len(self.event_shape)]
        path = jnp.broadcast_to(value, (*lead, *self.event_shape))
        points = jnp.moveaxis(path, len(lead), 0)
        grid = self.noise.survival.grid(len(points))
        stays = jnp.where(points[1:] == points[:-1], 0.0, -jnp.inf).astype(grid.dtype)
        kept = (grid[1:] / grid[:-1]).reshape(-1, *(1,) * (points.ndim - 1))
        each = self.noise.log_mixed(stays, points[1:], kept)
        x = jnp.broadcast_to(self.x, (*lead, *self.x.shape[1:]))
        begins = jnp.all((points[0] == x).reshape(*lead, -1), axis=-1)
        total = jnp.sum(jnp.moveaxis(each, 0, len(lead)).reshape(*lead, -1), axis=-1)
        return jnp.where(begins, total, -jnp.inf)

    def every_sequence(self) -> Array:
        """Return all paths, integers ``[paths, points, *event]``.

        Raises:
          ValueError: if they are too many.
        """
        return every_path(self.noise, self.event_shape)

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an estimate of KL(self ‖ other) in nats, ``[rows]``, in its parts; None if other is not a `Restoring`.

        See `vifx.diffusion.state_divergence`.

        Raises:
          ValueError: if the two differ in noise, steps or the shape of values.
        """
        return state_divergence(self, other) if isinstance(other, Restoring) else None


def discrete_forward(
    noise: Corruption,
    *,
    steps: int | None = None,
    times: Times = "low_discrepancy",
    states: States = "drawn",
) -> Callable[[Array], Corrupting] | Net:
    """The forward chain of categorical data as a function of them, for ``factor("z | x", ...)``.

    One value of z is a path ``[T + 1, *event]`` from z_0, the data themselves, to z_T, of which α(1) is left; without
    `steps` time is continuous, and z is its two ends, ``[2, *event]``. Its divergence from the chain of
    `discrete_reverse` is exact at each step, see `vifx.diffusion.state_divergence`. Data are integers 0 … K − 1, or
    8-bit images in K shades of grey, of which z has the numbers.

    Args:
      noise: what replaces the elements, and when.
      steps: T, or None for continuous time.
      times: which steps the divergence is estimated at, as in `forward`.
      states: how the expectation over z_t is taken: ``"drawn"``, or ``"all"`` for the sum over all of them, of which
        there are K to the power of the elements, or K + 1 with a mask. With all times and all states the loss has no
        noise, and `vifx.verify` compares it with the enumeration of all paths.

    Raises:
      TypeError: `noise` is not a `Corruption`, or `steps` not an integer; where it is used, data are not integers.
      ValueError: `steps` < 1, or all steps of continuous time; where it is used, an integer is not a class.

    References: Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, arXiv:2107.03006;
    Shi et al. (2024), arXiv:2406.04329; Sahoo et al. (2024), arXiv:2406.07524.

    Example:
      >>> import vifx
      >>> from vifx import diffusion
      >>> print(vifx.factor("z | x", diffusion.discrete_forward(diffusion.absorbing(27))))
      corrupting(z | x)
    """
    require(noise, Corruption, "discrete_forward: noise", "a Corruption", "make one with vifx.diffusion.absorbing(K)")
    if steps is not None:
        require_integer(steps, "discrete_forward: steps")
    times_of(times, "discrete_forward: times")
    require_choice(states, get_args(States), "discrete_forward: states")
    if times == "all" and steps is None:
        raise ValueError("discrete_forward: times='all' sums T steps; give steps=, or draw one time for each example")

    def corrupting(x: Array, proposal: PyTree = None) -> Corrupting:
        return Corrupting(noise.values(x), noise, steps, times=times, states=states, proposal=proposal)

    if not (isinstance(times, Proposal) and times.learns):
        return corrupting
    return from_functions(lambda key, x: times.init(), lambda params, x: corrupting(x, params))  # noqa: ARG005

"""The reverse chain: noise to data, by a denoiser."""

from __future__ import annotations

__all__ = ["Denoising", "reverse"]

import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import ArgumentError, require, require_choice, require_integer, require_number
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.diffusion.gaussian_steps import bridge
from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule, beside
from vifx.diffusion.prediction import Prediction, Predicts
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
    has_rsample = True
    support = numpyro.constraints.independent(numpyro.constraints.real, 1)

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


def reverse(
    network: Any,
    schedule: NoiseSchedule,
    shape: Sequence[int],
    *,
    steps: int | None = None,
    predicts: Predicts = "noise",
    weighting: StepWeights | None = None,
    drop: float = 0.0,
    guidance: float = 0.0,
    sampler: Sampler | None = None,
) -> Net:
    """The reverse chain as a network: ``factor("z", reverse(denoiser, schedule, (2,), steps=1000), name="denoiser")``.

    ``q(z) = q(z_T) Π_t q(z_{t−1} | z_t)``, in which a step is the bridge of the forward chain with the prediction x̂ in
    the place of the data, and ``q(z_T)`` is normal. Its parents, as in ``"z | y"``, are conditions.

    The denoiser is called as ``network(z, t, *parents)`` with ``z_t/√(α_t² + σ_t²)``, which is z_t itself where the
    variance is preserved, ``[rows, *shape]``, and t ``[rows, 1]``, the level of the noise from 0 to 1 (see
    `NoiseSchedule`). It returns z's shape. Conditions can be dropped: the network is then called as
    ``network(z, t, *parents, kept)`` with `kept` ``[rows, 1]``, 1 where its parents count and 0 where they do not, and
    has to leave them out itself there.

    Args:
      network: a `Net`, Linen or NNX module; its state is read and never written.
      schedule: how much noise there is at each time, the same as the forward chain's.
      shape: of one value.
      steps: T, or None for continuous time; the same as the forward chain's.
      predicts: what the network returns: ``"noise"``, ``"data"``, ``"v"`` or ``"score"``, see `Prediction`.
      weighting: of the steps in training, such as `simple`; the bound's own by default. Metrics keep the bound.
      drop: the probability that an example's conditions are dropped in training.
      guidance: w of ``(1 + w) ε̂(z, y) − w ε̂(z)``: classifier-free guidance, for a chain that is sampled.
      sampler: how z_0 is drawn in continuous time: `ancestral` by default, `ddim` or `heun`. A denoiser of T steps
        takes another sampler in a chain without `steps`.

    Raises:
      TypeError: `network` or `schedule` is something else.
      ValueError: an argument is out of range, a sampler of T steps; where it is used, guidance or a drop without
        conditions, or a network that does not return z's shape.

    References: Sohl-Dickstein et al. (2015), arXiv:1503.03585; Ho, Jain & Abbeel (2020), arXiv:2006.11239; Salimans &
    Ho (2022), arXiv:2202.00512; Ho & Salimans (2022), Classifier-free diffusion guidance, arXiv:2207.12598.
    """
    require(schedule, NoiseSchedule, "reverse: schedule", "a NoiseSchedule", "make one with vifx.diffusion.cosine()")
    if steps is not None:
        require_integer(steps, "reverse: steps")
    event = tuple(require_integer(each, "reverse: shape") for each in shape)
    require_choice(predicts, get_args(Predicts), "reverse: predicts")
    require_number(drop, "reverse: drop", least=0, most=1)
    require_number(guidance, "reverse: guidance", least=-1)
    if sampler is not None and steps is not None:
        raise ArgumentError(
            "reverse: sampler",
            f"is for continuous time, and a chain of {steps} steps is drawn step by step; leave steps out, the denoiser "
            "is the same",
            value=sampler,
        )
    net, told = as_net(network), drop > 0 or guidance != 0

    def init(key: Key, *given: Array) -> tuple[PyTree, PyTree]:
        _require_conditions(given, drop, guidance)
        own, other = jax.random.split(key)
        rows = given[0].shape[0] if given else 1
        z, t = jnp.zeros((rows, *event)), jnp.zeros((rows, 1))
        params, state = net.init(own, z, t, *given, *((jnp.ones((rows, 1)),) if told else ()))
        return {"network": params, "schedule": schedule.init(other)}, {"network": state}

    def apply(
        params: PyTree, state: PyTree, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Denoising, PyTree]:
        _require_conditions(given, drop, guidance)

        def denoise(z: Array, gamma: Array, examples: Array | None = None) -> Prediction:
            level = schedule.at_gamma(gamma)
            inputs = z / beside(level.norm, z), schedule.told(gamma)[:, None]
            parents = given if examples is None else tuple(each[examples] for each in given)

            def run(kept: Array | None) -> Array:
                more = () if kept is None else (kept,)
                output, _ = net.apply(
                    params["network"], state["network"], *inputs, *parents, *more, key=key, train=train
                )
                if output.shape != z.shape:
                    raise ValueError(
                        f"reverse: the network maps {list(z.shape)} to {list(output.shape)}; it must return z's shape"
                    )
                return output

            everyone = jnp.ones((z.shape[0], 1), z.dtype)
            if not told:
                output = run(None)
            elif train and drop > 0:
                own = jax.random.fold_in(_required_key(key), 1)
                output = run(jax.random.bernoulli(own, 1 - drop, everyone.shape).astype(z.dtype))
            else:
                output = run(everyone)
            if guidance != 0:  # affine in every prediction, so that what the network returns may be mixed itself
                output = (1 + guidance) * output - guidance * run(0 * everyone)
            return Prediction(output, predicts, z, level)

        chain = Denoising(
            denoise,
            schedule,
            steps,
            event,
            examples=given[0].shape[0] if given else None,
            learned=params["schedule"],
            sampler=sampler,
            weighting=weighting,
        )
        return chain, state

    return Net(init, apply)


def _require_conditions(given: tuple[Array, ...], drop: float, guidance: float) -> None:
    if given or not (drop or guidance):
        return
    what = f"guidance={guidance:g}" if guidance else f"drop={drop:g}"
    raise ValueError(f"reverse: {what} needs conditions, but the factor has no parents; write 'z | y', or leave it out")


def _required_key(key: Key | None) -> Key:
    if key is None:
        raise ValueError("reverse: conditions are dropped at random in training, which needs a key; pass key=")
    return key

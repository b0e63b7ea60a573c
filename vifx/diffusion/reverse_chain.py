"""The reverse chain as a network: a denoiser, its conditions, and what the chain makes of it."""

from __future__ import annotations

__all__ = ["reverse"]

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from vifx.checks import ArgumentError, require, require_choice, require_integer, require_number, require_widths
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.diffusion.denoising import Denoising
from vifx.diffusion.noise_schedule import NoiseSchedule, beside
from vifx.diffusion.prediction import Prediction, Predicts
from vifx.diffusion.samplers import Sampler
from vifx.diffusion.step_weights import StepWeights


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
    """The reverse chain as a network, for ``factor("z", ..., name="denoiser")``.

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
    event = require_widths(shape, "reverse: shape")
    require_choice(predicts, get_args(Predicts), "reverse: predicts")
    require_number(drop, "reverse: drop", least=0, most=1)
    require_number(guidance, "reverse: guidance", least=-1)
    kinds = (StepWeights, type(None))
    require(weighting, kinds, "reverse: weighting", "StepWeights", "give vifx.diffusion.simple()")
    _require_sampler(sampler, steps)
    denoiser = _Denoiser(as_net(network), schedule, predicts, drop, guidance)

    def init(key: Key, *given: Array) -> tuple[PyTree, PyTree]:
        _require_conditions(given, drop, guidance)
        own, other = jax.random.split(key)
        rows = given[0].shape[0] if given else 1
        kept = (jnp.ones((rows, 1)),) if denoiser.tells else ()
        params, state = denoiser.net.init(own, jnp.zeros((rows, *event)), jnp.zeros((rows, 1)), *given, *kept)
        return {"network": params, "schedule": schedule.init(other)}, {"network": state}

    def apply(
        params: PyTree, state: PyTree, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Denoising, PyTree]:
        _require_conditions(given, drop, guidance)

        def denoise(z: Array, gamma: Array, examples: Array | None = None) -> Prediction:
            parents = given if examples is None else tuple(each[examples] for each in given)
            return denoiser.predict(params["network"], state["network"], z, gamma, parents, key, train)

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


class _Denoiser(NamedTuple):
    """A network, and how it is called."""

    net: Net
    schedule: NoiseSchedule
    predicts: Predicts
    drop: float
    guidance: float

    @property
    def tells(self) -> bool:
        """Whether the network is told which conditions count."""
        return self.drop > 0 or self.guidance != 0

    def predict(
        self,
        params: PyTree,
        state: PyTree,
        z: Array,
        gamma: Array,
        given: Sequence[Array],
        key: Key | None,
        train: bool,
    ) -> Prediction:
        """Run the network at z ``[rows, *event]`` and γ ``[rows]``."""
        level = self.schedule.at_gamma(gamma)
        inputs = z / beside(level.norm, z), self.schedule.told(gamma)[:, None]

        def run(*kept: Array) -> Array:
            output, _ = self.net.apply(params, state, *inputs, *given, *kept, key=key, train=train)
            if output.shape != z.shape:
                raise ValueError(
                    f"reverse: the network maps {list(z.shape)} to {list(output.shape)}; it must return z's shape"
                )
            return output

        everyone = jnp.ones((z.shape[0], 1), z.dtype)
        if train and self.drop > 0:
            own = jax.random.fold_in(_required_key(key), 1)
            output = run(jax.random.bernoulli(own, 1 - self.drop, everyone.shape).astype(z.dtype))
        else:
            output = run(everyone) if self.tells else run()
        if self.guidance != 0:  # affine in every prediction, so that what the network returns may be mixed itself
            output = (1 + self.guidance) * output - self.guidance * run(0 * everyone)
        return Prediction(output, self.predicts, z, level)


def _require_sampler(sampler: Sampler | None, steps: int | None) -> None:
    require(sampler, (Sampler, type(None)), "reverse: sampler", "a Sampler", "give vifx.diffusion.heun()")
    if sampler is not None and steps is not None:
        raise ArgumentError(
            "reverse: sampler",
            f"is for continuous time, and a chain of {steps} steps is drawn step by step; leave steps out: the "
            "denoiser is the same",
            value=sampler,
        )


def _require_conditions(given: tuple[Array, ...], drop: float, guidance: float) -> None:
    if given or not (drop or guidance):
        return
    what = f"guidance={guidance:g}" if guidance else f"drop={drop:g}"
    raise ValueError(f"reverse: {what} needs conditions, but the factor has no parents; write 'z | y', or leave it out")


def _required_key(key: Key | None) -> Key:
    if key is None:
        raise ValueError("reverse: conditions are dropped at random in training, which needs a key; pass key=")
    return key

"""The reverse chain as a network: a denoiser, its conditions, and what the chain makes of it."""

from __future__ import annotations

__all__ = ["reverse"]

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from vifx.checks import require, require_choice, require_integer, require_widths
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.diffusion.conditions import Conditions
from vifx.diffusion.denoising import Denoising
from vifx.diffusion.noise_schedule import NoiseSchedule, beside
from vifx.diffusion.prediction import Prediction, Predicts
from vifx.diffusion.samplers import Sampler, require_sampler
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
    kinds = (StepWeights, type(None))
    require(weighting, kinds, "reverse: weighting", "StepWeights", "give vifx.diffusion.simple()")
    require_sampler(sampler, steps, "reverse", "heun()")
    conditions = Conditions.of(drop, guidance, "reverse")
    denoiser = _Denoiser(as_net(network), schedule, predicts, conditions)

    def init(key: Key, *given: Array) -> tuple[PyTree, PyTree]:
        own, other = jax.random.split(key)
        rows = given[0].shape[0] if given else 1
        kept = conditions.everyone(given, rows)
        params, state = denoiser.net.init(own, jnp.zeros((rows, *event)), jnp.zeros((rows, 1)), *given, *kept)
        return {"network": params, "schedule": schedule.init(other)}, {"network": state}

    def apply(
        params: PyTree, state: PyTree, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Denoising, PyTree]:
        conditions.require(given)

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
    conditions: Conditions

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

        output = self.conditions.run(key, run, z.shape[0], z.dtype, train=train)
        return Prediction(output, self.predicts, z, level)

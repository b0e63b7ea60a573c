"""The probability flow of a denoiser as a bijection, whose likelihood is exact."""

from __future__ import annotations

__all__ = ["flow"]

import math
from typing import Any, TypeAlias

from vifx.checks import require, require_number
from vifx.core.types import Array, Bijection, Key, Net, PyTree
from vifx.diffusion.noise_schedule import NoiseSchedule
from vifx.flows import continuous

Moved: TypeAlias = tuple[Array, Array]


def flow(
    reverse: Net,
    schedule: NoiseSchedule,
    *,
    level: float = 0.0,
    steps: int = 64,
    trace: str = "exact",
    solver: Any = None,
    tolerance: float = 1e-5,
) -> Bijection:
    """The deterministic flow that has a diffusion's marginals, from z_0 to a standard normal.

    ``dz/dγ = ½ (σ ε̂(z, γ) − σ² z)`` where the variance is preserved, and ``½ σ ε̂`` where it explodes: it depends on the
    schedule by its ends alone. Its parameters are those of `reverse`, so that with the same owner a model that was
    trained as a chain has a density and codes::

        density = vifx.Joint(
            vifx.transformed("z", vifx.standard_normal(2), diffusion.flow(reverse, schedule), name="denoiser"),
            vifx.factor("x | z", decoder),
        )

    Here z is one value, ``[*event]``, where a chain has a path. ``kl`` of ``p(z_0 | x)`` from it is the bound of the
    flow; without a decoder, ``transformed("x", …)`` reads the data as z_0.

    Args:
      reverse: what `vifx.diffusion.reverse` returned, of any steps.
      schedule: its schedule.
      level: where between γ(0) and γ(1) the flow begins, in [0, 1): the density is then that of the value with so much
        noise, in place of z_0.
      steps: of the Runge–Kutta method, equally spaced in γ.
      trace: ``"exact"`` or ``"hutchinson"``, as in `vifx.flows.continuous`.
      solver: an adaptive solver of diffrax, as there.
      tolerance: of `solver`, as there.

    Raises:
      ValueError: as `vifx.flows.continuous`.

    References: Song et al. (2021), Score-based generative modeling through stochastic differential equations,
    arXiv:2011.13456; Kingma et al. (2021), arXiv:2107.00630.
    """
    require(reverse, Net, "flow: reverse", "the network of a reverse chain", "make it with vifx.diffusion.reverse")
    require(schedule, NoiseSchedule, "flow: schedule", "a NoiseSchedule", "give the one of the reverse chain")
    require_number(level, "flow: level", least=0, below=1)
    begin = schedule.start + level * (schedule.end - schedule.start)
    length = schedule.end - begin

    def init(key: Key, z: Array, t: Array, *given: Array) -> tuple[PyTree, PyTree]:
        del z, t
        return reverse.init(key, *given)

    def velocity(
        params: PyTree, state: PyTree, z: Array, t: Array, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        chain, state = reverse.apply(params, state, *given, key=key, train=train)
        level = schedule.at_gamma(begin + length * t[:, 0])
        # In units of √(α² + σ²) both kinds of variance are one: y = z/norm, dy/dγ = ½ s (ε̂ − s y) with s = σ/norm,
        # since c = α/norm has dc/dγ = −½ c s², ds/dγ = ½ s c², and y = c x + s ε.
        share = (level.sigma / level.norm).reshape(-1, *(1,) * (z.ndim - 1))
        norm = level.norm.reshape(-1, *(1,) * (z.ndim - 1))
        noise = chain.denoise(norm * z, level.gamma).noise
        return length / 2 * share * (noise - share * z), state

    path = continuous(Net(init, velocity), steps=steps, trace=trace, solver=solver, tolerance=tolerance)
    if schedule.variance == "preserving":
        return path
    unit = math.sqrt(1 + math.exp(begin))  # √(α² + σ²) of z there

    def init_scaled(key: Key, z: Array, given: Any = None) -> tuple[PyTree, PyTree]:
        return path.init(key, z / unit, given)

    def forward(params: PyTree, state: PyTree, z: Array, given: Any = None, *, key: Key | None = None) -> Moved:
        y, log_det = path.forward(params, state, z / unit, given, key=key)
        return y, log_det - z[0].size * math.log(unit)

    def inverse(params: PyTree, state: PyTree, y: Array, given: Any = None, *, key: Key | None = None) -> Moved:
        z, log_det = path.inverse(params, state, y, given, key=key)
        return z * unit, log_det + z[0].size * math.log(unit)

    return Bijection(init_scaled, forward, inverse)

"""A diffusion in the plane: how two moons, or another shape, come out of noise.

The same denoiser is measured twice: by the bound of the two chains, and by the exact density of its probability flow.

Source:   Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, arXiv:2006.11239; Kingma, Salimans,
          Poole and Ho (2021), Variational diffusion models, arXiv:2107.00630.
Command:  vifx train experiments/diffusion_two_moons.py
          vifx train diffusion_two_moons --data.name checkerboard --chain-steps 100
Hardware: 2 CPU cores, about a minute.
Metric:   flow ELBO −1.052 nats on 2,000 test points; the law that they are drawn from has −1.025 there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import vifx
from vifx import data, diffusion, evaluation, networks
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, denoiser


@dataclass(frozen=True)
class Config(denoiser.Config):
    """The options of this experiment."""

    steps: PositiveInt = 6000
    log_every: PositiveInt = 200
    learning_rate: PositiveFloat = 2e-3
    bound_times: PositiveInt = 4
    flow_examples: PositiveInt | None = 2000
    hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    """Widths of the hidden layers of the denoiser."""
    data: data.Config = field(default_factory=lambda: data.Config("two_moons", batch_size=512))
    """Which shape (two_moons, circles, spirals, pinwheel, checkerboard, ring or grid25), and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two chains, KL(inference ‖ generative), and what to measure and draw."""
    points = data.load(config.data)
    joints = denoiser.diffusion_of(config, networks.PointDenoiser(config.hidden), (2,), images=False, start=-9.0)
    title = config.data.name.replace("_", " ")
    flow = diffusion.flow(joints.reverse, joints.schedule, steps=24)  # which reads the points as z_0
    density = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flow, name="denoiser"))
    drawings = {
        "levels": denoiser.draw_levels(joints, points.train, title=title),
        "density": evaluation.draw_density(density, lambda _: points.test["x"][:4000], title=title),
    }
    return denoiser.experiment(config, points, joints, drawings=drawings)

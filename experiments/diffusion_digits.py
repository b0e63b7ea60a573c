"""A diffusion of scikit-learn's 8×8 handwritten digits, in 256 shades of grey.

A U-Net takes noise away, one level after another. Its loss is KL(inference ‖ generative) of two chains, of which the
inference one is fixed, estimated at one time for each image. `vifx explain diffusion_digits` derives it.

Source:   Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, arXiv:2006.11239; Kingma, Salimans,
          Poole and Ho (2021), Variational diffusion models, arXiv:2107.00630.
Command:  vifx train experiments/diffusion_digits.py
          vifx train diffusion_digits --chain-steps 1000 --weighting simple
Hardware: 2 CPU cores, about two minutes.
Metric:   1.91 bits/dim on the test digits by the chains, within 0.04, and 2.05 by the exact flow on 200 of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, denoiser


@dataclass(frozen=True)
class Config(denoiser.Config):
    """The options of this experiment."""

    steps: PositiveInt = 4000
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 500
    flow_examples: PositiveInt | None = 200
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Channels of the U-Net at each resolution."""
    waves: tuple[PositiveFloat, ...] = (4.0, 8.0, 16.0)
    """Waves of each pixel that the U-Net reads, so many of them from black to white: 17 shades have 16 steps."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the two chains, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    network = networks.UNet(config.channels, waves=config.waves)
    joints = denoiser.diffusion_of(config, network, splits.info.shape, images=True, start=-13.3)
    return denoiser.experiment(config, splits, joints)

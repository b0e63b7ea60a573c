"""A diffusion of Fashion-MNIST, in 256 shades of grey: a U-Net with attention at the lowest resolution.

Source:   Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, arXiv:2006.11239; Kingma, Salimans,
          Poole and Ho (2021), Variational diffusion models, arXiv:2107.00630.
Command:  vifx train experiments/diffusion_fashion_mnist.py
Hardware: 2 CPU cores, 30 minutes, of which the evaluation takes two.
Metric:   3.24 bits/dim on the test images by the chains, within 0.02, and 3.90 by the exact flow on 200 of them;
          FMD 23.9 and coverage 0.51 with --sampler-steps 18 --quality-examples 10000.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, denoiser


@dataclass(frozen=True)
class Config(denoiser.Config):
    """The options of this experiment."""

    steps: PositiveInt = 15000
    log_every: PositiveInt = 250
    checkpoint_every: PositiveInt = 2500
    learning_rate: PositiveFloat = 2e-3
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Channels of the U-Net at each resolution, of which the first is that of the patches."""
    patch: PositiveInt = 2
    """Height and width of the patches that are the channels of its first resolution."""
    waves: tuple[PositiveFloat, ...] = (8.0, 16.0, 31.875, 63.75, 127.5, 255.0)
    """Waves of each pixel that the U-Net reads, so many of them from black to white: 256 shades have 255 steps."""
    bound_times: PositiveInt = 4
    flow_examples: PositiveInt | None = 200
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the two chains, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    network = networks.UNet(config.channels, patch=config.patch, waves=config.waves)
    joints = denoiser.diffusion_of(config, network, splits.info.shape, images=True, start=-13.3)
    return denoiser.experiment(config, splits, joints)

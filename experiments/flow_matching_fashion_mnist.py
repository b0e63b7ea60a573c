"""Flow matching of Fashion-MNIST, in 256 shades of grey: a continuous flow whose velocity is a U-Net.

Source:   Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, arXiv:2210.02747.
Command:  vifx train experiments/flow_matching_fashion_mnist.py
          vifx train flow_matching_fashion_mnist --quality-examples 5000
Hardware: 2 CPU cores, about 3 minutes, which is short: it has not converged.
Metric:   5.42 bits/dim, within 0.07, by one dequantization, on 50 images of the test split.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, matched_flow


@dataclass(frozen=True)
class Config(matched_flow.Config):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    log_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 500
    channels: tuple[PositiveInt, ...] = (32, 64)
    """Channels of the U-Net at each resolution, of which the first is that of the patches."""
    patch: PositiveInt = 2
    """Height and width of the patches that are the channels of its first resolution."""
    flow_steps: PositiveInt = 16
    flow_examples: PositiveInt = 50
    """Test examples for the likelihood, which takes most of the evaluation."""
    dequantizations: PositiveInt = 1
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the flow, the objective of its velocity, and what to measure and draw."""
    network = networks.UNet(config.channels, patch=config.patch)
    return matched_flow.images(config, network, examples=config.flow_examples)

"""Glow on scikit-learn's 8×8 handwritten digits.

Source:   Kingma and Dhariwal (2018), Glow: generative flow with invertible 1×1 convolutions, arXiv:1807.03039.
Command:  vifx train experiments/glow_digits.py
Hardware: 2 CPU cores, about a minute.
Metric:   2.04 bits/dim on the test digits, in 17 shades of grey; a Gaussian on the logits has 2.27.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vifx import data, flows
from vifx.experiment import Experiment, PositiveInt, density_flow


@dataclass(frozen=True)
class Config(density_flow.ImageConfig):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    levels: PositiveInt = 2
    """How many resolutions."""
    depth: PositiveInt = 8
    """Steps of flow at each resolution."""
    hidden: PositiveInt = 64
    """Channels of the couplings' networks."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))


def build(config: Config) -> Experiment:
    """Build the flow, and the experiment of its likelihood."""
    glow = flows.glow(levels=config.levels, depth=config.depth, hidden=config.hidden, remat=config.remat)
    return density_flow.images(config, glow)

"""A masked diffusion of scikit-learn's 8×8 handwritten digits: pixels in 17 shades, each of them a class.

Pixels are masked one after the other, and a transformer says what shade each masked one has. The loss is KL(inference ‖
generative) of two chains, of which the inference one is fixed. `vifx explain absorbing_digits` derives it.

Source:   Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, arXiv:2107.03006; Shi et
          al. (2024), arXiv:2406.04329; Sahoo et al. (2024), arXiv:2406.07524.
Command:  vifx train experiments/absorbing_digits.py
          vifx train absorbing_digits --noise uniform --survival cosine --chain-steps 100
Hardware: 2 CPU cores, about 5 minutes of processor time.
Metric:   1.95 bits/dim on the test digits, in 17 shades of grey, an upper bound by the chains (standard error 0.02).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vifx import data, evaluation, networks
from vifx.evaluation import DecodedImages
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, discrete_diffusion


@dataclass(frozen=True)
class Config(discrete_diffusion.Config):
    """The options of this experiment."""

    steps: PositiveInt = 2500
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 250
    learning_rate: PositiveFloat = 2e-3
    """Step size of Adam after the warm-up; it falls to 0 along a cosine."""
    features: PositiveInt = 64
    """Numbers per pixel in the transformer."""
    dropout: NonNegativeFloat = 0.1
    """Of what a block adds, in training."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the two chains, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    classes = data.shades_of(splits.train)
    network = networks.Transformer(classes, config.features, config.depth, config.heads, dropout=config.dropout)
    joints = discrete_diffusion.discrete_diffusion_of(config, network, splits.info.shape, classes=classes, images=True)

    def unmasking(paths: NDArray[np.int32]) -> Figure:
        shown = paths[:, np.linspace(0, paths.shape[1] - 1, 9).round().astype(int)]
        grey = np.where(shown == classes, np.nan, shown / (classes - 1))  # NaN has the colour of masks
        return evaluation.image_rows(grey, [""] * len(paths), title="Samples on their way from masks to digits")

    images = DecodedImages(joints.generative, evaluation.unscaled(0.0, 255.0), mean=False)
    return discrete_diffusion.experiment(
        config,
        splits,
        joints,
        evaluate=discrete_diffusion.measure_bits(joints, splits.test, times=config.bound_times),
        drawings={**images.drawings("samples"), "paths": discrete_diffusion.draw_paths(joints, unmasking, n=6)},
        sample=images.sample,
    )

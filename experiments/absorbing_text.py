"""A masked diffusion of characters, on the docstrings of Python's standard library.

Characters are masked in any order, and a transformer says what each masked one is. The loss is KL(inference ‖
generative) of two chains, of which the inference one is fixed. `vifx explain absorbing_text` derives it.

Source:   Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, arXiv:2107.03006; Shi et
          al. (2024), arXiv:2406.04329; Sahoo et al. (2024), arXiv:2406.07524.
Command:  vifx train experiments/absorbing_text.py
          vifx train absorbing_text --data.source FILE
Hardware: 2 CPU cores, about 7 minutes of processor time.
Metric:   2.18 nats a character, an upper bound by the chains on 300 test windows (standard error 0.03), which is 3.14
          bits; a VAE of 4 minutes has 1.68 nats, and 9-grams have 1.30, on the docstrings of Python 3.11. With more
          updates it still gets better.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vifx import data, networks
from vifx.evaluation import text_models
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, discrete_diffusion


@dataclass(frozen=True)
class Config(discrete_diffusion.Config):
    """The options of this experiment."""

    steps: PositiveInt = 2500
    checkpoint_every: PositiveInt = 500
    learning_rate: PositiveFloat = 2e-3
    """Step size of Adam after the warm-up; it falls to 0 along a cosine."""
    bound_examples: PositiveInt | None = 300
    """Test windows for the bound; all of them if None."""
    data: data.Config = field(default_factory=lambda: data.Config("text", batch_size=64, test=0.1))
    """Which text, and how it is read; `text` is the docstrings of the standard library or the file data.source."""


def build(config: Config) -> Experiment:
    """Build the two chains, KL(inference ‖ generative), and what to measure and draw."""
    codes = data.load(config.data)
    letters = data.alphabet(codes.train["x"])
    splits, classes = data.spelled(codes, letters), len(letters.characters)
    network = networks.Transformer(
        classes, config.features, config.depth, config.heads, positions="rotary", dropout=config.dropout
    )
    joints = discrete_diffusion.discrete_diffusion_of(config, network, splits.info.shape, classes=classes)
    few = {"x": splits.test["x"][: config.bound_examples]}
    bits = discrete_diffusion.measure_bits(joints, few, times=config.bound_times, unit="bits/character")

    shown = data.Alphabet(letters.characters + "·")  # the mask comes after the characters

    def filling(paths: NDArray[np.int32]) -> Figure:
        points = np.linspace(0, paths.shape[1] - 1, 6).round().astype(int)
        texts = [shown.restore(path[points]) for path in paths]
        return text_models.text_lines(texts, title="Texts on their way from masks to characters")

    return discrete_diffusion.experiment(
        config,
        splits,
        joints,
        evaluate=text_models.measure_characters(bits, None, splits, classes=classes, bound="elbo"),
        drawings={
            "samples": text_models.draw_texts(joints.generative, letters),
            "paths": discrete_diffusion.draw_paths(joints, filling, n=4),
        },
    )

"""Reading comprehension by dilated gated convolutions: answers to invented questions, from several passages each.

Source:   Su (2018), Reading comprehension by dilated gated convolutions, kexue.fm/archives/5409; `--form code`
          is the reader of its author's later code (2019), kexue.fm/archives/6906.
Command:  vifx train experiments/dgcnn_qa.py
Hardware: 2 CPU cores, about N minutes.
Metric:   F1 0.000 on 500 test questions, whose wording and names the training split does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from vifx.experiment import Experiment, PositiveInt, reading


@dataclass(frozen=True)
class Config(reading.Config):
    """The options of this experiment."""

    steps: PositiveInt = 2500
    """How many updates to make."""
    checkpoint_every: PositiveInt = 500
    """Updates between two checkpoints, the best of which is measured and drawn."""


def build(config: Config) -> Experiment:
    """Build the evidence and the reader, their objective, and what to measure, draw and answer."""
    return reading.experiment(config)

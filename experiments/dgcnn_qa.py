"""Reading comprehension by dilated gated convolutions: answers to invented questions, from several passages each.

Source:   Su (2018), Reading comprehension by dilated gated convolutions, kexue.fm/archives/5409; `--form code`
          is the reader of its author's later code (2019), kexue.fm/archives/6906.
Command:  vifx train experiments/dgcnn_qa.py
Hardware: 2 CPU cores, about 3 minutes.
Metric:   F1 0.962 on 500 test questions, whose wording and names the training split does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, question_answering


@dataclass(frozen=True)
class Config(question_answering.Config):
    """The options of this experiment."""

    steps: PositiveInt = 2500
    features: PositiveInt = 48
    learning_rate: PositiveFloat = 2.5e-3
    threshold: NonNegativeFloat = 0.01
    """An answer's start and end need a probability above it; chosen on the validation split."""
    average: PositiveFloat | None = 0.99
    """Decay of the average of the parameters, which is what is measured and asked; that of the code is 0.9999."""
    checkpoint_every: PositiveInt = 500


def build(config: Config) -> Experiment:
    """Build the evidence and the reader, their objective, and what to measure, draw and answer."""
    return question_answering.experiment(config)

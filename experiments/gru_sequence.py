"""A recurrent network on strings of the embedded Reber grammar, whose law is known, by maximum likelihood.

Source:   Hochreiter and Schmidhuber (1997), Long short-term memory, experiment 1; for the unit, Cho et al. (2014),
          arXiv:1406.1078.
Command:  vifx train experiments/gru_sequence.py
          vifx train experiments/gru_sequence.py --cell vanilla
Hardware: 2 CPU cores, about a quarter of a minute.
Metric:   KL 0.023 nats from the true density (standard error 0.003), by test strings of 4.99 nats on average; 0.980
          of the model's own strings are grammatical. --cell vanilla has 0.024 and 0.985, --cell lstm 0.023 and 0.980.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, dynamics, evaluation, networks, training, verification
from vifx.evaluation import grammar_strings
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 2000
    cell: Literal["vanilla", "gru", "lstm"] = "gru"
    """The recurrent cell."""
    features: PositiveInt = 32
    """Numbers of the memory."""
    learning_rate: PositiveFloat = 1e-2
    """Step size of Adam after 50 updates of warm-up; it falls to 0 along a cosine."""
    data: data.Config = field(default_factory=lambda: data.Config("reber", batch_size=100))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.name != "reber":
            raise ValueError(f"data.name must be 'reber', whose law is known, got {self.data.name!r}")


def build(config: Config) -> Experiment:
    """Build the chain of symbols, and measure it beside the grammar."""
    splits, grammar = data.load(config.data), data.REBER
    classes = len(grammar.letters)
    cell = {"vanilla": dynamics.vanilla, "gru": dynamics.gru, "lstm": dynamics.lstm}[config.cell](config.features)
    transition = dynamics.recurrent(cell, networks.CategoricalHead(classes), inputs=(networks.OneHot(classes),))
    start = verification.tabular(states=classes)
    strings = dynamics.chain(start, transition, grammar.length, parents=("lengths",))
    inference = vifx.Joint(vifx.evidence("x", "lengths"))
    generative = vifx.Joint(vifx.evidence("lengths"), vifx.factor("x | lengths", strings, name="chain"))
    objective = vifx.kl(inference, generative)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, min(50, config.steps // 10), config.steps)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))),
        source=data.source(splits.train, config.data, seed=config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=evaluation.monitor_loss(objective, splits.validation),
        evaluate=grammar_strings.measure_strings(generative, grammar, splits.test),
        drawings={
            "steps": grammar_strings.draw_nll_by_step(generative, grammar, splits.test),
            "samples": grammar_strings.draw_strings(generative, grammar),
        },
        best="validation/loss",
    )

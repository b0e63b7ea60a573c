"""A target of nearly constant velocity, tracked through a gap of its observations, by EM with the Kalman smoother.

Source:   Shumway and Stoffer (1982), An approach to time series smoothing and forecasting using the EM algorithm.
Command:  vifx train experiments/lds_tracking.py
Hardware: 2 CPU cores, about a quarter of a minute.
Metric:   log q(x) −98.44 nats on 100 test tracks, where the true law has −98.26.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from vifx import data, em
from vifx.evaluation import tracks
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    restarts: PositiveInt = 1
    """How many starts, from random dynamics; the one whose objective is best after start_steps is trained."""
    parallel: bool = False
    """Whether time is divided by an associative scan."""
    data: data.Config = field(default_factory=lambda: data.Config("tracking"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.components_tried:
            raise ValueError(f"a track has no components: components_tried must be empty, got {self.components_tried}")
        if self.data.name != "tracking":
            raise ValueError(f"data.name must be 'tracking', whose law is known, got {self.data.name!r}")


def build(config: Config) -> Experiment:
    """Build the linear dynamical system whose motion is known and whose noises are not."""
    splits, law = data.load(config.data), data.TRACKING
    model = em.lds(
        len(law.transitions),
        length=law.length,
        given=("mask",),
        chain={"transitions": law.transitions, "offset": np.zeros(len(law.transitions))},
        emissions={"loadings": law.loadings, "mean": np.zeros(len(law.loadings))},
        parallel=config.parallel,
    )
    built = em_model.experiment(config, model, splits, drawings={"tracks": tracks.draw_tracks(model, splits.test)})
    return dataclasses.replace(built, evaluate=both(built.evaluate, tracks.measure_tracks(model, splits.test)))

"""An experiment whose validation split has no examples is not monitored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vifx import experiment

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["vae_digits", "gan_digits", "nice_digits", "realnvp_two_moons", "ppca_digits", "bernoulli_mixture_digits"]
)
def test_no_monitor_no_best_and_no_alarm_on_what_it_would_measure(name, tmp_path, monkeypatch):
    monkeypatch.setenv("VIFX_DATA", str(tmp_path))
    file = experiment.load(EXPERIMENTS / f"{name}.py")
    config = file.config()
    built = file.build(replace(config, data=replace(config.data, validation=0)))
    assert built.monitor is None
    assert built.best is None
    assert not [alarm.metric for alarm in built.alarms if alarm.metric.startswith("validation/")]
    with_examples = file.build(config)
    assert with_examples.monitor is not None


def test_monitor_of_samples_alone_stays(tmp_path):
    file = experiment.load(EXPERIMENTS / "gan_ring.py")
    config = file.config()
    built = file.build(replace(config, data=replace(config.data, validation=0)))
    assert built.monitor is not None
    assert built.best == "-validation/high_quality"

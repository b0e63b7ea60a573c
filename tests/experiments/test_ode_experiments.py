"""Every experiment with a differential equation builds, trains, measures and draws, and says what it does."""

from __future__ import annotations

import numpy as np
import pytest
from dynamics.competition import PUBLISHED, TABLE, TIMES
from experiments.conftest import FOLDER, finished

from vifx import experiment
from vifx.cli import main

SMALL = ["--steps", "4", "--log-every", "2", "--checkpoint-every", "2", "--draws", "50", "--starts", "4"]
RUNS = [
    pytest.param("ode_competition", ["--step", "5"], id="competition"),
    pytest.param("ode_lotka_volterra", ["--observations", "11", "--step", "1"], id="lotka_volterra"),
    pytest.param("ode_competition", ["--method", "euler", "--step", "1"], id="euler", marks=pytest.mark.slow),
]


def test_every_experiment_with_an_equation_is_tried():
    assert {path.stem for path in FOLDER.glob("ode_*.py")} == {parameter.values[0] for parameter in RUNS}


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "extra"), RUNS)
def test_trains_to_the_end(name, extra, tmp_path, capsys):
    rows, found, drawn, _ = finished(name, [*SMALL, *extra], tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4]
    assert found.keys() == {"rss", "failed_starts", "covered", "covered/parameters", "width"}
    # Draws of the posterior at the fit cannot be much farther from the data than the fit, whose residuals are RSS.
    noise = {"ode_competition": 12**-0.5, "ode_lotka_volterra": 3.0}[name]
    count = {"ode_competition": 12, "ode_lotka_volterra": 11}[name]
    expected = 0.5 * found["rss"] / noise**2 + count * (np.log(noise) + 0.5 * np.log(2 * np.pi))
    assert expected - 1e-2 < rows[-1]["nll/x"] < expected + 12
    assert "bands" in drawn


@pytest.mark.thorough
def test_explained_from_the_two_joints(capsys):
    assert main(["explain", str(FOLDER / "ode_competition.py")]) == 0
    shown = capsys.readouterr().out
    for line in (
        "p̃(x) · posterior(theta | x)",
        "MultivariateNormal(theta) · observation(x | theta)",
        "L = E KL(posterior(theta | x) ‖ MultivariateNormal(theta)) + E[−log observation(x | theta)]",
        "by closed form",
    ):
        assert line in shown


def test_the_data_are_those_of_the_article():
    file = experiment.file.load(FOLDER / "ode_competition.py")
    built = file.build(file.config(steps=1))
    np.testing.assert_array_equal(np.asarray(built.source.arrays["x"]), TABLE[:, 1:].astype(np.float32))
    module = file.build.__globals__
    np.testing.assert_array_equal(module["TIMES"], TIMES)
    np.testing.assert_allclose(np.exp(module["PUBLISHED"]), np.concatenate(list(PUBLISHED.values())), rtol=1e-12)

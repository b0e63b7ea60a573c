"""Every experiment of sequences builds, trains, measures and draws: a full run's code, with small numbers."""

from __future__ import annotations

import pytest
from experiments.conftest import finished

STEPS = ["--steps", "6", "--log-every", "2", "--checkpoint-every", "6", "--evaluate-every", "6"]


def trained(name, options, tmp_path, capsys):
    rows, found, drawn, _ = finished(name, [*STEPS, *options], tmp_path, capsys)
    assert [row["step"] for row in rows] == [2, 4, 6]
    return rows, found, drawn


@pytest.mark.thorough
@pytest.mark.parametrize("cell", ["gru", "vanilla", "lstm"])
def test_strings_of_a_grammar(cell, tmp_path, capsys):
    options = ["--features", "8", "--data.batch-size", "20", "--cell", cell]
    rows, found, drawn = trained("gru_sequence", options, tmp_path, capsys)
    assert rows[-1]["nll/x"] < rows[0]["nll/x"]
    assert found["nll/x"] == pytest.approx(found["nll/x/true"] + found["kl/true"], rel=1e-4)
    assert found["kl/true"] > 1
    assert 0 < found["recall"] < 0.9
    assert drawn >= {"steps", "samples", "loss"}


@pytest.mark.thorough
def test_latent_ode_of_spirals(tmp_path, capsys):
    options = ["--hidden", "8", "--features", "8", "--data.batch-size", "10", "--bound-examples", "4"]
    rows, found, drawn = trained("latent_ode_spirals", [*options, "--latent", "2"], tmp_path, capsys)
    assert {"kl/z", "nll/x", "gru/nll/x"} <= set(rows[-1])
    assert found["elbo"] == pytest.approx(-found["kl/z"] - found["nll/x"], rel=1e-4)
    assert found["error/after/still"] == pytest.approx(2.575, rel=1e-3)
    assert min(found[f"error/{name}"] for name in ("between", "after", "after/chain")) > 0.2
    assert drawn >= {"paths", "terms", "loss"}

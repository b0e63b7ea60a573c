"""Runs side by side, from their files alone."""

from __future__ import annotations

import json

import pytest


@pytest.mark.thorough
def test_what_differs_and_what_was_measured(copied, tmp_path, vifx_command):
    copied("one")
    copied("two", "--latent", "3", "--seed", "5")
    for run in ("one", "two"):  # nothing of an experiment is looked at
        record = json.loads((tmp_path / run / "config.json").read_text())
        record["experiment"]["file"] = "/nowhere/tiny.py"
        (tmp_path / run / "config.json").write_text(json.dumps(record))
    result = vifx_command("compare", "one", "two", "--out", "picture.png")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert ["one", "two"] in lines
    assert ["--latent", "2", "3"] in lines
    assert ["--seed", "0", "5"] in lines
    assert ["updates", "8", "8"] in lines
    assert not [line for line in lines if line[:1] == ["--steps"]]
    (elbo,) = [line for line in result.out.splitlines() if line.startswith("elbo")]
    for run in ("one", "two"):
        value = json.loads((tmp_path / run / "results.json").read_text())["metrics"]["elbo"]["value"]
        assert f"{value:.5g} ± " in elbo
    assert "validation/loss of 2 runs: picture.png" in result.out
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_run_or_no_metric_is_refused(written, tmp_path, monkeypatch, vifx_command):
    monkeypatch.chdir(tmp_path)
    written("one")
    written("two")
    assert vifx_command("compare", "one").message == "vifx compare needs at least two runs, got 1"
    assert "'nowhere' is not a run directory" in vifx_command("compare", "one", "nowhere").message
    refused = vifx_command("compare", "one", "two", "--out", "x.png", "--metric", "validation/los")
    assert "did you mean 'validation/loss'" in refused.message.replace('"', "'")
    (tmp_path / "two" / "config.json").write_text("{")
    assert "'two' is damaged: " in vifx_command("compare", "one", "two").message

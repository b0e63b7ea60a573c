"""Precision, rematerialization and microbatches on the command line."""

from __future__ import annotations

import json

import jax
import pytest


@pytest.mark.thorough
def test_a_run_in_double_precision_is_recorded_resumed_and_leaves_no_trace(tiny, vifx_command, tmp_path):
    with jax.numpy_dtype_promotion("standard"):  # its splits are in single precision where they are measured
        check_double(vifx_command, tiny, tmp_path)


def check_double(vifx_command, tiny, tmp_path):
    result = vifx_command("train", tiny, "--run", "run", "--precision", "float64", "--steps", "4")
    assert (result.code, result.err) == (0, "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["precision"] == "float64"
    manifest = json.loads((tmp_path / "run" / "checkpoints" / "4" / "manifest" / "metadata").read_text())
    found = {leaf["dtype"] for leaf in manifest["leaves"] if leaf["path"].startswith(".params")}
    assert found == {"float64"}
    assert not jax.config.jax_enable_x64
    assert vifx_command("resume", "run", "--steps", "6").code == 0
    assert vifx_command("evaluate", "run").code == 0
    exported = vifx_command("export", "run", "--samples", "2")
    assert "z float64[n, 2]" in exported.out
    assert not jax.config.jax_enable_x64


@pytest.mark.thorough
def test_what_an_experiment_does_not_read_is_refused_before_anything_is_written(tiny, vifx_command, files, tmp_path):
    before = files(tmp_path)
    for options, message in (
        (["--precision", "bfloat16"], "--precision of bfloat16 would change nothing"),
        (["--remat"], "--remat of True would change nothing"),
        (["--microbatches", "3"], "a minibatch of 16 examples ('x') does not divide into 3 microbatches"),
        (["--microbatches", "0"], "--microbatches must be a positive integer"),
    ):
        assert message in vifx_command("train", tiny, *options).message
    assert files(tmp_path) == before


@pytest.mark.thorough
def test_microbatches_and_rematerialization_train(tiny, vifx_command):
    text = tiny.read_text()
    for name in ("encoder", "decoder"):
        text = text.replace(f'name="{name}"', f'name="{name}"').replace(
            f", {name}, name=", f", config.net({name}), name="
        )
    tiny.write_text(text)
    assert vifx_command("train", tiny, "--run", "run", "--steps", "2", "--microbatches", "4", "--remat").code == 0

"""`vifx compile`: what a step costs each device, printed, with nothing run and nothing written."""

from __future__ import annotations

import os
import subprocess

import jax
import pytest

from vifx import experiment, training
from vifx.cli.prepare import build
from vifx.experiment.building import run_key
from vifx.training.chunk import first_batch


@pytest.mark.thorough
def test_prints_the_cost_of_the_experiment(tiny, vifx_command, files, tmp_path):
    before = files(tmp_path)
    result = vifx_command("compile", tiny, "--topology", "cpu:8", "--latent", "3")
    assert (result.code, result.err) == (0, "")
    file = experiment.load(tiny)
    config = file.config(latent=3)
    built = build(file, config)
    batch = first_batch(run_key(config), built.source)
    state = training.start(run_key(config), built.step, built.objective, batch)
    found = training.cost(built.step, state, batch, training.make_mesh(jax.devices()[:8]))
    assert result.out == f"1 × 16 examples a step\n{found}\n"
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topology", "cpu:nine"], "--topology must be a kind of device"),
        (["--topology", "cpu:8", "--data.batch-size", "12"], "12 examples of 'x' do not divide over the 8 devices"),
        (["--topolgy", "cpu:8"], "did you mean '--topology'"),
    ],
)
@pytest.mark.first(1)
def test_what_is_wrong_is_one_line(options, message, tiny, vifx_command):
    result = vifx_command("compile", tiny, *options)
    assert result.code in (1, 2)
    assert message in result.message


@pytest.mark.thorough
def test_the_command_has_as_many_cpu_devices_as_it_is_asked_for(tiny, executable, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    call = [*executable, "compile", str(tiny), "--topology=cpu:4"]
    result = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    assert "one step on 4 × cpu" in result.stdout

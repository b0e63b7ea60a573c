"""`--data.streaming`: the run of the resident data, resumed to the bit, or refused in a sentence."""

from __future__ import annotations

import dataclasses
import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import pytest
from training.problems import equal

from vifx import data, experiment, training
from vifx.checks import ArgumentError
from vifx.cli import main
from vifx.evaluation.captions import caption

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(FOLDER.glob("*.py"))
EM = {"bernoulli_mixture_digits", "gmm", "gmm_digits", "gmm_fashion_mnist", "gmm_twonorm", "hmm_casino", "lds_tracking"}
NOT_STREAMED = {*EM, "ppca_digits", "ode_competition", "ode_lotka_volterra", "flow_posterior_target"}


@functools.cache
def built(folder, *, streaming):
    file = experiment.load(FOLDER / "vae_digits.py")
    evidence = data.Config(directory=str(folder), batch_size=100, streaming=streaming)
    return file.build(file.config(hidden=(8,), latent=2, data=evidence))


def fitted(folder, steps, *, streaming, directory=None):
    made = built(folder, streaming=streaming)
    options = {"steps": steps, "log_every": 5, "checkpoint_every": 20, "directory": directory}
    return training.fit(jax.random.key(0), made.step, made.objective, made.source, **options)


@pytest.mark.thorough
def test_a_streamed_run_is_the_resident_one_and_resumes_to_the_bit(folder, tmp_path):
    """50 updates are nearly four epochs of 1,293 digits; update 20, of which the checkpoint is, is within one."""
    streamed, resident = (fitted(folder, 50, streaming=streaming) for streaming in (True, False))
    assert isinstance(built(folder, streaming=True).source, data.Streaming)
    chex.assert_trees_all_close(streamed.train_state.params, resident.train_state.params, rtol=1e-4, atol=1e-5)
    for row, other in zip(streamed.history, resident.history, strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    fitted(folder, 25, streaming=True, directory=tmp_path)
    (tmp_path / "checkpoints" / "25").rename(tmp_path / "checkpoints" / "lost")  # as if killed before it was written
    resumed = fitted(folder, 50, streaming=True, directory=tmp_path)
    assert equal(resumed.train_state, streamed.train_state)
    assert resumed.history == streamed.history


@pytest.mark.thorough
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_streams_or_says_why_not(path):
    file = experiment.load(path)
    config = file.config()
    if path.stem == "vae_sprites":  # 20 GB
        with pytest.raises(ArgumentError, match=r"^streaming must be set for sprites"):
            file.build(dataclasses.replace(config, data=dataclasses.replace(config.data, streaming=False)))
        assert isinstance(file.build(config).source, data.Streaming)
        return
    evidence = dataclasses.replace(config.data, streaming=True).outlined()
    if path.stem in NOT_STREAMED:
        with pytest.raises(ArgumentError, match=r"^streaming must be left out here: \w.+[^.]$"):
            file.build(dataclasses.replace(config, data=evidence))
        return
    made = file.build(dataclasses.replace(config, data=evidence))
    assert isinstance(made.source, data.Streaming)
    figures = (*made.drawings, *made.curves)
    assert [name for name in figures if caption(name).text == f"{name.replace('_', ' ').capitalize()}."] == []
    resident = file.build(dataclasses.replace(config, data=dataclasses.replace(evidence, streaming=False)))
    assert (made.source.size, made.source.batch_size) == (resident.source.size, config.data.batch_size)
    first, other = (training.chunk.first_batch(jax.random.key(0), each.source) for each in (made, resident))
    chex.assert_trees_all_close(dict(first), dict(other), rtol=1e-6)


SMALL = ["--steps", "6", "--log-every", "2", "--evaluate-every", "2", "--data.batch-size", "10"]
MEASURED = {
    "realnvp_digits": ["--depth", "2"],  # which compares with a Gaussian of the training images
    "gan_digits": ["--quality-examples", "60"],  # which looks for its samples among them
    "classifier_digits": ["--examples", "40"],  # which learns from some of them
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", MEASURED)
def test_what_looks_at_training_images_finds_them_where_they_are_not_in_memory(name, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIFX_DATA", str(folder))
    found = []
    for streaming in ([], ["--data.streaming"]):
        run = tmp_path / f"run{len(found)}"
        assert main(["train", str(FOLDER / f"{name}.py"), *SMALL, *MEASURED[name], *streaming, "--run", str(run)]) == 0
        found.append(json.loads((run / "results.json").read_text())["metrics"])
    resident, streamed = ({name: m["value"] for name, m in metrics.items()} for metrics in found)
    assert streamed == pytest.approx(resident, rel=0.05, abs=0.05)
    assert streamed.keys() & {"bits_per_dim/gaussian", "memorization", "accuracy"}


@pytest.mark.thorough
def test_the_command_names_the_option(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIFX_DATA", str(folder))
    for name, said in [
        ("gmm_digits", "--data.streaming must be left out here: the 1,293 training examples of digits are read as"),
        ("hmm_casino", "--data.streaming must be left out here: an iteration of EM takes all examples at once"),
        ("flow_posterior_target", "--data.streaming must be left out here: there is no evidence, and nothing to"),
    ]:
        assert main(["train", str(FOLDER / f"{name}.py"), "--data.streaming", "--run", str(tmp_path / "run")]) == 2
        assert said in capsys.readouterr().err
    assert main(["train", str(FOLDER / "vae_digits.py"), "--data.workers", "2", "--run", str(tmp_path / "run")]) == 2
    assert "--data.workers must be 0 unless data is streamed (streaming), got 2" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from pathlib import Path
import jax
from vifx import data, experiment, training

file, folder, directory, workers = sys.argv[1:]

class Deadly(data.Streaming):
    def batches(self, first, **where):
        for number, batch in enumerate(super().batches(first, **where), first):
            if number == 33:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

if __name__ == "__main__":
    found = experiment.load(Path(file))
    evidence = data.Config(directory=folder, batch_size=100, streaming=True, workers=int(workers))
    made = found.build(found.config(hidden=(8,), latent=2, data=evidence))
    source = Deadly(made.splits.train, 100, 0, made.source.transform, workers=int(workers))
    options = {"steps": 50, "log_every": 5, "checkpoint_every": 20, "directory": directory}
    training.fit(jax.random.key(0), made.step, made.objective, source, **options)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_is_killed_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(workers, folder, tmp_path):
    """Killed as it reads minibatch 33, it goes on from update 20; an epoch is of 13 minibatches, nearly."""
    script, directory = tmp_path / "script.py", tmp_path / "run"
    script.write_text(KILLED)
    arguments = [sys.executable, script, FOLDER / "vae_digits.py", folder, directory, workers]
    killed = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["step"] for row in training.read_metrics(directory / "metrics.jsonl")] == [5, 10, 15, 20, 25, 30]
    resumed, whole = (fitted(folder, 50, streaming=True, directory=d) for d in (directory, None))
    assert equal(resumed.train_state, whole.train_state)
    assert resumed.history == whole.history

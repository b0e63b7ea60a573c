"""One measure of images for every kind of experiment, where its config asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from vifx import data, evaluation, training
from vifx.checks import ArgumentError
from vifx.evaluation import Features
from vifx.evaluation.batches import samples
from vifx.experiment import file as files
from vifx.experiment import sample_quality
from vifx.experiment.building import build, run_key
from vifx.experiment.config import identity, recording
from vifx.training.chunk import first_batch

FOLDER = Path(__file__).parents[2] / "experiments"
SMALL = {
    "vae_digits": {"bound_examples": 2},
    "nice_digits": {},
    "gmm_digits": {"components_tried": ()},
    "gan_digits": {},
}


def features(config):
    """The pixels themselves in place of the network."""
    del config
    return Features(lambda images: images.reshape(len(images), -1).astype(float), "0" * 12)


def built(name, **options):
    file = files.load(files.find(FOLDER / f"{name}.py"))
    config = file.config(**options)
    watched, read = recording(config)
    return build(file, watched, read=read), config


@pytest.mark.first(1)
@pytest.mark.parametrize("name", SMALL)
def test_each_kind_is_measured_on_its_own_samples(name, monkeypatch):
    monkeypatch.setattr(sample_quality, "features_of", features)
    experiment, config = built(name, quality_examples=30, **SMALL[name])
    batch = first_batch(run_key(config), experiment.source)
    state = training.start(run_key(config), experiment.step, experiment.objective, batch)
    key = jax.random.key(0)
    found = experiment.evaluate(key, state.params, state.state)
    images = np.floor(255 * experiment.sample(key, state.params, state.state, 30, 1.0) + 0.5).reshape(30, -1)
    real = data.load(config.data).test["x"][:30].reshape(30, -1)
    assert found["fmd"] == pytest.approx(evaluation.frechet_distance(images, real), rel=1e-4)
    assert found["coverage/train_images"] > found["coverage/uniform_noise"]
    assert {"kid", "density", "memorization"} <= set(found)
    none, _ = built(name, quality_examples=0, **SMALL[name])
    others = set() if none.evaluate is None else set(none.evaluate(key, state.params, state.state))
    assert {"kid", "coverage", "memorization"}.isdisjoint(others)
    assert others <= set(found)


def test_rows_are_measured_by_their_distances():
    experiment, config = built("realnvp_two_moons", quality_examples=40, depth=2, hidden=(4,))
    batch = first_batch(run_key(config), experiment.source)
    state = training.start(run_key(config), experiment.step, experiment.objective, batch)
    found = experiment.evaluate(jax.random.key(0), state.params, state.state)
    real = data.load(config.data).test["x"][:40]
    drawn = samples(jax.random.key(0), experiment.generative, state.params, state.state, 40)
    assert found["frechet"] == pytest.approx(evaluation.frechet_distance(drawn, real), rel=1e-4)
    assert {"nll/x", "coverage", "kid"} <= set(found)


def test_it_is_no_part_of_what_identifies_a_run_and_is_refused_where_there_is_nothing_to_compare():
    _, config = built("vae_digits")
    assert identity(config) == identity(replace(config, quality_examples=50))
    with pytest.raises(
        ArgumentError, match=r"quality_examples of 5 would change nothing.*makes neither images nor rows"
    ):
        built("hmm_casino", quality_examples=5)

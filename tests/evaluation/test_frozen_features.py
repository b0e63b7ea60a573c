"""The feature network: trained once, the same network for every experiment, and never damaged in silence."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest

from vifx import data, evaluation
from vifx.evaluation import feature_network, frozen_features


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


def shorten(patch):
    patch.setattr(frozen_features, "_LEAST_STEPS", 120)
    patch.setattr(frozen_features, "_EPOCHS", 1)


@pytest.fixture(scope="module")
def trained(directory):
    """The network of the digits after a short training."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        return feature_network(data.Config(directory=directory))


@pytest.fixture(autouse=True)
def never_again(monkeypatch):
    def refuse(*arguments):
        del arguments
        raise AssertionError("the network was trained again")

    shorten(monkeypatch)
    monkeypatch.setattr(frozen_features, "_train", refuse)


def file_of(directory, tmp_path):
    """A copy of the data directory, to be damaged, and the file of weights in it."""
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    (path,) = (copy / "features").iterdir()
    return str(copy), path


@pytest.mark.thorough
def test_features_are_below_a_classifier_that_has_learned(trained, directory):
    test = data.load(data.Config(directory=directory)).test
    codes = trained(test["x"])
    assert codes.shape == (360, 128)
    assert trained.accuracy > 0.9
    assert (codes >= 0).all()
    # The classes are apart in the features: each image's nearest neighbour is of its class.
    half = len(codes) // 2
    order = np.random.default_rng(0).permutation(len(codes))
    one, other = order[:half], order[half:]
    found = evaluation.nearest_neighbour_accuracy(codes[one], test["y"][one], codes[other], test["y"][other])
    assert found > 0.9


@pytest.mark.thorough
def test_fmd_orders_data_noise_and_a_collapse(trained, directory):
    splits = data.load(data.Config(directory=directory, validation=0))
    real = splits.test["x"]
    noise = np.random.default_rng(0).random(real.shape)
    floor, collapsed, bad = (
        evaluation.fmd(trained, samples, real).relative
        for samples in (splits.train["x"][:360], np.repeat(real[:1], 360, axis=0), noise)
    )
    assert floor < 0.05
    assert bad > 0.5
    assert collapsed > 1  # the data's whole spread is missing, and the mean is off


@pytest.mark.thorough
def test_the_file_gives_the_same_network(trained, directory, tmp_path):
    copy, _ = file_of(directory, tmp_path)
    again = feature_network(data.Config(directory=copy, validation=0.5, split_seed=7, batch_size=3))
    assert (again.weight_hash, again.accuracy) == (trained.weight_hash, trained.accuracy)
    images = data.load(data.Config(directory=directory)).test["x"][:20]
    np.testing.assert_array_equal(again(images), trained(images))


def test_another_seed_is_another_network(trained, directory):
    with pytest.raises(AssertionError, match="trained again"):
        feature_network(data.Config(directory=directory), seed=1)
    assert trained.weight_hash


def test_damage_is_refused_with_a_remedy(trained, directory, tmp_path):
    copy, path = file_of(directory, tmp_path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cannot read the feature network.*delete it to train it again"):
            feature_network(data.Config(directory=copy))
    with np.load(io.BytesIO(content)) as file:
        entries = {name: file[name] for name in file.files}
    name = next(name for name in entries if name.endswith("kernel"))
    entries[name] = entries[name] + np.float32(1e-6)
    np.savez(path, **entries)
    with pytest.raises(ValueError, match=f"checksum {trained.weight_hash}, found"):
        feature_network(data.Config(directory=copy))


def test_data_without_images_has_no_features():
    with pytest.raises(ValueError, match="ring: features need labelled 8-bit images"):
        feature_network(data.Config("ring"))


@pytest.mark.thorough
def test_the_classifier_of_the_features_names_images(trained, directory):
    test = data.load(data.Config(directory=directory)).test
    named = evaluation.image_classifier(data.Config(directory=directory))(test["x"])
    assert np.mean(named == test["y"]) == pytest.approx(trained.accuracy)


def test_weights_are_read_from_a_folder_that_cannot_be_written(trained, directory, tmp_path, monkeypatch):
    copy, _ = file_of(directory, tmp_path)
    assert feature_network(data.Config(directory=copy)).folder is not None
    monkeypatch.setattr("os.access", lambda path, mode: False)
    again = feature_network(data.Config(directory=copy))
    assert again.weight_hash == trained.weight_hash
    assert again.folder is None


def test_of_a_stream_the_beginning_is_taken(monkeypatch):
    monkeypatch.setattr(frozen_features, "_MOST_PIXELS", 30 * 64 * 64 + 1)
    taken = frozen_features._published(data.Config("sprites", streaming=True, validation=7))
    np.testing.assert_array_equal(taken.train["x"], data.Sprites(100, seed=0).__getitems__(range(30))["x"])

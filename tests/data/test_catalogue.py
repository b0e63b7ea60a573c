"""Prepared datasets: what is written, what is read back, and everything that can be wrong with it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vifx.data import Config, Streaming, available, load, open_splits, prepare
from vifx.data.recipes import digits, fashion_mnist


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Fail at once on any attempt to use the network, and never touch the user's cache."""

    def refuse(*arguments, **settings):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("VIFX_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture(scope="module")
def idx_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idx files é")
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, size in (("train", 50), ("t10k", 20)):
        x = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        y = rng.integers(0, 10, size).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", x)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", y)
        arrays[prefix] = x, y
    return folder, arrays


@pytest.fixture(scope="module")
def digits_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    prepare(Config(directory=str(directory)))
    return directory


@pytest.fixture
def copied(digits_directory, tmp_path):
    """A prepared digits folder of one's own, to be damaged."""
    subprocess.run(["cp", "-r", str(digits_directory / "digits"), str(tmp_path)], check=True)
    return tmp_path, tmp_path / "digits" / "1.0.0"


def test_digits_recipe_by_its_stated_rules():
    published = load_digits()
    recipe = digits()
    train, test = recipe.splits["train"], recipe.splits["test"]
    assert (len(train["y"]), len(test["y"])) == (1437, 360)
    exact = 255 * published["images"] / 16
    scale = {int(level): int(np.floor(255 * level / 16 + 0.5)) for level in range(17)}
    assert scale[0] == 0
    assert scale[16] == 255
    assert len(set(scale.values())) == 17
    by_class = sorted(range(1797), key=lambda i: (published["target"][i], i))
    chosen = set(by_class[::5])
    rest = [i for i in range(1797) if i not in chosen]
    for split, rows in ((test, sorted(chosen)), (train, rest)):
        np.testing.assert_array_equal(split["y"], published["target"][rows])
        expected = np.vectorize(scale.get)(published["images"][rows].astype(int))
        np.testing.assert_array_equal(split["x"][..., 0], expected)
        assert np.abs(split["x"][..., 0] - exact[rows]).max() <= 0.5
    counts, held = np.bincount(published["target"]), np.bincount(test["y"])
    assert (np.abs(held - counts / 5) < 1).all()


def test_load_digits_reads_back_the_recipe(digits_directory):
    dataset = load(Config(directory=str(digits_directory), validation=0))
    for split, expected in digits().splits.items():
        for variable in ("x", "y"):
            found = getattr(dataset, split)[variable]
            assert found.dtype == expected[variable].dtype
            np.testing.assert_array_equal(found, expected[variable])
    assert dataset.info.shape == (8, 8, 1)
    assert (dataset.info.classes, dataset.info.low, dataset.info.high) == (10, 0.0, 255.0)
    assert dataset.info.label_names == tuple("0123456789")
    assert dataset.validation["x"].shape == (0, 8, 8, 1)


def test_load_holds_out_validation(digits_directory):
    whole = load(Config(directory=str(digits_directory), validation=0)).train
    one, other = (load(Config(directory=str(digits_directory), split_seed=seed)) for seed in (0, 1))
    assert len(one.validation["y"]) == 144  # a tenth of 1437
    together = np.concatenate([one.train["x"], one.validation["x"]]).reshape(1437, 64)
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(whole["x"].reshape(1437, 64), axis=0))
    assert not np.array_equal(one.validation["x"], other.validation["x"])
    np.testing.assert_array_equal(one.test["x"], other.test["x"])


def test_first_use_prepares_into_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(load(Config()).test["y"]) == 360
    assert os.listdir(tmp_path / "cache" / "vifx" / "data") == ["digits"]


def test_fashion_mnist_reads_back_the_idx_files(idx_files, tmp_path):
    folder, arrays = idx_files
    config = Config("fashion_mnist", directory=str(tmp_path), source=str(folder), validation=5)
    for _ in range(2):  # prepared, then read again without the source
        dataset = load(config)
        assert (len(dataset.train["y"]), len(dataset.validation["y"])) == (45, 5)
        np.testing.assert_array_equal(dataset.test["x"][..., 0], arrays["t10k"][0])
        np.testing.assert_array_equal(dataset.test["y"], arrays["t10k"][1])
        assert dataset.info.label_names[9] == "Ankle boot"
        config = Config("fashion_mnist", directory=str(tmp_path), validation=5)


def test_prepared_splits_stream(digits_directory):
    splits, info = open_splits(Config(directory=str(digits_directory)))
    train = digits().splits["train"]
    assert info.name == "digits"
    assert len(splits["train"]) == 1437
    first = next(Streaming(splits["train"], 64, 0).batches(5))
    rows = [int(np.flatnonzero((train["x"] == x).all(axis=(1, 2, 3)))[0]) for x in first["x"]]
    np.testing.assert_array_equal(train["y"][rows], first["y"])
    np.testing.assert_array_equal(splits["train"][7]["x"], train["x"][7])


def test_a_dataset_of_tfds_by_name(tmp_path):
    """As TFDS itself writes one: PNG images, two classes of split names, no vifx involved."""
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 6, 5, 4, 3)).astype(np.uint8)

    class Photos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("2.10.0")

        def _info(self):
            features = {"image": tfds.features.Tensor(shape=(5, 4, 3), dtype=np.uint8), "tags": np.int64}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(i) for i, name in enumerate(("train", "validation", "test"))}

        def _generate_examples(self, split):
            for i in range(6):
                yield i, {"image": x[split, i], "tags": 7}

    Photos(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    (tmp_path / "photos" / "2.9.0").mkdir()
    (tmp_path / "photos" / "2.9.0" / "dataset_info.json").write_text("an older version")
    dataset = load(Config("photos", directory=str(tmp_path)))
    assert dataset.info.classes is None
    assert dataset.info.shape == (5, 4, 3)
    for i, split in enumerate((dataset.train, dataset.validation, dataset.test)):
        assert set(split) == {"x"}
        np.testing.assert_array_equal(np.sort(split["x"].reshape(6, -1), axis=0), np.sort(x[i].reshape(6, -1), axis=0))
    assert available(str(tmp_path))["photos"] == f"prepared in {tmp_path}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "name must be a known dataset, got 'digit'; did you mean 'digits'"),
        ("fashion-mnist", "did you mean 'fashion_mnist'"),
        ("mnits", "did you mean 'mnist'"),
        ("cifar1O", "did you mean 'cifar10'"),
        ("qqqqqqqq", "known without network: casino, checkerboard, circles, digits, fashion_mnist"),
        ("mnist", r"mnist/<version>/dataset_info.json, found none; run `vifx data prepare mnist --allow-download`"),
        ("celeb_a", "name must be a dataset that is prepared, got 'celeb_a'"),
        (
            "fashion_mnist",
            "source must be the folder of the four IDX files that fashion_mnist is prepared from, got None",
        ),
    ],
)
def test_unknown_or_unprepared_names_answer_at_once(tmp_path, name, message):
    start = time.monotonic()
    with pytest.raises(ValueError, match=message):
        load(Config(name, directory=str(tmp_path)))
    assert time.monotonic() - start < 2
    assert os.listdir(tmp_path) == []


def test_only_allow_download_reaches_for_the_network(tmp_path):
    with pytest.raises(AssertionError, match="the network was used"):
        prepare(Config("mnist", directory=str(tmp_path), allow_download=True))
    assert not any("dataset_info.json" in files for _, _, files in os.walk(tmp_path))


def test_missing_directories(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ValueError, match=r"directory must be the folder of prepared data.*nowhere; make it"):
        load(Config(directory=str(nowhere)))
    with pytest.raises(ValueError, match=r"source must be the folder of the four IDX files .*nowhere"):
        prepare(Config("fashion_mnist", directory=str(nowhere), source=str(nowhere)))
    monkeypatch.setenv("VIFX_DATA", str(nowhere))
    with pytest.raises(ValueError, match=r"directory must be the folder .*nowhere"):
        load(Config())
    assert not nowhere.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"directory must be a folder that can be written: .* cannot take digits .*; choose another"
    ):
        prepare(Config(directory=str(tmp_path / "file")))
    with pytest.raises(ValueError, match="source must be left out for digits"):
        prepare(Config(directory=str(tmp_path), source=str(tmp_path)))


def test_raw_files_that_are_wrong_prepare_nothing(idx_files, tmp_path):
    folder, _ = idx_files
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(folder), str(broken)], check=True)
    (tmp_path / "data").mkdir()
    config = Config("fashion_mnist", directory=str(tmp_path / "data"), source=str(broken))
    path = broken / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: expected a complete gzip stream"):
        load(config)
    write_idx(path, np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz: expected images of 28×28 pixels, found 8×8"):
        fashion_mnist(str(broken))
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.thorough
def test_interrupted_preparation_leaves_nothing_that_reads_as_complete(tmp_path):
    """Killed while writing, half way through the examples; the next use then succeeds."""
    program = f"""
import os, signal
from pathlib import Path
from vifx.data import builders
from vifx.data.recipes import digits
original = builders.ArraysBuilder._generate_examples
def killed(self, split):
    for i, example in enumerate(original(self, split)):
        if split == "test" and i == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        yield example
builders.ArraysBuilder._generate_examples = killed
builders.write(digits(), Path({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".preparing-")] == []
    assert available(str(tmp_path))["digits"] == "prepared on first use"
    assert len(load(Config(directory=str(tmp_path))).test["y"]) == 360


def test_an_error_while_preparing_cleans_up(tmp_path, monkeypatch):
    from vifx.data import builders

    def failing(self, split):
        yield 0, {"image": np.zeros((8, 8, 1), np.uint8), "label": 3}
        raise RuntimeError("interrupted")

    monkeypatch.setattr(builders.ArraysBuilder, "_generate_examples", failing)
    with pytest.raises(RuntimeError, match="interrupted"):
        prepare(Config(directory=str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_the_first_of_two_preparations_wins(tmp_path):
    from vifx.data import builders

    first = builders.write(digits(), tmp_path)
    kept = (first / "dataset_info.json").stat().st_mtime_ns
    assert builders.write(digits(), tmp_path) == first
    assert (first / "dataset_info.json").stat().st_mtime_ns == kept
    assert os.listdir(tmp_path) == ["digits"]


SHARD = "digits-train.array_record-00000-of-00001"


def without(name):
    return lambda folder: (folder / name).unlink()


def halved(folder):
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[: len(content) // 2])


def flipped(folder):
    content = bytearray((folder / SHARD).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / SHARD).write_bytes(content)


def miscounted(folder):
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["1500"]
    (folder / "dataset_info.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (without("dataset_info.json"), "found no dataset_info.json"),
        (without("features.json"), "found a description that cannot be read"),
        (without(SHARD), f"found no {SHARD}"),
        (lambda folder: (folder / SHARD).write_bytes(b""), f"found no {SHARD}"),
        (halved, "found a split train that cannot be opened|found records that cannot be read"),
        (flipped, "found records that cannot be read"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "description that cannot be read"),
        (miscounted, "found records that cannot be read"),
    ],
)
def test_damaged_prepared_data(copied, damage, found):
    directory, folder = copied
    damage(folder)
    with pytest.raises(ValueError, match=rf"digits/1\.0\.0: expected a .*({found}).*delete it and prepare it again"):
        load(Config(directory=str(directory)))


def test_prepared_data_that_cannot_be_used(copied):
    directory, folder = copied
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="expected array_record files, which allow random access, found tfrecord"):
        load(Config(directory=str(directory)))
    only_test = {**info, "splits": info["splits"][1:]}
    (folder / "dataset_info.json").write_text(json.dumps(only_test))
    with pytest.raises(ValueError, match=r"digits: expected a split train, found \['test'\]"):
        load(Config(directory=str(directory)))


RNG = np.random.default_rng(5)
SMALL = {
    "photo": RNG.integers(0, 256, (20, 5, 4, 3)).astype(np.uint8),
    "mask": RNG.integers(0, 256, (20, 5, 4, 1)).astype(np.uint8),
    "kind": np.arange(20) % 3,
    "vector": RNG.normal(size=(20, 6)).astype(np.float32),
    "size": RNG.integers(0, 100, 20),
}


def features_of(tfds, *names):
    kinds = {
        "photo": tfds.features.Tensor(shape=(5, 4, 3), dtype=np.uint8),
        "mask": tfds.features.Tensor(shape=(5, 4, 1), dtype=np.uint8),
        "kind": tfds.features.ClassLabel(names=["a", "b", "c"]),
        "vector": tfds.features.Tensor(shape=(6,), dtype=np.float32),
        "size": np.int64,
        "title": tfds.features.Text(),
    }
    return {name: kinds[name.removesuffix("_2")] for name in names}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """``small("photo", "kind", …) -> folder``: a dataset with one split, no supervised keys, and these features."""
    import tensorflow_datasets as tfds

    def write(*names, splits=("train",)):
        folder = tmp_path_factory.mktemp("small")

        class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = tfds.features.FeaturesDict(features_of(tfds, *names))
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples() for split in splits}

            def _generate_examples(self):
                for i in range(20):
                    yield i, {name: "t" if name == "title" else SMALL[name.removesuffix("_2")][i] for name in names}

        Small(data_dir=folder, file_format="array_record").download_and_prepare()
        return str(folder)

    return write


def test_features_are_found_by_their_types_and_what_is_left_out_is_said(small):
    dataset = load(Config("small", directory=small("photo", "kind", "size", "title"), test=4, validation=0))
    assert dataset.info.classes == 3
    assert dataset.info.label_names == ("a", "b", "c")
    assert dataset.info.notes[0] == "reads x=photo, y=kind and leaves out size, title (choose with features)"
    assert set(dataset.train) == {"x", "y"}
    both = [np.concatenate([dataset.train[name], dataset.test[name]]) for name in ("x", "y")]
    rows = [int(np.flatnonzero((SMALL["photo"] == x).all(axis=(1, 2, 3)))[0]) for x in both[0]]
    assert sorted(rows) == list(range(20))
    np.testing.assert_array_equal(both[1], SMALL["kind"][rows])


def test_a_set_with_only_train_is_split_by_the_stated_part(small):
    folder = small("photo", "kind")
    one = load(Config("small", directory=folder, test=0.25, validation=3))
    again, other = (load(Config("small", directory=folder, test=0.25, validation=3, split_seed=s)) for s in (0, 1))
    assert [len(split["y"]) for split in (one.train, one.validation, one.test)] == [12, 3, 5]
    np.testing.assert_array_equal(one.test["x"], again.test["x"])
    assert not np.array_equal(one.test["x"], other.test["x"])
    assert one.info.notes == ("no test split: 5 of the 20 training examples are it (test, split_seed)",)
    parts = np.concatenate([split["x"].reshape(-1, 60) for split in (one.train, one.validation, one.test)])
    np.testing.assert_array_equal(np.sort(parts, axis=0), np.sort(SMALL["photo"].reshape(20, 60), axis=0))
    with pytest.raises(ValueError, match="test must leave examples to train on, got 20 of 20"):
        load(Config("small", directory=folder, test=20))


def test_features_of_any_name_can_be_chosen(small):
    folder = small("photo", "mask", "vector", "kind", "size", "title", splits=("train", "test"))
    with pytest.raises(ValueError, match=r"one feature that is an image, found several, mask, photo; choose with"):
        load(Config("small", directory=folder))
    chosen = Config("small", directory=folder, features="x=vector, y=size,mask=mask", validation=0)
    dataset = load(chosen)
    np.testing.assert_array_equal(dataset.train["x"], SMALL["vector"])
    np.testing.assert_array_equal(dataset.train["y"], SMALL["size"])
    np.testing.assert_array_equal(dataset.test["mask"], SMALL["mask"])
    assert dataset.info.shape == (6,)
    assert dataset.info.classes is None
    assert dataset.info.notes == (
        "reads x=vector, y=size, mask=mask and leaves out kind, photo, title (choose with features)",
    )
    regression = load(Config("small", directory=folder, features="x=photo,y=vector", validation=0))
    np.testing.assert_array_equal(regression.train["y"], SMALL["vector"])
    splits, _ = open_splits(chosen)
    np.testing.assert_array_equal(splits["train"][3]["x"], SMALL["vector"][3])
    for features, message in (
        ("x=phto", r"expected the feature 'phto' for x, found .*did you mean 'photo'"),
        ("x=photo,y=title", r"expected numbers of one shape in the feature 'title' for y"),
    ):
        with pytest.raises(ValueError, match=message):
            load(Config("small", directory=folder, features=features))


def test_the_usual_names_decide_among_several_labels(small):
    folder = small("photo", "kind", "kind_2")
    assert set(load(Config("small", directory=folder)).train) == {"x"}
    assert load(Config("small", directory=folder, features="x=photo,y=kind_2")).info.classes == 3
    with pytest.raises(ValueError, match="features must be left out for ring, which is generated; got 'x=a'"):
        load(Config("ring", features="x=a"))

"""Data that a config says is streamed: what is opened and not read, and the minibatches that come of it."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from vifx.data import Config, Resident, Streaming, batches, hold_out, load, prepare, source
from vifx.data.opened import Opened, part
from vifx.data.prepared import PreparedSplit
from vifx.data.rows import length, read, read_all

X = np.random.default_rng(0).integers(0, 256, (37, 2, 3), dtype=np.uint8)
Y = np.arange(37) % 5


class Examples:
    """Random access, example by example, or several at a time as a list or stacked."""

    def __init__(self, how="one"):
        if how == "list":
            self.__getitems__ = lambda indices: [self[i] for i in indices]
        if how == "stacked":
            self.__getitems__ = lambda indices: {"x": X[indices], "y": Y[indices]}

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"x": X[index], "y": Y[index]}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("how", ["one", "list", "stacked"])
def test_an_opened_split_is_read_as_its_arrays_are(how):
    opened, arrays = Opened(Examples(how), "scans"), {"x": X, "y": Y}
    assert repr(opened) == "Opened(scans: 37 examples of x, y)"
    assert list(opened) == ["x", "y"]
    assert length(opened) == 37
    assert ("x" in opened, "z" in opened, len(opened)) == (True, False, 2)
    rows = np.array([30, 2, 2, 17])
    same(read(opened, rows), read(arrays, rows))
    same(read_all(opened, rows=10), {"x": X, "y": Y.astype(np.int32)})
    again = np.array([24, 0, 0, 15])
    chosen = part(part(opened, np.arange(5, 30)), again)
    assert length(chosen) == 4
    same(read_all(chosen), part(part(arrays, np.arange(5, 30)), again))
    for batch, expected in zip(batches(opened, 8), batches(arrays, 8), strict=True):
        same(batch, expected)
    for held in (0.3, 0, 1):
        kept, out = hold_out(opened, held, 4)
        kept_arrays, out_arrays = hold_out(arrays, held, 4)
        assert isinstance(kept, Opened)
        same(read_all(kept), kept_arrays)
        same(out, out_arrays)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_streamed_source_has_the_minibatches_of_the_resident_one(seed):
    def blacken(key, batch):
        return {**batch, "x": batch["x"] * 0}

    config, resident = Config(batch_size=8, streaming=True), Config(batch_size=8)
    streamed = source(Opened(Examples("list"), "scans"), config, seed=seed, transform=blacken)
    resident = source({"x": X, "y": Y}, resident, seed=seed, transform=blacken)
    assert (type(streamed), type(resident)) == (Streaming, Resident)
    assert streamed.transform is resident.transform is blacken
    window = resident.window(3, 7)
    for i, batch in enumerate(itertools.islice(streamed.batches(3), 7)):
        rows = window.order[window.offset + 8 * i :][:8]
        same(batch, {"x": X[rows], "y": Y[rows]})
    stream = source({"x": X}, config, seed=seed).batches(0)
    np.testing.assert_array_equal(next(stream)["x"], X[resident.window(0, 1).order[:8]])


def test_what_wants_all_examples_in_memory_is_refused():
    opened = Opened(Examples(), "scans")
    with pytest.raises(ValueError, match="streaming must be left out here: the 37 training examples of scans are read"):
        opened["x"]
    with pytest.raises(ValueError, match="all of their 'x' were asked for at once"):
        Resident(opened, 4, 0)
    assert opened.get("z", "none") == "none"
    with pytest.raises(ValueError, match="streaming must be left out here: an iteration takes all"):
        Config(streaming=True).require_resident("an iteration takes all of it")
    Config().require_resident("an iteration takes all of it")
    with pytest.raises(ValueError, match="workers must be 0 for arrays, which threads read as fast, got 2"):
        source({"x": X}, Config(batch_size=4, streaming=True, workers=2), seed=0)

    class Short(Examples):
        def __getitems__(self, indices):
            return {"x": X[:1], "y": Y[indices]}

    message = r"__getitems__ must return 2 examples where it is asked for as many, got \{'x': 1, 'y': 2\}"
    with pytest.raises(ValueError, match=message):
        read(Short(), [0, 1])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare(Config(directory=str(folder)))
    return str(folder)


@pytest.mark.parametrize("validation", [100, 0])
def test_prepared_data_is_opened_and_its_training_split_never_read_whole(digits, validation, monkeypatch):
    asked, given = [], PreparedSplit.__getitems__
    monkeypatch.setattr(PreparedSplit, "__getitems__", lambda self, rows: asked.append(len(rows)) or given(self, rows))
    whole = load(Config(directory=digits, validation=validation))
    assert sum(asked) == 360 + 1437
    asked.clear()
    streamed = load(Config(directory=digits, validation=validation, streaming=True))
    assert sum(asked) == 360 + max(validation, 1) + 1  # what is tested and held out, and the first example
    assert repr(streamed) == repr(whole)
    for split in ("validation", "test"):
        same(getattr(streamed, split), getattr(whole, split))
    same(read_all(streamed.train), whole.train)
    asked.clear()
    stream = source(streamed.train, Config(batch_size=50, streaming=True), seed=1).batches(26)
    resident = source(whole.train, Config(batch_size=50), seed=1)
    window = resident.window(26, 3)
    for i in range(3):
        same(next(stream), resident.take(jax.random.key(0), resident.arrays, window, i))
    assert max(asked) == 50
    stream.close()


@pytest.mark.thorough
def test_processes_read_prepared_data(digits):
    config = Config(directory=digits, batch_size=50, streaming=True)
    alone, helped = (source(load(config).train, c, seed=1) for c in (config, Config(**{**vars(config), "workers": 2})))
    for one, other in itertools.islice(zip(alone.batches(20), helped.batches(20), strict=False), 10):
        same(one, other)

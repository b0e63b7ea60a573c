"""The streaming source against the resident one, and its threads."""

from __future__ import annotations

import gc
import itertools
import threading
import time

import jax
import numpy as np
import pytest

from vifx.data import Resident, Streaming, batches, epoch_order
from vifx.data.rows import read


class Items:
    """A random-access sequence that counts its reads, waits a little, and may fail."""

    def __init__(self, size, broken=None):
        self.size, self.broken, self.read = size, broken, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        time.sleep(0.0005 * (index % 3))  # so that threads finish out of order
        if index == self.broken:
            raise OSError(f"disk error at example {index}")
        return {"x": np.full((2,), index, np.int32), "y": np.int32(index)}


class Batched(Items):
    """The same, read several at a time."""

    def __getitem__(self, index):
        raise AssertionError("several examples should be read at once")

    def __getitems__(self, indices):
        assert all(type(index) is int for index in indices)
        return [Items.__getitem__(self, index) for index in indices]


def arrays(size):
    """The same examples as arrays."""
    return {"x": np.repeat(np.arange(size)[:, None], 2, axis=1), "y": np.arange(size)}


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("vifx-data")]


@pytest.mark.parametrize("make", [Items, Batched, arrays])
@pytest.mark.parametrize(("size", "batch_size", "first"), [(10, 3, 0), (10, 3, 7), (6, 6, 2), (8, 4, 1)])
def test_same_minibatches_as_resident(make, size, batch_size, first):
    resident = Resident({"y": np.arange(size)}, batch_size, 5)
    window = resident.window(first, 12)
    expected = [resident.take(jax.random.key(0), resident.arrays, window, i)["y"] for i in range(12)]
    source = Streaming(make(size), batch_size, 5, threads=3, prefetch=4)
    for batch, y in zip(itertools.islice(source.batches(first), 12), expected, strict=True):
        np.testing.assert_array_equal(batch["y"], y)
        np.testing.assert_array_equal(batch["x"], np.repeat(np.asarray(y)[:, None], 2, axis=1))


def resident_rows(size, batch_size, first, count):
    """The examples of minibatches of `Resident`, with seed 1."""
    source = Resident({"y": np.arange(size)}, batch_size, 1)
    window = source.window(first, count)
    start = int(window.offset)
    return np.asarray(window.order)[start : start + count * batch_size].reshape(count, batch_size)


@pytest.mark.parametrize(
    ("size", "batch_size", "first"),
    [
        (40, 16, 0),
        (40, 16, 1),  # begins in the middle of an epoch, and the next minibatch is of two epochs
        (41, 8, 997),
        (17, 16, 5),  # nearly every minibatch is of two epochs
        (16, 16, 3),
    ],
)
def test_the_shares_of_all_hosts_are_the_minibatches_of_resident(size, batch_size, first):
    source, expected = Streaming(arrays(size), batch_size, 1), resident_rows(size, batch_size, first, 6)
    for hosts in (1, 2, 4, 8):
        shares = [itertools.islice(source.batches(first, host=h, hosts=hosts), 6) for h in range(hosts)]
        rows = np.stack([[share["y"] for share in host] for host in shares], axis=1)
        assert rows.shape == (6, hosts, batch_size // hosts)
        np.testing.assert_array_equal(rows.reshape(6, batch_size), expected)


def test_a_run_goes_on_at_any_minibatch_on_another_number_of_hosts():
    expected, found = resident_rows(29, 8, 0, 12), []
    for first, last, hosts in [(0, 2, 4), (2, 5, 1), (5, 6, 8), (6, 12, 2)]:
        source = Streaming(arrays(29), 8, 1)  # which has seen nothing
        shares = [itertools.islice(source.batches(first, host=h, hosts=hosts), last - first) for h in range(hosts)]
        found += [np.concatenate([share["y"] for share in minibatch]) for minibatch in zip(*shares, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_a_minibatch_that_does_not_divide_over_the_hosts():
    message = r"batch_size must be a multiple of the 4 hosts, got 6 \(remainder 2\); choose 4 or 8"
    with pytest.raises(ValueError, match=message):
        Streaming(Items(10), 6, 0).batches(0, hosts=4)
    with pytest.raises(ValueError, match=r"batch_size must be a multiple of the 4 hosts, got 3 .*; choose 4$"):
        Streaming(Items(10), 3, 0).batches(0, hosts=4)
    with pytest.raises(ValueError, match="host must be an integer from 0 to 1, got 2"):
        Streaming(Items(10), 4, 0).batches(0, host=2, hosts=2)
    with pytest.raises(ValueError, match="hosts must be an integer ≥ 1, got 0"):
        Streaming(Items(10), 4, 0).batches(0, hosts=0)


def test_reads_ahead_as_far_as_told():
    items = Items(100)
    iterator = Streaming(items, 2, 0, threads=2, prefetch=5).batches(0)
    next(iterator)
    assert len(items.read) == 2  # who wants one minibatch has one read
    assert not workers()
    next(iterator)
    deadline = time.monotonic() + 10
    while len(items.read) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(items.read) == 12  # five minibatches of two, and no more
    iterator.close()


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["close", "drop", "unstarted"])
def test_closing_ends_the_threads(how):
    iterator = Streaming(Items(50), 5, 0).batches(0)
    if how != "unstarted":
        next(iterator), next(iterator)
        assert workers()
    if how == "close":
        iterator.close()
    del iterator
    gc.collect()
    assert not workers()


def test_closing_gives_up_what_was_still_to_be_read():
    items = Items(200)
    iterator = Streaming(items, 20, 0, threads=1, prefetch=100).batches(0)
    next(iterator), next(iterator)
    iterator.close()
    assert len(items.read) < 1000  # of 2020
    assert not workers()


@pytest.mark.parametrize("make", [Items, Batched])
def test_an_exception_while_reading_surfaces(make):
    source = Streaming(make(12, broken=4), 3, 0)
    with pytest.raises(OSError, match="disk error at example 4") as caught:
        list(itertools.islice(source.batches(0), 4))
    minibatch = int(np.argmax(np.asarray(epoch_order(0, 0, size=12)) == 4)) // 3
    assert caught.value.__notes__ == [f"while reading minibatch {minibatch}"]
    assert not workers()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 11}, "batch_size must not exceed the 10 examples"),
        ({"batch_size": 4, "threads": 0}, "must be an integer ≥ 1, got 0"),
        ({"batch_size": 4, "seed": -3}, "seed must be an integer from 0 to"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Streaming(Items(10), **{"seed": 0, **settings})


def test_bad_sources():
    with pytest.raises(ValueError, match="no examples"):
        Streaming(Items(0), 1, 0)
    with pytest.raises(ValueError, match="one row per example"):
        Streaming({"x": np.zeros(3), "y": np.zeros(2)}, 1, 0)
    with pytest.raises(ValueError, match="first must be an integer ≥ 0"):
        Streaming(Items(10), 1, 0).batches(-1)
    with pytest.raises(ValueError, match=r"'x' must have one shape in all examples, got \[\(1,\), \(2,\)\]"):
        read([{"x": np.zeros(1)}, {"x": np.zeros(2)}], [0, 1])
    with pytest.raises(ValueError, match="one lacks 'y'"):
        read([{"x": 1, "y": 2}, {"x": 1}], [0, 1])


@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
@pytest.mark.parametrize("source", [Items(10), {"y": np.arange(10)}])
def test_evaluation_batches_are_in_order_with_the_remainder(source, size):
    found = [batch["y"] for batch in batches(source, size)]
    assert all(len(batch) == size for batch in found[:-1])
    np.testing.assert_array_equal(np.concatenate(found), np.arange(10))


def test_evaluation_batches_of_nothing():
    with pytest.raises(ValueError, match="size must be an integer ≥ 1"):
        batches({"x": np.zeros(3)}, 0)
    with pytest.raises(ValueError, match="no examples"):
        batches({"x": np.zeros((0, 3))}, 2)

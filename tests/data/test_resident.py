"""The device-resident source: its order, checked against the definition position by position."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vifx.data import Resident, binarize, epoch_order


def source_of(size, batch_size, seed=3, transform=None):
    return Resident({"x": np.arange(size, dtype=np.int32)}, batch_size, seed, transform)


@partial(jax.jit, static_argnums=(0, 4))
def scanned(source, key, arrays, window, batches):
    """All minibatches of a window, gathered inside a scan as in training."""
    take = lambda carry, i: (carry, source.take(key, arrays, window, i)["x"])  # noqa: E731
    return jax.lax.scan(take, 0, jnp.arange(batches))[1]


def stream(source, first, batches):
    window = source.window(first, batches)
    return np.asarray(scanned(source, jax.random.key(0), source.arrays, window, batches))


@pytest.mark.first(5)
@pytest.mark.parametrize(
    ("size", "batch_size"), [(1, 1), (7, 1), (7, 2), (7, 3), (7, 7), (8, 4), (9, 5), (12, 8), (50, 49)]
)
def test_every_epoch_has_each_example_once(size, batch_size):
    epochs = 2 * batch_size  # whole epochs end with a whole minibatch
    found = stream(source_of(size, batch_size), 0, epochs * size // batch_size).reshape(epochs, size)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(size), (epochs, 1)))


@pytest.mark.first(2)
@pytest.mark.parametrize(("size", "batch_size"), [(7, 3), (8, 4), (9, 5), (64, 16)])
@pytest.mark.parametrize("chunk", [1, 2, 5, 30])
def test_windows_tile_the_concatenated_permutations(size, batch_size, chunk):
    source = source_of(size, batch_size)
    epochs = 60 * batch_size // size + 2
    whole = np.concatenate([np.asarray(epoch_order(3, epoch, size=size)) for epoch in range(epochs)])
    expected = whole[: 60 * batch_size].reshape(60, batch_size)
    found = np.concatenate([stream(source, first, chunk) for first in range(0, 60, chunk)])
    np.testing.assert_array_equal(found, expected)
    # resuming anywhere, in any chunks, with a source that has seen nothing
    for first in (1, 4, 23):
        np.testing.assert_array_equal(stream(source_of(size, batch_size), first, 2), expected[first : first + 2])


def test_order_depends_on_seed_and_epoch_only():
    orders = {
        (seed, epoch): tuple(np.asarray(epoch_order(seed, epoch, size=64))) for seed in range(3) for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(np.asarray(epoch_order(1, 2 + 2**32, size=64)))


def test_order_is_uniform():
    """Chi-square over the 24 permutations of 4 examples in 6000 epochs; 2e-5 quantile of 23 degrees: 64.3."""
    orders = np.stack([np.asarray(epoch_order(11, epoch, size=4)) for epoch in range(6000)])
    _, counts = np.unique(orders @ np.array([1, 4, 16, 64]), return_counts=True)
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 64.3


def test_order_with_x64_and_another_default_generator_is_the_same(x64):
    wide = np.asarray(epoch_order(5, 6, size=100))
    with jax.enable_x64(False), jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(wide, np.asarray(epoch_order(5, 6, size=100)))
    assert wide.dtype == np.int32


def test_order_does_not_coincide_with_the_noise_of_the_same_seed():
    plain = jax.random.permutation(jax.random.fold_in(jax.random.key(0), 1), 50)
    assert not np.array_equal(plain, epoch_order(0, 1, size=50))


def test_far_into_a_run_no_offset_overflows():
    source, size, batch_size, first = source_of(1000, 999), 1000, 999, 3_000_000_123
    epoch, offset = divmod(first * batch_size, size)
    whole = np.concatenate([np.asarray(epoch_order(3, epoch + e, size=size)) for e in range(3)])
    np.testing.assert_array_equal(stream(source, first, 1)[0], whole[offset : offset + batch_size])


def test_one_trace_and_one_permutation_an_epoch(monkeypatch):
    source = source_of(10, 4)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def first_of(arrays, window):
        return source.take(jax.random.key(0), arrays, window, 0)["x"]

    drawn = []
    original = source._permutation
    monkeypatch.setattr(source, "_permutation", lambda epoch: drawn.append(epoch) or original(epoch))
    for first in range(0, 40, 4):
        first_of(source.arrays, source.window(first, 4))
    assert drawn == sorted(set(drawn))


def test_eight_devices_give_the_batches_of_one():
    source = Resident({"x": np.arange(40 * 6, dtype=np.uint8).reshape(40, 6)}, 16, 1, binarize())
    window, key = source.window(5, 3), jax.random.key(2)
    one = jax.jit(source.take)(key, source.arrays, window, 1)["x"]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    everywhere, by_example = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data")))
    arguments = jax.device_put((key, source.arrays, window), everywhere)
    eight = jax.jit(source.take, out_shardings=by_example)(*arguments, 1)["x"]
    assert len(eight.sharding.device_set) == 8
    np.testing.assert_array_equal(one, eight)


def test_transform_has_the_key_and_the_gathered_examples():
    source = source_of(9, 4, transform=lambda key, batch: {"x": batch["x"] + jax.random.randint(key, (4,), 0, 1000)})
    key = jax.random.key(8)
    plain = source_of(9, 4).take(key, source.arrays, source.window(2, 1), 0)["x"]
    noise = jax.random.randint(jax.random.clone(key), (4,), 0, 1000)
    found = source.take(jax.random.clone(key), source.arrays, source.window(2, 1), 0)["x"]
    np.testing.assert_array_equal(found, plain + noise)


def test_rows_of_all_variables_stay_together():
    x = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    source = Resident({"x": x, "y": np.arange(11, dtype=np.int32)}, 4, 0)
    batch = source.take(jax.random.key(0), source.arrays, source.window(7, 2), 1)
    np.testing.assert_array_equal(batch["x"], x[np.asarray(batch["y"])])


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({"x": np.zeros(5)}, (6, 0), "batch_size must not exceed the 5 examples of the data, got 6"),
        ({"x": np.zeros(5)}, (0, 0), "batch_size must be an integer ≥ 1"),
        ({"x": np.zeros(5)}, (2, -1), "seed must be an integer from 0 to"),
        ({"x": np.zeros(5)}, (2, 2**32), r"from 0 to 4294967295, got 4294967296"),
        ({"x": np.zeros(5), "y": np.zeros(4)}, (2, 0), r"got lengths \{'x': 5, 'y': 4\}"),
        ({"x": np.zeros((0, 3))}, (1, 0), "at least one example"),
        ({"x": np.array([0.0, np.nan])}, (1, 0), r"arrays\['x'\] must be finite, got nan at index \(1,\)"),
    ],
)
def test_bad_source(arrays, settings, message):
    with pytest.raises(ValueError, match=message):
        Resident(arrays, *settings)


@pytest.mark.parametrize(
    ("first", "batches", "message"),
    [(-1, 1, "first must be an integer ≥ 0"), (0, 0, "batches must be an integer ≥ 1"), (0, 2**30, "fewer than 2")],
)
def test_bad_window(first, batches, message):
    with pytest.raises(ValueError, match=message):
        source_of(8, 4).window(first, batches)

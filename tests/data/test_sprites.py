"""Generated sprites: the numbers that they are made of, and their pixels, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vifx.data import Config, Sprites, Streaming, epoch_order, load
from vifx.data.rows import read_all
from vifx.data.sprites import _mixed, uniforms

MANY = uniforms(3, np.arange(20_000, dtype=np.uint64), 5)


def test_the_numbers_are_those_of_splitmix64():
    """The first outputs for the seed 1234567, as its authors' program has them."""
    states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert _mixed(states).tolist() == known


def test_the_numbers_are_uniform_and_independent():
    for column in MANY.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    # Of an image and the next one, of two factors of an image, and of two seeds.
    other = uniforms(4, np.arange(20_000, dtype=np.uint64), 5)
    pairs = [*((MANY[:-1, i], MANY[1:, j]) for i in range(5) for j in range(5)), *zip(MANY.T, other.T, strict=True)]
    pairs += [(MANY[:, i], MANY[:, j]) for i in range(5) for j in range(i)]
    for one, two in pairs:
        counts = np.histogram2d(one, two, bins=8, range=[(0, 1), (0, 1)])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-5


def inside(shape, u, v):
    """Whether a point lies in a shape whose circumscribed circle has radius 1 and whose angle is 0."""
    if shape == 0:
        return u**2 + (v / 0.6) ** 2 <= 1
    if shape == 1:
        return (np.abs(u) <= np.sqrt(0.5)) & (np.abs(v) <= np.sqrt(0.5))
    # A square with the corners (0, ±h√2) and (±h√2, 0), and discs of radius h at the midpoints of its upper sides,
    # moved so that all of it is within the circle.
    h = 1 / (1.3 * np.sqrt(2))
    v = v + 0.3 * h * np.sqrt(2)
    square = np.abs(u) + np.abs(v) <= h * np.sqrt(2)
    discs = [(u - side * h / np.sqrt(2)) ** 2 + (v - h / np.sqrt(2)) ** 2 <= h**2 for side in (-1, 1)]
    return square | discs[0] | discs[1]


def covered(shape, factors, parts=8):
    """The share of each pixel that a shape covers, by many points in it."""
    size, angle, column, row = map(float, factors)
    at = (np.arange(64 * parts) + 0.5) / parts
    right, up = (at - column)[None, :], (row - at)[:, None]
    u, v = np.cos(angle) * right + np.sin(angle) * up, np.cos(angle) * up - np.sin(angle) * right
    points = inside(shape, u / (14 * size), v / (14 * size))
    return points.reshape(64, parts, 64, parts).mean(axis=(1, 3))


def test_pixels_are_the_share_that_the_shape_covers():
    found = Sprites(10**9, seed=5).__getitems__(list(range(10**8, 10**8 + 24)))
    assert set(found["y"].tolist()) == {0, 1, 2}
    for x, shape, factors in zip(found["x"], found["y"], found["factors"], strict=True):
        share, expected = x[..., 0] / 255, covered(shape, factors)
        np.testing.assert_allclose(share.sum(), expected.sum(), rtol=0.01)
        assert np.abs(share - expected).sum() < 0.02 * expected.sum()
        # At a corner the distance says less of what is covered than at a straight side.
        assert np.abs(share - expected).max() < (0.08 if shape == 0 else 0.3)
        assert not x[0].any()
        assert not x[:, -1].any()


def test_factors_are_drawn_from_their_ranges():
    found = Sprites(4096, seed=3).__getitems__(range(4096))
    assert stats.chisquare(np.bincount(found["y"])).pvalue > 1e-3
    for column, (low, high) in zip(found["factors"].T, [(0.5, 1), (0, 2 * np.pi), (16, 48), (16, 48)], strict=True):
        assert stats.kstest(column, "uniform", (low, high - low)).pvalue > 1e-3


def test_an_image_is_a_function_of_seed_and_number():
    sprites = Sprites(5_000_000, seed=7)
    rows = [4_999_999, 3, 3, 1_234_567]
    together = sprites.__getitems__(rows)
    for i, row in enumerate(rows):
        alone, moved = sprites[row], Sprites(1, seed=7, first=row)[0]
        for name, array in together.items():
            np.testing.assert_array_equal(alone[name], array[i])
            np.testing.assert_array_equal(moved[name], array[i])
    assert not np.array_equal(Sprites(5, seed=8)[3]["factors"], together["factors"][1])
    with pytest.raises(IndexError, match=r"from 0 to 2, got \[3\]"):
        Sprites(3)[3]


def test_the_dataset_is_streamed_and_its_splits_have_no_image_in_common():
    splits = load(Config("sprites", validation=300, streaming=True, split_seed=2))
    assert repr(splits).startswith("Dataset(sprites: train 4,999,700, validation 300, test 5,000; x uint8[64, 64, 1]")
    assert splits.info.label_names == ("ellipse", "square", "heart")
    whole = Sprites(5_000_000, seed=2)
    np.testing.assert_array_equal(splits.validation["x"], whole.__getitems__(range(4_999_700, 5_000_000))["x"])
    np.testing.assert_array_equal(splits.train.examples[4_999_699]["x"], whole[4_999_699]["x"])
    numbers = [splits.validation["factors"], splits.test["factors"], read_all(Sprites(5000, seed=2))["factors"]]
    assert len(np.unique(np.concatenate(numbers), axis=0)) == 300 + 5000 + 5000
    assert load(Config("sprites", validation=0, streaming=True)).validation["x"].shape == (0, 64, 64, 1)


@pytest.mark.thorough
def test_minibatches_are_in_the_order_of_an_epoch_of_millions():
    splits = load(Config("sprites", validation=300, streaming=True, split_seed=2))
    batch = next(Streaming(splits.train, 64, 9).batches(0))
    order = np.asarray(epoch_order(9, 0, size=4_999_700))[:64]
    np.testing.assert_array_equal(batch["x"], Sprites(10**7, seed=2).__getitems__(order)["x"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 100}, "streaming must be set for sprites: its images would take 20 GB"),
        (
            {"streaming": True},
            "validation must be at most 50,000 sprites, which are held out in memory, got 0.1 of 5,00",
        ),
    ],
)
def test_what_would_not_fit_into_memory_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load(Config("sprites", **settings))

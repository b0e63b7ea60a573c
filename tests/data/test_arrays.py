"""Numbers are checked in the type that is used, and masks are not lost, by whatever takes arrays."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vifx import em, evaluation
from vifx.data import Full, Resident, Streaming, batches, from_arrays
from vifx.data.arrays import checked_array, checked_arrays
from vifx.evaluation.batches import in_batches

KEY = jax.random.key(0)
PLAIN = np.random.default_rng(0).normal(size=(12, 2))


class Rows:
    """Random access, an example at a time."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index]}


def mapped(split):
    return in_batches(KEY, lambda rows: rows.batch["x"], {}, {}, split, batch_size=5)


DOORS = {
    "from_arrays": lambda x: from_arrays(train={"x": x}, test={"x": PLAIN}).train,
    "resident": lambda x: Resident({"x": x}, 4, 0),
    "full": lambda x: Full({"x": x}),
    "streaming": lambda x: next(Streaming({"x": x}, 12, 0).batches(0)),
    "streaming of examples": lambda x: next(Streaming(Rows(x), 12, 0).batches(0)),
    "batches": lambda x: next(batches({"x": x}, 12)),
    "em.fit": lambda x: em.fit(KEY, em.mixture(em.gaussian, 2), x),
    "evaluation": lambda x: mapped({"x": x}),
}
MASKED = np.ma.masked_greater(np.where(np.arange(24).reshape(12, 2) == 3, 1e6, PLAIN), 1e5)


@pytest.mark.parametrize("door", DOORS)
def test_what_is_infinite_in_the_type_that_is_used_is_refused(door):
    """1e39 is a number in float64 and infinite in float32; where float64 is on, it stays a number."""
    x = np.where(np.arange(24).reshape(12, 2) == 3, 1e39, PLAIN)
    with pytest.raises(ValueError, match=r"must be finite in float32, got 1e\+39 at index .* 1 such values.*rescale"):
        DOORS[door](x)
    with pytest.raises(ValueError, match=r"must be finite, got nan at index .* remove or replace"):
        DOORS[door](np.where(x > 1e38, np.nan, x))


@pytest.mark.parametrize("door", DOORS)
def test_masked_arrays_are_refused(door):
    with pytest.raises(TypeError, match=r"must be a plain array, got a masked one with [01] masked values"):
        DOORS[door](MASKED)


def test_float64_keeps_its_range_and_its_digits(x64):
    x = np.array([1e39, 1 / 3])
    np.testing.assert_array_equal(checked_array(x, "x"), x)
    batch = next(Streaming({"x": x}, 2, 0).batches(0))
    assert batch["x"].dtype == np.float64
    np.testing.assert_array_equal(np.sort(batch["x"]), np.sort(x))


@pytest.mark.parametrize("kind", ["float64", "int64", "bool", "uint8", "float16"])
def test_streaming_gives_the_numbers_of_resident(kind):
    x = (10 * PLAIN).astype(kind)
    resident, streaming = Resident({"x": x}, 12, 0), next(Streaming({"x": x}, 12, 0).batches(0))
    taken = resident.take(KEY, resident.arrays, resident.window(0, 1), 0)["x"]
    assert streaming["x"].dtype == taken.dtype
    np.testing.assert_array_equal(streaming["x"], taken)


def test_streaming_says_which_examples_it_was_reading():
    x = PLAIN.copy()
    x[7, 1] = np.inf
    with pytest.raises(ValueError, match="must be finite") as caught:
        next(Streaming({"x": x}, 4, 0).batches(0)) if 7 in order(4) else list(batches({"x": x}, 4))
    assert any("while reading the examples" in note and "7" in note for note in caught.value.__notes__)


def order(size):
    source = Resident({"x": np.arange(12.0)}, size, 0)
    return np.asarray(source.take(KEY, source.arrays, source.window(0, 1), 0)["x"]).astype(int)


def test_examples_of_weight_zero_may_hold_anything():
    x = np.array([[1.0, 2.0], [np.nan, np.inf], [1e39, 3.0]])
    found = checked_arrays({"x": x, "@weights": np.array([1.0, 0.0, 0.0])}, "batch")
    np.testing.assert_array_equal(found["x"][0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"batch\['x'\] must be finite in float32, got 1e\+39 at index \(2, 0\) and 1"):
        checked_arrays({"x": x, "@weights": np.array([1, 0, 2])}, "batch")
    with pytest.raises(ValueError, match=r"batch\['@weights'\] must be finite"):
        checked_arrays({"x": PLAIN[:2], "@weights": np.array([1.0, np.nan])}, "batch")


def test_masked_samples_are_no_samples():
    with pytest.raises(TypeError, match=r"must be a plain array, got a masked one"):
        evaluation.prdc(MASKED, PLAIN)
    with pytest.raises(TypeError, match=r"must be a plain array, got a masked one"):
        em.fit(KEY, em.mixture(em.gaussian, 2), PLAIN, weights=np.ma.masked_less(np.ones(12), 0.5))

"""Datasets of the user's own arrays."""

from __future__ import annotations

import doctest

import jax.numpy as jnp
import numpy as np
import pytest

import vifx.data
from vifx.data import Info, from_arrays, hold_out


def images(size, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(0, 256, (size, 2, 2, 1)).astype(np.uint8), "y": rng.integers(0, 3, size)}


@pytest.mark.parametrize(("validation", "count"), [(0.1, 10), (0.0, 0), (0, 0), (7, 7), (0.255, 26), (99, 99)])
def test_hold_out_divides_the_split(validation, count):
    split = {"x": np.arange(100), "y": -np.arange(100)}
    kept, held = hold_out(split, validation, 3)
    assert len(held["x"]) == count
    np.testing.assert_array_equal(np.sort(np.concatenate([kept["x"], held["x"]])), np.arange(100))
    for part in (kept, held):
        assert (np.diff(part["x"]) > 0).all()
        np.testing.assert_array_equal(part["y"], -part["x"])


def test_hold_out_is_a_recorded_function_of_the_seed():
    held = [hold_out({"x": np.arange(50)}, 4, seed)[1]["x"].tolist() for seed in (0, 1)]
    assert held == [[10, 11, 28, 41], [27, 35, 38, 40]]


def test_larger_validation_contains_the_smaller():
    small, large = (set(hold_out({"x": np.arange(60)}, count, 0)[1]["x"].tolist()) for count in (5, 20))
    assert small < large


def test_from_arrays():
    train, test = images(40), images(10, 1)
    dataset = from_arrays(train=train, test=test, validation=8, name="mine")
    assert dataset.info == Info("mine", (2, 2, 1), 3, 0.0, 255.0)
    assert dataset.train["y"].dtype == np.int32
    np.testing.assert_array_equal(dataset.test["x"], test["x"])
    kept, held = hold_out(train, 8, 0)
    np.testing.assert_array_equal(dataset.train["x"], kept["x"])
    np.testing.assert_array_equal(dataset.validation["y"], held["y"])


def test_from_arrays_of_reals_with_a_validation_split():
    x = np.linspace(-2, 5, 30).reshape(10, 3)
    dataset = from_arrays(train={"x": x[:6]}, test={"x": jnp.asarray(x[6:8])}, validation={"x": x[8:]})
    assert dataset.info == Info("arrays", (3,), None, -2.0, float(np.float32(x[5, 2])))
    assert dataset.train["x"].dtype == np.float32
    np.testing.assert_array_equal(dataset.validation["x"], x[8:].astype(np.float32))


def test_from_arrays_keeps_double_precision_under_x64(x64):
    x = np.linspace(0, 1, 10)
    dataset = from_arrays(train={"x": x[:5]}, test={"x": x[5:]}, validation=0)
    np.testing.assert_array_equal(dataset.train["x"], x[:5])
    assert dataset.train["x"].dtype == np.float64


X, Y = images(6, 2)["x"], images(6, 2)["y"]
NAN, INF = np.full((3, 2), np.nan), np.array([1, 2, np.inf])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"x": X, "y": Y[:5]}, "train must have one row per example, got lengths"),
        ({"x": NAN}, r"train\['x'\] must be finite, got nan at index \(0, 0\) and 6 such values"),
        ({"x": INF}, r"got inf at index \(2,\) and 1 such values"),
        ({}, "train must have at least one array"),
        ({"pixels": X}, r"must have the observed variable 'x', got \['pixels'\]"),
        ({"x": np.float32(3)}, "must have an axis of examples"),
        ({"x": X, "y": np.full(6, 2**40)}, r"train\['y'\] must fit into int32"),
        ({"x": X, "y": np.full(6, -1)}, "got a negative one"),
    ],
)
def test_bad_training_split(train, message):
    other = {name: np.ones((2, *np.shape(array)[1:]), array.dtype) for name, array in train.items()}
    with pytest.raises(ValueError, match=message):
        from_arrays(train=train, test=other, validation=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": {"x": X[:0], "y": Y[:0]}}, "test must have at least one example"),
        ({"test": {"x": X}}, r"test must have the variables of train, \['x', 'y'\], got \['x'\]"),
        ({"test": {"x": X[:, :1], "y": Y}}, r"test\['x'\] must be like train's, uint8 \(2, 2, 1\)"),
        ({"test": {"x": X / 255, "y": Y}}, r"must be like train's, .*, got float32 \(2, 2, 1\)"),
        ({"test": images(20)}, "train and test must be different examples"),
        ({"validation": images(20)}, "train and validation must be different examples"),
        ({"validation": 20}, "validation must leave examples to train on, got 20 of 20"),
        ({"validation": 0.99}, "must leave examples to train on"),
        ({"validation": 1.5}, "below 1, got 1.5"),
    ],
)
def test_splits_that_disagree(changes, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"train": images(20), "test": images(6, 1), **changes})


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (np.zeros(3), "train must be a mapping"),
        ({"x": np.array(["a"])}, "must be an array of real numbers"),
        ({"x": np.array([1j])}, "must be an array of real numbers, got dtype complex128"),
    ],
)
def test_things_that_are_not_numbers(train, message):
    with pytest.raises(TypeError, match=message):
        from_arrays(train=train, test={"x": X})


@pytest.mark.parametrize("module", ["dataset", "names", "rows", "transforms"])
def test_examples_in_docstrings(module):
    found = doctest.testmod(getattr(vifx.data, module))
    assert found.attempted > 0
    assert found.failed == 0

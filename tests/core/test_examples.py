"""How much each example of a batch counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em
from vifx.core.examples import check_entries, example_mean, example_shares, stand_ins
from vifx.em import gaussian


def test_shares_are_the_weights_divided_by_their_sum():
    assert example_shares({"x": jnp.ones(3)}) is None
    np.testing.assert_allclose(
        example_shares({"x": jnp.ones(4), "@weights": jnp.array([3, 0, 1, 4])}), [3 / 8, 0, 1 / 8, 0.5]
    )
    np.testing.assert_array_equal(example_shares({"@weights": jnp.zeros(2)}), [0.0, 0.0])


def test_the_mean_leaves_weightless_values_out_of_value_and_gradient():
    shares, values = jnp.array([0.25, 0.0, 0.75]), jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf], [3.0, -2.0]])
    np.testing.assert_allclose(example_mean(shares, values), [2.5, -1.0])
    np.testing.assert_allclose(example_mean(None, values[::2]), [2.0, 0.0])
    gradient = jax.grad(lambda v: jnp.sum(example_mean(shares, v)))(values)
    np.testing.assert_allclose(gradient, [[0.25, 0.25], [0, 0], [0.75, 0.75]])


def test_the_heaviest_example_stands_in():
    batch = {
        "x": jnp.array([jnp.nan, 1.0, 2.0, jnp.nan]),
        "x@features": (jnp.arange(8).reshape(4, 2),),
        "@weights": jnp.array([0.0, 1.0, 5.0, 0.0]),
    }
    found = stand_ins(batch, batch)
    np.testing.assert_array_equal(found["x"], [2, 1, 2, 2])
    np.testing.assert_array_equal(found["x@features"][0], [[4, 5], [2, 3], [4, 5], [4, 5]])
    np.testing.assert_array_equal(found["@weights"], [0, 1, 5, 0])
    none = stand_ins({"x": jnp.full(2, jnp.nan), "@weights": jnp.zeros(2)}, ("x",))
    np.testing.assert_array_equal(none["x"], [0, 0])


def test_unknown_entries_name_what_was_meant():
    check_entries({"x": jnp.ones(2), "@weights": jnp.ones(2), "x@features": jnp.ones(2)})
    with pytest.raises(ValueError, match="did you mean '@weights'"):
        check_entries({"x": jnp.ones(2), "@wieghts": jnp.ones(2)})


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1.0, -2.0, 1.0], "finite and not negative; example 1 has -2.0"),
        ([1.0, 2.0, np.inf], "finite"),
        ([0.0, 0.0, 0.0], "are all zero"),
    ],
)
def test_weights_are_refused_where_they_enter(weights, text):
    x = np.arange(3.0, dtype=np.float32)[:, None]
    arrays = {"x": x, "@weights": np.asarray(weights, np.float32)}
    for door in (
        lambda: data.Resident(arrays, 2, 0),
        lambda: data.Full(arrays),
        lambda: data.from_arrays(train=arrays, test=arrays, validation=1),
        lambda: em.fit(jax.random.key(0), em.mixture(gaussian, 1), x, weights=arrays["@weights"]),
    ):
        with pytest.raises(ValueError, match=text):
            door()
    if any(weights):
        with pytest.raises(ValueError, match=r"example 1 has -2\.0|example 2 has inf"):
            example_shares({name: jnp.asarray(value) for name, value in arrays.items()})


def test_weightless_rows_pass_the_doors_of_data():
    arrays = {"x": np.array([[1.0], [np.nan]], np.float32), "@weights": np.array([1.0, 0.0], np.float32)}
    source = data.Full(arrays)
    batch = source.take(jax.random.key(0), source.arrays, source.window(0, 1), 0)
    np.testing.assert_array_equal(stand_ins(batch, ("x",))["x"], [[1.0], [1.0]])

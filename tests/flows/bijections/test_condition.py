"""How the parameters of a bijection depend on its condition."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from vifx.flows.bijections.condition import own_rows, required_parents

PARAMS = {"shift": jnp.array([1.0, 2.0]), "offset": jnp.array(-3.0)}
ROWS = jnp.zeros((2, 2))


def test_without_a_condition_every_example_has_the_same_parameters() -> None:
    shift, offset = own_rows(PARAMS, ("shift", "offset"), None, ROWS)
    np.testing.assert_array_equal(shift, [[1.0, 2.0], [1.0, 2.0]])
    np.testing.assert_array_equal(offset, [-3.0, -3.0])


def test_a_linear_map_of_the_condition_is_added() -> None:
    """Its columns are the parameters in their order; arrays of the condition stand side by side."""
    params = {**PARAMS, "given": jnp.array([[10.0, 20.0, 30.0], [1.0, 0.0, 0.0], [0.0, 1.0, 5.0]])}
    given = (jnp.array([[1.0], [2.0]]), jnp.array([[0.0, 1.0], [3.0, 0.0]]))
    shift, offset = own_rows(params, ("shift", "offset"), given, ROWS)
    np.testing.assert_array_equal(shift, [[11.0, 23.0], [24.0, 42.0]])
    np.testing.assert_array_equal(offset, [32.0, 57.0])


def test_a_condition_that_is_needed_is_asked_for() -> None:
    assert required_parents(1, "flow") == (1,)
    with pytest.raises(ValueError, match=r"^flow: given is missing; declare the factor with its parents"):
        required_parents(None, "flow")

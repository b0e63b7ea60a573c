"""Pairs of examples and noise: the least cost of all orders, and the same marginals."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import vifx
from vifx import flows, matching
from vifx.core.nets import from_functions
from vifx.matching.pairing import optimal_within

DRAW = np.random.default_rng(0)
X, NOISE = DRAW.normal(size=(6, 2, 1)).astype(np.float32), DRAW.normal(size=(6, 2, 1)).astype(np.float32)


def cost_of(x, noise):
    return float(np.sum((np.asarray(x, np.float64) - np.asarray(noise, np.float64)) ** 2))


def allowed(groups):
    for order in itertools.permutations(range(6)):
        if all(groups[i] == groups[j] for i, j in enumerate(order)):
            yield list(order)


GROUPS = {"all": [0] * 6, "two": [0, 1, 0, 1, 1, 0], "alone": list(range(6))}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "two" else pytest.mark.thorough) for n in GROUPS])
def test_the_order_is_the_cheapest_of_those_allowed(name):
    groups = GROUPS[name]
    same = [jnp.asarray(groups)]
    moved = jax.jit(optimal_within)(jnp.asarray(X), jnp.asarray(NOISE), same)
    least = min(cost_of(X, NOISE[order]) for order in allowed(groups))
    assert cost_of(X, moved) == pytest.approx(least, rel=1e-6)
    for group in set(groups):  # the same noise in each group, in another order
        rows = [i for i, each in enumerate(groups) if each == group]
        assert sorted(np.asarray(moved)[rows, 0, 0]) == sorted(NOISE[rows, 0, 0])


@pytest.mark.thorough
def test_orders_are_those_of_scipy_compiled_mapped_and_scanned():
    costs = jnp.asarray(DRAW.normal(size=(4, 20, 20)), jnp.float32)
    expected = [linear_sum_assignment(np.asarray(each, np.float64))[1] for each in costs]
    np.testing.assert_array_equal(jax.jit(jax.vmap(matching.optimal_order))(costs), expected)
    scanned = jax.jit(lambda costs: jax.lax.scan(lambda _, each: (None, matching.optimal_order(each)), None, costs)[1])
    np.testing.assert_array_equal(scanned(costs), expected)


@pytest.mark.thorough
def test_diverged_values_keep_their_order_and_shapes_are_checked():
    for bad in (np.nan, np.inf, -np.inf):
        assert matching.optimal_order(jnp.full((3, 3), bad)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"cost must be \[rows, rows\]"):
        matching.optimal_order(jnp.ones((2, 3)))


@pytest.mark.thorough
def test_the_loss_pairs_by_the_cheapest_transport_and_keeps_to_conditions_and_weights():
    """A velocity of zero has the loss E ‖ε − x‖², which transport makes smaller, as far as it may."""
    zero = from_functions(lambda key, x, t, y: {}, lambda params, x, t, y: 0 * x)
    generative = vifx.Joint(
        vifx.evidence("y"), vifx.transformed("x | y", vifx.standard_normal(2), flows.continuous(zero), name="velocity")
    )
    inference = vifx.Joint(vifx.evidence("x", "y"))
    x = jnp.asarray(DRAW.normal(size=(64, 2)), jnp.float32)
    equal, apart = jnp.zeros(64), jnp.arange(64.0)

    def loss(pairing, **batch):
        objective = vifx.flow_matching(inference, generative, pairing=pairing)
        found = objective.players["model"].loss(
            jax.random.key(0), {"velocity": {}}, {"velocity": {}}, {"x": x, **batch}
        )
        return float(found[0])

    independent, optimal = (loss(pairing, y=equal) for pairing in ("independent", "optimal"))
    assert optimal < 0.5 * independent
    assert loss("optimal", y=apart) == pytest.approx(loss("independent", y=apart), rel=1e-6)
    weights = {"y": equal, "@weights": apart + 1}
    assert loss("optimal", **weights) == pytest.approx(loss("independent", **weights), rel=1e-6)

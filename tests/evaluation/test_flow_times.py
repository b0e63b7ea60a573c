"""Densities of a continuous flow on its way, which are those of the law where the velocity is the best one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import evaluation, flows
from vifx.core.nets import from_functions
from vifx.data import Modes

MEAN, SCALE = 0.7, 0.4


def best(params, x, t):
    """The mean of ε − x given (1 − t) x + t ε, of x ~ N(MEAN, SCALE²), times a parameter that is 1."""
    variance = (1 - t) ** 2 * SCALE**2 + t**2
    return params * ((t - (1 - t) * SCALE**2) / variance * (x - (1 - t) * MEAN) - MEAN)


def joint(bijection):
    return vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), bijection, name="velocity"))


@pytest.mark.thorough
def test_both_rows_have_the_density_of_data_with_noise(monkeypatch):
    drawn = {}

    def kept(above, below, points, **options):
        drawn.update(above=above, below=below, points=points, **options)

    monkeypatch.setattr("vifx.evaluation.flow_times.density_pairs_2d", kept)
    law = Modes(np.full((1, 2), MEAN), np.array([SCALE]), np.ones(1))
    x = MEAN + SCALE * np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    model = joint(flows.continuous(from_functions(lambda key, x, t: jnp.ones(()), best)))
    times = (0.0, 0.3, 0.8)
    draw = evaluation.draw_flow_times(model, law, {"x": x}, times=times)
    draw(jax.random.key(0), {"velocity": jnp.ones(())}, {"velocity": {}})
    assert drawn["labels"] == ["t = 0", "t = 0.3", "t = 0.8"]
    for t, exact, flow, points in zip(times, drawn["above"], drawn["below"], drawn["points"], strict=True):
        variance = ((1 - t) * SCALE) ** 2 + t**2
        points = points.astype(np.float32)
        squares = np.sum((points - (1 - t) * MEAN) ** 2, axis=1)
        expected = -squares / (2 * variance) - np.log(2 * np.pi * variance)
        np.testing.assert_allclose(exact(points), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(flow(points), expected, rtol=1e-3, atol=1e-3)


def test_a_flow_without_a_velocity_is_refused():
    law = Modes(np.zeros((1, 2)), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="must have a continuous flow of 'x'"):
        evaluation.draw_flow_times(joint(flows.scale()), law, {"x": np.ones((3, 2))})

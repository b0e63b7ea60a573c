"""Distances of predicted paths from the true ones: models whose predictions are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import data, distributions, dynamics
from vifx.evaluation import extrapolation

LAW = data.SPIRAL_PATHS
BETWEEN = len(LAW.between)
SPLIT = {name: values[:20] for name, values in data.load(data.Config("spiral_paths")).test.items()}


def latent(x, times):
    """The first point seen, as z."""
    return distributions.Normal(x[:, 0], jnp.full_like(x[:, 0], 0.1)).to_event(1)


def moved(z, times):
    """From there to the right, one unit a unit of time."""
    paths = z[:, None] + times[..., None] * jnp.array([[[1.0, 0.0]]])
    return distributions.Normal(paths, jnp.ones_like(paths)).to_event(2)


def chain(steps):
    """A walk to the right, nearly without noise."""
    law = dynamics.chain(
        vifx.standard_normal(2),
        lambda previous, t, gap: distributions.Normal(
            previous + jnp.concatenate([gap, 0 * gap], axis=1), jnp.full_like(previous, 1e-4)
        ).to_event(1),
        steps,
        parents=("times",),
    )
    return vifx.Joint(vifx.evidence("times"), vifx.factor("x | times", law, name="chain"))


INFERENCE = vifx.Joint(vifx.evidence("x", "times"), vifx.factor("z | x, times", latent))
GENERATIVE = vifx.Joint(
    vifx.evidence("times"), vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z, times", moved)
)
PARAMS = {"chain": {"start": {}, "transition": {}}}
PREDICT = extrapolation.predictor(INFERENCE, GENERATIVE, chain(LAW.seen + len(LAW.after)), LAW, draws=3)


def test_distances_are_those_of_the_paths_that_the_models_make():
    found = extrapolation.measure_paths(PREDICT, chain(LAW.seen), LAW, SPLIT)(jax.random.key(0), PARAMS, PARAMS)
    held, right = LAW.held_times.astype(np.float64), np.array([1.0, 0.0])
    paths = SPLIT["x"][:, :1] + held[:, None] * right
    walks = SPLIT["x"][:, -1:] + (held[BETWEEN:] - SPLIT["times"][:, -1:])[..., None] * right
    still = np.broadcast_to(SPLIT["x"][:, -1:], walks.shape)
    truth = SPLIT["held"]
    for name, path, true in (
        ("error/between", paths[:, :BETWEEN], truth[:, :BETWEEN]),
        ("error/after", paths[:, BETWEEN:], truth[:, BETWEEN:]),
        ("error/after/chain", walks, truth[:, BETWEEN:]),
        ("error/after/still", still, truth[:, BETWEEN:]),
    ):
        assert found[name] == pytest.approx(np.sqrt(((path - true) ** 2).sum(-1).mean()), rel=1e-3), name
    apart = (np.diff(SPLIT["x"], axis=1) - np.diff(SPLIT["times"], axis=1)[..., None] * right) / 1e-4
    steps = -0.5 * (apart.astype(np.float64) ** 2).sum((1, 2)) - 2 * (LAW.seen - 1) * np.log(1e-4 * np.sqrt(2 * np.pi))
    first = -0.5 * (SPLIT["x"][:, 0].astype(np.float64) ** 2).sum(1) - np.log(2 * np.pi)
    np.testing.assert_allclose(found["log_prob/chain"].values, first + steps, rtol=1e-3)


def test_paths_are_drawn_beside_what_was_seen():
    draw = extrapolation.draw_paths(PREDICT, LAW, SPLIT, names=("latent", "chain"), n=4)
    figure = draw(jax.random.key(0), PARAMS, PARAMS)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 4
    seen, after, smoothed, continued = shown[1].lines
    np.testing.assert_allclose(np.stack(seen.get_data(), 1), SPLIT["held"][1, : BETWEEN + 1], rtol=1e-6)
    np.testing.assert_allclose(np.stack(after.get_data(), 1), SPLIT["held"][1, BETWEEN:], rtol=1e-6)
    np.testing.assert_allclose(smoothed.get_xdata(), SPLIT["x"][1, 0, 0] + LAW.held_times, rtol=1e-5)
    assert len(continued.get_xdata()) == len(LAW.after)
    with pytest.raises(ValueError, match="names must be one for each of 1 paths, got 2"):
        extrapolation.path_figure(SPLIT["held"], SPLIT["x"], [SPLIT["held"]], ("a", "b"), known=3)


def test_the_paths_are_those_of_their_law():
    """Radius and angle of what was held out, the noise of what was seen, half of them clockwise."""
    paths = data.load(data.Config("spiral_paths")).test
    held, times = paths["held"].astype(np.float64), LAW.held_times.astype(np.float64)
    radius = np.linalg.norm(held, axis=-1)
    np.testing.assert_allclose(np.diff(radius, axis=1) / np.diff(times), LAW.growth, rtol=1e-3, atol=1e-4)
    angle = np.unwrap(np.arctan2(held[..., 1], held[..., 0]), axis=1)
    turn = np.diff(angle, axis=1) / np.diff(times)
    np.testing.assert_allclose(
        turn, np.broadcast_to(np.where(paths["y"], 1, -1)[:, None] * LAW.speed, turn.shape), rtol=1e-3
    )
    first = radius[:, 0] - LAW.growth * times[0]
    assert LAW.radius[0] <= first.min() < first.max() <= LAW.radius[1] + 1e-6
    assert abs(paths["y"].mean() - 0.5) < 4.5 * 0.5 / np.sqrt(len(paths["y"]))
    shown = paths["times"].astype(np.float64)
    assert (np.diff(shown, axis=1) > 5e-3).all()
    at = angle[:, :1] + np.where(paths["y"], 1, -1)[:, None] * LAW.speed * (shown - times[0])
    path = (first[:, None] + LAW.growth * shown)[..., None] * np.stack([np.cos(at), np.sin(at)], -1)
    noise = (paths["x"] - path) / LAW.scale
    assert abs(noise.mean()) < 4.5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 4.5 * np.sqrt(2 / noise.size)

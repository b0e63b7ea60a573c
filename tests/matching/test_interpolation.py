"""Paths: where they are and how fast, and what a velocity says of data and noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import diffusion, matching
from vifx.diffusion import Prediction

PATHS = {
    "linear": matching.linear(),
    "linear with noise": matching.linear(noise=0.1),
    "cosine": matching.scheduled(diffusion.cosine(start=-8.0, end=8.0)),
    "linear_beta": matching.scheduled(diffusion.linear_beta()),
}
DRAW = np.random.default_rng(0)
X, NOISE, T = DRAW.normal(size=(9, 2, 3)), DRAW.normal(size=(9, 2, 3)), np.linspace(0.05, 0.95, 9)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "cosine" else pytest.mark.thorough) for n in PATHS])
def test_the_velocity_is_the_derivative_and_says_data_and_noise(name):
    path = PATHS[name]
    with jax.enable_x64(True):
        x, noise, t = jnp.asarray(X), jnp.asarray(NOISE), jnp.asarray(T)
        z, rate = jax.jvp(lambda t: path.point(x, noise, t), (t,), (jnp.ones_like(t),))
        velocity = path.velocity(x, noise, t)
        np.testing.assert_allclose(velocity, rate, rtol=1e-9, atol=1e-9)
        said = path.prediction(velocity, z, t)
        np.testing.assert_allclose(said.data, x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(said.noise, noise, rtol=1e-9, atol=1e-9)
        level = said.level
        spread = level.sigma.reshape(-1, 1, 1)
        np.testing.assert_allclose(said.score, -noise / spread, rtol=1e-9, atol=1e-9)
        ways = {"noise": said.noise, "data": said.data, "v": said.v, "score": said.score}
        for predicts, output in ways.items():
            back = path.velocity_of(Prediction(output, predicts, z, level), t)
            np.testing.assert_allclose(back, velocity, rtol=1e-8, atol=1e-8)


@pytest.mark.thorough
def test_the_straight_line_goes_from_data_to_noise_at_constant_speed():
    x, noise = jnp.asarray(X, jnp.float32), jnp.asarray(NOISE, jnp.float32)
    path, ends = matching.linear(), (jnp.zeros(9), jnp.ones(9))
    for t, expected in zip(ends, (x, noise), strict=True):
        np.testing.assert_array_equal(path.point(x, noise, t), expected)
        np.testing.assert_allclose(path.velocity(x, noise, t), noise - x, rtol=1e-6, atol=1e-6)
    said = path.prediction(noise - x, noise, jnp.ones(9))  # where α = 0
    np.testing.assert_allclose(said.data, x, rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
def test_a_schedule_has_the_diffusion_path_of_the_same_noise():
    schedule = diffusion.cosine(start=-8.0, end=8.0)
    t = jnp.asarray(T, jnp.float32)
    level = schedule.level(t)
    point = matching.scheduled(schedule).point(jnp.ones((9, 1)), jnp.zeros((9, 1)), t)[:, 0]
    np.testing.assert_allclose(point, level.alpha, rtol=1e-5)


@pytest.mark.thorough
def test_wrong_arguments():
    x = jnp.ones((1, 2))
    with pytest.raises(ValueError, match="t must be in"):
        matching.linear().point(x, x, jnp.array([1.5]))
    with pytest.raises(ValueError, match="linear: noise"):
        matching.linear(noise=1.0)
    with pytest.raises(TypeError, match="scheduled: schedule"):
        matching.scheduled("cosine")
    for schedule in (diffusion.learned(units=2), diffusion.linear_log_snr(variance="exploding")):
        with pytest.raises(ValueError, match="preserve the variance"):
            matching.scheduled(schedule)

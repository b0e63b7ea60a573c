"""Norm penalties and projections against closed forms, alone and inside a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lipschitz.oracles import normal, svd_norm

from vifx import training
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.lipschitz import clipped, frobenius_regularization, spectral_regularization, spectrally_projected

SPECTRUM = (3.0, 1.0, 0.2)


def orthogonal(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def networks():
    """Two networks: a matrix of known spectrum and a convolution with a bias."""
    kernel = orthogonal(0, 5)[:, :3] @ np.diag(SPECTRUM) @ orthogonal(1, 3)
    return {
        "critic": {"Dense_0": {"kernel": jnp.asarray(kernel), "bias": 9 * jnp.ones(3)}},
        "encoder": {"Conv_0": {"kernel": normal(2, 2, 2, 1, 3), "bias": normal(3, 3)}},
        "encoder@anchor": {"kernel": 5 * jnp.ones((2, 2))},
    }


def loss(key, params, state, batch, *, train=True):
    value = jnp.mean(batch["x"]) * jnp.sum(params["critic"]["Dense_0"]["bias"])
    return value, Aux({"nll/x": value}, state)


BATCH = {"x": np.full(4, 0.5)}


def evaluate(transform, params):
    both = lambda p: transform(loss)(jax.random.key(0), p, {}, BATCH)  # noqa: E731
    (value, aux), gradient = jax.jit(jax.value_and_grad(both, has_aux=True))(params)
    plain, slope = jax.value_and_grad(lambda p: loss(jax.random.key(0), p, {}, BATCH)[0])(params)
    added = jax.tree.map(jnp.subtract, gradient, slope)
    return float(value - plain), aux.metrics, added


def test_spectral_is_the_squared_top_singular_value(x64):
    params = networks()
    added, metrics, gradient = evaluate(spectral_regularization("critic", 0.25, iterations=60), params)
    assert added == pytest.approx(0.25 * 9.0, rel=1e-12)
    assert float(metrics["lipschitz/spectral"]) == pytest.approx(9.0, rel=1e-12)
    assert float(metrics["nll/x"]) == pytest.approx(13.5)
    left, values, right = np.linalg.svd(np.asarray(params["critic"]["Dense_0"]["kernel"]))
    expected = 0.25 * 2 * values[0] * np.outer(left[:, 0], right[0])
    np.testing.assert_allclose(gradient["critic"]["Dense_0"]["kernel"], expected, atol=1e-10)
    np.testing.assert_array_equal(gradient["critic"]["Dense_0"]["bias"], 0.0)


def test_spectral_sums_over_networks(x64):
    params = networks()
    added, _, gradient = evaluate(spectral_regularization(("critic", "encoder"), 2.0, iterations=300), params)
    conv = np.asarray(params["encoder"]["Conv_0"]["kernel"])
    assert added == pytest.approx(2 * (9.0 + svd_norm(conv.reshape(-1, 3)) ** 2), rel=1e-9)
    assert float(jnp.sum(gradient["encoder"]["Conv_0"]["kernel"] * conv)) == pytest.approx(
        4 * svd_norm(conv.reshape(-1, 3)) ** 2, rel=1e-8
    )


def test_frobenius_is_the_sum_of_squares_and_an_upper_bound(x64):
    params = networks()
    added, metrics, gradient = evaluate(frobenius_regularization(["critic", "encoder"], 0.5), params)
    kernels = [params["critic"]["Dense_0"]["kernel"], params["encoder"]["Conv_0"]["kernel"]]
    squares = sum(float(jnp.sum(kernel**2)) for kernel in kernels)
    assert squares == pytest.approx(9 + 1 + 0.04 + float(jnp.sum(kernels[1] ** 2)))
    assert added == pytest.approx(0.5 * squares, rel=1e-12)
    assert float(metrics["lipschitz/frobenius"]) == pytest.approx(squares, rel=1e-12)
    np.testing.assert_allclose(gradient["encoder"]["Conv_0"]["kernel"], kernels[1], atol=1e-12)
    assert added > evaluate(spectral_regularization(["critic", "encoder"], 0.5), params)[0]


def test_default_iterations_are_a_few_per_cent_low(x64):
    kernel = normal(4, 200, 100)
    params = {**networks(), "encoder": {"kernel": kernel}}
    ratio = evaluate(spectral_regularization("encoder", 1.0), params)[0] / svd_norm(kernel) ** 2
    assert 0.9 < ratio < 1.0


def test_where_chooses_kernels(x64):
    params = {**networks(), "encoder": {"a": {"kernel": jnp.eye(2)}, "b": {"kernel": 3 * jnp.eye(2)}}}
    added, _, _ = evaluate(frobenius_regularization("encoder", 1.0, where=lambda path: path.startswith("b")), params)
    assert added == pytest.approx(18.0)


def test_clipping_bounds_every_parameter_of_the_named_networks_alone(x64):
    params = networks()
    seen = clipped("critic", 0.5)(params)
    np.testing.assert_allclose(
        seen["critic"]["Dense_0"]["kernel"], np.clip(np.asarray(params["critic"]["Dense_0"]["kernel"]), -0.5, 0.5)
    )
    np.testing.assert_array_equal(seen["critic"]["Dense_0"]["bias"], 0.5)
    assert seen["encoder"] is params["encoder"]
    table = {"critic": {"w": -jnp.ones(2), "count": jnp.array([7])}}
    np.testing.assert_array_equal(clipped(["critic"], 0.1)(table)["critic"]["count"], 7)


def test_projection_scales_kernels_above_the_limit_alone(x64):
    params = networks()
    seen = spectrally_projected(["critic", "encoder"], 2.0)(params)
    kernel = np.asarray(params["critic"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(seen["critic"]["Dense_0"]["kernel"], kernel * 2 / 3, rtol=1e-12)
    np.testing.assert_array_equal(seen["critic"]["Dense_0"]["bias"], 9.0)
    same = spectrally_projected("critic", 4.0)(params)
    np.testing.assert_allclose(same["critic"]["Dense_0"]["kernel"], kernel, rtol=1e-15)


def test_they_fit_a_training_step():
    """One step of gradient descent with both, by hand."""
    params = jax.tree.map(lambda x: x.astype(jnp.float32), {name: networks()[name] for name in ("critic", "encoder")})
    objective = Objective(
        lambda key, batch: (params, {"critic": {}, "encoder": {}}), {"model": Player(("critic",), loss)}, ()
    )
    batch = {"x": jnp.full((4,), 0.5)}
    step = training.constrained(
        training.descend(objective, "model", optax.sgd(0.1)),
        loss=frobenius_regularization("critic", 2.0),
        update=clipped("critic", 0.7),
    )
    start = training.start(jax.random.key(0), step, objective, batch)
    progress, metrics = step.update(jax.random.key(1), start.progress, batch)
    kernel = np.asarray(params["critic"]["Dense_0"]["kernel"])
    expected = np.clip(kernel - 0.1 * 2 * 2 * kernel, -0.7, 0.7)
    np.testing.assert_allclose(progress.params["critic"]["Dense_0"]["kernel"], expected, rtol=1e-6, atol=1e-6)
    assert float(metrics["lipschitz/frobenius"]) == pytest.approx(np.sum(kernel**2), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: spectral_regularization("critic", -1.0),
            "spectral_regularization: weight must be a finite number ≥ 0",
        ),
        (lambda: frobenius_regularization("critic", float("nan")), "weight must be a finite number ≥ 0, got nan"),
        (lambda: spectral_regularization("critic", 1.0, iterations=0), "iterations must be an integer ≥ 1"),
        (lambda: clipped("critic", 0.0), "clipped: limit must be a finite number > 0, got 0.0"),
        (lambda: spectrally_projected("critic", -2.0), "limit must be a finite number > 0, got -2.0"),
    ],
)
def test_bad_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_networks_get_the_nearest_name():
    message = r"unknown network 'critc'; did you mean 'critic'\? There are: 'critic', 'encoder'\."
    with pytest.raises(ValueError, match=message):
        clipped("critc", 1.0)(networks())
    with pytest.raises(ValueError, match=message):
        spectral_regularization(["critc"], 1.0)(loss)(jax.random.key(0), networks(), {}, BATCH)
    with pytest.raises(ValueError, match="must name at least one network"):
        clipped([], 1.0)(networks())
    with pytest.raises(ValueError, match="must have a kernel"):
        spectrally_projected("critic", 1.0)({"critic": {"bias": jnp.ones(2)}})

"""Heads against closed forms on hand-computed parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vifx.distributions import MixtureOfDiscretizedLogistics
from vifx.networks import (
    BernoulliHead,
    CategoricalHead,
    DiagonalNormal,
    DiscretizedLogisticHead,
    MixtureOfLogisticsHead,
    NormalFixedScale,
    NormalGlobalScale,
)

FEATURES = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
HEADS = {
    "diagonal": DiagonalNormal((2, 3, 1)),
    "fixed": NormalFixedScale((2, 3, 1), scale=0.1),
    "global": NormalGlobalScale((2, 3, 1)),
    "bernoulli": BernoulliHead((2, 3, 1)),
    "categorical": CategoricalHead(4, (2, 3, 1)),
    "logistic": DiscretizedLogisticHead((2, 3, 1)),
    "mixture": MixtureOfLogisticsHead((2, 3, 1), components=3),
}


def softplus(r):
    return np.logaddexp(0, r)


def outputs_and_distribution(head, features=FEATURES):
    """The dense layer's outputs by hand, ``[examples, *event, count]``, and the head's distribution."""
    variables = jax.jit(head.init)(jax.random.key(0), features)
    layer = variables["params"]["Dense_0"]
    flat = features.reshape(len(features), -1) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    return flat.reshape(len(features), *head.event_shape, -1), head.apply(variables, features)


@pytest.mark.first(1)
@pytest.mark.parametrize("name", HEADS)
def test_examples_are_the_batch_and_the_event_is_declared(name):
    _, distribution = outputs_and_distribution(HEADS[name])
    assert (distribution.batch_shape, distribution.event_shape) == ((5,), (2, 3, 1))
    draws = distribution.sample(jax.random.key(1), (4,))
    assert draws.shape == (4, 5, 2, 3, 1)
    log_prob = distribution.log_prob(draws)
    assert (log_prob.shape, log_prob.dtype) == ((4, 5), jnp.float32)
    one_by_one = [distribution.log_prob(draw) for draw in draws]
    np.testing.assert_allclose(log_prob, one_by_one, rtol=1e-5)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(distribution))


@pytest.mark.first(3)
@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_every_parameter(name):
    head = HEADS[name]
    features = jnp.asarray(FEATURES)
    params = head.init(jax.random.key(0), features)
    value = head.apply(params, features).sample(jax.random.key(1))

    def loss(params):
        return -head.apply(params, features).log_prob(value).mean()

    for path, slope in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.all(np.isfinite(slope)), path
        assert np.any(np.asarray(slope) != 0), path


def test_diagonal_normal():
    outputs, distribution = outputs_and_distribution(HEADS["diagonal"])
    value = np.random.default_rng(1).normal(size=(5, 2, 3, 1)).astype(np.float32)
    scale = 1e-3 + (1 - 1e-3) * softplus(outputs[..., 1] + np.log(np.e - 1))
    expected = scipy.stats.norm.logpdf(value, outputs[..., 0], scale).sum((1, 2, 3))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), expected, rtol=1e-4)
    assert distribution.has_rsample


@pytest.mark.parametrize("raw", [-1e4, -80.0, 0.0, 80.0, 1e4])
def test_scales_are_bounded_below_and_finite(raw):
    head = DiagonalNormal((1,), minimum=0.01)
    params = {"params": {"Dense_0": {"kernel": jnp.zeros((1, 2)), "bias": jnp.array([0.0, raw])}}}

    def scale(params):
        return jnp.sqrt(head.apply(params, jnp.ones((1, 1))).variance)[0, 0]

    sigma, slope = jax.jit(jax.value_and_grad(scale))(params)
    expected = 0.01 + 0.99 * softplus(raw + np.log(np.e - 1))
    np.testing.assert_allclose(sigma, expected, rtol=1e-5)
    assert np.isfinite(slope["params"]["Dense_0"]["bias"]).all()
    assert raw != 0 or abs(float(sigma) - 1) < 1e-6


def test_fixed_scale_is_squared_error_with_its_constant():
    outputs, distribution = outputs_and_distribution(HEADS["fixed"])
    value = np.random.default_rng(1).normal(size=(5, 2, 3, 1)).astype(np.float32)
    squared = ((value - outputs[..., 0]) ** 2).sum((1, 2, 3))
    expected = -squared / (2 * 0.1**2) - 6 * (np.log(0.1) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), expected, rtol=1e-4)
    with pytest.raises(ValueError, match=r"scale must be a finite number > 0, got 0\.0"):
        NormalFixedScale((3,), scale=0.0)


@pytest.mark.thorough
def test_global_scale_fits_the_residuals():
    head = NormalGlobalScale((2,), minimum=0.0)
    features = jnp.asarray(FEATURES)
    params = head.init(jax.random.key(0), features)
    np.testing.assert_allclose(head.apply(params, features).variance, 1.0, rtol=1e-6)
    value = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)), jnp.float32)
    deviation = jnp.sqrt(jnp.mean((value - head.apply(params, features).mean) ** 2))
    params["params"]["raw_scale"] = jnp.log(jnp.expm1(deviation)) - np.log(np.e - 1)

    def loss(params):
        return -head.apply(params, features).log_prob(value).mean()

    np.testing.assert_allclose(head.apply(params, features).variance, deviation**2, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(params)["params"]["raw_scale"], 0.0, atol=1e-5)


def test_bernoulli():
    outputs, distribution = outputs_and_distribution(HEADS["bernoulli"])
    value = np.random.default_rng(1).integers(0, 2, (5, 2, 3, 1))
    expected = scipy.special.log_expit(np.where(value, outputs[..., 0], -outputs[..., 0])).sum((1, 2, 3))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value)), expected, rtol=1e-5)


def test_categorical_label_and_array():
    outputs, distribution = outputs_and_distribution(CategoricalHead(4))
    assert (distribution.batch_shape, distribution.event_shape) == ((5,), ())
    labels = np.array([0, 1, 2, 3, 0])
    expected = scipy.special.log_softmax(outputs, -1)[np.arange(5), labels]
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(labels)), expected, rtol=1e-5)
    outputs, distribution = outputs_and_distribution(CategoricalHead(4, (3,)))
    labels = np.random.default_rng(0).integers(0, 4, (5, 3))
    expected = np.take_along_axis(scipy.special.log_softmax(outputs, -1), labels[..., None], -1).sum((1, 2))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(labels)), expected, rtol=1e-5)


def test_discretized_logistic():
    outputs, distribution = outputs_and_distribution(HEADS["logistic"])
    value = np.random.default_rng(1).integers(0, 256, (5, 2, 3, 1))
    value[0, 0, 0, 0], value[0, 0, 1, 0] = 0, 255
    loc, scale = outputs[..., 0], np.exp(-7 + softplus(outputs[..., 1] + 7))
    centred = value / 127.5 - 1
    upper = np.where(value == 255, 1, scipy.special.expit((centred + 1 / 255 - loc) / scale))
    lower = np.where(value == 0, 0, scipy.special.expit((centred - 1 / 255 - loc) / scale))
    expected = np.log(upper - lower).sum((1, 2, 3))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(value, jnp.uint8)), expected, rtol=1e-4)


def test_mixture_of_logistics():
    outputs, distribution = outputs_and_distribution(HEADS["mixture"])
    value = jnp.asarray(np.random.default_rng(1).integers(0, 256, (5, 2, 3, 1)), jnp.uint8)
    logits, loc, raw = np.split(outputs, 3, axis=-1)
    log_scale = jnp.asarray(-7 + softplus(raw + 7), jnp.float32)
    expected = MixtureOfDiscretizedLogistics(jnp.asarray(logits), jnp.asarray(loc), log_scale).to_event(3)
    np.testing.assert_allclose(distribution.log_prob(value), expected.log_prob(value), rtol=1e-4)


def test_a_feature_map_is_read_pixel_by_pixel():
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 5)), jnp.float32)
    head = BernoulliHead((4, 4, 3))
    params = head.init(jax.random.key(0), features)
    assert params["params"]["Dense_0"]["kernel"].shape == (5, 3)
    logits = head.apply(params, features).base_dist.logits
    kernel = np.asarray(params["params"]["Dense_0"]["kernel"])
    np.testing.assert_allclose(logits, np.asarray(features) @ kernel, rtol=1e-4, atol=1e-5)
    elsewhere = BernoulliHead((3, 3, 1))
    assert elsewhere.init(jax.random.key(0), features)["params"]["Dense_0"]["kernel"].shape == (80, 9)

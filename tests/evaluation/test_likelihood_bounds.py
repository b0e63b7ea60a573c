"""Bounds against a linear-Gaussian model, whose log-likelihood and posterior are known in closed form."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import multivariate_normal

import vifx.distributions as distributions
from vifx import evaluation
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.nets import Net
from vifx.variational import kl

LATENT, OBSERVED, NOISE = 2, 4, 0.6
generator = np.random.default_rng(0)
LOADINGS = generator.normal(size=(OBSERVED, LATENT))
SHIFT = generator.normal(size=OBSERVED)
COVARIANCE = LOADINGS @ LOADINGS.T + NOISE**2 * np.eye(OBSERVED)
X = generator.multivariate_normal(SHIFT, COVARIANCE, size=37).astype(np.float32)
LOG_LIKELIHOOD = multivariate_normal(SHIFT, COVARIANCE).logpdf(X)
POSTERIOR = np.linalg.inv(np.eye(LATENT) + LOADINGS.T @ LOADINGS / NOISE**2)
POSTERIOR_MAP = POSTERIOR @ LOADINGS.T / NOISE**2


def normal(mean, deviation):
    return distributions.Normal(mean, jnp.broadcast_to(deviation, mean.shape)).to_event(1)


class FullNormal:
    """A Gaussian with full covariance: the exact posterior of factor analysis."""

    def __init__(self, mean, root):
        self.mean, self.root = mean, root

    def sample(self, key, sample_shape=()):
        noise = jax.random.normal(key, sample_shape + self.mean.shape, self.mean.dtype)
        return self.mean + noise @ self.root.T

    def log_prob(self, value):
        white = (value - jnp.broadcast_to(self.mean, value.shape)) @ jnp.linalg.inv(self.root).T
        constant = 0.5 * self.root.shape[0] * math.log(2 * math.pi) + jnp.linalg.slogdet(self.root)[1]
        return -0.5 * jnp.sum(white**2, axis=-1) - constant


def model(encoder):
    """Factor analysis with a given encoder; its parameters travel in `params` to exercise the plumbing."""
    decoder = Net(
        lambda key, z: ({"loadings": jnp.asarray(LOADINGS, jnp.float32)}, {}),
        lambda params, state, z, key=None, train=False: (
            normal(z @ params["loadings"].T + jnp.asarray(SHIFT, jnp.float32)[None], jnp.float32(NOISE)),
            state,
        ),
    )
    inference = Joint(evidence("x"), factor("z | x", encoder))
    generative = Joint(factor("z", distributions.standard_normal(LATENT)), factor("x | z", decoder, name="decoder"))
    params = {"decoder": {"loadings": jnp.asarray(LOADINGS, jnp.float32)}}
    return inference, generative, params, {"decoder": {}}


def rough(x):
    centred = x - jnp.asarray(SHIFT, jnp.float32)[None]
    return normal(0.7 * centred @ jnp.asarray(POSTERIOR_MAP.T, jnp.float32), jnp.float32(0.5))


def exact(x):
    centred = x - jnp.asarray(SHIFT, jnp.float32)[None]
    root = jnp.asarray(np.linalg.cholesky(POSTERIOR), jnp.float32)
    return FullNormal(centred @ jnp.asarray(POSTERIOR_MAP.T, jnp.float32), root)


@pytest.mark.thorough
def test_exact_posterior_gives_the_log_likelihood_without_variance():
    bounds = evaluation.importance_weighted_bound(
        jax.random.key(0), *model(exact), {"x": X}, samples=(1, 7), chunk=3, batch_size=10
    )
    for estimate in bounds.values():
        np.testing.assert_allclose(estimate.values, LOG_LIKELIHOOD, rtol=1e-4, atol=1e-4)
    other = evaluation.importance_weighted_bound(jax.random.key(1), *model(exact), {"x": X}, samples=(1,))
    np.testing.assert_allclose(other[1].values, bounds[1].values, rtol=1e-4, atol=1e-4)


def test_curve_rises_to_the_log_likelihood():
    samples = (1, 2, 20, 2000)
    bounds = evaluation.importance_weighted_bound(
        jax.random.key(0), *model(rough), {"x": X}, samples=samples, chunk=100, batch_size=16
    )
    for low, high in itertools.pairwise(samples):
        # Nested blocks of the same draws: Jensen's inequality holds for each example, not only on average.
        assert (bounds[low].values <= bounds[high].values + 1e-5).all()
    assert bounds[1].mean < LOG_LIKELIHOOD.mean() - 0.3
    np.testing.assert_allclose(bounds[2000].mean, LOG_LIKELIHOOD.mean(), atol=0.02)
    # L_1 is the ELBO; 2000 draws an example make its noise small.
    elbo = closed_form_elbo()
    np.testing.assert_allclose(bounds[1].mean, elbo.mean(), atol=0.02)


def closed_form_elbo():
    """The ELBO of the rough encoder per example: all expectations are of quadratics in z."""
    mean, deviation = 0.7 * (X - SHIFT) @ POSTERIOR_MAP.T, 0.5
    residual = X - SHIFT - mean @ LOADINGS.T
    spread = deviation**2 * np.sum(LOADINGS**2)
    nll = 0.5 * (np.sum(residual**2, axis=1) + spread) / NOISE**2
    nll += 0.5 * OBSERVED * np.log(2 * np.pi * NOISE**2)
    divergence = 0.5 * np.sum(mean**2 + deviation**2 - 2 * np.log(deviation) - 1, axis=1)
    return -nll - divergence


@pytest.mark.thorough
def test_elbo_equals_its_closed_form_on_average():
    estimates = evaluation.elbo(jax.random.key(0), *model(rough), {"x": X}, samples=3000, batch_size=8)
    expected = closed_form_elbo()
    np.testing.assert_allclose(estimates["elbo"].values, expected, atol=0.25)
    np.testing.assert_allclose(estimates["elbo"].mean, expected.mean(), atol=0.02)
    standard_error = expected.std(ddof=1) / math.sqrt(len(X))
    np.testing.assert_allclose(estimates["elbo"].standard_error, standard_error, rtol=0.05)
    mean = 0.7 * (X - SHIFT) @ POSTERIOR_MAP.T
    np.testing.assert_allclose(
        estimates["kl/z"].values, 0.5 * np.sum(mean**2 + 0.25 - np.log(0.25) - 1, axis=1), rtol=1e-4
    )
    np.testing.assert_allclose(estimates["loss"].mean, -estimates["elbo"].mean, rtol=1e-5)


@pytest.mark.first(1)
@pytest.mark.parametrize("batch_size", [1, 5, 37, 1000])
def test_values_do_not_depend_on_the_batch_size(batch_size):
    reference = evaluation.elbo(jax.random.key(3), *model(rough), {"x": X}, batch_size=12)
    estimates = evaluation.elbo(jax.random.key(3), *model(rough), {"x": X}, batch_size=batch_size)
    assert len(estimates["elbo"].values) == len(X)
    for name, estimate in estimates.items():
        np.testing.assert_allclose(estimate.values, reference[name].values, rtol=1e-4, atol=1e-4)


def test_bound_does_not_depend_on_chunks():
    arguments = (*model(rough), {"x": X})
    one = evaluation.importance_weighted_bound(jax.random.key(3), *arguments, samples=(3, 11), chunk=1, batch_size=37)
    other = evaluation.importance_weighted_bound(jax.random.key(3), *arguments, samples=(11, 3), chunk=4, batch_size=8)
    for count in (3, 11):
        np.testing.assert_allclose(one[count].values, other[count].values, rtol=1e-4, atol=1e-4)


def test_draws_of_different_examples_and_of_one_example_differ():
    same = np.repeat(X[:1], 6, axis=0)
    bounds = evaluation.importance_weighted_bound(jax.random.key(0), *model(rough), {"x": same}, samples=(1, 2))
    assert len(np.unique(bounds[1].values)) == 6
    assert (bounds[2].values > bounds[1].values).all()


@pytest.mark.thorough
def test_hierarchical_model_with_its_exact_posterior():
    """z₂ ~ N(0, 1), z₁ ~ N(z₂, 1), x ~ N(z₁, 1), so x ~ N(0, 3): two latents, drawn in the other order."""
    third, half = math.sqrt(2 / 3), math.sqrt(1 / 2)
    inference = Joint(
        evidence("x"),
        factor("z1 | x", lambda x: normal(2 * x / 3, jnp.float32(third))),
        factor("z2 | z1", lambda z1: normal(z1 / 2, jnp.float32(half))),
    )
    generative = Joint(
        factor("z2", distributions.standard_normal(1)),
        factor("z1 | z2", lambda z2: normal(z2, jnp.float32(1))),
        factor("x | z1", lambda z1: normal(z1, jnp.float32(1))),
    )
    x = X[:, :1]
    bounds = evaluation.importance_weighted_bound(
        jax.random.key(0), inference, generative, {}, {}, {"x": x}, samples=(1, 3)
    )
    expected = -0.5 * x[:, 0] ** 2 / 3 - 0.5 * math.log(2 * math.pi * 3)
    np.testing.assert_allclose(bounds[1].values, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bounds[3].values, expected, rtol=1e-5, atol=1e-5)


def test_conditional_model_uses_its_evidence():
    """With y as evidence on both sides the bound is on log q(x|y), not on log q(x, y)."""
    shift = jnp.asarray([-3.0, 3.0])
    prior = distributions.standard_normal(OBSERVED)
    inference = Joint(evidence("x", "y"), factor("z | x, y", lambda x, y: normal(jnp.zeros_like(x), jnp.float32(1))))
    generative = Joint(
        evidence("y"),
        factor("z", prior),
        factor("x | z, y", lambda z, y: normal(jnp.zeros_like(z) + shift[y][:, None], jnp.float32(1))),
    )
    y = np.arange(len(X)) % 2
    bounds = evaluation.importance_weighted_bound(
        jax.random.key(0), inference, generative, {}, {}, {"x": X, "y": y.astype(np.int32)}, samples=(1,)
    )
    centred = X - np.array([-3.0, 3.0])[y][:, None]
    expected = -0.5 * np.sum(centred**2, axis=1) - 0.5 * OBSERVED * np.log(2 * np.pi)
    np.testing.assert_allclose(bounds[1].values, expected, rtol=1e-4)


def test_model_without_latents_is_evaluated_exactly():
    inference = Joint(evidence("x"))
    generative = Joint(factor("x", distributions.standard_normal(OBSERVED)))
    bounds = evaluation.importance_weighted_bound(
        jax.random.key(0), inference, generative, {}, {}, {"x": X}, samples=(1, 4), chunk=4
    )
    expected = multivariate_normal(np.zeros(OBSERVED), np.eye(OBSERVED)).logpdf(X)
    np.testing.assert_allclose(bounds[1].values, expected, rtol=1e-5)
    np.testing.assert_allclose(bounds[4].values, expected, rtol=1e-5)


@pytest.mark.thorough
def test_average_metrics_equals_the_loss_on_the_whole_split():
    """kl's loss with its closed form and an exact decoder mean: per-example values average to the batch's."""
    inference, generative, params, state = model(rough)
    loss = kl(inference, generative, weights={"kl/z": 2.0}).players["model"].loss
    estimates = evaluation.average_metrics(jax.random.key(0), loss, params, state, {"x": X}, batch_size=10)
    _, aux = loss(jax.random.key(5), params, state, {"x": jnp.asarray(X)}, train=False)
    np.testing.assert_allclose(estimates["kl/z"].mean, aux.metrics["kl/z"], rtol=1e-5)
    weighted = estimates["nll/x"].mean + 2 * estimates["kl/z"].mean
    np.testing.assert_allclose(estimates["loss"].mean, weighted, rtol=1e-5)


def test_repeated_evaluation_compiles_once():
    traces = []

    def counted(x):
        traces.append(1)
        return rough(x)

    arguments = (*model(counted), {"x": X})
    evaluation.elbo(jax.random.key(0), *arguments, batch_size=10)
    first = len(traces)
    evaluation.elbo(jax.random.key(1), *arguments, batch_size=10)
    assert len(traces) == first + 1  # the comparison of the values with their supports, which compiles nothing


def test_uniform_model_has_eight_bits():
    assert evaluation.bits_per_dim(28 * 28 * math.log(256), (28, 28)) == pytest.approx(8.0, abs=1e-12)
    assert evaluation.bits_per_dim(0.0, (28, 28), offset=math.log(256)) == pytest.approx(8.0, abs=1e-12)
    # A density half as wide as [0, 1) saves one bit.
    density = evaluation.bits_per_dim(-3 * math.log(2), (3,), offset=math.log(256))
    assert density == pytest.approx(7.0, abs=1e-12)
    values = evaluation.bits_per_dim(np.array([6.0, 12.0]) * math.log(2), (2, 3))
    np.testing.assert_allclose(values, [1.0, 2.0], rtol=1e-12)


def test_estimate_is_the_textbook_mean_and_error():
    estimate = evaluation.Estimate(np.array([1.0, 2.0, 6.0]))
    assert estimate.mean == pytest.approx(3.0)
    assert estimate.standard_error == pytest.approx(math.sqrt(7.0 / 3.0))
    assert math.isnan(evaluation.Estimate(np.array([1.0])).standard_error)
    assert repr(estimate) == "Estimate(3.000 ± 1.528, of 3 examples)"
    assert (str(estimate), f"{estimate:.1f}", float(estimate)) == ("3.000 ± 1.528", "3.0 ± 1.5", 3.0)
    assert repr(evaluation.Estimate(np.array([1.0]), "in bits")) == "Estimate(1.000 ± nan, of 1 example, in bits)"
    half = stats.norm.ppf(0.975) * math.sqrt(7.0 / 3.0)
    assert estimate.interval == pytest.approx((3.0 - half, 3.0 + half), rel=1e-12)
    # Single precision must not spoil a long mean.
    assert evaluation.Estimate(np.full(100_000, 0.1, np.float32)).mean == pytest.approx(np.float32(0.1), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": (0, 5)}, "samples must be positive"),
        ({"samples": ()}, "samples must be positive"),
        ({"chunk": 0}, "chunk must be an integer ≥ 1"),
        ({"batch_size": 0}, "batch_size must be an integer ≥ 1"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        evaluation.importance_weighted_bound(jax.random.key(0), *model(rough), {"x": X}, **change)


def test_bad_splits_and_joints():
    inference, generative, params, state = model(rough)
    with pytest.raises(ValueError, match=r"common, positive number.*'y': 3"):
        evaluation.elbo(jax.random.key(0), inference, generative, params, state, {"x": X, "y": np.zeros(3)})
    with pytest.raises(ValueError, match="same variables"):
        evaluation.importance_weighted_bound(
            jax.random.key(0), Joint(evidence("x")), generative, params, state, {"x": X}
        )
    with pytest.raises(ValueError, match="event_shape"):
        evaluation.bits_per_dim(1.0, (3, 0))


def test_weights_weigh_the_examples_of_a_split():
    """Mean as of repeated rows; the standard error does not depend on the scale of the weights."""
    values = np.array([1.0, 4.0, np.nan, 2.0])
    weighted = evaluation.Estimate(values, weights=np.array([3, 1, 0, 2]))
    repeated = np.repeat(values, [3, 1, 0, 2])
    assert weighted.mean == pytest.approx(repeated.mean(), rel=1e-12)
    scaled = evaluation.Estimate(values, weights=np.array([0.3, 0.1, 0, 0.2]))
    assert scaled.standard_error == pytest.approx(weighted.standard_error, rel=1e-12)
    alike = evaluation.Estimate(values[[0, 1, 3]], weights=np.full(3, 7.0))
    assert alike.standard_error == pytest.approx(np.std(values[[0, 1, 3]], ddof=1) / np.sqrt(3), rel=1e-12)


@pytest.mark.thorough
def test_estimates_over_a_split_are_weighted():
    """The exact posterior has the log-likelihood; others have the values of the unweighted split, weighted."""
    weights = np.arange(37) % 4
    split = {"x": np.where(weights[:, None] > 0, X, np.nan).astype(np.float32), "@weights": weights}
    key = jax.random.key(0)
    bound = evaluation.importance_weighted_bound(key, *model(exact), split, samples=(2,))[2]
    assert bound.mean == pytest.approx(np.average(LOG_LIKELIHOOD, weights=weights), rel=1e-5)
    joints = model(rough)
    loss = kl(*joints[:2]).players["model"].loss
    for found, plain in (
        (evaluation.elbo(key, *joints, each)["elbo"] for each in (split, {"x": X})),
        (evaluation.average_metrics(key, loss, *joints[2:], each)["loss"] for each in (split, {"x": X})),
    ):
        assert found.mean == pytest.approx(np.average(plain.values, weights=weights), rel=1e-6)


SPREAD = 0.5


def linear_gaussian(widen: float = 1.0):
    """z ~ N(0, I), x = z + noise: the posterior is N(x/(1+s²), s²/(1+s²)), the evidence N(0, 1+s²)."""
    scale = np.sqrt(SPREAD**2 / (1 + SPREAD**2)) * widen
    inference = Joint(
        evidence("x"),
        factor("z | x", lambda x: distributions.Normal(x / (1 + SPREAD**2), jnp.full_like(x, scale)).to_event(1)),
    )
    generative = Joint(
        factor("z", distributions.standard_normal(3)),
        factor("x | z", lambda z: distributions.Normal(z, jnp.full_like(z, SPREAD)).to_event(1)),
    )
    return inference, generative


@pytest.fixture
def split():
    return {"x": np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * np.sqrt(1 + SPREAD**2)}


def test_bounds_are_the_log_likelihood_at_the_exact_posterior(split):
    measure = evaluation.measure_bounds(*linear_gaussian(), split, samples=(1, 20))
    found = measure(jax.random.key(0), {}, {})
    exact = stats.norm(0, np.sqrt(1 + SPREAD**2)).logpdf(split["x"]).sum(axis=1)
    for name in ("iwae/1", "iwae/20"):
        np.testing.assert_allclose(found[name].values, exact, rtol=1e-4, atol=1e-4)
    assert found["elbo"].mean == pytest.approx(-found["kl/z"].mean - found["nll/x"].mean, rel=1e-5)
    assert found["active_units"] == 3
    assert found["examples_for_iwae"] == 40


@pytest.mark.thorough
def test_bounds_order_when_the_encoder_is_wrong_and_take_the_first_examples(split):
    inference, generative = linear_gaussian(widen=1.7)
    found = evaluation.measure_bounds(inference, generative, split, samples=(1, 50), examples=10)(
        jax.random.key(0), {}, {}
    )
    exact = stats.norm(0, np.sqrt(1 + SPREAD**2)).logpdf(split["x"]).sum(axis=1)[:10].mean()
    assert found["iwae/1"].mean < found["iwae/50"].mean < exact + 0.05
    assert found["iwae/50"].mean == pytest.approx(exact, abs=0.1)
    assert found["examples_for_iwae"] == len(found["iwae/1"].values) == 10
    assert len(found["elbo"].values) == 40


def test_monitor_is_the_loss_over_the_split(split):
    inference, generative = linear_gaussian()
    objective = kl(inference, generative, samples=64)
    found = evaluation.monitor_loss(objective, split)(jax.random.key(0), {}, {})
    exact = -stats.norm(0, np.sqrt(1 + SPREAD**2)).logpdf(split["x"]).sum(axis=1)
    assert found["loss"].mean == pytest.approx(exact.mean(), abs=0.05)


def test_a_uniform_decoder_of_shades_has_eight_bits_and_other_decoders_none():
    """−ELBO is D log 256 at posterior = prior; a decoder of real values gives pixels no probability."""
    pixels = {"x": np.random.default_rng(0).integers(0, 256, (6, 2, 3, 1)).astype(np.uint8)}
    inference = Joint(evidence("x"), factor("z | x", lambda x: normal(jnp.zeros((len(x), 2)), jnp.float32(1))))
    prior = factor("z", distributions.standard_normal(2))
    uniform = lambda z: distributions.Categorical(jnp.zeros((len(z), 2, 3, 1, 256))).to_event(3)  # noqa: E731
    measure = evaluation.measure_bounds(inference, Joint(prior, factor("x | z", uniform)), pixels, samples=(1, 3))
    found = measure(jax.random.key(0), {}, {})
    for name in ("bits_per_dim", "bits_per_dim/iwae/1", "bits_per_dim/iwae/3"):
        assert found[name].mean == pytest.approx(8.0, rel=1e-6)
    assert found["bits_per_dim"].note.startswith("upper bound, by the ELBO; 95 % interval 8.000")
    assert found["bits_per_dim/iwae/3"].note.startswith("upper bound, by iwae/3")
    real = lambda z: distributions.Normal(jnp.zeros((len(z), 2, 3, 1)), 1.0).to_event(3)  # noqa: E731
    values = {"x": pixels["x"].astype(np.float32)}
    found = evaluation.measure_bounds(inference, Joint(prior, factor("x | z", real)), values, samples=(1,))(
        jax.random.key(0), {}, {}
    )
    assert not any(name.startswith("bits") for name in found)

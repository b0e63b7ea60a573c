"""Models beside a known law: the divergence from it, by closed forms and by what maximum likelihood costs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.known_models import affine
from scipy import stats

from vifx import data, em
from vifx.evaluation import Estimate, known_law


def rows(law, size, seed):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, size)
    return (law.centres[y] + generator.standard_normal((size, law.centres.shape[1]))).astype(np.float32)


def measured(values, name, **options):
    law = data.modes("twonorm")
    split = {"x": rows(law, len(values), 0), **options}
    measure = known_law.measure_against_law(lambda *_: {name: Estimate(values), "other": 1.0}, law, split, metric=name)
    return law.log_prob(split["x"]), measure(jax.random.key(0), {}, {})


@pytest.mark.parametrize(("name", "sign"), [("log_prob/test", 1), ("nll/x", -1)])
def test_the_difference_is_taken_row_by_row(name, sign):
    values = np.linspace(-30.0, -20.0, 50)
    truth, found = measured(sign * values, name)
    difference = truth - values
    assert found["kl/true"].mean == pytest.approx(difference.mean(), rel=1e-12)
    assert found["kl/true"].standard_error == pytest.approx(difference.std(ddof=1) / np.sqrt(50), rel=1e-12)
    assert found["log_prob/test"].mean == pytest.approx(values.mean(), rel=1e-12)
    assert found["log_prob/test/true"].mean == pytest.approx(truth.mean(), rel=1e-12)
    assert found["other"] == 1.0


def test_weights_of_rows_count():
    values, weights = np.linspace(-30.0, -20.0, 50), np.arange(50) % 3
    truth, found = measured(values, "log_prob/test", **{"@weights": weights})
    assert found["kl/true"].mean == pytest.approx(np.average(truth - values, weights=weights), rel=1e-12)


def test_a_number_without_rows_is_refused():
    law = data.modes("twonorm")
    measure = known_law.measure_against_law(lambda *_: {"log_prob/test": -1.0}, law, {"x": rows(law, 5, 0)})
    with pytest.raises(TypeError, match="must be an Estimate with a value a row, got 'log_prob/test', a number"):
        measure(jax.random.key(0), {}, {})


@pytest.mark.thorough
def test_maximum_likelihood_costs_half_a_parameter_a_row():
    """Twice n times the divergence of an EM fit is χ² with k degrees of freedom; here the mean of several."""
    law, size, fits = data.modes("twonorm"), 1000, 8
    model = em.mixture(em.gaussian, 2, covariance="spherical", floor=1e-3)
    fresh = rows(law, 40_000, 99)
    costs = []
    for seed in range(fits):
        fitted = em.fit(jax.random.key(seed), model, rows(law, size, seed), restarts=1, steps=60)
        values = np.asarray(model.log_prob(fitted.params, fitted.state, jnp.asarray(fresh)), np.float64)
        costs.append(2 * size * (law.log_prob(fresh) - values).mean() / fitted.degrees)
    # The mean of χ²_43/43 over 8 fits has a standard deviation of 0.076, and 40,000 rows add 0.04 to each fit.
    assert np.mean(costs) == pytest.approx(1, abs=4.3 * 0.09)


def test_gaussian_fit_gives_mean_and_scale():
    generative, params, state = affine(latent=1, shift=1.5, scale=0.3)
    found = known_law.measure_moments(generative, n=20_000)(jax.random.key(0), params, state)
    assert found["mean"] == pytest.approx(1.5, abs=4 * 0.3 / np.sqrt(20_000))
    assert found["scale"] == pytest.approx(0.3, abs=4 * 0.3 / np.sqrt(40_000))


def test_draw_density_fits_the_samples():
    generative, params, state = affine(latent=1, shift=1.0, scale=2.0)
    drawing = known_law.draw_normal_fit(generative, data.modes("fgan_mixture"), optimum=(1.0, 1.8314), n=5000)
    figure = drawing(jax.random.key(0), params, state)
    found = known_law.measure_moments(generative, n=5000)(jax.random.key(0), params, state)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert f"trained: μ = {found['mean']:.3f}, σ = {found['scale']:.3f}" in labels
    assert "exact optimum: μ = 1.000, σ = 1.831" in labels


def test_density_fit_draws_normals_and_their_parameters():
    grid = np.linspace(-5, 7, 200)
    density = np.exp(data.modes("fgan_mixture").log_prob(grid[:, None]))
    samples = np.random.default_rng(0).normal(size=400)
    figure = known_law.density_fit_1d(
        grid, density, {"trained": (-1.0036, 1.83), "optimum": (1.0, 1.8314)}, samples=samples, title="KL"
    )
    axes = figure.axes[0]
    target, *fits = axes.lines
    np.testing.assert_allclose(target.get_xydata(), np.stack([grid, density], axis=1))
    for line, (mean, scale) in zip(fits, [(-1.0036, 1.83), (1.0, 1.8314)], strict=True):
        np.testing.assert_allclose(line.get_ydata(), stats.norm(mean, scale).pdf(grid))
    assert len({str(line.get_linestyle()) for line in fits}) == 2
    histogram = axes.patches[0].get_data()
    assert np.sum(histogram.values * np.diff(histogram.edges)) == pytest.approx(1)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "trained: μ = −1.004, σ = 1.830" in labels
    assert axes.get_title(loc="left") == "KL"

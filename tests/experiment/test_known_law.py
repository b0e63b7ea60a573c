"""Models beside a known law: the divergence from it, by closed forms and by what maximum likelihood costs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em
from vifx.evaluation import Estimate
from vifx.experiment import known_law


def rows(law, size, seed):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, size)
    return (law.centres[y] + generator.standard_normal((size, law.centres.shape[1]))).astype(np.float32)


def measured(values, name, **options):
    law = data.modes("twonorm")
    split = {"x": rows(law, len(values), 0), **options}
    measure = known_law.compared(lambda *_: {name: Estimate(values), "other": 1.0}, law, split, metric=name)
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
    measure = known_law.compared(lambda *_: {"log_prob/test": -1.0}, law, {"x": rows(law, 5, 0)})
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

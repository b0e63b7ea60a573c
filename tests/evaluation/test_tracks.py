"""What is measured and drawn of tracked targets, against a law that is known."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats

from vifx import data, em
from vifx.evaluation import tracks


@pytest.mark.thorough
def test_the_true_law_is_measured_right():
    """With the true parameters the noises have no error, and nineteen in twenty points are in their ellipses."""
    law, split = data.TRACKING, data.load(data.Config("tracking")).test
    model = em.lds(
        4,
        length=law.length,
        given=("mask",),
        chain={"transitions": law.transitions, "offset": np.zeros(4)},
        emissions={"loadings": law.loadings, "mean": np.zeros(2)},
    )
    batch = model.batch(model.data(split))
    _, state = model.objective.init(jax.random.key(0), batch)
    found = tracks.measure_tracks(model, split)(jax.random.key(0), tracks.true_params(), state)
    assert found["scale_error"] == pytest.approx(0, abs=1e-6)
    log_prob = float(np.mean(np.asarray(model.log_prob(tracks.true_params(), state, model.data(split)))))
    assert found["log_prob/test/true"].mean == pytest.approx(log_prob, rel=1e-5)
    for name in ("seen", "gap"):
        low, high = found[f"coverage/{name}"].interval
        assert low - 0.01 < 0.95 < high + 0.01
    assert found["error/seen"] < 0.5 < found["error/gap"]


def test_an_ellipse_has_its_probability():
    noise = np.random.default_rng(0)
    factor = np.array([[2.0, 0.0], [1.5, 0.5]])
    points = noise.normal(size=(4000, 2)) @ factor.T
    inside = tracks.covered(np.zeros((4000, 2)), np.broadcast_to(factor @ factor.T, (4000, 2, 2)), points)
    assert scipy.stats.binomtest(int(inside.sum()), 4000, 0.95).pvalue > 1e-4


def test_ellipses_stand_where_nothing_is_seen():
    means = np.cumsum(np.ones((1, 12, 2)), axis=1)
    covariances = np.broadcast_to(np.diag([4.0, 1.0]), (1, 12, 2, 2))
    missing = np.zeros((1, 12), bool)
    missing[0, 6:9] = True
    figure = tracks.track_figure(means, covariances, means, [means[0, :6]], missing)
    ellipses = figure.axes[0].patches
    assert [tuple(each.center) for each in ellipses] == [(1, 1), (6, 6), (7, 7), (8, 8), (9, 9), (11, 11)]
    radius = np.sqrt(scipy.stats.chi2(2).ppf(0.95))
    for each in ellipses:
        np.testing.assert_allclose(sorted([each.width, each.height]), [2 * radius, 4 * radius], rtol=1e-9)
    with pytest.raises(ValueError, match="must be of the same steps"):
        tracks.track_figure(means, covariances[:, :5], means, [means[0]], missing)

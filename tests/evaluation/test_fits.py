"""Figures of fitted models hold what was fitted: ellipses, densities, images, transitions, paths."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch

from vifx import em, evaluation
from vifx.evaluation.ellipses import Components, component_densities, of_estimates, shades
from vifx.evaluation.state_diagrams import path_panel, transition_diagram
from vifx.evaluation.style import chart

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4)) * [3, 0.5, 1, 1] + [6, 2, 0, 1]])


def fitted(model, x, **options):
    return em.fit(jax.random.key(0), model, x, steps=3, tolerance=0.0, **options)


def ellipses(axes):
    return [patch for patch in axes.patches if isinstance(patch, Ellipse) and not isinstance(patch, Circle)]


@pytest.mark.thorough
@pytest.mark.parametrize(("features", "covariance"), [(2, "full"), (4, "tied"), (3, "diagonal"), (2, "spherical")])
def test_ellipses_hold_95_percent_of_components_in_the_plane_of_the_mixture(features, covariance):
    """Drawn from the fitted components and projected: the share inside each ellipse is 0.95."""
    fit = fitted(em.mixture("gaussian", 2, covariance=covariance), X[:, :features].astype(np.float32))
    axes = fit.plot(X[:, :features]).axes[0]
    found = of_estimates(fit.estimates, fit.estimates["weights"])
    assert found is not None
    centre, directions = found.plane()
    np.testing.assert_allclose(directions.T @ directions + 1, np.eye(2) + 1, rtol=1e-12)
    # The whole mixture varies along them as its two largest eigenvalues say.
    law, draws = np.random.default_rng(1), []
    for k, patch in enumerate(ellipses(axes)):
        drawn = law.multivariate_normal(found.means[k], found.covariances[k], 20000)
        draws.append(drawn[: int(20000 * found.weights[k])])
        flat = (drawn - centre) @ directions - patch.center
        turn = np.radians(patch.angle)
        along = flat @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        inside = ((2 * along / [patch.width, patch.height]) ** 2).sum(axis=1) < 1
        assert abs(inside.mean() - 0.95) < 0.008
    if features > 2:
        spread = np.linalg.eigvalsh(np.cov(np.concatenate(draws).T))[::-1]
        projected = np.var((np.concatenate(draws) - centre) @ directions, axis=0)
        np.testing.assert_allclose(projected, spread[:2], rtol=0.01)
    (points,) = [each for each in axes.collections if len(each.get_offsets()) == 60]
    np.testing.assert_allclose(points.get_offsets(), (X[:, :features] - centre) @ directions, rtol=1e-9)


def test_the_radius_of_a_student_is_that_of_an_f():
    nu = np.array([1.0, 4.0, 30.0, np.inf])
    found = Components(np.full(4, 0.25), np.zeros((4, 2)), np.tile(np.eye(2), (4, 1, 1)), nu).radii
    np.testing.assert_allclose(found[:3], 2 * scipy.stats.f.ppf(0.95, 2, nu[:3]), rtol=1e-10)
    assert found[3] == pytest.approx(scipy.stats.chi2.ppf(0.95, 2), rel=1e-12)


def test_densities_of_numbers_are_scipys():
    own = Components(
        np.array([0.3, 0.7]), np.array([[0.0], [4.0]]), np.array([[[1.0]], [[4.0]]]), np.array([5.0, np.inf])
    )
    _, axes = chart("", "", "")
    component_densities(axes, own, None, "x")
    laws = [scipy.stats.t(5, 0, 1), scipy.stats.norm(4, 2)]
    each = [w * law.pdf(line.get_xdata()) for w, law, line in zip(own.weights, laws, axes.lines, strict=False)]
    for line, expected in zip(axes.lines, [*each, sum(each)], strict=True):
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)


@pytest.mark.thorough
def test_means_of_pictures_are_pictures_and_rates_a_table():
    pixels = (RNG.uniform(size=(40, 3, 5)) < 0.5).astype(np.float32)
    fit = fitted(em.mixture("bernoulli", 2), pixels)
    (axes,) = fit.plot().axes
    np.testing.assert_allclose([image.get_array() for image in axes.images], fit.estimates["probabilities"], rtol=1e-6)
    flat = fitted(em.mixture("bernoulli", 2), pixels.reshape(40, 15))
    shown = [image.get_array() for image in flat.plot(image=(3, 5)).axes[0].images]
    np.testing.assert_allclose(shown, flat.estimates["probabilities"].reshape(2, 3, 5), rtol=1e-6)
    np.testing.assert_allclose(flat.plot().axes[0].images[0].get_array(), flat.estimates["probabilities"])
    with pytest.raises(ValueError, match=r"image must be a shape of 15 numbers, got \(4, 4\)"):
        flat.plot(image=(4, 4))
    counts = fitted(em.mixture("poisson", 2), RNG.poisson(3, size=(40, 4)))
    np.testing.assert_allclose(counts.plot().axes[0].images[0].get_array(), counts.estimates["rates"])


def test_a_diagram_has_an_arrow_for_each_transition_and_its_probability():
    table = np.array([[0.9, 0.1, 0.0], [0.25, 0.5, 0.25], [0.0, 0.3, 0.7]])
    _, axes = chart("", "", "")
    transition_diagram(axes, table, np.array([0.5, 0.3, 0.2]))
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 4  # without the loops, which are circles
    texts = sorted(text.get_text() for text in axes.texts)
    assert texts == sorted(["0", "1", "2", "0.9", "0.1", "0.25", "0.5", "0.25", "0.3", "0.7"])
    for k, shade in enumerate(shades(3)):  # an arrow has the colour of the state that it leaves
        widths = [arrow.get_linewidth() for arrow in arrows if to_hex(arrow.get_edgecolor()) == shade]
        np.testing.assert_allclose(widths, 0.6 + 3.4 * np.delete(table[k], k)[np.delete(table[k], k) > 0])


def test_a_path_changes_its_background_with_the_state():
    path, series = np.array([0, 0, 2, 2, 2, 1]), np.arange(6.0)[:, None]
    _, axes = chart("", "", "")
    path_panel(axes, path, 3, series, ["x"])
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert spans == [(-0.5, 1.5), (1.5, 4.5), (4.5, 5.5)]
    assert len({patch.get_facecolor() for patch in axes.patches}) == 3
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), series[:, 0])


@pytest.mark.thorough
@pytest.mark.parametrize("states", [2, 12])
def test_a_hidden_markov_model_shows_transitions_emissions_and_a_path(states):
    sequences = [np.repeat(RNG.normal(size=(n // 4 + 1, 2)), 4, axis=0)[:n].astype(np.float32) for n in (40, 25)]
    fit = fitted(em.hmm("gaussian", states, length=40, covariance="diagonal", floor=0.1), sequences, start="random")
    figure = fit.plot(sequences)
    assert len(fit.plot().axes) == len(figure.axes) - 1
    below = figure.axes[-1]
    changes = np.flatnonzero(np.diff(fit.predict(sequences[:1])[0])) + 1
    spans = [patch.get_x() + 0.5 for patch in below.patches]
    np.testing.assert_array_equal(spans, [0, *changes])
    if states == 12:
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), fit.estimates["transitions"])
    np.testing.assert_array_equal(below.lines[0].get_ydata(), sequences[0][:, 0])
    assert evaluation.png(figure)[:4] == b"\x89PNG"


@pytest.mark.thorough
def test_a_linear_dynamical_system_shows_eigenvalues_and_the_smoothed_path():
    x = np.cumsum(RNG.normal(size=(3, 20, 2)), axis=1).astype(np.float32)
    fit = fitted(em.lds(2, length=20), x)
    left, right = fit.plot(x).axes
    values = np.linalg.eigvals(fit.estimates["transitions"])
    np.testing.assert_allclose(left.collections[0].get_offsets(), np.stack([values.real, values.imag], axis=1))
    means = np.asarray(fit.posterior(x).means[0], np.float64)
    expected = means @ fit.estimates["loadings"].T + fit.estimates["emission_mean"]
    np.testing.assert_allclose(right.lines[1].get_ydata(), expected[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(right.lines[0].get_ydata(), x[0, :, 0], rtol=1e-6)

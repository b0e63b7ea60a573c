"""Figures of the plane and of densities: the artists hold the data, and say what they count."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle
from scipy import stats

from vifx import data, evaluation

RING = data.modes("ring")


def title(figure):
    return figure.axes[0].get_title(loc="left")


def points(artist):
    return np.asarray(artist.get_offsets())


def test_mode_scatter_parts_samples_by_their_distance():
    generator = np.random.default_rng(0)
    samples = np.concatenate([RING.centres[:6] + 0.05, generator.normal(size=(4, 2)) * 0.2, [[9.0, 0.0]]])
    figure = evaluation.mode_scatter(samples, RING.centres, 0.1, title="12 updates")
    axes = figure.axes[0]
    assert title(figure) == "12 updates: 6 of 8 modes, 54.5% within 3σ"
    elsewhere, near = axes.collections[:2]
    np.testing.assert_allclose(points(near), samples[:6])
    np.testing.assert_allclose(points(elsewhere), samples[6:])
    assert axes.texts[0].get_text() == "1 of 11 samples are outside the picture"


def test_mode_scatter_marks_a_missed_mode_by_more_than_colour():
    scale = np.linspace(0.1, 0.2, 8)
    figure = evaluation.mode_scatter(RING.centres[[0, 1, 3, 4, 5, 6, 7]], RING.centres, scale, radius=2.0)
    circles = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    np.testing.assert_allclose([circle.center for circle in circles], RING.centres)
    np.testing.assert_allclose([circle.radius for circle in circles], 2 * scale)
    assert [circle.get_linestyle() in ("-", "solid") for circle in circles] == [True, True, False, *[True] * 5]
    crosses = [line.get_xydata() for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    np.testing.assert_allclose(crosses, [[RING.centres[2]]])
    assert title(figure) == "7 of 8 modes, 100.0% within 2σ"
    assert not figure.axes[0].texts


def test_mode_scatter_shows_where_every_mode_is():
    figure = evaluation.mode_scatter(np.zeros((3, 2)), RING.centres, 0.1)
    low, high = np.transpose([figure.axes[0].get_xlim(), figure.axes[0].get_ylim()])
    assert (RING.centres - 0.3 > low).all()
    assert (RING.centres + 0.3 < high).all()


def test_critic_field_draws_the_zero_line_of_a_known_ratio():
    """Log-ratio of N((−1, 0), I) against N((1, 0), I) is −2 x₀: zero on the axis."""
    generator = np.random.default_rng(0)
    real, drawn = generator.normal(size=(2, 300, 2)) + np.array([[-1.0, 0.0], [1.0, 0.0]])[:, None]
    figure = evaluation.critic_field(lambda x: -2 * x[:, 0], real, drawn, resolution=81)
    axes, bar = figure.axes
    lines = [c for c in axes.collections if list(getattr(c, "levels", [])) == [0.0]]
    (path,) = lines[0].get_paths()
    np.testing.assert_allclose(path.vertices[:, 0], 0, atol=1e-6)
    offsets = [points(c) for c in axes.collections if c.get_offsets().shape == (300, 2)]
    np.testing.assert_allclose(offsets, [real, drawn])
    typical = min(np.quantile(np.abs(2 * x.astype(np.float32)[:, 0]), 0.9) for x in (real, drawn))
    np.testing.assert_allclose(axes.collections[0].levels[[0, -1]], [-2 * typical, 2 * typical], rtol=1e-5)
    assert "nats" in bar.get_ylabel()


def test_critic_field_without_a_zero_line_draws_none():
    axes = evaluation.critic_field(lambda x: np.full(len(x), 3.0), RING.centres, RING.centres, resolution=5).axes[0]
    assert not [c for c in axes.collections if list(getattr(c, "levels", [])) == [0.0]]


def test_density_fit_draws_normals_and_their_parameters():
    grid = np.linspace(-5, 7, 200)
    density = np.exp(data.modes("fgan_mixture").log_prob(grid[:, None]))
    samples = np.random.default_rng(0).normal(size=400)
    figure = evaluation.density_fit_1d(
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
    assert title(figure) == "KL"


def test_density_2d_shows_the_density_between_its_data_and_its_samples():
    """A normal of scale ½: its values stand at their points, the x₁ axis upwards, and its mass is in the title."""
    law = stats.multivariate_normal([1.0, -1.0], np.diag([0.25, 0.04]))
    data, samples = np.random.default_rng(0).normal(size=(2, 400, 2)) * [0.5, 0.2] + [1.0, -1.0]
    samples[0] = [9.0, 0.0]
    figure = evaluation.density_2d(law.logpdf, data, samples, title="normal", resolution=60)
    panels = figure.axes
    (image,) = panels[1].images
    left, right, bottom, top = image.get_extent()
    x0, x1 = (low + (high - low) * (np.arange(60) + 0.5) / 60 for low, high in ((left, right), (bottom, top)))
    np.testing.assert_allclose(np.asarray(image.get_array()), law.pdf(np.stack(np.meshgrid(x0, x1), -1)), rtol=2e-5)
    assert image.origin == "lower"
    np.testing.assert_allclose(points(panels[0].collections[0]), data)
    np.testing.assert_allclose(points(panels[2].collections[0]), samples)
    inside = np.prod([np.diff(stats.norm.cdf(ends)) for ends in (np.array([left, right]) * 2 - 2, [-99, 99])])
    assert title_of(panels[1]) == f"density, {inside:.1%} of it in the picture"
    assert title_of(panels[2]) == "400 samples"
    assert panels[2].texts[0].get_text() == "1 of 400 samples are outside the picture"
    assert figure.get_suptitle() == "normal"


def title_of(axes):
    return axes.get_title(loc="left")


@pytest.mark.parametrize(
    "figure",
    [
        lambda: evaluation.mode_scatter(RING.centres + 9, RING.centres, 0.1, title="After 15,000 updates"),
        lambda: evaluation.critic_field(lambda x: x[:, 0], RING.centres, RING.centres, title="Critic"),
        lambda: evaluation.density_fit_1d([0, 1], [1, 1], {"a": (0, 1), "b": (0, 1), "c": (0, 1)}, title="Title"),
    ],
)
def test_no_text_is_cut(figure):
    figure = figure()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox, canvas.get_renderer()
    axes = figure.axes[0]
    legend = axes.get_legend().get_window_extent(renderer)
    assert axes._left_title.get_window_extent(renderer).y0 >= legend.y1
    boxes = [t.get_window_extent(renderer) for t in [*axes.texts, axes._left_title, axes.xaxis.label, axes.yaxis.label]]
    for box in [*boxes, legend]:
        assert 0 <= box.x0 <= box.x1 <= page.x1
        assert 0 <= box.y0 <= box.y1 <= page.y1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.mode_scatter(np.zeros((3, 1)), RING.centres, 0.1), r"samples must be \[n, 2\].*\(3, 1\)"),
        (lambda: evaluation.mode_scatter(np.zeros((3, 2)), np.zeros((3, 3)), 0.1), r"centres must be \[n, 2\]"),
        (lambda: evaluation.mode_scatter(np.full((3, 2), np.inf), RING.centres, 0.1), "3 of 3 that are not"),
        (lambda: evaluation.critic_field(lambda x: x, RING.centres, RING.centres), r"got shape \(25600, 2\)"),
        (lambda: evaluation.critic_field(lambda x: x[:, 0] / 0, RING.centres, RING.centres), "25600 values that are"),
        (lambda: evaluation.density_2d(lambda x: x[:, 0] / 0, RING.centres, RING.centres), "57600 values that are"),
        (lambda: evaluation.density_2d(lambda x: x[:, 0], np.zeros((3, 1)), RING.centres), r"data must be \[n, 2\]"),
        (lambda: evaluation.density_fit_1d([0, 1], [1], {}), "two vectors of one length"),
        (
            lambda: evaluation.density_fit_1d([0, 1], [1, 1], {"fit": (0, 0)}),
            "scale of fit 'fit' must be a finite number > 0",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Figures of the plane and of densities: the artists hold the data, and say what they count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle
from scipy import stats

import vifx
from vifx import data, evaluation, flows
from vifx.evaluation.batches import samples

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
    assert title(figure) == "12 updates: 11 samples over 8 modes"
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
    assert title(figure) == "7 samples over 8 modes"
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


def on_the_ring():
    """z is nearly discarded: x is the ring's mode at z's angle, three modes never."""

    def place(z):
        k = jnp.floor((jnp.arctan2(z[:, 1], z[:, 0]) / (2 * jnp.pi) + 0.5) * 5).clip(0, 4)
        angle = 2 * jnp.pi * k / 8
        return 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1) + 0.05 * z

    return vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.implicit("x | z", place))


@pytest.mark.thorough
def test_modes_are_measured_on_the_samples():
    found = evaluation.measure_modes(on_the_ring(), RING, n=2000)(jax.random.key(0), {}, {})
    assert found["modes"] == 5
    # |0.05 z| ≤ 0.3 has the probability of |z| ≤ 6.
    assert found["high_quality"] == pytest.approx(1, abs=1e-3)
    # Five of eight modes in equal shares: log(8/5), plus 4/(2n) by chance.
    assert found["counts_kl"] == pytest.approx(np.log(8 / 5), abs=0.01)


def test_draw_modes_draws_samples_of_the_model_and_no_number_that_the_table_has():
    generative, key = on_the_ring(), jax.random.key(0)
    figure = evaluation.draw_modes(generative, RING, n=500, title="Generator")(key, {}, {})
    assert figure.axes[0].get_title(loc="left") == "Generator: 500 samples over 8 modes"
    shown = np.concatenate([points(artist) for artist in figure.axes[0].collections[:2]])
    expected = samples(key, generative, {}, {}, 500)
    np.testing.assert_allclose(np.sort(shown, axis=0), np.sort(expected, axis=0))


def test_draw_critic_evaluates_the_critic_with_its_parameters():
    split = {"x": RING.centres.astype(np.float32)}
    drawing = evaluation.draw_critic(lambda params, state, x: params["slope"] * x[:, 0], on_the_ring(), split, n=8)
    figure = drawing(jax.random.key(0), {"slope": jnp.float32(3.0)}, {})
    limit = figure.axes[0].collections[0].levels[-1]
    drawn = figure.axes[0].collections[-4].get_offsets()
    expected = min(np.quantile(np.abs(3 * x[:, 0]), 0.9) for x in (split["x"], np.asarray(drawn, np.float32)))
    assert limit == pytest.approx(2 * expected, rel=1e-5)


@pytest.mark.thorough
def test_draw_density_shows_the_flow():
    base = vifx.standard_normal(2)
    bijection = flows.actnorm()
    points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32) * [1.0, 0.5]
    generative = vifx.Joint(vifx.transformed("x", base, bijection, name="flow"))
    params, state = generative.init(jax.random.key(0), {"x": jnp.asarray(points, jnp.float32)}, examples=500)
    figure = evaluation.draw_density(generative, lambda _: points, n=300)(jax.random.key(0), params, state)
    (image,) = figure.axes[1].images
    left, right, bottom, top = image.get_extent()
    ticks = [low + (high - low) * (np.arange(240) + 0.5) / 240 for low, high in ((left, right), (bottom, top))]
    law = stats.multivariate_normal(points.mean(axis=0), np.diag(points.var(axis=0)))
    np.testing.assert_allclose(np.asarray(image.get_array()), law.pdf(np.stack(np.meshgrid(*ticks), -1)), rtol=1e-3)
    samples = figure.axes[2].collections[0].get_offsets()
    assert len(samples) == 300
    np.testing.assert_allclose(np.std(samples, axis=0), [1.0, 0.5], rtol=0.15)

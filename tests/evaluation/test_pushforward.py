"""The picture of how a flow moves its base: its points, its curves and their shares, its colours, and bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.path import Path

import vifx
from vifx import evaluation, flows

NOISE = np.random.default_rng(0).standard_normal((2000, 2))


def shear(z):
    """Curved, invertible, and not symmetric."""
    return np.stack([2 * z[:, 0] + 1, 0.5 * z[:, 1] + z[:, 0] ** 2], axis=1)


def test_curves_hold_the_shares_that_the_picture_names():
    figure = evaluation.pushforward_2d(shear, NOISE, title="shear")
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    for axes, points in ((left, NOISE), (right, shear(NOISE))):
        np.testing.assert_allclose(axes.collections[0].get_offsets(), points, rtol=1e-5, atol=1e-5)
        for line, share in zip(axes.lines[:3], (0.5, 0.9, 0.99), strict=True):
            inside = Path(line.get_xydata()).contains_points(points)
            assert np.mean(inside) == pytest.approx(share, abs=2e-3)
    for one, other in zip(left.lines, right.lines, strict=True):
        np.testing.assert_allclose(other.get_xydata(), shear(one.get_xydata()), rtol=1e-4, atol=1e-5)
    assert left.get_title(loc="left") == "base, circles that hold 50%, 90%, 99%"
    assert "2,000 samples" in right.get_title(loc="left")
    assert figure.get_suptitle() == "shear"


@pytest.mark.thorough
def test_a_sample_has_the_colour_of_its_direction():
    corners = np.array([[np.cos(a), np.sin(a)] for a in np.deg2rad([30, 90, 150, 210, 270, 330])])
    left, right = evaluation.pushforward_2d(lambda z: -z, np.concatenate([corners, -corners])).axes
    for axes in (left, right):
        colours = axes.collections[0].get_facecolors()[:, :3]
        assert len(np.unique(colours, axis=0)) == 6
        np.testing.assert_allclose(colours[0], to_rgb(evaluation.style.STYLE.lines[0]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(colours[6:9], colours[3:6])  # opposite to the first three are the last three


@pytest.mark.thorough
@pytest.mark.parametrize("title", ["", "two moons"])
def test_no_text_is_cut(title):
    figure = evaluation.pushforward_2d(shear, NOISE, title=title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox, canvas.get_renderer()
    for axes in figure.axes:
        for text in (axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts):
            box = text.get_window_extent(renderer)
            assert 0 <= box.x0 <= box.x1 <= page.x1, text
            assert 0 <= box.y0 <= box.y1 <= page.y1, text
    if title:
        assert figure._suptitle.get_window_extent(renderer).y0 >= max(
            axes._left_title.get_window_extent(renderer).y1 for axes in figure.axes
        )


@pytest.mark.thorough
def test_draw_pushforward_shows_the_flow_of_the_joint():
    x = np.random.default_rng(1).normal([1.0, -2.0], [2.0, 0.5], (500, 2)).astype(np.float32)
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), flows.actnorm(), name="flow"))
    params, state = generative.init(jax.random.key(0), {"x": jnp.asarray(x)}, examples=500)
    left, right = evaluation.draw_pushforward(generative, n=300)(jax.random.key(1), params, state).axes
    noise, samples = (np.asarray(axes.collections[0].get_offsets()) for axes in (left, right))
    assert len(noise) == 300
    np.testing.assert_allclose(samples, x.mean(axis=0) + x.std(axis=0) * noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.pushforward_2d(shear, np.zeros((3, 1))), r"noise must be \[n, 2\].*\(3, 1\)"),
        (lambda: evaluation.pushforward_2d(lambda z: z[:, :1], NOISE), r"what decode returns must be \[n, 2\]"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Figures by content: the axes hold exactly the given arrays, labels say what they are, nothing is cut."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from vifx import evaluation

generator = np.random.default_rng(0)
IMAGES = generator.random(size=(12, 8, 8, 1))


def drawn(figure):
    """Images by (row, column) as the reader sees them: sorted by their place, rows from above."""
    artists = figure.axes[0].images
    lefts = sorted({artist.get_extent()[0] for artist in artists})
    tops = sorted({artist.get_extent()[3] for artist in artists})
    return {(tops.index(a.get_extent()[3]), lefts.index(a.get_extent()[0])): np.asarray(a.get_array()) for a in artists}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def pixels(figure):
    with Image.open(io.BytesIO(evaluation.png(figure))) as image:
        return np.asarray(image.convert("RGB"))


def test_image_grid_holds_the_images_in_reading_order():
    figure = evaluation.image_grid(IMAGES, columns=5, title="Samples")
    cells = drawn(figure)
    assert len(cells) == 12
    for i, image in enumerate(IMAGES):
        np.testing.assert_array_equal(cells[divmod(i, 5)], image[..., 0])
    assert texts(figure) == ["Samples"]
    # Near-square by default: 12 images in 4 columns.
    assert max(column for _, column in drawn(evaluation.image_grid(IMAGES))) == 3


def test_pixels_on_paper_are_the_pixels_given():
    """A checkerboard comes out as whole blocks of pure black and white: nothing interpolated or cut."""
    board = np.indices((4, 4)).sum(axis=0) % 2
    figure = evaluation.image_grid(board[None].astype(float))
    left, right, bottom, top = (int(side) for side in figure.axes[0].images[0].get_extent())
    region = pixels(figure)[top:bottom, left:right]
    zoom = (right - left) // 4
    expected = np.kron(board, np.ones((zoom, zoom)))[..., None].repeat(3, axis=2) * 255
    np.testing.assert_array_equal(region, expected)


def test_uint8_and_signed_images_use_their_own_range():
    levels = np.array([[0, 255], [128, 64]], dtype=np.uint8)
    figure = evaluation.image_grid(levels[None])
    signed = evaluation.image_grid(levels[None] / 127.5 - 1, limits=(-1, 1))
    np.testing.assert_array_equal(pixels(figure), pixels(signed))
    left, right, bottom, top = (int(side) for side in figure.axes[0].images[0].get_extent())
    zoom = (right - left) // 2
    shown = pixels(figure)[top:bottom:zoom, left:right:zoom, 0]
    np.testing.assert_array_equal(shown, levels)


def test_colour_images_are_scaled_to_the_unit_interval():
    colour = generator.uniform(-1, 1, size=(3, 4, 4, 3))
    cells = drawn(evaluation.image_grid(colour, columns=3, limits=(-1, 1)))
    np.testing.assert_allclose(cells[0, 2], (colour[2] + 1) / 2)


def test_non_finite_pixels_are_red():
    image = np.zeros((1, 2, 2))
    image[0, 0, 0] = np.nan
    figure = evaluation.image_grid(image)
    left, _, _, top = (int(side) for side in figure.axes[0].images[0].get_extent())
    red, green, blue = pixels(figure)[top + 2, left + 2]
    assert red > 180 > 60 > max(green, blue)


def test_reconstructions_stand_under_their_originals():
    figure = evaluation.reconstructions(IMAGES[:6], 1 - IMAGES[:6], columns=4)
    cells = drawn(figure)
    for i in range(6):
        row, column = divmod(i, 4)
        np.testing.assert_array_equal(cells[2 * row, column], IMAGES[i, ..., 0])
        np.testing.assert_array_equal(cells[2 * row + 1, column], 1 - IMAGES[i, ..., 0])
    assert texts(figure).count("original") == texts(figure).count("reconstruction") == 2


def test_latent_traversal_rows_are_latents_and_columns_values():
    images = IMAGES.reshape(3, 4, 8, 8)
    figure = evaluation.latent_traversal(images, (0, 7, 12), evaluation.normal_quantiles(4))
    cells = drawn(figure)
    for r in range(3):
        for c in range(4):
            np.testing.assert_array_equal(cells[r, c], images[r, c])
    assert texts(figure)[1:8] == ["z₀", "z₇", "z₁₂", "−2.1", "−0.4", "0.4", "2.1"]


def test_image_rows_have_their_labels():
    images = IMAGES.reshape(2, 6, 8, 8, 1)
    figure = evaluation.image_rows(images, ("T = 0.5", "T = 1"), title="Samples")
    cells = drawn(figure)
    assert len(cells) == 12
    for (row, column), image in cells.items():
        np.testing.assert_array_equal(image, images[row, column, ..., 0])
    assert texts(figure) == ["Samples", "T = 0.5", "T = 1"]


def test_latent_manifold_has_its_second_latent_upwards():
    images = generator.random(size=(3, 3, 5, 5))
    figure = evaluation.latent_manifold(images, (-1.0, 0.0, 1.0))
    cells = drawn(figure)
    np.testing.assert_array_equal(cells[2, 0], images[0, 0])
    np.testing.assert_array_equal(cells[0, 1], images[2, 1])
    assert texts(figure)[1:] == ["1.0", "0", "−1.0", "−1.0", "0", "1.0", "z₀", "z₁"]


@pytest.mark.parametrize(
    "figure",
    [
        lambda: evaluation.image_grid(IMAGES, title="A rather long title over images that are small"),
        lambda: evaluation.reconstructions(IMAGES[:2], IMAGES[:2]),
        lambda: evaluation.latent_traversal(IMAGES.reshape(3, 4, 8, 8), (0, 1, 127), range(4)),
        lambda: evaluation.image_rows(IMAGES.reshape(3, 4, 8, 8), ("T = 0.5", "T = 0.85", "T = 1"), title="Samples"),
        lambda: evaluation.loss_curves({"train": (range(50), np.linspace(9, 1, 50))}, title="T"),
        lambda: evaluation.bound_curve({k: evaluation.Estimate(-np.ones(3) / k) for k in (1, 100_000)}),
    ],
)
def test_no_text_is_cut(figure):
    figure = figure()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox, canvas.get_renderer()
    axes = figure.axes[0]
    for text in [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]:
        if text.get_text():
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= page.x1, text
            assert box.y1 <= page.y1, text


def test_loss_curves_hold_the_data():
    steps, train, validation = np.arange(0, 4000, 40), np.linspace(9, 5, 100), np.array([8.0, 6.5, 7.0])
    figure = evaluation.loss_curves(
        {"train": (steps, train), "validation": ([0, 2000, 3960], validation)}, mark_best="validation"
    )
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([steps, train], axis=1))
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), validation)
    assert axes.lines[2].get_xydata().tolist() == [[2000, 6.5]]
    assert texts(figure) == ["best 6.5 at 2,000"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation"]
    assert axes.get_yscale() == "linear"
    assert axes.get_xlabel() == "update"
    assert "nats" in axes.get_ylabel()


def test_loss_curves_choose_their_scale():
    steps = np.arange(100.0)
    decades = evaluation.loss_curves({"train": (steps, 10.0 ** (-steps / 20))}).axes[0]
    assert decades.get_yscale() == "log"
    assert "log scale" in decades.get_ylabel()
    falling = evaluation.loss_curves({"train": (steps, 300 * np.exp(-steps) + 100 - 0.1 * steps)})
    assert falling.axes[0].get_ylim()[1] < 110
    assert texts(falling) == ["starts off the chart, at 400"]
    negative = evaluation.loss_curves({"train": (steps, -steps)}).axes[0]
    assert negative.get_yscale() == "linear"
    gap = evaluation.loss_curves({"train": (steps, np.where(steps == 3, np.nan, -steps))}, mark_best="train")
    assert "best −99" in texts(gap)[0]


def test_bound_curve_is_the_negative_bound():
    bounds = {50: evaluation.Estimate(np.array([-3.0, -5.0])), 1: evaluation.Estimate(np.array([-6.0, -8.0]))}
    axes = evaluation.bound_curve(bounds).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 7.0], [50, 4.0]])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(3.0)
    assert band.max() == pytest.approx(8.0)
    assert axes.get_xscale() == "log"
    assert "nats" in axes.get_ylabel()


def test_latent_scatter_draws_two_latents_as_they_are():
    codes, labels = generator.normal(size=(30, 2)), np.arange(30) % 3
    axes = evaluation.latent_scatter(codes, labels).axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), codes)
    assert axes.get_xlabel() == "z₀"
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    colours = axes.collections[0].get_facecolors()[:, :3]
    for label, handle in enumerate(legend.legend_handles):
        np.testing.assert_allclose(colours[labels == label], np.tile(handle.get_facecolor()[0, :3], (10, 1)))
    medians = [text.get_position() for text in axes.texts]
    np.testing.assert_allclose(medians, [np.median(codes[labels == c], axis=0) for c in range(3)])


def test_latent_scatter_projects_more_latents_and_says_so():
    codes = generator.normal(size=(40, 5)) * np.array([5, 1, 1, 1, 3])
    projected, shares = evaluation.principal_components(codes, count=2)
    axes = evaluation.latent_scatter(codes).axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), projected)
    assert axes.get_xlabel() == f"first principal component of 5 latents ({shares[0]:.0%} of variance)"
    assert axes.get_ylabel().startswith("second principal component")


def test_png_is_reproducible_and_saved_atomically(tmp_path):
    figure = evaluation.image_grid(IMAGES)
    path = evaluation.save_figure(figure, tmp_path / "grid.png")
    assert path.read_bytes() == evaluation.png(evaluation.image_grid(IMAGES))
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.image_grid(np.zeros((5, 64))), r"images must be \[n, height, width\].*\(5, 64\)"),
        (lambda: evaluation.image_grid(np.zeros((5, 8, 8, 2))), "1 or 3 channels"),
        (lambda: evaluation.image_grid(np.zeros((0, 8, 8))), "at least one image"),
        (lambda: evaluation.image_grid(IMAGES, columns=0), "columns must be an integer ≥ 1"),
        (lambda: evaluation.reconstructions(IMAGES, IMAGES[:3]), "one shape"),
        (lambda: evaluation.latent_traversal(np.zeros((2, 3, 8, 8)), (0,), (1, 2, 3)), "one row per dimension"),
        (lambda: evaluation.image_rows(np.zeros((2, 3, 8, 8)), ("one",)), "one row per label"),
        (lambda: evaluation.latent_manifold(np.zeros((2, 3, 8, 8)), (1, 2)), "one row and one column per value"),
        (lambda: evaluation.loss_curves({}), "at least one curve"),
        (lambda: evaluation.loss_curves({"train": ([1], [1, 2])}), "two vectors of one length"),
        (lambda: evaluation.loss_curves({"train": ([1], [1])}, mark_best="test"), "mark_best"),
        (lambda: evaluation.bound_curve({}), "at least one number"),
        (lambda: evaluation.latent_scatter(np.zeros((5, 1))), "at least two latents"),
        (lambda: evaluation.latent_scatter(np.zeros((5, 2)), np.zeros(4)), "one per code"),
        (lambda: evaluation.latent_scatter(np.zeros((12, 2)), np.arange(12)), "at most 10 classes"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_importing_evaluation_imports_no_plotting_library():
    code = "import sys, vifx.evaluation; print([m for m in ('matplotlib', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.thorough
def test_figures_leave_pyplot_alone():
    code = (
        "import sys, numpy; from vifx import evaluation; "
        "evaluation.png(evaluation.image_grid(numpy.zeros((2, 4, 4)))); "
        "evaluation.png(evaluation.latent_scatter(numpy.eye(4), numpy.arange(4))); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

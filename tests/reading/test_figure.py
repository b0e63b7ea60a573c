"""The heat map of the taggers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from vifx.evaluation.style import STYLE
from vifx.reading import heat_map


def test_colours_are_the_probabilities_and_long_passages_break() -> None:
    words = [f"word{i}" for i in range(40)]
    probabilities = np.zeros((50, 2))
    probabilities[7] = 1.0, 0.5
    axes = heat_map("Which?", words, probabilities).axes[0]
    assert [text.get_text() for text in axes.texts] == words
    colours = np.array([patch.get_facecolor()[:3] for patch in axes.patches]).reshape(40, 2, 3)
    np.testing.assert_allclose(colours[7, 0], to_rgb(STYLE.lines[0]), atol=1e-2)
    np.testing.assert_allclose(colours[7, 1], (1 + np.array(to_rgb(STYLE.lines[1]))) / 2, atol=1e-2)
    assert (np.delete(colours, 7, axis=0) == 1).all()
    rows = {float(text.get_position()[1]) for text in axes.texts}
    assert len(rows) == 3
    assert max(text.get_position()[0] + len(text.get_text()) for text in axes.texts) <= axes.get_xlim()[1]


def test_characters_that_no_font_has_are_boxes_and_wide_ones_take_two_columns() -> None:
    axes = heat_map("白云?", ["白", "云", "\U000f0000", "km"], np.zeros((4, 2))).axes[0]
    assert axes.texts[2].get_text() == "□"
    assert axes.texts[0].get_text() in ("白", "□")
    assert [text.get_position()[0] for text in axes.texts] == [0, 3, 6, 8]
    axes.figure.canvas.draw()  # without a warning of missing glyphs


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"probabilities must have shape \[2, 2\], got \[1, 2\]"):
        heat_map("Which?", ["a", "b"], np.zeros((1, 2)))

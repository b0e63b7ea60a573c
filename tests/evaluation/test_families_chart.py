"""Families beside each other: each dot is where its number is."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from vifx import evaluation
from vifx.evaluation.style import STYLE

ROWS = {
    "flow": {"bits": (3.0, 2.5, 4.0), "fmd": (10.0, 9.0, 11.0)},
    "gan": {"fmd": (400.0, 300.0, 500.0), "coverage": (0.01, 0.01, 0.01)},
    "noise": {"coverage": (0.9, 0.9, 0.9)},
}


def test_every_number_has_its_dot_and_its_range():
    headings = {"bits": "bits/dim", "fmd": "FMD", "coverage": "coverage", "kid": "KID"}
    figure = evaluation.families_chart(ROWS, headings, muted=["noise"], title="Clothes")
    assert [axes.get_xlabel() for axes in figure.axes] == ["bits/dim", "FMD", "coverage"]  # nobody has the last
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["noise", "gan", "flow"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear"]
    for axes, metric in zip(figure.axes, headings, strict=False):
        having = [name for name in list(ROWS)[::-1] if metric in ROWS[name]]
        ranges, dots = axes.lines[::2], axes.lines[1::2]
        assert len(dots) == len(having)
        for name, line, dot in zip(having, ranges, dots, strict=True):
            middle, low, high = ROWS[name][metric]
            place = list(ROWS)[::-1].index(name)
            np.testing.assert_array_equal(line.get_xdata(), [low, high])
            np.testing.assert_array_equal(dot.get_data(), [[middle], [place]])
            assert to_hex(dot.get_color()) == (STYLE.muted if name == "noise" else STYLE.lines[0])


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"rows must have a family with one of \['kid'\]"):
        evaluation.families_chart(ROWS, {"kid": "KID"})

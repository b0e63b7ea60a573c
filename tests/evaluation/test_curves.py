"""The figure of metrics, by what it holds."""

from __future__ import annotations

import numpy as np
import pytest

from vifx import evaluation

STEPS = np.arange(100, 1100, 100)
CURVES = {
    "critic/saturation": (STEPS, np.geomspace(0.01, 0.9, 10)),
    "js/x_at_least": (STEPS, np.linspace(0.1, 0.5, 10)),
    "validation/modes": (STEPS[::2], [1, 4, 25, 25, 3]),
    "validation/fmd": (STEPS[::2], [900.0, 300.0, 20.5, 30.0, np.nan]),
    "kl/z": (STEPS, np.linspace(3.0, -1.0, 10)),
}


def test_each_metric_has_a_panel_with_its_values_unit_and_scale():
    figure = evaluation.metric_curves(CURVES, title="T", marks={"alarm": [500, 900], "best": [400], "none": []})
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == list(CURVES)
    for name, (steps, values) in CURVES.items():
        line, *marks = panels[name].lines
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_array_equal(line.get_ydata(), values)
        assert [mark.get_xdata()[0] for mark in marks] == [500, 900, 400]
    assert {name: (axes.get_ylabel(), axes.get_yscale()) for name, axes in panels.items()} == {
        "critic/saturation": ("", "linear"),
        "js/x_at_least": ("nats", "linear"),
        "validation/modes": ("modes", "linear"),
        "validation/fmd": ("log scale", "log"),
        "kl/z": ("nats", "linear"),
    }
    assert [axes.get_xlabel() for axes in panels.values()] == ["", "", "", "update", "update"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["alarm", "best"]
    low, high = panels["kl/z"].get_xlim()
    assert all(axes.get_xlim() == (low, high) for axes in panels.values())


def test_without_marks_there_is_no_legend_and_the_same_curves_give_the_same_image():
    few = {name: CURVES[name] for name in ("kl/z", "js/x_at_least")}
    figures = [evaluation.metric_curves(few) for _ in range(2)]
    assert figures[0].legends == []
    assert [len(axes.lines) for axes in figures[0].axes] == [1, 1]
    assert evaluation.png(figures[0]) == evaluation.png(figures[1])


def test_counts_have_whole_numbers_on_their_axis():
    (axes,) = evaluation.metric_curves({"validation/modes": ([1, 2, 3], [2, 1, 1])}).axes
    ticks = axes.get_yticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))
    (nothing,) = evaluation.metric_curves({"m": ([1, 2], [np.nan, np.inf])}).axes
    assert nothing.get_yscale() == "linear"


def test_curves_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="at least one metric, got none"):
        evaluation.metric_curves({})
    with pytest.raises(ValueError, match=r"'m' must be two vectors of one length, got \(1,\) and \(2,\)"):
        evaluation.metric_curves({"m": ([1], [1, 2])})


def test_alarms_stand_first_in_the_report_and_only_if_there_are_any():
    page = evaluation.report_html(title="T", alarms=["update 3: <b> & more", "second"], config={"a": 1})
    assert "<h2>Alarms</h2>\n<ul" in page
    assert "<li>update 3: &lt;b&gt; &amp; more</li>\n<li>second</li>" in page
    assert page.index("Alarms</h2>") < page.index("Configuration</h2>")
    assert "Alarms" not in evaluation.report_html(title="T", config={"a": 1})

"""The figure of texts has every line, in order, where it is said to be."""

from __future__ import annotations

import pytest

from vifx.evaluation import text_lines


def test_lines_are_drawn_in_order_with_their_labels():
    figure = text_lines([["a $1 text", "its draw\n"], ["other", "$"]], labels=("text", "drawn"), title="Title")
    drawn = [(text.get_text(), text.get_position()) for text in figure.texts]
    assert [text for text, _ in drawn] == [
        *("Title", "text", r"a \$1 text", "drawn", "its draw "),
        *("text", "other", "drawn", r"\$"),
    ]
    heights = [place[1] for _, place in drawn]
    assert heights == sorted(heights, reverse=True)
    assert 0 < heights[-1] < heights[0] < 1
    gap, line = heights[4] - heights[5], heights[2] - heights[4]
    assert gap == pytest.approx(1.5 * line, rel=1e-6)
    assert {place[0] for text, place in drawn if text in ("text", "drawn")} == {drawn[0][1][0]}


@pytest.mark.parametrize(
    ("groups", "labels", "message"),
    [
        ([], (), r"groups must each have a line, got \[\]"),
        ([["a"], []], (), r"groups must each have a line, got \[1, 0\]"),
        ([["a"], ["b", "c"]], ("one",), r"groups must have 1 lines, one a label, got \[1, 2\]"),
    ],
)
def test_groups_without_lines(groups, labels, message):
    with pytest.raises(ValueError, match=message):
        text_lines(groups, labels=labels)

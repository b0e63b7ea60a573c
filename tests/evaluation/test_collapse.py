"""Best, last and worst rows and the step of collapse, on logs that are written out."""

from __future__ import annotations

import math

import pytest

from vifx import evaluation, training

FALLEN = training.Alarm("validation/modes", "fallen", 0.7, rows=2, meaning="modes are lost")
SATURATED = training.Alarm("critic/saturation", "above", 0.95, rows=1, meaning="the critic is sure")


def log(**metrics):
    names = {name.replace("__", "/"): values for name, values in metrics.items()}
    length = len(next(iter(names.values())))
    return [{"step": 100 * (i + 1), **{n: v[i] for n, v in names.items() if v[i] is not None}} for i in range(length)]


def steps(found):
    return [row["step"] for row in (found.best, found.last, found.worst)]


def test_a_collapse_is_dated_by_the_first_row_of_the_episode():
    history = log(validation__modes=[3, 8, 8, 7, 5, 2, 4], critic__saturation=[1, 1, 0, 0, 0, 0, 0])
    found = evaluation.stages(history, best="-validation/modes", alarms=[FALLEN, SATURATED])
    assert steps(found) == [300, 700, 600]
    assert found.collapse.since == 500
    assert found.sentence.startswith("Collapse since update 500: validation/modes below 0.7 × its largest, 8,")
    assert evaluation.stages(history[:5], best="-validation/modes", alarms=[FALLEN]).collapse is None
    twice = log(validation__modes=[8, 2, 2, 8, 3, 3])
    assert evaluation.stages(twice, best="-validation/modes", alarms=[FALLEN]).collapse.since == 200


def test_less_is_better_without_a_minus_and_the_beginning_is_no_fall():
    """The controls: the worst row of all is the first, and it is not the worst of the fall; rising quality has none."""
    found = evaluation.stages(log(validation__fmd=[90.0, 30.0, 12.0, 40.0, 25.0]), best="validation/fmd")
    assert steps(found) == [300, 500, 400]
    assert found.collapse is None
    assert found.sentence.startswith("No alarm on a monitored metric went off")
    rising = evaluation.stages(log(validation__fmd=[90.0, 30.0, 12.0]), best="validation/fmd")
    assert steps(rising) == [300, 300, 300]


def test_rows_without_the_metric_and_values_that_are_none_do_not_count():
    history = log(validation__fmd=[None, 5.0, math.nan, None, 7.0], loss=[1.0] * 5)
    assert steps(evaluation.stages(history, best="validation/fmd")) == [200, 500, 500]
    assert evaluation.stages(history, best="validation/other") is None
    assert evaluation.stages([], best="validation/fmd") is None
    with pytest.raises(TypeError, match="sequence of Alarm"):
        evaluation.stages(history, best="validation/fmd", alarms=[FALLEN, "alarm"][1:])


def test_the_table_has_a_line_for_each_monitored_metric():
    history = log(validation__coverage=[0.9, 0.2, None], validation__fmd=[3.0, -9.0, 4.0], loss=[1.0, 2.0, 3.0])
    table = evaluation.stage_table(evaluation.stages(history, best="-validation/fmd"))
    assert table[0] == ["metric", "best, update 300", "last, update 300", "worst since, update 300"]
    assert table[1:] == [["fmd", "4", "4", "4"]]
    table = evaluation.stage_table(evaluation.stages(history, best="validation/fmd"))
    assert table[0] == ["metric", "best, update 200", "last, update 300", "worst since, update 300"]
    assert table[1:] == [["fmd", "−9", "4", "4"], ["coverage", "0.2", "–", "–"]]

"""What the command says of a run that collapses, and of warnings."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from vifx.cli.console import watch
from vifx.training import Event, read_metrics

LOST = "modes are lost; look at the samples"
MONITORED = """        monitor=lambda key, params, state: {"modes": modes(params), "cost": 9.0 - modes(params)},
        best="-validation/modes",
        alarms=[training.Alarm("validation/modes", "fallen", 0.7, rows=2, meaning=LOST)],
        curves={"quality": ["validation/*", "elbo", "no such metric"]},
"""
MODES = f'''
LOST = {LOST!r}


def modes(params):
    """8 as long as the decoder's bias, which moves by 0.01 an update, is near its start; then 2."""
    return 8.0 if float(abs(params["decoder"]["head"]["Dense_0"]["bias"]).max()) < 0.075 else 2.0
'''


def replaced(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture
def collapsing(tiny):
    """The tiny experiment with modes that fall at the seventh or eighth of sixteen updates."""
    replaced(
        tiny,
        ("        monitor=evaluation.monitor_loss(objective, splits.validation),\n", MONITORED),
        ('        best="validation/loss",\n', ""),
        ("        evaluate=evaluation.measure_bounds(inference, generative, splits.test, samples=(1, 4)),\n", ""),
        ("steps: PositiveInt = 8", "steps: PositiveInt = 16"),
        ("checkpoint_every: PositiveInt = 4", "checkpoint_every: PositiveInt = 2"),
    )
    tiny.write_text(tiny.read_text() + MODES)
    return tiny


def alarm_lines(out):
    return [line for line in out.splitlines() if line.startswith("update ")]


@pytest.mark.thorough
def test_a_run_that_collapses_says_so_and_goes_on(collapsing, vifx_command, tmp_path):
    result = vifx_command("train", collapsing, "--run", "run")
    assert (result.code, result.err) == (0, "")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    modes = [(row["step"], row["validation/modes"]) for row in rows]
    assert modes == [(2, 8), (4, 8), (6, 8), (8, 2), (10, 2), (12, 2), (14, 2), (16, 2)]
    sentence = f"validation/modes below 0.7 × its largest, 8, in 2 rows since update 8, now 2: {LOST}"
    (line,) = alarm_lines(result.out)
    assert line == f"update 10: {sentence}; best checkpoint so far: update 6"
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["step"] == 6
    assert results["alarms"] == [{"metric": "validation/modes", "since": 8, "step": 10, "meaning": LOST}]
    assert results["collapse"] == 8
    assert {name: row["step"] for name, row in results["course"].items()} == {"best": 6, "last": 16, "worst": 8}
    page = (tmp_path / "run" / "report.html").read_text()
    for shown in (result.out, page):
        assert "Collapse since update 8: validation/modes below 0.7" in shown
    assert "metric  best, update 6  last, update 16  worst since, update 8\nmodes " in result.out
    assert "<h2>Best, last and worst</h2>" in page
    assert "<h2>Alarms</h2>" in page
    assert f"<li>update 10: {sentence}</li>" in page
    assert page.index("<h2>Alarms</h2>") < page.index("<h2>Figures</h2>")


@pytest.mark.thorough
def test_resuming_and_evaluating_find_the_same_alarms(collapsing, vifx_command, tmp_path):
    whole = vifx_command("train", collapsing, "--run", "whole")
    parts = [
        vifx_command("train", collapsing, "--run", "parts", "--steps", "8"),
        vifx_command("resume", "parts", "--steps", "12"),
        vifx_command("resume", "parts", "--steps", "16"),
    ]
    assert [alarm_lines(part.out) for part in parts] == [[], alarm_lines(whole.out), []]
    results = [(tmp_path / name / "results.json").read_bytes() for name in ("parts", "whole")]
    assert results[0] == results[1]
    assert vifx_command("evaluate", "parts").code == 0
    assert (tmp_path / "parts" / "results.json").read_bytes() == results[1]


@pytest.mark.thorough
def test_a_sound_run_has_an_empty_list_and_no_section(tiny, vifx_command, tmp_path):
    result = vifx_command("train", tiny, "--run", "run", "--steps", "2")
    assert alarm_lines(result.out) == []
    assert json.loads((tmp_path / "run" / "results.json").read_text())["alarms"] == []
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Alarms" not in page
    assert "Best, last and worst" not in page


@pytest.mark.thorough
def test_curves_are_drawn_from_the_log(collapsing, vifx_command, tmp_path, monkeypatch):
    drawn = []

    def metric_curves(curves, **options):
        drawn.append((curves, options))
        return original(curves, **options)

    from vifx import evaluation

    original = evaluation.metric_curves
    monkeypatch.setattr(evaluation, "metric_curves", metric_curves)
    vifx_command("train", collapsing, "--run", "run")
    ((curves, options),) = drawn
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert list(curves) == ["validation/cost", "validation/modes", "elbo"]
    for name, (steps, values) in curves.items():
        assert list(zip(steps, values, strict=True)) == [(row["step"], row[name]) for row in rows]
    assert options == {"title": "Quality", "marks": {"alarm": [10], "best checkpoint": [6]}}
    assert (tmp_path / "run" / "figures" / "quality.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_reason_of_a_stop_is_one_line(terminal):
    stream = io.StringIO()
    with watch(Console(file=stream, force_terminal=terminal, soft_wrap=True, highlight=False, width=40)) as show:
        show(Event(kind="end", step=1200, steps=4000, seconds=1.0, message="loss [best] has not improved"))
        show(Event(kind="end", step=4000, steps=4000, seconds=1.0))
    assert stream.getvalue().count("stopped after update 1,200: loss [best] has not improved\n") == 1
    assert stream.getvalue().count("stopped") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_an_alarm_is_one_line_on_a_terminal_and_in_a_pipe(terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, soft_wrap=True, highlight=False, width=40)
    message = "m [above] 0.95 in 5 rows since update 2,600: " + "the critic tells every sample apart " * 3
    with watch(console) as show:
        show(Event(kind="start", step=0, steps=4000, metrics={}, seconds=0.0))
        show(Event(kind="log", step=3000, steps=4000, metrics={"step": 3000, "m": 1.0}, seconds=1.0))
        show(Event(kind="alarm", step=3000, steps=4000, metrics={"step": 3000, "m": 1.0}, seconds=1.0, message=message))
        show(Event(kind="checkpoint", step=3000, steps=4000, metrics={"step": 3000}, seconds=1.0))
    lines = [line for line in stream.getvalue().splitlines() if message.strip() in line]
    assert len(lines) == 1
    assert f"update 3,000: {message.strip()}" in lines[0]
    assert terminal or lines[0] == f"update 3,000: {message.strip()}"


def test_wrong_alarms_and_curves_are_refused_before_anything_is_written(collapsing, vifx_command, files, tmp_path):
    text = collapsing.read_text()
    for old, new, message in (
        ('"fallen", 0.7', '"fallen", 7', "limit of 'fallen' must be a number in (0, 1), got 7"),
        ("alarms=[training.Alarm(", "alarms=[(", "must be a sequence of Alarm, got ("),
        ('["validation/*", "elbo", "no such metric"]', '"elbo"', "curves['quality'] must be a sequence of metrics"),
        ('{"quality":', '{"samples":', "curves['samples'] has the name of another figure"),
        ('{"quality":', '{"loss":', "curves['loss'] has the name of another figure"),
    ):
        assert old in text
        changed = text.replace(old, new)
        changed = changed.replace("rows=2, meaning=", "2, ") if "alarms=[(" in new else changed
        collapsing.write_text(changed)
        before = files(tmp_path)
        result = vifx_command("train", collapsing, "--run", "run")
        assert result.code == 2
        assert message in result.message
        assert files(tmp_path) == before


@pytest.mark.thorough
@pytest.mark.filterwarnings("default::UserWarning")
def test_a_warning_of_the_build_is_one_plain_line(tiny, vifx_command):
    replaced(
        tiny,
        (
            '    """Build it."""\n',
            '    """Build it."""\n    import warnings\n    warnings.warn("one update\\n  a turn.")\n',
        ),
    )
    for command in (["train", tiny, "--run", "run", "--steps", "2"], ["explain", tiny]):
        result = vifx_command(*command)
        assert (result.code, result.err) == (0, "warning: one update a turn.\n")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_proximal_term_at_one_update_a_phase_warns_in_one_line(tiny, vifx_command):
    replaced(
        tiny,
        (
            "    objective = vifx.kl(inference, generative)\n",
            "    objective = vifx.reconstruction(inference, generative) + vifx.adversarial(\n"
            "        inference, generative, networks.MLP((4, 1)), on='z', proximal=1.0\n    )\n",
        ),
        ("        monitor=evaluation.monitor_loss(objective, splits.validation),\n", ""),
        ('        best="validation/loss",\n', ""),
    )
    result = vifx_command("explain", tiny)
    assert result.code == 0
    assert result.err.startswith("warning: player 'model' makes one update a turn")
    assert result.err.count("\n") == 1
    assert "tiny.py" not in result.err

"""The experiments with a reader build, train, measure, draw and answer: a full run's code, with small numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vifx.cli import main
from vifx.training import read_metrics

FOLDER = Path(__file__).parents[2] / "experiments"
QUESTIONS = Path(__file__).parents[1] / "reading"
SMALL = ["--steps", "4", "--log-every", "2", "--evaluate-every", "2", "--features", "8", "--data.batch-size", "8"]
INVENTED = ["--data.questions", "30", "--data.least", "2", "--data.passage-length", "64"]
CASES = {
    "article": ("dgcnn_qa", [*INVENTED, "--spliced", "--dropped-answers", "0.1"]),
    "code": ("dgcnn_qa", [*INVENTED, "--form", "code", "--loss", "focal", "--no-gated"]),
    "file": (
        "dgcnn_squad",
        [
            *("--data.source", str(QUESTIONS / "squad.json"), "--data.test-source", str(QUESTIONS / "webqa.json")),
            *("--data.validation", "0", "--data.batch-size", "2", "--data.least", "1"),
        ],
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES)
def test_trains_to_the_end_and_answers(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stem, extra = CASES[case]
    code = main(["train", str(FOLDER / f"{stem}.py"), *SMALL, *extra, "--run", "run"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    rows = read_metrics(Path("run/metrics.jsonl"))
    assert [row["step"] for row in rows] == [2, 4]
    assert stem == "dgcnn_squad" or rows[1]["loss/model"] < rows[0]["loss/model"]  # batches of two questions vary
    assert all(np.isfinite(value) for row in rows for value in row.values())
    found = {name: m["value"] for name, m in json.loads(Path("run/results.json").read_text())["metrics"].items()}
    assert found["exact_match"] <= found["score"] <= found["f1"] <= 1
    assert {p.stem for p in Path("run/figures").iterdir()} >= {"reading_1", "loss"}

    texts = {"first.txt": "Marlow is a town. The Thames flows through it.", "second.txt": "白云山坐落在广州。"}
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8")
    asked = ["answer", "run", "--question", "Which river flows through Marlow?", "--trust", "--passages", *texts]
    assert main([*asked, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    for answer in answers:
        for place in answer["places"]:
            assert 0 <= place["start"] < place["end"] <= len([*texts.values()][place["passage"]])
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in texts)
    assert ("no answer: no piece" in printed) == (not answers)


def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    squad = str(FOLDER / "dgcnn_squad.py")
    assert main(["train", squad]) == 2
    assert "--data.source must be a file of questions" in capsys.readouterr().err
    Path("broken.json").write_text('[{"question": "Who?",\n "passages": [{"passage": 3}]}]', encoding="utf-8")
    assert main(["train", squad, "--data.source", "broken.json"]) == 2
    assert "broken.json, line 2: [0].passages[0].passage must be a string, got 3" in capsys.readouterr().err
    small = ["--data.questions", "20", "--data.least", "2"]
    assert main(["train", str(FOLDER / "dgcnn_qa.py"), *small, "--vectors", "none.txt"]) == 2
    assert "none.txt: expected a text file of word vectors, found none" in capsys.readouterr().err
    assert main(["train", str(FOLDER / "dgcnn_qa.py"), *small, "--data.question-length", "3"]) == 2
    assert "--data.question-length must be at least" in capsys.readouterr().err
    assert main(["train", str(FOLDER / "dgcnn_qa.py"), *small, "--dropped-tokens", "1"]) == 2
    assert "--dropped-tokens must be a probability below 1, got 1.0" in capsys.readouterr().err

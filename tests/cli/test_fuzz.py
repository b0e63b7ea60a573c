"""Hundreds of random argument vectors: one line and exit code 2 or an answer, never a traceback."""

from __future__ import annotations

import numpy as np
import pytest

WORDS = (
    *(
        "train",
        "resume",
        "evaluate",
        "sample",
        "answer",
        "explain",
        "list",
        "data",
        "prepare",
        "--help",
        "-h",
        "--version",
    ),
    *("tiny.py", "nowhere.py", "runs", "", " ", "-", "--", "---", "--=", "=", "-5", "nan", "inf", "1e999", "ü✂", "a b"),
    *("--latent", "--latent=2", "--latnet", "--hidden", "--hidden=", "--flavour", "--data.name", "--data", "--run"),
    *(
        "--steps",
        "--steps=0",
        "--n",
        "--temperature",
        "--latex",
        "--debug",
        "--no-poison",
        "--seed=-1",
        "\x00",
        "[red]",
    ),
    *("%s", "{}", "\\", "'", '"', "$HOME", "*", "--data.batch-size=10000000000000000000000", "--config", "--options"),
)


@pytest.mark.thorough
def test_random_arguments(tiny, vifx_command, files, tmp_path):
    generator = np.random.default_rng(0)
    before = files(tmp_path)
    codes = []
    for _ in range(400):
        words = list(generator.choice(WORDS, size=generator.integers(0, 5)))
        if generator.random() < 0.5:
            words = ["train", "tiny.py", *words, "--latent", "0"]  # far into parsing, and never valid
        elif words[:2] == ["train", "tiny.py"] or words[:2] == ["explain", "tiny.py"]:
            words.append("--latnet")
        result = vifx_command(*words)
        assert result.code in (0, 2), words
        assert "Traceback" not in result.out + result.err, words
        if result.code == 2:
            assert result.message, words
            assert result.out == "", words
        codes.append(result.code)
    assert codes.count(2) > 200
    assert codes.count(0) > 10
    assert files(tmp_path) == before

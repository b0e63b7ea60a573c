"""The page of ten tasks takes no more lines than it says; that they run is tested with the other pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "ten-tasks.md").read_text(encoding="utf-8")
NUMBERS = {"one": 1, "two": 2, "twelve": 12, "fifteen": 15}
TASKS = re.findall(
    r"^## (\d+)\. [^\n]*: (\w+) (lines?|command|option)$\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
)


def test_there_are_ten():
    assert [int(number) for number, *_ in TASKS] == list(range(1, 11))


@pytest.mark.parametrize(("number", "words", "what", "section"), TASKS, ids=[task[0] for task in TASKS])
def test_a_task_takes_the_lines_that_its_title_says(number, words, what, section):
    shown = re.sub(r"<!--.*?-->", "", section, flags=re.DOTALL)
    (block,) = re.findall(r"^```(?:python|console)\n(.*?)^```$", shown, re.MULTILINE | re.DOTALL)
    commands = [line for line in block.splitlines() if re.match(r"\$ (vifx|python) ", line)]
    program = re.findall(r"^> (.*)$", block, re.MULTILINE) or block.splitlines()
    if what in ("command", "option"):
        assert len(commands) == NUMBERS[words] == 1
    else:  # imports and what is printed are no part of what it takes, but where they are counted in
        lines = [line for line in program if line and not line.startswith(("import ", "from ", "print", "END"))]
        assert len(lines) <= NUMBERS[words]

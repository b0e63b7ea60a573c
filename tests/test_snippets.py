"""Rule 12: what the README, the quick start and docstrings show runs, and says what it prints.

The other pages are executed by the build of the site (`test_docs.py`).
"""

from __future__ import annotations

import doctest
import importlib
import re
import sys
import types
from pathlib import Path

import pytest

import vifx

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> str:
    """The Python blocks of a page as one program, on the lines that they have in the page."""
    lines = [""] * (text.count("\n") + 1)
    for match in BLOCK.finditer(text):
        first = text.count("\n", 0, match.start(1))
        body = match.group(1).splitlines()
        lines[first : first + len(body)] = body
    return "\n".join(lines)


def with_doctests() -> list[str]:
    """The modules of the installed package whose docstrings have examples."""
    package = Path(vifx.__file__).parent
    paths = [p for p in sorted(package.rglob("*.py")) if ">>> " in p.read_text(encoding="utf-8")]
    names = [".".join(p.relative_to(package.parent).with_suffix("").parts) for p in paths]
    return [name.removesuffix(".__init__") for name in names]


def failures(module: object) -> int:
    return doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed  # pyright: ignore


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = python_blocks(page.read_text(encoding="utf-8"))
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses look their module up
    exec(compile(code, str(page), "exec"), vars(module))
    assert sorted(p.suffix for p in tmp_path.rglob("*.py")) == []


@pytest.mark.parametrize("name", with_doctests())
def test_the_docstrings_run(name):
    assert failures(importlib.import_module(name)) == 0


def test_a_wrong_page_and_a_wrong_docstring_fail():
    page = "text\n```python\nx = 1\n```\nmore\n```python\nassert x == 2\n```\n"
    with pytest.raises(AssertionError):
        exec(compile(python_blocks(page), "page", "exec"), {})
    wrong = types.ModuleType("wrong", ">>> 1 + 1\n3\n")
    assert failures(wrong) == 1

"""The docs build without a warning, and every public package has its page."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import vifx

DOCS = Path(__file__).parents[1] / "docs"


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.thorough
def test_the_docs_build_without_warnings(tmp_path):
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "notation.html").read_text(encoding="utf-8")
    assert [n for n in range(1, 11) if rf"\tag{{{n}}}" not in page] == []


@pytest.mark.thorough
def test_an_undocumented_symbol_fails_the_build(tmp_path):
    (tmp_path / "bare.py").write_text('"""Bare."""\n__all__ = ["f"]\ndef f(): ...\n')
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{conf.split('import annotations')[1]}"
    )
    (tmp_path / "index.md").write_text(
        "# Bare\n\n```{eval-rst}\n.. automodule:: bare\n   :members:\n   :undoc-members:\n```\n"
    )
    done = build(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert "bare.f has no docstring" in done.stderr


def test_every_public_package_has_a_page():
    pages = "".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"automodule:: (\S+)", pages))
    modules = {f"vifx.{m.name}" for m in pkgutil.iter_modules(vifx.__path__) if m.name not in ("__main__", "core")}
    core = {f"vifx.core.{m.name}" for m in pkgutil.iter_modules(vifx.core.__path__)}
    assert {"vifx", *modules, *core} <= documented
    assert [name for name in documented if find_spec(name) is None] == []

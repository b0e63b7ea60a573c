"""The site: every page runs, builds without a warning, asks no other host for anything, and has its place."""

from __future__ import annotations

import html
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
import pytest
from browser import BROWSER, measured
from mathjax import errors

import vifx

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SPEC = spec_from_file_location("notebooks", DOCS / "_ext" / "notebooks.py")
notebooks = module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)

# Kernels are as strict as the tests are (tests/conftest.py), and a warning is an error in them too.
STRICT = {
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_DEBUG_KEY_REUSE": "true",
    "XLA_FLAGS": "",  # as readers have them: the pages train for some minutes
}
WARNINGS = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")
warnings.filterwarnings("ignore", message="IProgress not found")
"""


def build(source, target):
    """Build as CI does; caches and the kernels' profile are of this build alone."""
    profile = target.parent / "ipython"
    startup = profile / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00-warnings.py").write_text(WARNINGS)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(target)]
    environment = {**os.environ, **STRICT, "IPYTHONDIR": str(profile)}
    options = {"capture_output": True, "text": True, "timeout": 1700, "check": False}
    return subprocess.run(command, env=environment, **options)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; the executed notebooks lie beside it."""
    target = tmp_path_factory.mktemp("site") / "html"
    done = build(DOCS, target)
    assert done.returncode == 0, done.stderr
    return target


def one_page(folder, text, **files):
    """A site of one page, with the configuration of the real one."""
    shutil.copytree(DOCS / "_ext", folder / "_ext")
    shutil.copytree(DOCS / "_static", folder / "_static")
    shutil.copy(DOCS / "conf.py", folder)
    (folder / "index.md").write_text(text)
    for name, content in files.items():
        (folder / "_ext" / f"{name}.py").write_text(content)
    return build(folder, folder / "_build" / "html")


def pages(site):
    return {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))
    }


@pytest.mark.thorough
def test_the_pages_run_and_show_what_they_draw(site):
    executed = {
        path.relative_to(site.parent / "jupyter_execute"): nbformat.read(path, as_version=4)
        for path in sorted((site.parent / "jupyter_execute").rglob("*.ipynb"))
    }
    programs = [path for path, page in executed.items() if any(cell.cell_type == "code" for cell in page.cells)]
    assert len(programs) >= 17
    outputs = [output for page in executed.values() for cell in page.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    drawn = {path.parent / name for path, page in executed.items() for name in notebooks.drawn(page)}
    copies = {(DOCS / path).resolve().relative_to(DOCS.resolve()).as_posix() for path in drawn}
    assert len(copies) >= 6
    assert [name for name in copies if not (DOCS / name).exists()] == []


@pytest.mark.thorough
def test_every_formula_is_one(site):
    found = {}
    for name, page in pages(site).items():
        for formula in re.findall(
            r'class="[^"]*\bmath\b[^"]*">\s*(?:<[^>]*>[^<]*</[^>]*>)?\\[(\[](.*?)\\[)\]]', page, re.DOTALL
        ):
            found.setdefault(html.unescape(formula).strip(), name)
    assert len(found) > 200
    assert errors(list(found)) == {}
    assert [number for number in range(1, 11) if rf"\tag{{{number}}}" not in pages(site)["notation.html"]] == []


@pytest.mark.thorough
def test_the_site_asks_no_other_host(site):
    elsewhere = re.compile(
        r'(?:\bsrc|\bsrcset|<link[^>]*\bhref)="(?:https?:)?//[^"]*"|url\(["\']?(?:https?:)?//|@import'
    )
    texts = {**pages(site), **{path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}}
    assert {name: found for name, text in texts.items() if (found := elsewhere.findall(text))} == {}
    assert (site / "_static" / "mathjax" / "tex-chtml.js").stat().st_size > 1_000_000
    assert len(list((site / "_static" / "mathjax").rglob("*.woff"))) == 23


@pytest.mark.thorough
def test_checks_are_hidden(site):
    shown = {name: re.findall(r'<span class="k">assert</span>', page) for name, page in pages(site).items()}
    assert {name for name, found in shown.items() if found and not name.startswith("_modules")} == set()


@pytest.mark.thorough
def test_a_page_that_fails_fails_the_build(tmp_path):
    done = one_page(tmp_path, "# Page\n\n<!--\n```python\nassert 1 == 2, 'a hidden check'\n```\n-->\n")
    assert done.returncode != 0
    assert "a hidden check" in done.stderr


@pytest.mark.thorough
def test_an_undocumented_symbol_fails_the_build(tmp_path):
    page = "# Bare\n\n```{eval-rst}\n.. automodule:: bare\n   :members:\n   :undoc-members:\n```\n"
    done = one_page(tmp_path, page, bare='"""Bare."""\n__all__ = ["f"]\ndef f(): ...\n')
    assert done.returncode == 1
    assert "bare.f has no docstring" in done.stderr


def test_a_page_is_a_notebook():
    text = (
        "# Title\n\nWords.\n\n```python\nx = 1\n```\n\n<!--\n```python\nassert x == 1\n```\n-->\n\n"
        "```python\ndraw(x)\n```\n\n![A line](../images/line.png)\n\nMore.\n\n```text\nx\n```\n"
    )
    page = notebooks.read(text)
    assert [cell.source for cell in page.cells] == [
        *("# Title\n\nWords.", "x = 1", "assert x == 1", "draw(x)", "More.\n\n```text\nx\n```")
    ]
    assert [cell.metadata.get("tags") for cell in page.cells] == [None, [], ["remove-cell"], [], None]
    assert page.cells[3].metadata["picture"] == "../images/line.png"
    assert page.cells[3].metadata["mystnb"] == {"image": {"alt": "A line"}}
    lines = text.splitlines()
    assert [lines[number] for number in page.metadata["source_map"]] == [
        *("# Title", "x = 1", "assert x == 1", "draw(x)", "More.")
    ]
    assert notebooks.read("# No program\n").metadata["mystnb"] == {"execution_mode": "off"}


def test_code_fits_and_has_no_checks_in_it():
    """88 columns are what a screen of 1280 pixels shows beside the contents; checks stand in comments."""
    for path in sorted(DOCS.rglob("*.md")):
        for match in notebooks.BLOCK.finditer(path.read_text(encoding="utf-8")):
            assert [line for line in match["code"].splitlines() if len(line) > 88] == [], path
            assert match["hidden"] or not re.search(r"^ *assert\b", match["code"], re.MULTILINE), path
            assert not match["hidden"] or "--" not in match["code"], path  # it would end the comment


def test_pictures_have_copies_and_their_place_in_the_gallery():
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    pictures = {path.name for path in (DOCS / "images").iterdir()}
    assert set(re.findall(r"images/([\w-]+\.png)", gallery)) == pictures - {"noise.png"}
    for target in re.findall(r"\]\(([\w/-]+\.md)\)", gallery):
        assert (DOCS / target).exists(), target


def test_every_page_is_in_the_contents():
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```{toctree}\n(.*?)```", text, re.DOTALL) for line in block.split()}
    written = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    inside = {page for page in written if page.startswith("api/")} - {"api/index"}
    assert written - {"index"} - inside <= listed


def test_every_public_package_has_a_page():
    pages = "".join(p.read_text(encoding="utf-8") for p in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"automodule:: (\S+)", pages))
    modules = {f"vifx.{m.name}" for m in pkgutil.iter_modules(vifx.__path__) if m.name not in ("__main__", "core")}
    core = {f"vifx.core.{m.name}" for m in pkgutil.iter_modules(vifx.core.__path__)}
    assert {"vifx", *modules, *core} <= documented
    assert [name for name in documented if find_spec(name) is None] == []


if BROWSER is not None:  # the header of a run says where there is none

    @pytest.mark.thorough
    def test_pages_fit_and_are_legible(site):
        """At 1280 and 390 pixels, light and dark: no page is wider, no code scrolls, contrast is 4.5 at least."""
        found, missing = measured(site)
        assert (found, missing) == ({}, [])

    @pytest.mark.thorough
    def test_what_does_not_fit_is_found(tmp_path):
        wide = '<!doctype html><body style="margin: 0"><article><pre style="overflow: auto; width: 90px">{}</pre>'
        grey = '<p style="color: #999">grey</p><div style="width: 2000px">wide</div><img src="no.png"></article>'
        (tmp_path / "index.html").write_text(wide.format("x" * 100) + grey)
        found, missing = measured(tmp_path, seconds=60)
        assert missing == ["/no.png"]
        assert set(found["index.html"]) == {
            *("wide at 1280", "wide at 390", "code that scrolls", "broken pictures"),
            *(f"dim at {width}, {theme}" for width in (1280, 390) for theme in ("light", "dark")),
        }
        assert found["index.html"]["dim at 390, light"] == ["2.85 p.: grey"]

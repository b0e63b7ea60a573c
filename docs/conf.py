"""Sphinx configuration; build with ``python -m sphinx -W -b html docs docs/_build/html``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

import vifx

project = "vifx"
author = "the vifx authors"
copyright = f"2026, {author}"
version = release = vifx.__version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"vifx {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

# Every page is executed (_ext/notebooks.py), again only when its code has changed (remove _build when the package has);
# where it fails, the build does.
nb_custom_formats = {".md": ("notebooks.read", {}, False)}
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "myst"
os.environ["MATPLOTLIBRC"] = str(HERE / "_ext" / "matplotlibrc")
os.environ.pop("MPLBACKEND", None)  # kernels draw into the page
os.environ["PYTHONWARNINGS"] = (
    "ignore:IProgress not found"  # what a page shows has no bars
)

# MathJax travels with the site, which asks no other host for anything.
mathjax_path = "mathjax/tex-chtml.js"
MATHJAX = (
    Path(getattr(find_spec("sphinx-mathjax-offline"), "origin", "")).parent
    / "static"
    / "mathjax"
)

# Docstrings quote code and formulas in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

FIELD = type(namedtuple("One", "field").field)


def skip_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of a NamedTuple: its docstring explains them under Attributes."""
    return True if isinstance(obj, FIELD) else None


def refuse_undocumented(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Fail the build (by a warning, with -W) on a public symbol without a docstring."""
    if (
        what in ("module", "class", "function", "method", "exception")
        and not "".join(lines).strip()
    ):
        logging.getLogger(__name__).warning(
            "%s %s has no docstring", what, name, type="undocumented"
        )


def escape_bars(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """A conditional such as p(z|x) outside of backticks is no reStructuredText substitution."""
    for index, line in enumerate(lines):
        parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
        lines[index] = "".join(
            p if p.startswith("`") else p.replace("|", r"\|") for p in parts
        )


def keep_equations(app: Sphinx, doctree: nodes.document) -> None:
    """Leave numbered equations as they are written: Sphinx would put them into an environment without numbers."""
    for node in doctree.findall(nodes.math_block):
        if r"\tag" in node.astext():
            node["classes"].append("amsmath")
            node.setdefault("number", None)


def bring_mathjax(app: Sphinx, failure: Exception | None) -> None:
    """Copy what the pages need of MathJax into the site: one script and its fonts."""
    if failure is None and app.builder.format == "html":
        fonts = Path("output", "chtml", "fonts", "woff-v2")
        target = app.outdir / "_static" / "mathjax"
        shutil.copytree(MATHJAX / fonts, target / fonts, dirs_exist_ok=True)
        shutil.copy(MATHJAX / "tex-chtml.js", target)


def setup(app: Sphinx) -> None:
    """Connect the hooks; the check sees docstrings as they are written."""
    app.connect("doctree-read", keep_equations)
    app.connect("build-finished", bring_mathjax)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", refuse_undocumented, priority=100)
    app.connect("autodoc-process-docstring", escape_bars, priority=900)

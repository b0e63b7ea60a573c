"""Sphinx configuration; build with ``python -m sphinx -W -b html docs docs/_build/html``."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import vifx

project = "vifx"
author = "the vifx authors"
copyright = f"2026, {author}"
version = release = vifx.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"vifx {version}"

# Docstrings quote code and formulas in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

FIELD = type(namedtuple("One", "field").field)


def skip_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a NamedTuple: its docstring explains them under Attributes."""
    return True if isinstance(obj, FIELD) else None


def refuse_undocumented(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Fail the build (by a warning, with -W) on a public symbol without a docstring."""
    if what in ("module", "class", "function", "method", "exception") and not "".join(lines).strip():
        logging.getLogger(__name__).warning("%s %s has no docstring", what, name, type="undocumented")


def escape_bars(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A conditional such as p(z|x) outside of backticks is no reStructuredText substitution."""
    for index, line in enumerate(lines):
        parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
        lines[index] = "".join(p if p.startswith("`") else p.replace("|", r"\|") for p in parts)


def setup(app: Sphinx) -> None:
    """Connect the hooks; the check sees docstrings as they are written."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", refuse_undocumented, priority=100)
    app.connect("autodoc-process-docstring", escape_bars, priority=900)

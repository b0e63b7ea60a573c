"""A page of the site is a notebook: its Python blocks are cells, executed in order.

Pages stay plain Markdown, which a code host shows as it is. A block in an HTML comment is executed too and shown
nowhere: it holds the checks. The picture after a block is the copy that a code host shows of what the block draws;
the site shows what was drawn. After a build, ``python docs/_ext/notebooks.py docs/_build/jupyter_execute`` brings the
copies up to date.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

BLOCK = re.compile(
    r"^(?P<hidden><!--\n)?```python\n(?P<code>.*?)^```\n(?(hidden)-->\n)"
    r"(?:\n!\[(?P<alt>[^]]*)\]\((?P<picture>[^)]*images/[\w-]+\.png)\)\n)?",
    re.MULTILINE | re.DOTALL,
)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = nbformat.v4


def code_cell(match: re.Match[str]) -> nbformat.NotebookNode:
    """A block as a cell, which remembers the copy of its picture."""
    metadata: dict[str, Any] = {"tags": ["remove-cell"] if match["hidden"] else []}
    if match["picture"]:
        metadata |= {
            "picture": match["picture"],
            "mystnb": {"image": {"alt": match["alt"]}},
        }
    return CELLS.new_code_cell(match["code"].rstrip("\n"), metadata=metadata)


def read(text: str) -> nbformat.NotebookNode:
    """The notebook of a page; a page without Python is one cell of text, and no kernel is started for it."""
    cells, lines, end = [], [], 0

    def add_text(start: int, stop: int) -> None:
        source = text[start:stop]
        if source.strip():
            first = start + len(source) - len(source.lstrip("\n"))
            lines.append(text.count("\n", 0, first))
            cells.append(CELLS.new_markdown_cell(source.strip("\n")))

    for match in BLOCK.finditer(text):
        add_text(end, match.start())
        lines.append(text.count("\n", 0, match.start("code")))
        cells.append(code_cell(match))
        end = match.end()
    add_text(end, len(text))
    metadata: dict[str, Any] = {"source_map": lines, "kernelspec": KERNEL}
    if end == 0:
        metadata["mystnb"] = {"execution_mode": "off"}
    return CELLS.new_notebook(cells=cells, metadata=metadata)


def drawn(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """The pictures of an executed notebook that have a copy, by the copy's path as the page has it."""
    found = {}
    for cell in notebook.cells:
        if "picture" in cell.metadata:
            [data] = [
                each.data["image/png"]
                for each in cell.outputs
                if "image/png" in each.get("data", {})
            ]
            found[cell.metadata["picture"]] = base64.b64decode(data)
    return found


def main(executed: Path) -> None:
    """Copy the pictures of the executed notebooks to where the pages have them."""
    docs = Path(__file__).parents[1]
    for path in sorted(executed.rglob("*.ipynb")):
        for name, data in drawn(nbformat.read(path, as_version=4)).items():
            target = (docs / path.relative_to(executed)).parent / name
            target.write_bytes(data)
            print(target.resolve().relative_to(docs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

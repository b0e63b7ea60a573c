"""Rule 9: one word per thing, as the table of `docs/notation.md` lists them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from conventions.sources import FOREIGN, ROOT, Function, Rule, Source, walk


@cache
def forbidden() -> dict[str, str]:
    """Each forbidden synonym with the word that replaces it."""
    page = (ROOT / "docs/notation.md").read_text(encoding="utf-8")
    table = page.partition("## One word per thing")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("| `")]
    return {
        synonym: re.findall(r"`([^`]+)`", row[0])[0] for row in rows for synonym in re.findall(r"`([^`]+)`", row[2])
    }


@cache
def words(identifier: str) -> tuple[str, ...]:
    """`LogDetSum` and `log_det_sum` are the words log, det, sum."""
    return tuple(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().strip("_").split("_"))


def _defined(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.arg):
            yield node.arg, node
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node


@cache
def _contains(whole: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def field_terms(source: Source) -> list[str]:
    """No name that the source defines contains a forbidden synonym, but where names are those of another library."""
    if source.path in FOREIGN:
        return []
    return [
        source.at(node, f"{name}: say {word}, not {synonym}")
        for name, node in _defined(source.tree)
        for synonym, word in forbidden().items()
        if _contains(words(name), words(synonym))
    ]


RULES = [
    Rule(
        9,
        field_terms,
        "vifx",
        ("def discriminator_loss(x): ...", "class Discriminator: ...", "logdet = 0.0", "def f(rng_key): ..."),
        ("def critic_loss(key): ...", "log_det = 0.0", "class Detector: ..."),
    )
]

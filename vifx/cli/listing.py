"""`vifx list`: the parts of the library, read without importing or running them."""

from __future__ import annotations

__all__ = ["list_command"]

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vifx.cli.console import output
from vifx.cli.parse import parse
from vifx.cli.parts import formulas, headline, parts
from vifx.data.names import available
from vifx.experiment.shipped import shipped_folder
from vifx.experiment.suite import suites


@dataclass(frozen=True)
class _NoOptions:
    """A command without options."""


def list_command(arguments: Sequence[str]) -> None:
    """Print experiments, data sets and every named part of the library, with one line on each.

    Raises:
      UsageError: if there are arguments.
    """
    parse(_NoOptions, arguments, prog="vifx list", description="List experiments, data sets and parts.")
    sections = {
        "experiments": dict(_experiments()),
        "benchmarks": suites(),
        "data sets": available(),
        "objectives": _returning("variational", "Objective") | _returning("games", "Objective"),
        "methods": _returning("games", "Assembly"),
        "divergences": formulas() | _returning("divergences", "Divergence"),
        "posteriors": _returning("em", "Factor"),
        "families": _returning("em", "Family"),
        "models and fits by EM": {p.name: p.line for p in parts("em") if p.returned not in ("Family", "Factor", "")},
        "codes": {part.name: part.line for part in parts("quantization") if part.returned},
        "flows": {name: line for name, line in _returning("flows", "Bijection").items() if name != "checked"},
        "Lipschitz constraints": _functions("lipschitz"),
        "reading": _functions("reading"),
        "transforms of the evidence": _returning("data", "Transform"),
        "combinators of steps": _returning("training", "Step"),
        "networks and heads": {part.name: part.line for part in parts("networks")},
        "distributions": {part.name: part.line for part in parts("distributions")},
    }
    console = output()
    width = max(len(name) for rows in sections.values() for name in rows)
    for title, rows in sections.items():
        if not rows:
            continue
        console.print(title, style="bold")
        for name, line in rows.items():
            console.print(f"  {name:<{width}}  {line}", markup=False)
        console.print()


def _experiments() -> Iterator[tuple[str, str]]:
    """Yield each experiment with the first line of its docstring, without running it.

    First those of the working directory, as files, then those that came with vifx and are found by their name alone.
    """
    here = [path for path in sorted(Path().glob("*.py")) if _is_experiment(path)]
    here += sorted(Path("experiments").glob("*.py"))
    yield from ((str(path), _line(path)) for path in here)
    taken = {path.stem for path in here}
    yield from ((path.stem, _line(path)) for path in sorted(shipped_folder().glob("*.py")) if path.stem not in taken)


def _line(path: Path) -> str:
    try:
        return headline(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError) as error:
        return f"cannot be read: {error}"


def _is_experiment(path: Path) -> bool:
    """Return whether a file has a `Config` and a `build` of its own."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError):
        return False
    return {"Config", "build"} <= {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def _returning(package: str, returned: str) -> dict[str, str]:
    """Return the functions of a package that return a type of this name."""
    return {part.name: part.line for part in parts(package) if part.returned == returned}


def _functions(package: str) -> dict[str, str]:
    return {part.name: part.line for part in parts(package) if part.name.islower()}

"""`vifx explain`, `list` and `data`: what there is, and what it means."""

from __future__ import annotations

__all__ = ["explain_command", "list_command", "prepare_command"]

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from vifx import (
    data,
    distributions,
    divergences,
    estimators,
    families,
    flows,
    lipschitz,
    methods,
    mixtures,
    networks,
    training,
)
from vifx.cli.console import output
from vifx.cli.parse import UsageError, nearest, parse
from vifx.cli.prepare import build, mistakes, parse_experiment, run_key
from vifx.explain import explain
from vifx.training.chunk import first_batch


@dataclass(frozen=True)
class _ExplainOptions:
    """The options of `vifx explain` besides the experiment's own."""

    latex: bool = False
    """Print LaTeX, an align* body per part of the objective."""
    debug_checks: bool = False
    """Show full tracebacks."""


@dataclass(frozen=True)
class _PrepareOptions:
    """The options of `vifx data prepare`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Which data set; vifx list shows the names."""
    source: str | None = None
    """A folder of raw files to prepare it from."""
    directory: str | None = None
    """Where prepared data goes; default $VIFX_DATA or the user's cache."""
    allow_download: bool = False
    """Fetch it from the network."""


@dataclass(frozen=True)
class _NoOptions:
    """A command without options."""


def explain_command(arguments: Sequence[str]) -> None:
    """Print how an experiment's objective follows from its two joints.

    Raises:
      UsageError: if the experiment cannot be built.
    """
    file, config, options = parse_experiment(arguments, "explain", _ExplainOptions)
    with mistakes(file, debug=options.debug_checks):
        built = build(file, config)
        batch = first_batch(run_key(config), built.source)
        text = explain(built.objective, batch, style="latex" if options.latex else "text")
    output().print(text, markup=False, end="")


def prepare_command(arguments: Sequence[str]) -> None:
    """Prepare a data set: `vifx data prepare NAME`.

    Raises:
      UsageError: if there is no such data set, or it cannot be prepared.
    """
    if arguments[:1] != ["prepare"]:
        found = arguments[0] if arguments else ""
        near = nearest(found, ["prepare"]) if found else ""
        raise UsageError(f"vifx data needs what to do, 'prepare'; got {found!r}{near} (vifx data prepare NAME)")
    options = parse(
        _PrepareOptions, arguments[1:], prog="vifx data prepare", description="Prepare a data set for training."
    )
    with mistakes():
        config = data.Config(
            options.name,
            source=options.source,
            directory=options.directory,
            allow_download=options.allow_download,
        )
        folder = data.prepare(config)
    output().print(f"{options.name} is prepared in {folder}", markup=False)


def list_command(arguments: Sequence[str]) -> None:
    """Print experiments, data sets and every named part of the library, with one line on each.

    Raises:
      UsageError: if there are arguments.
    """
    parse(_NoOptions, arguments, prog="vifx list", description="List experiments, data sets and parts.")
    sections = {
        "experiments": dict(_experiments(Path("experiments"))),
        "data sets": data.available(),
        "objectives": dict(_functions(estimators, "Objective")),
        "methods": dict(_functions(methods, "Assembly")),
        "divergences": {name: divergences.named(name).formula for name in divergences.NAMES}
        | dict(_functions(divergences, "Divergence")),
        "posteriors": dict(_functions(estimators, "Factor")),
        "families": dict(_functions(families, "Family")),
        "mixtures": {name: line for name, line in _parts(mixtures) if name.islower()},
        "flows": {name: line for name, line in _functions(flows, "Bijection") if name != "checked"},
        "Lipschitz constraints": {name: line for name, line in _parts(lipschitz) if name.islower()},
        "combinators of steps": dict(_functions(training, "Step")),
        "networks and heads": dict(_parts(networks)),
        "distributions": dict(_parts(distributions)),
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


def _experiments(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each experiment file with the first line of its docstring, without running it."""
    for path in sorted(folder.glob("*.py")):
        try:
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        except (SyntaxError, ValueError) as error:
            doc = f"cannot be read: {error}"
        yield str(path), doc.partition("\n")[0]


def _parts(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name in sorted(module.__all__):
        part: Any = getattr(module, name)
        if callable(part):
            yield name, _first_line(part)


def _functions(module: ModuleType, returned: str) -> Iterator[tuple[str, str]]:
    """Yield the functions of a module that return a type of this name."""
    for name in module.__all__:
        part: Any = getattr(module, name)
        if inspect.isfunction(part) and part.__annotations__.get("return") == returned:
            yield name, _first_line(part)


def _first_line(part: Callable[..., Any]) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]

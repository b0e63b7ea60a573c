"""The parts of the library, read from its source: nothing is imported."""

from __future__ import annotations

__all__ = ["Part", "formulas", "headline", "parts"]

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

_ROOT = Path(__file__).parents[1]
_Defined: TypeAlias = ast.FunctionDef | ast.ClassDef


class Part(NamedTuple):
    """A function or a class that a package exports.

    Attributes:
      name: its name.
      line: the first line of its docstring.
      returned: the annotation of what a function returns, as it is written; of a class, nothing.
    """

    name: str
    line: str
    returned: str


def parts(package: str) -> Iterator[Part]:
    """Yield the functions and classes in ``__all__`` of a package such as ``"flows"``, in that order."""
    for name, module in _exports(package):
        for node in module.body:
            if isinstance(node, _Defined) and node.name == name:
                returns = node.returns if isinstance(node, ast.FunctionDef) else None
                yield Part(name, headline(node), "" if returns is None else ast.unparse(returns))


def formulas() -> dict[str, str]:
    """Return the formula of each named divergence."""
    found = {}
    for name, module in _exports("divergences"):
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _is_named(node.targets[0], name):
                words = {word.arg: word.value for word in node.value.keywords}
                found[name] = ast.literal_eval(words["formula"])
    return found


def headline(node: ast.Module | _Defined) -> str:
    """Return the first line of a docstring."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _exports(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield what a package exports from its modules, each name with the module that defines it."""
    init = _parsed(_ROOT / package / "__init__.py")
    homes = {
        alias.name: node.module
        for node in ast.walk(init)
        if isinstance(node, ast.ImportFrom) and node.module != f"vifx.{package}"
        for alias in node.names
    }
    (names,) = (n.value for n in init.body if isinstance(n, ast.Assign) and _is_named(n.targets[0], "__all__"))
    modules: dict[str | None, ast.Module] = {}
    for name in ast.literal_eval(names):
        home = homes.get(name)
        if home is not None:
            if home not in modules:
                modules[home] = _parsed(_ROOT.joinpath(*home.split(".")[1:]).with_suffix(".py"))
            yield name, modules[home]


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _is_named(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name

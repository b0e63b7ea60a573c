"""Packages whose names are imported when they are first used."""

from __future__ import annotations

__all__ = ["make_lazy"]

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def make_lazy(package: str) -> None:
    """Let a package import each of its names when it is first used (PEP 562).

    The names are those that its ``__init__.py`` imports under ``if TYPE_CHECKING``, so that type checkers, readers and
    Python read the same lines. Its submodules can be reached as attributes, too. A function that has the name of its
    module stays the function, whichever of the two is imported first.

    Args:
      package: the package's ``__name__``.
    """
    sys.modules[package].__class__ = _Lazy


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        homes = _homes(str(self.__file__))
        module = f"{self.__name__}.{name}"
        if name in homes and homes[name] != self.__name__:
            value = getattr(import_module(homes[name]), name)
        elif not name.startswith("_") and find_spec(module) is not None:
            value = import_module(module)
        else:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import of a module binds it in its package, where a function of the same name may belong.
        if isinstance(value, ModuleType) and _homes(str(self.__file__)).get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_homes(str(self.__file__))})


@cache
def _homes(file: str) -> dict[str, str]:
    """Return the module of each name that a file imports under ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {alias.name: str(node.module) for node in _for_checkers(tree) for alias in node.names}


def _for_checkers(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from (inner for inner in node.body if isinstance(inner, ast.ImportFrom))

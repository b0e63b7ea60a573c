"""What the convention checks read: source files as values, and rules about them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
FOREIGN = ("vifx/em/sklearn.py",)
"""What has the names and the signatures of another library's protocol."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the repository root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def at(self, node: ast.AST | int, message: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {message}"


Check = Callable[["Source"], list[str]]


@dataclass(frozen=True)
class Rule:
    """A check, the files it holds for, and what it must refuse and accept.

    `number` is the rule of `docs/design.md`. A snippet may begin with ``# path: vifx/…`` when its
    place matters.
    """

    number: int
    check: Check
    where: str
    bad: tuple[str, ...]
    good: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"rule{self.number}_{self.check.__name__}"


def snippet(text: str) -> Source:
    """A source file given as text."""
    text = dedent(text).lstrip("\n")
    first, _, rest = text.partition("\n")
    if first.startswith("# path: "):
        return Source(first.removeprefix("# path: ").strip(), rest)
    return Source("vifx/example.py", text)


@cache
def sources(folder: str) -> tuple[Source, ...]:
    """Every Python file under a folder of the repository."""
    found = sorted((ROOT / folder).rglob("*.py"))
    return tuple(Source(p.relative_to(ROOT).as_posix(), p.read_text(encoding="utf-8")) for p in found)


@cache
def walk(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Every node of a tree, found once: many rules look at the same file."""
    return tuple(ast.walk(tree))


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function of a file, nested ones included."""
    return (n for n in walk(tree) if isinstance(n, Function))


def exported(tree: ast.Module) -> list[str]:
    """The names in `__all__`, or nothing when there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def is_public(name: str) -> bool:
    return not name.startswith("_")


def public_functions(source: Source) -> Iterator[tuple[str, Function]]:
    """Public functions, and the public methods, `__init__` and `__call__` of public classes."""
    for node in source.tree.body:
        if isinstance(node, Function) and is_public(node.name):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            for member in node.body:
                if isinstance(member, Function) and (is_public(member.name) or member.name in ("__init__", "__call__")):
                    yield f"{node.name}.{member.name}", member


def parameters(function: Function) -> list[ast.arg]:
    """The named parameters without `self` and `cls`."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [a for a in named if a.arg not in ("self", "cls")]


def positional_defaults(function: Function) -> dict[str, ast.expr]:
    """The defaults of the parameters that may be given by position."""
    named = [*function.args.posonlyargs, *function.args.args]
    given = function.args.defaults
    return {a.arg: d for a, d in zip(named[len(named) - len(given) :], given, strict=True)}


def dotted(node: ast.AST) -> str:
    """`jax.random.key` for the expression that spells it; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else node.attr
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file with the dotted name of what is called."""
    return ((dotted(n.func), n) for n in walk(tree) if isinstance(n, ast.Call))

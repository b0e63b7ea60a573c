"""Rule 8: what a docstring says, as far as a machine can tell."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache

from conventions.sources import (
    ROOT,
    Function,
    Rule,
    Source,
    exported,
    is_public,
    parameters,
    public_functions,
    sources,
    walk,
)

NATS = re.compile(r"(^|_)(log_prob|elbo|nll|kl|entropy|log_likelihood|importance_weighted|reconstruction)($|_)")
CONTRACT = {"key", "train"}  # `vifx.core.types` says what these mean, once


def _sections(text: str, title: str) -> list[str]:
    """The names that a section such as ``Args:`` explains."""
    match = re.search(rf"^{title}:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
    if not match:
        return []
    return re.findall(r"^  \*{0,2}(\w+(?:, \*{0,2}\w+)*):", match.group(1), re.MULTILINE)


def _class_doc(source: Source, name: str) -> str:
    owner = name.partition(".")[0]
    classes = (n for n in source.tree.body if isinstance(n, ast.ClassDef) and n.name == owner)
    return "".join(ast.get_docstring(n) or "" for n in classes) if "." in name else ""


def _whole_doc(source: Source, name: str, function: Function) -> str:
    return (ast.get_docstring(function) or "") + "\n" + _class_doc(source, name)


def public_names_documented(source: Source) -> list[str]:
    """Everything in `__all__`, and the public methods of its classes; aliases may go without."""
    found, names = [], exported(source.tree)
    for index, node in enumerate(source.tree.body):
        if isinstance(node, Function | ast.ClassDef) and node.name in names:
            if ast.get_docstring(node) is None:
                found.append(source.at(node, f"{node.name} has no docstring"))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, after = node.targets[0].id, source.tree.body[index + 1 : index + 2]
            described = after and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant)
            if name in names and not described:
                found.append(source.at(node, f"{name} has no docstring below it"))
    for name, function in public_functions(source):
        method = function.name
        if "." in name and is_public(method) and ast.get_docstring(function) is None:
            found.append(source.at(function, f"{name} has no docstring"))
    return found


def arguments_exist(source: Source) -> list[str]:
    """``Args:`` explains parameters that the function has."""
    found = []
    for name, function in public_functions(source):
        rest = [a.arg for a in (function.args.vararg, function.args.kwarg) if a]
        known = {a.arg for a in parameters(function)} | set(rest)
        explained = re.findall(r"\w+", " ".join(_sections(ast.get_docstring(function) or "", "Args")))
        found += [source.at(function, f"{name}: no parameter {a}") for a in explained if a not in known]
    return found


@cache
def _exported() -> dict[str, set[str]]:
    """What packages import from each of their modules: what users call."""
    found = defaultdict[str, set[str]](set)
    for package in (each for each in sources("vifx") if each.path.endswith("__init__.py")):
        for node in (n for n in walk(package.tree) if isinstance(n, ast.ImportFrom) and n.module):
            found[node.module.replace(".", "/") + ".py"] |= {alias.name for alias in node.names}
    return found


def hyperparameters_explained(source: Source) -> list[str]:
    """The docstring of what users call speaks of every keyword-only parameter."""
    found = []
    for name, function in public_functions(source):
        if (ROOT / source.path).exists() and name.partition(".")[0] not in _exported()[source.path]:
            continue
        if name.endswith("__call__") and not _class_doc(source, name):
            continue
        text = _whole_doc(source, name, function)
        for argument in function.args.kwonlyargs:
            if argument.arg not in CONTRACT and not re.search(rf"\b{argument.arg}\b", text):
                found.append(source.at(function, f"{name}: the docstring does not explain {argument.arg}"))
    return found


def errors_listed(source: Source) -> list[str]:
    """A public function that raises says so, under ``Raises:`` or in a sentence."""
    found = []
    for name, function in public_functions(source):
        text = _whole_doc(source, name, function)
        missing = sorted(kind for kind in _raised(function) if not re.search(rf"\b{kind}\b", text))
        found += [source.at(function, f"{name}: the docstring does not mention {kind}") for kind in missing]
    return found


def _raised(function: Function) -> set[str]:
    """What the body raises itself; a nested function answers for itself."""
    kinds, pending = set(), list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, Function | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            kinds.add(node.exc.func.id)
        pending += list(ast.iter_child_nodes(node))
    return kinds & {"ValueError", "TypeError", "KeyError", "FileNotFoundError", "FileExistsError"}


def units_stated(source: Source) -> list[str]:
    """A log-density or a divergence is in nats, and says so, or in the module's docstring."""
    preamble = ast.get_docstring(source.tree) or ""
    found = []
    for name, function in public_functions(source):
        text = _whole_doc(source, name, function) + preamble
        if NATS.search(function.name) and not re.search(r"\b(nats|bits)\b", text):
            found.append(source.at(function, f"{name}: the docstring states no unit"))
    return found


def equations() -> set[int]:
    """The numbers of the equations in `docs/notation.md`."""
    page = (ROOT / "docs/notation.md").read_text(encoding="utf-8")
    return {int(n) for n in re.findall(r"\\tag\{(\d+)\}", page)}


def equations_exist(source: Source) -> list[str]:
    """A docstring cites equations that the notation page has."""
    cited = re.finditer(r"[Ee]q(?:uation)?s?\.?\s+((?:\(\d+\)(?:,\s*|\s+and\s+|[–-])?)+)", source.text)
    return [
        source.at(source.text.count("\n", 0, m.start()) + 1, f"docs/notation.md has no equation ({n})")
        for m in cited
        for n in re.findall(r"\d+", m.group(1))
        if int(n) not in equations()
    ]


DOC = '"""Do.\n\n    {}\n    """'

RULES = [
    Rule(
        8,
        public_names_documented,
        "vifx",
        (
            '__all__ = ["f"]\ndef f(): ...',
            '__all__ = ["A"]\nclass A:\n    """A."""\n    def f(self): ...',
            '__all__ = ["LIMIT"]\nLIMIT = 3',
        ),
        (
            '__all__ = ["f", "LIMIT"]\nLIMIT = 3\n"""A limit."""\ndef f():\n    """Do."""',
            "__all__ = []\ndef _f(): ...\nN = 3",
        ),
    ),
    Rule(
        8,
        arguments_exist,
        "vifx",
        ("def f(x):\n    " + DOC.format("Args:\n      y: what is not there."),),
        ("def f(x, *, y):\n    " + DOC.format("Args:\n      x: one.\n      y: two,\n        and: more."),),
    ),
    Rule(
        8,
        hyperparameters_explained,
        "vifx",
        ('def f(x, *, scale=1.0):\n    """Do."""',),
        ('def f(x, *, scale=1.0):\n    """Do with a `scale`."""', 'def f(x, *, train=False):\n    """Do."""'),
    ),
    Rule(
        8,
        errors_listed,
        "vifx",
        ('def f(x):\n    """Do."""\n    raise ValueError("x must be more than that")',),
        (
            "def f(x):\n    " + DOC.format("Raises:\n      ValueError: x is wrong.") + "\n    raise ValueError('a')",
            'def f(x):\n    """Do."""\n    def g():\n        raise ValueError("a")\n    return g',
        ),
    ),
    Rule(
        8,
        units_stated,
        "vifx",
        ('def log_prob(x):\n    """The log-density."""', 'def kl(a, b):\n    """The divergence."""'),
        ('def log_prob(x):\n    """The log-density in nats."""', 'def weekly(a):\n    """Nothing."""'),
    ),
    Rule(
        8,
        equations_exist,
        "vifx",
        ('"""See equation (99)."""', '"""Equations (1) and (98)."""'),
        ('"""See equation (2)."""', '"""Equations (1), (2) and (3)."""', "f(99)"),
    ),
]

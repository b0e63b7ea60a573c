"""Rules 1, 6, 7 and 11: how a module is built."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from conventions.sources import Function, Rule, Source, calls, dotted, exported, functions, is_public, walk

MODULE_LINES, FUNCTION_LINES = 351, 60
MUTATORS = {"append", "extend", "add", "update", "setdefault", "pop", "clear", "insert", "remove", "popitem"}
HOST_READS = {"item", "tolist", "block_until_ready", "device_get"}
HOST_ROOMS = (
    "vifx/data/",
    "vifx/evaluation/",
    "vifx/training/",
    "vifx/experiment/",
    "vifx/reading/",
    "vifx/cli/",
    "vifx/em/fit.py",
)
DEVICE_ROOMS = ("vifx/training/step.py", "vifx/training/descend.py", "vifx/training/turns.py")


def module_length(source: Source) -> list[str]:
    lines = len(source.text.splitlines())
    return [source.at(1, f"{lines} lines; at most {MODULE_LINES - 1}")] if lines >= MODULE_LINES else []


def _docstring_lines(function: Function) -> int:
    nested = [n for n in walk(function) if isinstance(n, Function | ast.ClassDef)]
    first = (n.body[0] for n in nested if ast.get_docstring(n) is not None)
    return sum((d.end_lineno or d.lineno) - d.lineno + 1 for d in first)


def function_length(source: Source) -> list[str]:
    """Lines of code: docstrings do not count."""
    found = []
    for function in functions(source.tree):
        lines = (function.end_lineno or 0) - function.lineno + 1 - _docstring_lines(function)
        if lines >= FUNCTION_LINES:
            found.append(source.at(function, f"{function.name} has {lines} lines; at most {FUNCTION_LINES - 1}"))
    return found


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def exports_first(source: Source) -> list[str]:
    """A docstring, the future, then `__all__`."""
    if ast.get_docstring(source.tree) is None:
        return [source.at(1, "the module has no docstring")]
    rest = [n for n in source.tree.body if not _is_docstring(n) and not _is_future(n)]
    if not rest:
        return [source.at(1, "no __all__")]
    first = rest[0]
    named = isinstance(first, ast.Assign) and dotted(first.targets[0]) == "__all__"
    return [] if named else [source.at(first, "__all__ must come before everything else")]


def _top_level(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((dotted(t), node) for t in node.targets)
        elif isinstance(node, ast.AnnAssign):
            yield dotted(node.target), node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((a.asname or a.name.split(".")[0], node) for a in node.names)


def exports_complete(source: Source) -> list[str]:
    """`__all__` names what exists, once, and every public definition."""
    names = exported(source.tree)
    defined = dict(_top_level(source.tree))
    lazy = "__getattr__" in defined or source.path.endswith("__init__.py")
    missing = [] if lazy else [n for n in names if n not in defined]
    hidden = [
        n
        for n, node in defined.items()
        if isinstance(node, Function | ast.ClassDef) and is_public(n) and n not in names
    ]
    return [
        *(source.at(1, f"__all__ names {n}, which the module does not define") for n in missing),
        *(source.at(defined[n], f"{n} is public but not in __all__") for n in hidden),
        *([source.at(1, "__all__ repeats a name")] if len(set(names)) < len(names) else []),
    ]


def no_bare_assert(source: Source) -> list[str]:
    found = (n for n in walk(source.tree) if isinstance(n, ast.Assert))
    return [source.at(n, "assert: raise ValueError or TypeError instead") for n in found]


def no_stub(source: Source) -> list[str]:
    found = [
        source.at(i, f"unfinished: {m.group()}")
        for i, line in enumerate(source.text.splitlines(), 1)
        if (m := re.search(r"\b(TODO|FIXME|XXX|HACK|WIP)\b", line))
    ]
    named = (n for n in walk(source.tree) if isinstance(n, ast.Name) and n.id == "NotImplementedError")
    return found + [source.at(n, "NotImplementedError") for n in named]


def _is_hidden(handler: ast.ExceptHandler) -> bool:
    idle = all(
        isinstance(n, ast.Pass | ast.Continue) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
        for n in handler.body
    )
    broad = handler.type is None or dotted(handler.type) in ("Exception", "BaseException")
    raises = any(isinstance(n, ast.Raise) for n in walk(handler))
    return idle or (broad and not raises)


def no_hidden_error(source: Source) -> list[str]:
    handlers = (n for n in walk(source.tree) if isinstance(n, ast.ExceptHandler))
    suppressed = (n for name, n in calls(source.tree) if name.split(".")[-1] == "suppress")
    return [
        *(source.at(n, "this except hides an error") for n in handlers if _is_hidden(n)),
        *(source.at(n, "suppress hides an error") for n in suppressed),
    ]


def _text(node: ast.AST) -> str:
    return "".join(n.value for n in walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def errors_explain(source: Source) -> list[str]:
    """An error is of a precise type and has a sentence; a message made elsewhere is trusted."""
    found = []
    for node in walk(source.tree):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        name = dotted(node.exc.func) if isinstance(node.exc, ast.Call) else dotted(node.exc)
        if name in ("Exception", "BaseException", "RuntimeError", "AssertionError"):
            found.append(source.at(node, f"{name} says nothing to a caller"))
        elif name in ("ValueError", "TypeError"):
            arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
            literal = arguments and isinstance(arguments[0], ast.Constant | ast.JoinedStr)
            if not arguments or (literal and len(_text(arguments[0]).split()) < 4):
                found.append(source.at(node, f"{name} needs a message: argument, rule, value, fix"))
    return found


def _at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The expressions that run when the module is imported."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Function):
            defaults = [d for d in node.args.kw_defaults if d is not None]
            pending += [*node.decorator_list, *node.args.defaults, *defaults]
        elif isinstance(node, ast.Lambda):
            pending += [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
        else:
            pending += list(ast.iter_child_nodes(node))


ARRAYS = re.compile(r"^(jnp|jax\.numpy|jax\.random|jax\.devices|jax\.local_devices|jax\.device_put)(\.|$)")
SETTINGS = re.compile(r"^jax\.config\.|(^|\.)addHandler$|^logging\.basicConfig$|^warnings\.(filter|simplefilter)")


def no_work_at_import(source: Source) -> list[str]:
    """No array, no device, no setting, no log handler."""
    names = ((dotted(n.func), n) for n in _at_import(source.tree) if isinstance(n, ast.Call))
    dtypes = re.compile(r"^jnp\.(dtype|finfo|iinfo)$")
    return [
        source.at(n, f"{name}(...) runs at import")
        for name, n in names
        if (ARRAYS.search(name) and not dtypes.search(name)) or SETTINGS.search(name)
    ]


def _containers(tree: ast.Module) -> set[str]:
    kinds = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
    assigned = (n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign) and isinstance(n.value, kinds))
    targets = (t for n in assigned for t in (n.targets if isinstance(n, ast.Assign) else [n.target]))
    return {dotted(t) for t in targets}


def no_module_state(source: Source) -> list[str]:
    """No `global`; no function writes into a module's container."""
    globals_ = (n for n in walk(source.tree) if isinstance(n, ast.Global))
    found = [source.at(n, "a function changes the module's state") for n in globals_]
    for function in functions(source.tree):
        nodes = list(walk(function))
        local = {n.arg for n in nodes if isinstance(n, ast.arg)}
        local |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        shared = _containers(source.tree) - local
        for node in nodes:
            owner = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
                owner = node.func.value
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                owner = node.value
            if isinstance(owner, ast.Name) and owner.id in shared:
                found.append(source.at(node, f"{owner.id} is a module's container"))
    return found


def host_reads_have_a_place(source: Source) -> list[str]:
    """Device values are read on the host by the loop, the data, the evaluation and the command."""
    if source.path.startswith(HOST_ROOMS) and source.path not in DEVICE_ROOMS:
        return []
    found = ((name, n) for name, n in calls(source.tree) if name.split(".")[-1] in HOST_READS)
    return [source.at(n, f"{name} reads from the device") for name, n in found]


BAD_LONG = "def f():\n" + "    a = 1\n" * FUNCTION_LINES
GOOD_LONG = 'def f():\n    """First.\n' + "\n" * FUNCTION_LINES + '    """\n' + "    a = 1\n" * 50

RULES = [
    Rule(7, module_length, "vifx", ("a = 1\n" * MODULE_LINES,), ("a = 1\n" * (MODULE_LINES - 1),)),
    Rule(7, function_length, "vifx", (BAD_LONG,), (GOOD_LONG,)),
    Rule(
        7,
        exports_first,
        "vifx",
        ("__all__ = []", '"""Doc."""\nimport jax\n__all__ = []', '"""Doc."""', ""),
        ('"""Doc."""\nfrom __future__ import annotations\n__all__ = ["a"]\na = 1',),
    ),
    Rule(
        7,
        exports_complete,
        "vifx",
        ('__all__ = ["f"]', "__all__ = []\ndef f(): ...", '__all__ = ["f", "f"]\ndef f(): ...'),
        ('__all__ = ["f"]\ndef f(): ...\ndef _g(): ...',),
    ),
    Rule(6, no_bare_assert, "vifx", ("def f(x):\n    assert x",), ("def f(x): return x",)),
    Rule(
        6,
        no_stub,
        "vifx",
        ("# TODO: later", "def f(): raise NotImplementedError", "def f(): return NotImplementedError('x')"),
        ("def f(todo): return todo",),
    ),
    Rule(
        6,
        no_hidden_error,
        "vifx",
        (
            "try:\n    f()\nexcept ValueError:\n    pass",
            "try:\n    f()\nexcept Exception:\n    a = 1",
            "try:\n    f()\nexcept:\n    a = 1",
            "for a in b:\n    try:\n        f()\n    except KeyError:\n        continue",
            "with contextlib.suppress(KeyError):\n    f()",
        ),
        (
            "try:\n    f()\nexcept KeyError as error:\n    raise ValueError('a') from error",
            "try:\n    f()\nexcept KeyError:\n    a = default",
            "try:\n    f()\nexcept Exception:\n    tidy()\n    raise",
        ),
    ),
    Rule(
        6,
        errors_explain,
        "vifx",
        (
            "raise ValueError",
            "raise ValueError('bad')",
            "raise TypeError(f'{x}')",
            "raise Exception('a b c d e')",
        ),
        ("raise ValueError(f'scale must be positive, got {x}.')", "raise ValueError(message)", "raise"),
    ),
    Rule(
        1,
        no_work_at_import,
        "vifx",
        (
            "zero = jnp.zeros(3)",
            "def f(x=jnp.ones(())): ...",
            "class A:\n    key = jax.random.key(0)",
            "jax.config.update('jax_enable_x64', True)",
            "logging.getLogger().addHandler(h)",
            "table = {d: d.id for d in jax.devices()}",
        ),
        ("def f(): return jnp.zeros(3)", "g = lambda: jnp.zeros(3)", "kind = jnp.finfo(float)"),
    ),
    Rule(
        1,
        no_module_state,
        "vifx",
        (
            "n = 0\ndef f():\n    global n\n    n = 1",
            "CACHE = {}\ndef f(k, v): CACHE[k] = v",
            "seen = []\ndef f(x): seen.append(x)",
        ),
        (
            "def f(x):\n    seen = []\n    seen.append(x)\n    return seen",
            "TABLE = {}\ndef f(k): return TABLE[k]",
        ),
    ),
    Rule(
        11,
        host_reads_have_a_place,
        "vifx",
        ("def f(x): return x.item()", "# path: vifx/training/step.py\ndef f(x): return jax.device_get(x)"),
        ("# path: vifx/training/loop.py\ndef f(x): return jax.device_get(x)", "def f(x): return x.sum()"),
    ),
]

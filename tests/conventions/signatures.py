"""Rule 5 and the letters of rule 9: keys first, hyperparameters by name, no p and q."""

from __future__ import annotations

import ast

from conventions.sources import (
    FOREIGN,
    Function,
    Rule,
    Source,
    calls,
    dotted,
    functions,
    parameters,
    positional_defaults,
    public_functions,
    walk,
)

NUMBERS = {"int", "float", "bool"}
OVERRIDES = {"enumerate_support"}  # the signature is NumPyro's


def _by_contract(function: Function, names: list[str]) -> bool:
    """Where `params` come first, as in `Net.apply`, a key is given by name: deterministic calls need none."""
    return names[0] == "params" and "key" in [a.arg for a in function.args.kwonlyargs]


def keys_first(source: Source) -> list[str]:
    """In a public function `key` leads; in every function it has no default (but see `Net.apply`)."""
    public = {id(f) for _, f in public_functions(source)}
    found = []
    for function in functions(source.tree):
        names = [a.arg for a in parameters(function)]
        if "key" not in names or _by_contract(function, names):
            continue
        if id(function) in public and names[0] != "key":
            found.append(source.at(function, f"{function.name}: key must come first"))
        pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        defaults = {**positional_defaults(function), **{a.arg: d for a, d in pairs if d}}
        if "key" in defaults and dotted(defaults["key"]) != "key":  # key=key binds, it does not default
            found.append(source.at(function, f"{function.name}: key must have no default"))
    return found


def keys_typed(source: Source) -> list[str]:
    """Keys are typed, and no function brings one of its own, unless for shapes or a stated non-draw."""
    traced = {id(inner) for name, n in calls(source.tree) if name.endswith("eval_shape") for inner in walk(n)}
    lines = source.text.splitlines()
    found = []
    for name, node in calls(source.tree):
        if name.split(".")[-1] == "PRNGKey":
            found.append(source.at(node, "PRNGKey: use jax.random.key"))
        fixed = name.endswith("random.key") and node.args and isinstance(node.args[0], ast.Constant)
        if fixed and id(node) not in traced and "# nothing is drawn" not in lines[node.lineno - 1]:
            found.append(source.at(node, "a key with a fixed seed: take `key` as an argument"))
    return found


def hyperparameters_by_name(source: Source) -> list[str]:
    """A parameter with a scalar default, and every switch, is keyword-only, but for signatures of another library."""
    if source.path in FOREIGN:
        return []
    found = []
    for name, function in public_functions(source):
        if function.name in OVERRIDES:
            continue
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults = positional_defaults(function)
        for argument in positional:
            default = defaults.get(argument.arg)
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            scalar = isinstance(default, ast.Constant) and isinstance(default.value, int | float | str)
            declared = default is not None and kind.removesuffix(" | None") in NUMBERS
            if scalar or declared or kind == "bool":
                found.append(source.at(function, f"{name}: {argument.arg} must be keyword-only"))
    return found


def no_letters(source: Source) -> list[str]:
    """Code says inference and generative; only formulas say p and q."""
    return [
        source.at(function, f"{name}: a parameter called {argument.arg}; say inference or generative")
        for name, function in public_functions(source)
        for argument in parameters(function)
        if argument.arg in ("p", "q")
    ]


RULES = [
    Rule(
        5,
        keys_first,
        "vifx",
        (
            "def f(x, key): ...",
            "def f(key=None): ...",
            "def f(x, *, key): ...",
            "class A:\n    def f(self, x, key): ...",
            "def f(x):\n    def g(key=None): ...",
            "def _f(x, *, key=None): ...",
        ),
        (
            "def f(key, x): ...",
            "def apply(params, *, key=None): ...",
            "class A:\n    def f(self, key): ...",
            "def _f(x, key): ...",
        ),
    ),
    Rule(
        5,
        keys_typed,
        "vifx",
        ("k = jax.random.PRNGKey(seed)", "def f():\n    return random.key(0)"),
        (
            "def f(seed):\n    return jax.random.key(seed)",
            "s = jax.eval_shape(lambda: jax.random.key(0))",
            "k = jax.random.key(0)  # nothing is drawn",
        ),
    ),
    Rule(
        5,
        hyperparameters_by_name,
        "vifx",
        (
            "def f(x, scale=1.0): ...",
            "def f(x, scale: float | None = None): ...",
            "def f(x, train: bool): ...",
            "class A:\n    def __init__(self, size=3): ...",
        ),
        (
            "def f(x, batch=None, *, scale=1.0): ...",
            "def _f(x, scale=1.0): ...",
            "def f(x, sample_shape=()): ...",
        ),
    ),
    Rule(9, no_letters, "vifx", ("def kl(p, q): ...",), ("def kl(inference, generative): ...",)),
]

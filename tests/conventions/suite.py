"""Rules 3 and 10: what a test file must do, and may not."""

from __future__ import annotations

import ast
import re

from conventions.sources import Rule, Source, calls, dotted, functions, walk

LOOSE_RANDOM = re.compile(r"^(np|numpy)\.random\.(?!default_rng$|Generator$|SeedSequence$|PCG64$|Philox$)\w+$")
ASSERTING = re.compile(
    r"(^|\.)_?(assert|check|expect|verify|require|agree)(s|d|ed)?(_\w+)?$|^pytest\.(raises|warns|fail)$"
)
SHAPES = {"shape", "ndim", "size", "dtype"}


def _is_test_file(source: Source) -> bool:
    return source.path.rpartition("/")[2].startswith("test_")


def _only_shapes(node: ast.expr) -> bool:
    """A comparison in which one side asks for a shape, a rank, a size or a type, or `len`."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    names = [s.attr for s in sides if isinstance(s, ast.Attribute)]
    lengths = [s for s in sides if isinstance(s, ast.Call) and dotted(s.func) == "len"]
    first_axis = [s for s in sides if isinstance(s, ast.Subscript) and dotted(s.value).endswith(".shape")]
    return bool(SHAPES & set(names) or lengths or first_axis)


def _asserts_value(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
        return any(not _only_shapes(p) and _is_value(p) for p in parts)
    if isinstance(node, ast.Call):
        name = dotted(node.func)
        return bool(ASSERTING.search(name)) and not name.endswith(("assert_shape", "assert_max_traces"))
    return False


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_value(node.operand)
    if isinstance(node, ast.Call):
        return dotted(node.func) not in ("isinstance", "hasattr", "callable", "bool")
    return isinstance(node, ast.Compare)


def tests_assert_values(source: Source) -> list[str]:
    """At least one assertion of the file compares values; shapes and types do not count."""
    if not _is_test_file(source):
        return []
    if any(_asserts_value(n) for n in walk(source.tree)):
        return []
    return [source.at(1, "no test of this file asserts a value against an oracle")]


def every_test_asserts(source: Source) -> list[str]:
    """A test without an assertion, an expected error or an asserting helper cannot fail."""
    found = []
    helpers = {f.name for f in functions(source.tree) if any(_asserts_value(n) for n in walk(f))}
    for function in functions(source.tree):
        if not (_is_test_file(source) and function.name.startswith("test_")):
            continue
        nodes = list(walk(function))
        called = {dotted(n.func).rpartition(".")[2] for n in nodes if isinstance(n, ast.Call)}
        asserts = any(isinstance(n, ast.Assert) or _asserts_value(n) for n in nodes)
        if not asserts and not called & (helpers - {function.name}):
            found.append(source.at(function, f"{function.name} asserts nothing"))
    return found


def no_skipped_test(source: Source) -> list[str]:
    skipping = re.compile(r"(^|\.)(skip|skipif|skipIf|xfail|importorskip)$")
    names = (n for n in walk(source.tree) if isinstance(n, ast.Attribute | ast.Name))
    return [source.at(n, f"{dotted(n)}: a test runs or is not there") for n in names if skipping.search(dotted(n))]


def seeds_fixed(source: Source) -> list[str]:
    """Random numbers come from `jax.random.key(n)` or `np.random.default_rng(n)`."""
    found = []
    for name, node in calls(source.tree):
        unseeded = name.endswith("default_rng") and not node.args and not node.keywords
        if LOOSE_RANDOM.search(name) or unseeded or name in ("random.random", "random.seed", "time.time_ns"):
            found.append(source.at(node, f"{name}: not reproducible"))
    return found


def strictness_stays(source: Source) -> list[str]:
    """Only `tests/conftest.py` sets JAX's global configuration."""
    if source.path == "tests/conftest.py":
        return []
    return [
        source.at(n, "configuration outside tests/conftest.py; relax around one call, with a context manager")
        for name, n in calls(source.tree)
        if name.endswith("jax.config.update") or name == "config.update"
    ]


def bare_assert_is_free(source: Source) -> list[str]:
    """`assert (x, "message")` is always true."""
    found = (n for n in walk(source.tree) if isinstance(n, ast.Assert) and isinstance(n.test, ast.Tuple))
    return [source.at(n, "asserting a tuple is always true") for n in found]


PATH = "# path: tests/test_example.py\n"

RULES = [
    Rule(
        3,
        tests_assert_values,
        "tests",
        (
            PATH + "def test_a():\n    assert f(1).shape == (3,)",
            PATH + "def test_a():\n    assert len(f(1)) == 3 and f(1).dtype == float",
            PATH + "def test_a():\n    assert isinstance(f(1), A)",
            PATH + "def test_a():\n    f(1)",
        ),
        (
            PATH + "def test_a():\n    np.testing.assert_allclose(f(1), 2.0)",
            PATH + "def test_a():\n    assert f(1).shape == (3,)\n    assert f(1)[0] == 2.0",
            PATH + "def test_a():\n    assert jnp.allclose(f(1), 2.0)",
            PATH + "def test_a():\n    with pytest.raises(ValueError): f(1)",
        ),
    ),
    Rule(
        3,
        every_test_asserts,
        "tests",
        (PATH + "def test_a():\n    f(1)\ndef test_b():\n    assert f(1) == 2",),
        (
            PATH + "def test_a():\n    assert f(1) == 2",
            PATH + "def same(a, b):\n    assert a == b\ndef test_a():\n    same(f(1), 2)",
        ),
    ),
    Rule(
        3,
        no_skipped_test,
        "tests",
        (
            "@pytest.mark.skip\ndef test_a(): ...",
            "pytest.importorskip('torch')",
            "@pytest.mark.xfail\ndef test_a(): ...",
        ),
        ("@pytest.mark.slow\ndef test_a(): ...",),
    ),
    Rule(
        10,
        seeds_fixed,
        "tests",
        ("x = np.random.randn(3)", "r = np.random.default_rng()", "np.random.seed(0)"),
        ("r = np.random.default_rng(0)", "k = jax.random.normal(jax.random.key(0))"),
    ),
    Rule(
        10,
        strictness_stays,
        "tests",
        ("jax.config.update('jax_debug_key_reuse', False)",),
        ("with jax.numpy_dtype_promotion('standard'): f()",),
    ),
    Rule(3, bare_assert_is_free, "tests", ("assert (f(1) == 2, 'message')",), ("assert f(1) == 2, 'message'",)),
]

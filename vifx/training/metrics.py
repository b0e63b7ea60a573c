"""The log of metrics: one JSON object a line, appended as training goes."""

from __future__ import annotations

__all__ = ["MetricsLog", "Row", "curve", "decode", "encode", "of_starts", "read_metrics"]

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import TypeAlias

from vifx.checks import require
from vifx.files import write_whole

Row: TypeAlias = Mapping[str, int | float]
"""What is logged at once: ``"step"``, the number of updates made, and metrics by name.

Of `several` starts, ``"objective"`` is that of the best one, whose number is ``"start"``, and ``"start/3/objective"``
that of start 3.
"""


def of_starts(row: Row, metric: str) -> list[int | float]:
    """Return a metric of each of several starts, in order, or of the one start; an empty list without the metric."""
    if metric not in row or "start" not in row:
        return [row[metric]] if metric in row else []
    each = [*takewhile(row.__contains__, (f"start/{start}/{metric}" for start in count()))]
    return [row[name] for name in each] or [row[metric]]


def curve(history: Iterable[Row], metric: str) -> tuple[list[float], list[float]]:
    """Return the updates and the values of a metric, from the rows that have it."""
    points = [(float(row["step"]), float(row[metric])) for row in history if metric in row]
    return [step for step, _ in points], [value for _, value in points]


def read_metrics(path: str | Path) -> list[Row]:
    """Read a log back; numbers that are not finite come back as they were.

    A last line without its line end is a write under way, or one that was cut off, and is left out.

    Raises:
      TypeError: if `path` is not a path.
      OSError: if the file cannot be read.
      ValueError: if a line is not one JSON object with a step; the message has its number.
    """
    fix = "give that of a run's metrics.jsonl"
    return [row for row, _ in _rows(Path(require(path, (str, Path), "read_metrics: path", "a path", fix)))]


def _rows(path: Path) -> Iterator[tuple[Row, bytes]]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            row = json.loads(line)
            yield {"step": int(row["step"]), **decode({k: v for k, v in row.items() if k != "step"})}, line
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path}, line {number}: not a row of metrics ({error}); delete the line to go on"
            ) from error


def encode(row: Mapping[str, int | float]) -> dict[str, int | float | str]:
    """Make a row valid JSON, which has no NaN and no infinity: they become strings that `float` reads."""
    return {name: value if math.isfinite(value) else str(float(value)) for name, value in row.items()}


def decode(row: Mapping[str, int | float | str]) -> dict[str, int | float]:
    """Invert `encode`."""
    return {name: float(value) if isinstance(value, str) else value for name, value in row.items()}


class MetricsLog:
    """An append-only file of rows, as a context manager.

    Entering drops what a killed run logged after update `step`, from which this one goes on: so
    the log of a resumed run is byte for byte that of an uninterrupted one. No row has a time.

    Raises:
      OSError: from entering or writing, if the file cannot be written.
      ValueError: from entering, if the file is not such a log.
    """

    def __init__(self, path: str | Path, *, step: int) -> None:
        self.path = Path(path)
        self.step = step

    def __enter__(self) -> MetricsLog:
        kept = [(row, line) for row, line in _rows(self.path) if row["step"] <= self.step] if self.path.exists() else []
        self.rows = [row for row, _ in kept]
        lines = b"".join(line for _, line in kept)
        if not self.path.exists() or self.path.read_bytes() != lines:
            write_whole(self.path, lines)
        self._file = open(self.path, "ab")
        return self

    def append(self, row: Row) -> None:
        """Write one row, for readers to see at once."""
        line = json.dumps(encode(row), allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self.rows.append(row)

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        os.fsync(self._file.fileno())

    def __exit__(self, *exception: object) -> None:
        self._file.close()

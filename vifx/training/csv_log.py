"""The log of metrics as a CSV file."""

from __future__ import annotations

__all__ = ["csv_log"]

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import jax

from vifx.checks import require
from vifx.files import write_whole
from vifx.training.event import Event
from vifx.training.metrics import Row


def csv_log(path: str | Path) -> _CsvLog:
    """Return an observer of `fit` that writes the log as a table: a line for each row, a column for each metric.

    The first column is ``step``. A metric that a row does not have, such as one that is measured at evaluations alone,
    is an empty cell. The file is whole at every row, has no times, and of a resumed run it is that of an uninterrupted
    one.

        training.fit(key, step, objective, source, steps=1000, observe=training.csv_log("metrics.csv"))

    Args:
      path: the file; what it holds is overwritten when the run starts.

    Raises:
      TypeError: if `path` is not a path.
      OSError: from the observer, if the file cannot be written.
    """
    return _CsvLog(Path(require(path, (str, Path), "csv_log: path", "a path", "give that of the file to write")))


class _CsvLog:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: list[str] = []

    def __call__(self, event: Event) -> None:
        if jax.process_index() > 0:
            return
        if event.kind == "start":
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(event.history)
        elif event.kind == "log":
            if set(event.metrics) <= set(self._columns):
                with self._path.open("a", encoding="utf-8", newline="") as file:
                    file.write(_lines(self._columns, [event.metrics]))
            else:
                self._write(event.history)

    def _write(self, rows: Sequence[Row]) -> None:
        """Write every row, under the columns that they have together."""
        self._columns = ["step", *dict.fromkeys(name for row in rows for name in row if name != "step")]
        write_whole(self._path, _lines(self._columns, rows, headed=True).encode())


def _lines(columns: Sequence[str], rows: Sequence[Row], *, headed: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if headed:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""One line of progress: in a terminal or a notebook, and nowhere else."""

from __future__ import annotations

__all__ = ["Pace", "ProgressLine", "duration", "main_metrics"]

import fnmatch
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from vifx.training.event import Event

_SHOWN = 3
"""How many metrics a line has room for."""


class ProgressLine:
    """An observer of `fit` that keeps one line up to date.

    In a terminal it is written over on standard error; in a notebook it is one output that changes, and no widget.
    Where standard error is neither, as in a pipe or a test, nothing is written.

    Args:
      own: names or patterns of the metrics to show first.
    """

    def __init__(self, own: Sequence[str] = ()) -> None:
        self._own, self._pace = own, Pace()
        self._place: _Terminal | _Notebook | None = None

    def __call__(self, event: Event) -> None:
        """Show where a run is."""
        if event.kind == "start":
            self._pace, self._place = Pace(), _place()
        if self._place is None:
            return
        if event.kind == "log":
            self._pace.add(event)
            metrics = main_metrics(event.metrics, self._own)
            self._place.show(f"{event.step:,}/{event.steps:,}  {metrics}  {self._pace.describe(event)}".rstrip())
        elif event.kind == "alarm":
            self._place.keep(f"update {event.step:,}: {event.message}")
        elif event.kind in ("end", "error"):
            self._ended(self._place, event)

    def _ended(self, place: _Terminal | _Notebook, event: Event) -> None:
        if event.kind == "end":
            last = main_metrics(event.history[-1], self._own) if event.history else ""
            why = f", stopped: {event.message}" if event.message else ""
            place.show(f"{event.step:,} updates in {duration(event.seconds)}{why}  {last}".rstrip())
        place.close()
        self._place = None


class Pace:
    """Updates per second over the last logs: the first one is left out, since it compiles."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []

    def add(self, event: Event) -> None:
        """Note where an event stands."""
        self._marks = [*self._marks[-9:], (event.step, event.seconds)]

    @property
    def per_second(self) -> float | None:
        """The rate, or None as long as it is unknown."""
        if len(self._marks) < 2:
            return None
        (first, began), (last, ended) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began) if ended > began else None

    def describe(self, event: Event, *, brief: bool = False) -> str:
        """Return "1,234 steps/s  ETA 0:07", or if `brief` the second half."""
        rate = self.per_second
        if rate is None:
            return ""
        left = f"ETA {duration((event.steps - event.step) / rate)}"
        return left if brief else f"{f'{rate:,.0f}' if rate >= 10 else f'{rate:.2g}'} steps/s  {left}"


def duration(seconds: float) -> str:
    """Return a duration as "0:07", "12:05" or "1:02:05".

    >>> duration(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def main_metrics(metrics: Mapping[str, int | float], own: Sequence[str]) -> str:
    """Return the metrics that say most: the bound first, then the experiment's own, measured ones before logged.

    Args:
      metrics: a row of the log.
      own: names or patterns of the metrics that an experiment names.
    """
    hidden = ("step", "guard/", "grad_norm/", "loss/")
    names = [name for name in metrics if not name.startswith(hidden)] or [n for n in metrics if n != "step"]
    exact = {"log_prob": -3, "objective": -2}  # EM's objectives, whose gains are small
    first = exact | {"elbo": -1, "iwae": -1}
    patterns = [*(each for each in own if each.startswith("validation/")), *own]
    rank = {n: next((i for i, pattern in enumerate(patterns) if fnmatch.fnmatchcase(n, pattern)), 99) for n in names}
    order = sorted(names, key=lambda name: (first.get(name, 0), rank[name], "/" not in name, name))
    shown = {name: metrics[name] for name in order[:_SHOWN]}
    return "  ".join(f"{name} {f'{value:.4f}' if name in exact else _short(value)}" for name, value in shown.items())


def _short(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.{1 if size >= 100 else 2 if size >= 10 else 3}f}"


def _place() -> _Terminal | _Notebook | None:
    """Return where somebody reads along."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        return _Notebook()
    return _Terminal(sys.stderr) if sys.stderr is not None and sys.stderr.isatty() else None


class _Terminal:
    """A line that is written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{line[:width]}")
        self._stream.flush()

    def keep(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}\n")

    def close(self) -> None:
        self._stream.write("\n")
        self._stream.flush()


class _Notebook:
    """An output of a notebook that changes; what is kept stands above it."""

    def __init__(self) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._kept: list[str] = []
        self._handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, line: str) -> None:
        self._handle.update({"text/plain": "\n".join([*self._kept, line])}, raw=True)

    def keep(self, line: str) -> None:
        self._kept.append(line)

    def close(self) -> None:
        """Leave the last line where it is."""

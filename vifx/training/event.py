"""What a run says as it goes, and who is told."""

from __future__ import annotations

__all__ = ["Event", "Observe", "Teller", "observers"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, TypeAlias

from vifx.checks import require_function, require_name
from vifx.training.metrics import Row
from vifx.training.progress_line import ProgressLine

Kind: TypeAlias = Literal["start", "log", "alarm", "checkpoint", "end", "error"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What `fit` tells an observer, such as a progress bar.

    Attributes:
      kind: "start" (also of a resumed run), "log" (a chunk is done), "alarm" (one goes off at its row), "checkpoint"
        (one is saved), "end", or "error" (an exception ends the run; it is raised next).
      step: how many updates have been made.
      steps: how many there will be, unless the run is stopped before.
      metrics: of a "log", an "alarm" and a "checkpoint" their row, else empty.
      history: every row so far, those of before a resumed run included; to be read alone, since it grows.
      seconds: since the start of this call.
      message: of an "alarm", what has happened, of an "end", why the run was stopped before its last update, and of an
        "error", what it says; else empty.
    """

    kind: Kind
    step: int
    steps: int
    metrics: Row = field(default_factory=dict)
    history: Sequence[Row] = ()
    seconds: float
    message: str = ""


Observer: TypeAlias = Callable[[Event], None]
Observe: TypeAlias = Observer | Sequence[Observer] | Literal["progress"] | None
"""One observer, several, a line of progress where there is somebody to read it, or none."""


def observers(observe: Observe) -> tuple[Observer, ...]:
    """Return the observers that an argument `observe` means.

    Raises:
      TypeError: if one is not a function.
      ValueError: if it is another text than "progress".
    """
    if observe is None:
        return ()
    if isinstance(observe, str):
        require_name(observe, ["progress"], "observer")
        return (ProgressLine(),)
    found = observe if isinstance(observe, Sequence) else [observe]
    return tuple(require_function(each, "observe", "(event) -> None") for each in found)


class Teller:
    """Tells observers of a run, as a context manager: of an exception that leaves it, too.

    Args:
      observe: who is told.
      steps: how many updates there will be.
      history: the rows of the run, which grow.
    """

    def __init__(self, observe: Observe, steps: int) -> None:
        self._observers, self._steps = observers(observe), steps
        self._history: Sequence[Row] = ()
        self._at, self._began = 0, time.monotonic()

    def __enter__(self) -> Teller:
        return self

    def start(self, at: int, history: Sequence[Row]) -> None:
        """Tell that the run goes on from an update."""
        self._history = history
        self("start", at)

    def __call__(self, kind: Kind, at: int, row: Row | None = None, *, message: str = "") -> None:
        """Tell every observer of an event."""
        self._at = at
        seconds = time.monotonic() - self._began
        told = {"metrics": row or {}, "history": self._history, "seconds": seconds, "message": message}
        for observer in self._observers:
            observer(Event(kind=kind, step=at, steps=self._steps, **told))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self("error", self._at, message=str(error) or type(error).__name__)

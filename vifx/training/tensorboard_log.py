"""The log of metrics for TensorBoard."""

from __future__ import annotations

__all__ = ["tensorboard_log"]

from pathlib import Path
from typing import Any

import jax

from vifx.checks import require
from vifx.training.event import Event
from vifx.training.metrics import Row


def tensorboard_log(directory: str | Path) -> _TensorBoardLog:
    """Return an observer of `fit` that writes every metric as a curve of TensorBoard, over updates.

    A resumed run goes on where it was: what was logged after the update that it goes on from is marked as purged, so
    that TensorBoard does not show it. Alarms are texts. Read it with ``tensorboard --logdir DIRECTORY``.

        training.fit(key, step, objective, source, steps=1000, observe=training.tensorboard_log("logs/first"))

    Args:
      directory: a folder for one run, which gets an event file each time the run is gone on with.

    Raises:
      TypeError: if `directory` is not a path.
      ImportError: if tensorboardX is not installed.
    """
    require(directory, (str, Path), "tensorboard_log: directory", "a path", "give the folder to write into")
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        sentence = "tensorboard_log needs tensorboardX, which is not installed; pip install 'vifx[logging]'."
        raise ImportError(sentence) from error
    return _TensorBoardLog(Path(directory), SummaryWriter)


class _TensorBoardLog:
    def __init__(self, directory: Path, writer: Any) -> None:
        self._directory, self._make = directory, writer
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        if jax.process_index() > 0:
            return
        if event.kind == "start":
            self._begin(event)
        elif event.kind == "log":
            self._add(event.metrics)
            self._writer.flush()
        elif event.kind == "alarm":
            self._writer.add_text("alarm", event.message, event.step)
        elif event.kind in ("end", "error") and self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self, event: Event) -> None:
        """Go on after an update; a folder without events gets those of the rows before it, too."""
        logged = any(self._directory.glob("events.out.tfevents.*"))
        purged = {"purge_step": event.step + 1} if logged else {}
        # Files of one second are told apart by the update that they begin after.
        self._writer = self._make(str(self._directory), filename_suffix=f".{event.step}", **purged)
        for row in () if logged else event.history:
            self._add(row)
        self._writer.flush()

    def _add(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

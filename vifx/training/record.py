"""What a training run leaves on disk: its checkpoints and its log of metrics, kept in step."""

from __future__ import annotations

__all__ = ["Record"]

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import jax

from vifx.training import hosts
from vifx.training.checkpoint import Checkpoints
from vifx.training.layout import Layout
from vifx.training.metrics import MetricsLog, Row, read_metrics
from vifx.training.state import TrainState


class Record:
    """The directory of a run, as a context manager: ``metrics.jsonl`` and ``checkpoints/``.

    Without a directory the rows are kept in memory and nothing is saved. With several processes, process 0
    writes the log, and all of them write checkpoints together.

    `best` and `config_hash` are those of `Checkpoints`.

    Attributes:
      directory: where; None for nowhere.
      history: every row so far, also those of before the run was resumed.
      saved: the step of the last checkpoint that is whole, if there is one.
    """

    def __init__(self, directory: str | Path | None, *, best: str | None, config_hash: str) -> None:
        self.directory = None if directory is None else Path(directory)
        self.history: list[Row] = []
        self.saved: int | None = None
        self._written: Row | None = None
        self._best, self._hash = best, config_hash

    def __enter__(self) -> Record:
        with ExitStack() as stack:
            self._log: MetricsLog | None = None
            self._checkpoints: Checkpoints | None = None
            if self.directory is not None:
                checkpoints = Checkpoints(self.directory / "checkpoints", config_hash=self._hash, best=self._best)
                self._checkpoints = stack.enter_context(checkpoints)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def begin(self, template: TrainState, resume_from: int | None, layout: Layout | None) -> TrainState | None:
        """Return the train state to go on from, or None to start anew, and cut the log to it.

        Raises:
          CheckpointError: if the checkpoint cannot be used.
        """
        if self._checkpoints is None or self.directory is None:
            return None
        train_state = None
        if resume_from is not None or self._checkpoints.steps():
            mesh, rule = (None, None) if layout is None else layout
            train_state = self._checkpoints.restore(template, step=resume_from, mesh=mesh, sharding=rule)
            self.saved = int(train_state.step)
            self._checkpoints.set_aside(after=self.saved)
        path = self.directory / "metrics.jsonl"
        if jax.process_index() == 0:
            self._log = self._stack.enter_context(MetricsLog(path, step=self.saved or 0))
        hosts.gathered("", f"cutting {path}")
        # Rules on the log must say the same in every process.
        self.history = list(read_metrics(path) if self._log is None else self._log.rows)
        return train_state

    def log(self, row: Row) -> None:
        """Add a row."""
        self.history.append(row)
        if self._log is not None:
            self._log.append(row)

    def save(self, train_state: TrainState, row: Row) -> None:
        """Begin to save a checkpoint, after every row up to it is on the disk.

        Raises:
          CheckpointError: if the disk does not take it, or the one before.
        """
        self._written = row
        if self._checkpoints is None:
            return
        if self._log is not None:
            self._log.sync()
        metrics = {name: value for name, value in row.items() if name != "step"}
        self._checkpoints.save(int(row["step"]), train_state, metrics)

    def finish_saving(self, tell: Callable[[Literal["checkpoint"], int, Row], None] | None = None) -> None:
        """Wait for the checkpoint that is being written, if one is, and `tell` of it.

        Raises:
          CheckpointError: if it cannot be written.
        """
        if self._written is None:
            return
        if self._checkpoints is not None:
            self._checkpoints.wait()
            self.saved = int(self._written["step"])
        row, self._written = self._written, None
        if tell is not None:
            tell("checkpoint", int(row["step"]), row)

    def best(self) -> str:
        """Say which checkpoint is the best so far, or nothing if the best is not kept."""
        if self._checkpoints is None or self._best is None:
            return ""
        step = self._checkpoints.best_step()
        return "no best checkpoint yet" if step is None else f"best checkpoint so far: update {step:,}"

    def where(self) -> str:
        """Say what can be gone on from."""
        self.finish_saving()
        if self.saved is None:
            return "no checkpoint was saved"
        return f"the last checkpoint is of update {self.saved}, in {self.directory}"

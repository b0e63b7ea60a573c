"""What stops a run besides a signal; imports nothing, so that the command can name them at once."""

from __future__ import annotations

__all__ = ["CheckpointError", "Diverged", "HostsError"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vifx.training.state import TrainState


class CheckpointError(Exception):
    """A checkpoint cannot be written, or is not what is asked for; the message has the file and the remedy.

    Attributes:
      finding: what is wrong, with the file.
      step: of the checkpoint that is damaged, if one is.
      others: the steps that have another checkpoint, if one is damaged.
    """

    def __init__(self, finding: str, *, step: int | None = None, others: Sequence[int] = ()) -> None:
        self.finding, self.step, self.others = finding, step, tuple(others)
        named = f"resume from another step by naming it: {list(others)}" if others else "start the run anew"
        super().__init__(finding if step is None else f"{finding}; {named}")


class Diverged(Exception):  # noqa: N818 - the name says what happened
    """Training met numbers that are not finite, or one that fell although it never may, and stopped.

    Attributes:
      step: which update, counted from 1 as in the log of metrics.
      sentence: what happened.
      start: which of several starts it happened to, see `training.several`; 0 where there is one.
      train_state: of `training.fit`, as the chunk with this update left it; of `vifx.em.fit`, that of the start, before
        the update that lowered the objective.

    Args:
      saved: what can be gone on from, for the message.
    """

    def __init__(
        self, step: int, sentence: str, *, saved: str = "", start: int = 0, train_state: TrainState | None = None
    ) -> None:
        self.step, self.sentence, self.start, self.train_state = step, sentence, start, train_state
        super().__init__("; ".join(filter(None, (f"training diverged at update {step}: {sentence}", saved))))


class HostsError(Exception):
    """The processes of a run cannot find each other, or do not agree; the message says which and what to do."""

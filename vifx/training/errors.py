"""What stops a run besides a signal; imports nothing, so that the command can name them at once."""

from __future__ import annotations

__all__ = ["CheckpointError", "Diverged"]

from collections.abc import Sequence


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
    """

    def __init__(self, step: int, sentence: str, saved: str) -> None:
        self.step, self.sentence = step, sentence
        super().__init__(f"training diverged at update {step}: {sentence}; {saved}")

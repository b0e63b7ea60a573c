"""When things are due in training."""

from __future__ import annotations

__all__ = ["Timetable"]

from typing import NamedTuple


class Timetable(NamedTuple):
    """When things are due, in updates; everything happens at the end of a chunk.

    Ends of chunks are at absolute multiples, so a resumed run meets the same ones.

    Attributes:
      steps: the last update.
      log_every: chunks end at the multiples of it.
      checkpoint_every: how often to save.
      evaluate_every: how often to evaluate.
    """

    steps: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int

    @classmethod
    def checked(cls, steps: int, log_every: int, checkpoint_every: int, evaluate_every: int | None) -> Timetable:
        """Return the schedule; evaluations are as often as checkpoints if not said.

        Raises:
          ValueError: if a number is not positive.
        """
        schedule = cls(steps, log_every, checkpoint_every, evaluate_every or checkpoint_every)
        for name, value in (*schedule._asdict().items(), ("evaluate_every", evaluate_every)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be a positive number of updates, got {value}")
        return schedule

    def chunk_end(self, step: int) -> int:
        """Return where the chunk that begins after update `step` ends."""
        return min(self.steps, (step // self.log_every + 1) * self.log_every)

    def due(self, every: int, begin: int, end: int) -> bool:
        """Say whether a chunk reaches a multiple of `every`, or the last update."""
        return end == self.steps or end // every > begin // every

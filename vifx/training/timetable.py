"""When things are due in training."""

from __future__ import annotations

__all__ = ["Timetable"]

from typing import NamedTuple

from vifx.checks import require_integer


class Timetable(NamedTuple):
    """When things are due, in updates; everything happens at the end of a chunk.

    Ends of chunks are at absolute multiples, so a resumed run meets the same ones.

    Attributes:
      steps: the last update.
      log_every: chunks end at the multiples of it.
      checkpoint_every: how often to save.
      evaluate_every: how often to evaluate.
      draw_every: how often to draw.
    """

    steps: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int
    draw_every: int

    @classmethod
    def checked(
        cls,
        steps: int,
        log_every: int,
        checkpoint_every: int,
        evaluate_every: int | None,
        draw_every: int | None,
    ) -> Timetable:
        """Return the schedule; evaluations and drawings are as often as checkpoints if not said.

        Raises:
          TypeError: if a number is not an integer.
          ValueError: if it is not positive.
        """
        evaluating, drawing = (checkpoint_every if n is None else n for n in (evaluate_every, draw_every))
        schedule = cls(steps, log_every, checkpoint_every, evaluating, drawing)
        for name, value in schedule._asdict().items():
            require_integer(value, name)
        return schedule

    def chunk_end(self, step: int) -> int:
        """Return where the chunk that begins after update `step` ends."""
        return min(self.steps, (step // self.log_every + 1) * self.log_every)

    def due(self, every: int, begin: int, end: int) -> bool:
        """Say whether a chunk reaches a multiple of `every`, or the last update."""
        return end == self.steps or end // every > begin // every

    def saving_and_measuring(self, begin: int, end: int, *, best: bool) -> tuple[bool, bool]:
        """Say whether to save and to evaluate at the end of a chunk; the best checkpoint is known when it is saved."""
        saving = self.due(self.checkpoint_every, begin, end)
        return saving, self.due(self.evaluate_every, begin, end) or (saving and best)

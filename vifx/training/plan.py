"""What `fit` is told of a run, checked."""

from __future__ import annotations

__all__ = ["Plan"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from vifx.checks import require, require_function, require_integer, require_key
from vifx.core.objective import Objective, require_objective
from vifx.core.types import Key, Params, State
from vifx.training.alarm import Alarm, require_alarms
from vifx.training.event import Observe
from vifx.training.layout import Rule
from vifx.training.measuring import Evaluate
from vifx.training.minibatch_sources import Source, require_source
from vifx.training.state import TrainState
from vifx.training.step import Step, one_update
from vifx.training.stop import Stop
from vifx.training.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The arguments of `fit`, which says what each is.

    Raises:
      TypeError: if one is of another kind.
      ValueError: if a number is not positive.
    """

    key: Key
    step: Step
    objective: Objective
    source: Source
    steps: int
    directory: str | Path | None = None
    log_every: int = 100
    checkpoint_every: int = 1000
    evaluate: Evaluate | None = None
    evaluate_every: int | None = None
    best: str | None = None
    alarms: Sequence[Alarm] = ()
    monotone: str | None = None
    stop: Stop | None = None
    initial: tuple[Params, State] | None = None
    mesh: Mesh | None = None
    sharding: Rule | None = None
    draw: Callable[[TrainState], None] | None = None
    draw_every: int | None = None
    observe: Observe = "progress"
    config_hash: str = ""
    resume_from: int | None = None
    skips: int = 10

    def __post_init__(self) -> None:
        require_key(self.key, name="fit: key")
        one_update(self.step, "fit")
        require_objective(self.objective, "fit")
        require_source(self.source, "fit")
        if self.directory is not None:
            fix = "give that of the run, or None to save nothing"
            require(self.directory, (str, Path), "directory", "a path", fix)
        for name in ("best", "monotone"):
            if (metric := getattr(self, name)) is not None:
                require(metric, str, name, "the name of a metric", "give one of the log, such as 'loss/model'")
        if self.stop is not None:
            fix = "make one with training.converged(...) or training.patience(...)"
            require(self.stop, Stop, "stop", "a rule", fix)
        require(self.config_hash, str, "config_hash", "a text", "give what identifies the configuration")
        if self.evaluate is not None:
            require_function(self.evaluate, "evaluate", "(train_state) -> {name: value}")
        if self.draw is not None:
            require_function(self.draw, "draw", "(train_state) -> None")
        if self.resume_from is not None:
            require_integer(self.resume_from, "resume_from", least=0)
            if self.directory is None:
                raise ValueError("resume_from needs the directory that holds the checkpoint; give directory=")
        require_integer(self.skips, "skips")
        require_alarms(self.alarms)
        self.timetable()

    def timetable(self) -> Timetable:
        """Return when things are due."""
        often = (self.log_every, self.checkpoint_every, self.evaluate_every, self.draw_every)
        return Timetable.checked(self.steps, *often)

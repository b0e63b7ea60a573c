"""The config that every experiment shares."""

from __future__ import annotations

__all__ = ["Config", "identity", "recording"]

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from vifx import data
from vifx.core.types import Net
from vifx.experiment.rules import MeshAxes, NonNegativeInt, PositiveInt, to_json, validate


@dataclass(frozen=True)
class Config:
    """What every experiment can be told; an experiment's own `Config` adds its fields.

    The annotations are the rules: `latent: PositiveInt = 16` refuses 0, and every float must be
    finite. A rule that ties two fields together goes into a `__post_init__` that calls this one.

    Raises:
      TypeError: if a value has another type than its annotation.
      ValueError: if a value breaks the rule in its annotation; the message names the field.
    """

    seed: NonNegativeInt = 0
    """Seed of everything random: initial parameters, noise, order of the data."""
    steps: PositiveInt = 2000
    """How many updates to make."""
    log_every: PositiveInt = 100
    """Updates between two lines of metrics; also the length of one compiled scan."""
    checkpoint_every: PositiveInt = 1000
    """Updates between two checkpoints; rounded up to a multiple of log_every."""
    evaluate_every: PositiveInt | None = None
    """Updates between two evaluations on the validation split, of which the best is kept; rounded up to a multiple
    of log_every (None: as often as checkpoint_every)."""
    patience: PositiveInt | None = None
    """Stop when the monitored metric that marks the best checkpoint has not improved for so many evaluations."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Arithmetic: bfloat16 is of the networks alone, float64 of everything."""
    remat: bool = False
    """Compute networks, and copies in stacks, again for gradients rather than keep what is inside: less memory, more
    operations."""
    microbatches: PositiveInt = 1
    """Parts that each minibatch is divided into, whose gradients are added up one after the other: less memory."""
    mesh: MeshAxes | None = None
    """Devices to divide over, such as `data=8`, or `data=4,fsdp=2`: minibatches over all of them, and large parameters
    with what the optimizer keeps of them over `fsdp` (None: one device, or all of several processes)."""
    draw_every: PositiveInt | None = None
    """Updates between two drawings into the run's figures/UPDATE, and of its curves (None: only at the end)."""
    log: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ()
    """Logs of the metrics besides metrics.jsonl: metrics.csv, tensorboard/ or wandb/ in the run."""
    quality_examples: NonNegativeInt = 0
    """Test images or rows, and as many samples, that the quality of samples is measured on at the end: Fréchet and
    kernel distance, coverage, of images memorization and controls. The first time, a small classifier is trained for
    images (0: it is not measured)."""
    data: data.Config = field(default_factory=data.Config)
    """Which data set, and how it is read."""

    def __post_init__(self) -> None:
        validate(self)

    def net(self, module: Any) -> Net:
        """Return a network with the arithmetic that `precision` asks for, computed again for gradients with `remat`.

        Args:
          module: a `Net`, a Linen module or an NNX module.
        """
        from vifx.core.nets import in_precision, rematerialized  # not before a network is made: it takes a second

        found = in_precision(module, self.precision)
        return rematerialized(found) if self.remat else found


C = TypeVar("C", bound=Config)


def recording(config: C) -> tuple[C, set[str]]:
    """Return an equal config that notes which of its fields are read, and the names of those so far.

    Whatever `build` makes of it, a schedule that reads `steps` when the step is traced included, is noted.
    """
    read: set[str] = set()
    names = {field.name for field in dataclasses.fields(config)}

    def get(self: Any, name: str) -> Any:
        if name in names:
            read.add(name)
        return object.__getattribute__(self, name)

    cls = type(config)
    body = {"__getattribute__": get, "__module__": cls.__module__, "__doc__": cls.__doc__}
    watched: Any = object.__new__(type(cls.__name__, (cls,), body))
    vars(watched).update(vars(config))
    read.clear()
    return watched, read


def identity(config: Config, *, steps: bool = False) -> str:
    """Return 16 hexadecimal digits that identify the run of `config`.

    Args:
      config: the whole of it counts but `steps`, which says how far the run goes and not which run it is, `mesh`,
        which says where it runs, and `draw_every`, `log` and `quality_examples`, which say how it is looked at.
      steps: whether they count all the same, because a schedule of the experiment reads them.
    """
    apart = {"mesh", "draw_every", "log", "quality_examples"} | (set() if steps else {"steps"})
    tree = {name: value for name, value in to_json(config).items() if name not in apart}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

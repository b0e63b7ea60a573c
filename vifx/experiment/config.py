"""The config that every experiment shares."""

from __future__ import annotations

__all__ = ["Config", "identity"]

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from vifx import data
from vifx.experiment.rules import NonNegativeInt, PositiveInt, to_json, validate


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
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic inside the networks; parameters, losses and optimizers stay in float32."""
    devices: PositiveInt = 1
    """Devices to shard each minibatch over."""
    data: data.Config = field(default_factory=data.Config)
    """Which data set, and how it is read."""

    def __post_init__(self) -> None:
        validate(self)


def identity(config: Config) -> str:
    """Return 16 hexadecimal digits that identify the run of `config`.

    `steps` is left out: it says how far the run goes, not which run it is.
    """
    tree = to_json(config)
    del tree["steps"]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]

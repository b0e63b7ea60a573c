"""Training: steps are values, combinators are functions of steps, and one loop runs them."""

from __future__ import annotations

__all__ = [
    "Alarm",
    "CheckpointError",
    "Checkpoints",
    "Collective",
    "Cost",
    "Diverged",
    "Evaluate",
    "Event",
    "Fitted",
    "Interrupted",
    "LossTransform",
    "Memory",
    "Progress",
    "Raised",
    "Step",
    "Stop",
    "TrainState",
    "accumulated",
    "anchored",
    "averaged",
    "averaged_params",
    "blame",
    "cappe_moulines",
    "compile",
    "constrained",
    "converged",
    "cost",
    "csv_log",
    "descend",
    "episodes",
    "evaluated",
    "fit",
    "fit_together",
    "fsdp",
    "guarded",
    "in_turn",
    "make_mesh",
    "optimize",
    "patience",
    "raised",
    "read_metrics",
    "repeat",
    "replicate",
    "scanned",
    "several",
    "shard_batch",
    "solve",
    "start",
    "tensorboard_log",
    "topology",
    "wandb_log",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.training.accumulate import accumulated
    from vifx.training.alarm import Alarm, Raised, episodes, raised
    from vifx.training.average import averaged, averaged_params, evaluated
    from vifx.training.checkpoint import Checkpoints
    from vifx.training.compile import compile
    from vifx.training.constrain import constrained
    from vifx.training.cost import Cost, Memory, cost
    from vifx.training.course import Fitted
    from vifx.training.csv_log import csv_log
    from vifx.training.descend import descend, optimize
    from vifx.training.errors import CheckpointError, Diverged
    from vifx.training.event import Event
    from vifx.training.guard import blame, guarded
    from vifx.training.hlo import Collective
    from vifx.training.interrupt import Interrupted
    from vifx.training.layout import fsdp, replicate
    from vifx.training.loop import fit
    from vifx.training.measuring import Evaluate
    from vifx.training.metrics import read_metrics
    from vifx.training.scan import scanned
    from vifx.training.several import several
    from vifx.training.sharding import make_mesh, shard_batch
    from vifx.training.solve import cappe_moulines, solve
    from vifx.training.state import TrainState, start
    from vifx.training.step import LossTransform, Progress, Step
    from vifx.training.stop import Stop, converged, patience
    from vifx.training.tensorboard_log import tensorboard_log
    from vifx.training.together import fit_together
    from vifx.training.topology import topology
    from vifx.training.turns import anchored, in_turn, repeat
    from vifx.training.wandb_log import wandb_log

make_lazy(__name__)

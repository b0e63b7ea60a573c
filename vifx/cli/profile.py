"""`--profile`: a trace of a few updates, for TensorBoard and Perfetto."""

from __future__ import annotations

__all__ = ["profile_updates"]

from pathlib import Path

import jax
from jax.sharding import Mesh

from vifx import training
from vifx.experiment import Config, Experiment
from vifx.experiment.building import run_key
from vifx.training.chunk import advance, first_batch
from vifx.training.layout import Layout

_UPDATES = 3


def profile_updates(built: Experiment, config: Config, mesh: Mesh | None, directory: Path) -> Path:
    """Make the first updates of a run and write a trace of them, each under the name ``update``; return its file.

    They are those of the run itself, on its own minibatches, compiled one a call. The first one, which compiles, is not
    in the trace, and the run begins anew after them, so that a profile changes nothing.

    Args:
      built: the experiment.
      config: of the run.
      mesh: that of the run.
      directory: where the trace goes; TensorBoard opens this folder, and Perfetto the file that is returned.
    """
    layout = Layout.checked(mesh, None, "profile")
    key = run_key(config)
    train_state = training.start(key, built.step, built.objective, first_batch(key, built.source))
    with advance(built.step, built.source, layout, 0) as run_chunk:
        train_state, _ = run_chunk(train_state, 0, 1)
        jax.block_until_ready(train_state.params)
        with jax.profiler.trace(str(directory), create_perfetto_trace=True):
            for number in range(1, 1 + _UPDATES):
                with jax.profiler.StepTraceAnnotation("update", step_num=number):
                    train_state, _ = run_chunk(train_state, number, 1)
                    jax.block_until_ready(train_state.params)
    return next(directory.rglob("perfetto_trace.json.gz"))

"""Long streams: what a process holds does not grow with the updates that it makes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, statistics, sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from vifx import data, training
from vifx.core.objective import Objective
from vifx.core.types import Aux
from vifx.training.chunk import advance, first_batch


def loss(key, params, state, batch, *, train=True):
    value = jnp.mean((params["mean"]["v"] - batch["x"].astype(jnp.float32).mean() / 255) ** 2)
    return value, Aux({"error": value}, state)


def init(key, batch):
    return {"mean": {"v": jnp.zeros(())}}, {"mean": {}}


if __name__ == "__main__":
    objective = Objective.of_loss(init, loss, owns=["mean"], title="mean")
    step = training.descend(objective, "model", optax.sgd(0.1))
    source = data.Streaming(data.Sprites(10**5), 256, 0, workers=int(sys.argv[1]))
    train_state = training.start(jax.random.key(0), step, objective, first_batch(jax.random.key(0), source))
    used = []
    with advance(step, source, None, 0) as run:
        for first in range(0, 480, 20):
            train_state, metrics = run(train_state, first, 20)
            used.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
    print(statistics.median(used[16:]) / statistics.median(used[8:16]), float(train_state.params["mean"]["v"]))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("workers", ["0", "2"])
def test_memory_is_flat(workers, tmp_path):
    """160 updates on 168 MB of images, after 320 others; the process itself has about 300 MB.

    A shape covers a circle's radius of 14 · size pixels with an area of 0.6π, 2 or (4 + π) / 3.38 of its square, and
    the size is uniform on [½, 1].
    """
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    # The C library keeps what small arrays of many threads leave behind; these settings give it back.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, script, workers], env=environment, capture_output=True, text=True, check=True
    )
    growth, mean = map(float, done.stdout.split())
    assert growth < 1.02
    assert mean == pytest.approx((1.885 + 2 + 2.113) / 3 * 14**2 * (7 / 12) / 64**2, rel=0.02)

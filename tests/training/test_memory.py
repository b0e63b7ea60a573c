"""Training keeps nothing: not a train state, not a chunk's metrics, not what it saved."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: that of the tests looks for garbage seldom. The train state has 1.5 MB.
PROGRAM = """
import json, sys
import jax, numpy as np, optax
from pathlib import Path
from training.problems import regression
from vifx.data import Resident
from vifx.training import fit, guarded, optimize

occupied = []

def observe(event):
    if event.kind == "checkpoint":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        occupied.append(pages * 4096 / 2**20)

def evaluate(train_state):
    return {"largest": float(np.abs(np.asarray(train_state.params["line"]["w"])).max())}

rng, features = np.random.default_rng(0), 1 << 17
arrays = {"x": rng.normal(size=(16, features)).astype(np.float32), "y": rng.normal(size=16).astype(np.float32)}
objective, every = regression(), int(sys.argv[3])
step = guarded(optimize(objective, optax.adam(1e-6)))
fit(jax.random.key(0), step, objective, Resident(arrays, 4, seed=0), steps=int(sys.argv[2]), directory=sys.argv[1],
    log_every=every // 10, checkpoint_every=every, evaluate=evaluate, best="largest", observe=observe)
print(json.dumps(occupied))
"""


@pytest.mark.parametrize(
    ("steps", "every"),
    [pytest.param(5_000, 100, marks=pytest.mark.thorough), pytest.param(50_000, 1_000, marks=pytest.mark.slow)],
)
def test_memory_is_flat_over_a_long_run(tmp_path, steps, every):
    """Between the second and the last fifth of 50 checkpoints, 30 of them: to keep what each saves would be 45 MB."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(steps), str(every)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr
    occupied = json.loads(done.stdout)
    assert len(occupied) == 50
    grown = statistics.median(occupied[40:]) - statistics.median(occupied[10:20])
    assert grown < 22, occupied  # blocks of the allocator, of 12 MB, come and go

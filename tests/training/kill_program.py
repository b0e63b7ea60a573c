"""Small runs in processes that are killed: ``python kill_program.py`` reads what to train from its input.

It imports everything once and touches no device; each run is a fork of it, so that a run takes what tracing takes. One
order a line, as JSON, is answered by one line. The package has no part in the killing: the moment is seen in the files.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint  # noqa: F401 - a run should not have to import it

import vifx
from vifx import data, em, flows, games, lipschitz, networks, training
from vifx.training import hosts
from vifx.training.layout import local

KINDS = ("vae", "gan", "flow", "stepwise", "starts")
STEPS, LOG_EVERY, CHECKPOINT_EVERY = 24, 2, 6
EXAMPLES = 60


class Parts(NamedTuple):
    """What `training.fit` is given besides the key."""

    step: training.Step
    objective: vifx.Objective
    source: Any
    options: dict[str, Any]


def points() -> np.ndarray:
    random = np.random.default_rng(0)
    centres = 4 * random.normal(size=(3, 2))
    return (centres[random.integers(0, 3, EXAMPLES)] + random.normal(size=(EXAMPLES, 2))).astype(np.float32)


def vae() -> Parts:
    body = networks.MLP((5,))
    encoder = networks.Conditional(body, networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(body, networks.BernoulliHead((6,)))
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder")),
        vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder")),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 6), dtype=np.uint8)
    step = training.guarded(training.optimize(objective, optax.adam(1e-2), grad_norm=True))
    return Parts(step, objective, data.Resident({"x": pixels}, 16, 0, data.binarize()), {"best": "loss/model"})


def gan() -> Parts:
    """Two critic turns to one of the generator, and the vectors of spectral normalization in the state."""
    critic = lipschitz.spectral_normalization(networks.Critic(networks.MLP((5,))))
    model = games.gan(networks.MLP((5,), outputs=2), critic, prior=vifx.standard_normal(2))
    step = training.optimize(model.objective, optax.adam(1e-3, b1=0.5), turns={"critic": 2})
    return Parts(step, model.objective, data.Resident({"x": points()}, 16, 0), {})


def flow() -> Parts:
    """An average of the parameters beside them."""
    base = vifx.standard_normal(2)
    generative = vifx.Joint(vifx.transformed("x", base, flows.realnvp(depth=2, hidden=(4,)), name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    step = training.averaged(training.optimize(objective, optax.adam(1e-2)), 0.9)
    return Parts(step, objective, data.Resident({"x": points()}, 16, 0), {"best": "loss/model"})


def stepwise() -> Parts:
    """EM on minibatches: running averages of the statistics in the slot."""
    objective = em.mixture(em.gaussian, 3, covariance="full").objective
    step = training.solve(objective, "model", rate=training.cappe_moulines(), examples=EXAMPLES)
    return Parts(step, objective, data.Resident({"x": points()}, 16, 0), {})


def starts() -> Parts:
    """EM on all examples, from two starts at once, whose objective never falls."""
    model = em.mixture(em.gaussian, 3, covariance="full")
    source = data.Full({"x": points()})
    step = training.several(training.solve(model.objective, "model"), 2, best="objective")
    initial = em.initial.starts(jax.random.key(1), model, source.arrays, "random", 2)
    return Parts(step, model.objective, source, {"initial": initial, "monotone": "objective", "best": "-objective"})


def train(kind: str, directory: str, steps: int, mesh: jax.sharding.Mesh | None = None) -> dict[str, Any]:
    """Train or go on; then open the finished run again, which makes no update, for what is on the disk."""
    step, objective, source, options = globals()[kind]()
    ends, begun = [], []
    for _ in range(2):
        fitted = training.fit(
            jax.random.key(0),
            step,
            objective,
            source,
            steps=steps,
            directory=directory,
            log_every=LOG_EVERY,
            checkpoint_every=CHECKPOINT_EVERY,
            mesh=mesh,
            observe=lambda event: begun.append(event.step) if event.kind == "start" else None,
            **options,
        )
        ends.append(digests(fitted.train_state))
    trained, restored = ends
    return {"trained": trained, "restored": restored, "rows": len(fitted.history), "begun": begun[0]}


def digests(tree: Any) -> dict[str, str]:
    """The leaves of a tree by path, by their bytes."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(local(jax.random.key_data(leaf) if key else leaf))
        found[jax.tree_util.keystr(path)] = f"{array.dtype}{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return found


def attempt(
    kind: str,
    directory: str,
    moment: dict[str, Any] | None,
    *,
    steps: int = STEPS,
    processes: int = 1,
    devices: int = 1,
    victim: int = 0,
    late: float = 0.0,
) -> dict[str, Any]:
    """Train in forks, and kill one of them at a moment, unless it is done before.

    Args:
      moment: ``{"after": "rows" or "saves", "count": …, "seconds": …}``: behind so many new ones; None for never.
      processes: how many make the run together, each on as many `devices`.
      victim: which of them is killed.
      late: for how many seconds each lives on after the one before it, when all is done.
    """
    port = free_port() if processes > 1 else 0
    distributed = [f"127.0.0.1:{port},{processes},{index}" if port else "" for index in range(processes)]
    make = partial(train, kind, directory, steps)
    with nullcontext() if moment is None else cache_restored():
        forks = [fork(make, Path(f"{directory}.{i}"), distributed[i], devices, i * late) for i in range(processes)]
        if moment is not None and reached(forks[victim], Path(directory), **moment):
            os.kill(forks[victim], signal.SIGKILL)
        killed = time.monotonic()
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in forks]
    answer = {"codes": codes, "seconds": time.monotonic() - killed, "left": saves(Path(directory))}
    answer["said"] = [Path(f"{directory}.{index}.err").read_text(encoding="utf-8") for index in range(processes)]
    return answer | (json.loads(Path(f"{directory}.0.json").read_text(encoding="utf-8")) if not any(codes) else {})


@contextmanager
def cache_restored() -> Iterator[None]:
    """Put JAX's cache back as it was: it writes entries in place, and a killed process leaves half of one for ever."""
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    before = shutil.copytree(cache, cache.with_name("before"))
    yield
    shutil.rmtree(cache)
    before.rename(cache)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def fork(
    make: Callable[[jax.sharding.Mesh | None], Any], path: Path, distributed: str, devices: int, late: float
) -> int:
    """Start a process that makes something, writes it to a file, and leaves as Python does."""
    process = os.fork()
    if process > 0:
        return process
    status = 1
    try:
        with open(f"{path}.err", "w", encoding="utf-8") as errors:
            os.dup2(errors.fileno(), 1)  # Gloo prints, too
            os.dup2(errors.fileno(), 2)
        os.environ["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        if distributed:
            hosts.start(distributed=distributed)
        found = make(training.make_mesh() if distributed or devices > 1 else None)
        Path(f"{path}.json").write_text(json.dumps(found), encoding="utf-8")
        time.sleep(late)
        status = 0
    except BaseException as error:
        sys.last_value = error
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        os._exit(status)


def reached(process: int, directory: Path, *, after: str, count: int, seconds: float) -> bool:
    """Wait for the moment; say whether it came before the run was over."""
    look = {"rows": rows, "saves": lambda directory: set(saves(directory))}[after]
    before, seen = look(directory), 0
    while seen < count:
        if over(process):
            return False
        time.sleep(0.0005)
        now = look(directory)
        seen += len(now - before)
        before = now
    time.sleep(seconds)
    return True


def over(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def rows(directory: Path) -> set[bytes]:
    path = directory / "metrics.jsonl"
    return set(path.read_bytes().splitlines()) if path.exists() else set()


def saves(directory: Path) -> list[str]:
    """The names of checkpoints, half-written ones too: a save begins when there is a new one."""
    path = directory / "checkpoints"
    return sorted(name for name in os.listdir(path) if name[0].isdecimal()) if path.is_dir() else []


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

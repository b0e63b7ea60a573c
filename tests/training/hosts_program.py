"""Small problems trained by one process or several: ``python hosts_program.py WHERE FOLDER PROBLEM …``.

WHERE is ``off`` or HOST:PORT,COUNT,INDEX. Process 0 prints the log and the parameters of each problem as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from vifx.training import hosts

if __name__ == "__main__":
    hosts.start(distributed=sys.argv[1])

import jax
import numpy as np

from vifx import data, training
from vifx.training.layout import local

STEPS = 200


def source_of(source: Any) -> Any:
    """The same source in double precision."""
    if isinstance(source, data.Full):
        return data.Full({name: np.asarray(value, np.float64) for name, value in source.arrays.items()})
    arrays = {
        name: np.asarray(value, np.float64 if value.dtype == np.float32 else value.dtype)
        for name, value in source.arrays.items()
    }
    return data.Resident(arrays, source.batch_size, source.seed, source.transform)


def trained(problem: str, folder: str | None, steps: int = STEPS) -> dict[str, Any]:
    """Train a problem of `kill_program`; "streamed" is the first of them read on the host, "divided" by fsdp."""
    from training import kill_program

    kind = {"streamed": "vae", "divided": "vae"}.get(problem, problem)
    step, objective, source, options = getattr(kill_program, kind)()
    source, options = source_of(source), dict(options)
    if "initial" in options:
        options["initial"] = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), options["initial"])
    if problem == "streamed":
        source = data.Streaming({n: np.asarray(v) for n, v in source.arrays.items()}, 16, 0, source.transform)
    if len(jax.devices()) > 1:
        fsdp = len(jax.devices()) if problem == "divided" else 1
        options["mesh"] = training.make_mesh(fsdp=fsdp)
        if problem == "divided":
            options["sharding"] = training.fsdp(options["mesh"], minimum=16)
    where = None if folder is None else f"{folder}/{problem}"
    fitted = training.fit(
        jax.random.key(0),
        step,
        objective,
        source,
        steps=steps,
        log_every=20,
        checkpoint_every=50,
        directory=where,
        **options,
    )
    params = local(dict(fitted.train_state.params))
    return {
        "problem": problem,
        "rows": fitted.history,
        "params": {
            jax.tree_util.keystr(p): np.asarray(v).tolist() for p, v in jax.tree_util.tree_leaves_with_path(params)
        },
    }


def main() -> None:
    """Train what the command line names."""
    _, _, folder, *problems = sys.argv
    for problem in problems:
        result = trained(problem, None if folder == "-" else folder)
        if jax.process_index() == 0:
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

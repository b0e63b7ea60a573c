"""What an accelerator makes of the workloads W1 to W5: ``python tests/device/run.py --out FOLDER``.

At most 8 minutes on a GPU, without downloads. It measures updates a second and their share of the device's peak, in
float32 and bfloat16; compares one step with the CPU's; trains twice to see whether the results are equal to the bit;
compares the memory of the program with that of one written by hand; and times both forms of convolutions. A section
that fails is reported, the others go on, and the exit code is 1. FOLDER gets results.json and results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp())  # several sections make the same programs

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import test_convolution
from device.peaks import of_update, peak
from device.workloads import WORKLOADS, Workload

from vifx import training
from vifx.loops import primitives
from vifx.networks import convolve
from vifx.training.chunk import advance

SECTIONS = ("speed", "equality", "determinism", "memory", "convolutions")
TOLERANCE, UPDATES = 1e-4, 50
Found = dict[str, Any]


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def medians(runs: Mapping[str, Callable[[], Any]], least: float, blocks: int) -> dict[str, float]:
    """Seconds of a call of each, in turns: the median of some blocks, each of as many calls as `least` seconds take."""
    counts = {}
    for name, run in runs.items():
        for _ in range(2):  # results may have other types than what the first call is given
            jax.block_until_ready(run())
        counts[name] = max(1, round(least / blocks / seconds(run)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(blocks):
        for name, run in runs.items():
            times[name].append(seconds(lambda run=run, name=name: [run() for _ in range(counts[name])][-1]))
    return {name: statistics.median(each) / counts[name] for name, each in times.items()}


def speed(workload: Workload, *, tiny: bool) -> Found:
    """Updates a second, their operations, and the share of the peak; beside them those of the hand-written program."""
    raw, found = workload.raw(tiny), {}
    held = {"raw": raw.carry}

    def by_hand() -> Any:
        held["raw"], values = raw.run(held["raw"], *raw.rest)
        return values

    for precision in workload.precisions:
        parts = workload.parts(precision, tiny)
        held["ours"] = parts.train_state
        with advance(parts.step, parts.source, None, 0) as run:

            def ours(run: Any = run) -> Any:
                held["ours"], metrics = run(held["ours"], 0, workload.chunk)
                return metrics

            runs = {"ours": ours, "by hand": by_hand} if precision == "float32" else {"ours": ours}
            times = medians(runs, 0.2 if tiny else 4.0, 2 if tiny else 7)
        rate, work = workload.chunk / times["ours"], of_update(parts.step, parts.train_state, parts.batch)
        limit = peak(jax.devices()[0].device_kind, precision)
        found[precision] = {
            "updates a second": rate,
            "TFLOP an update": work / 1e12,
            "share of peak": "unknown" if limit is None else rate * work / limit[0],
            "peak": "unknown" if limit is None else f"{limit[0] / 1e12:g} TFLOP/s, {limit[1]}",
        }
        if "by hand" in times:
            found[precision]["ratio to the program by hand"] = times["by hand"] / raw.updates * rate
    return found


def outcome(workload: Workload, device: Any, start: Any, *, tiny: bool) -> Any:
    """The losses and gradients of every player on one minibatch; where a step is closed, what it makes."""
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        parts = workload.parts("float32", tiny)  # a fresh step, whose program is made for this device
        state, batch = jax.device_put(start, device)
        if all(player.solver is not None for player in parts.objective.players.values()):
            after, metrics = jax.jit(parts.step.update)(jax.random.key(3), state.progress, batch)
            return jax.device_get((metrics, after.params))
        found = {}
        for name, player in parts.objective.players.items():
            own = {network: state.params[network] for network in player.owns}

            def loss(own: Any, player: Any = player) -> Any:
                return player.loss(jax.random.key(3), {**state.params, **own}, state.state, batch, train=True)[0]

            found[name] = jax.jit(jax.value_and_grad(loss))(own)
        return jax.device_get(found)


def equality(workload: Workload, *, tiny: bool) -> Found:
    """How far values and gradients are from the CPU's, relative to the largest number of each array."""
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        parts = workload.parts("float32", tiny)
        start = jax.device_get(parts.train_state._replace(key=jnp.zeros(()))), jax.device_get(parts.batch)
    here, there = (outcome(workload, device, start, tiny=tiny) for device in (jax.devices()[0], cpu))
    largest = {}
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(here), jax.tree.leaves(there), strict=True):
        scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-12)
        largest[jax.tree_util.keystr(path)] = float(np.max(np.abs(a - b), initial=0.0)) / scale
    worst = max(largest, key=largest.__getitem__)
    if not largest[worst] <= TOLERANCE:
        raise ArithmeticError(f"{worst} differs from the CPU's by {largest[worst]:.2e}, more than {TOLERANCE:g}")
    return {"largest relative difference": largest[worst], "of": worst, "arrays": len(largest)}


def determinism(workload: Workload, *, tiny: bool) -> Found:
    """Whether two runs end with the same parameters, to the bit."""
    updates, ends = 6 if tiny else UPDATES, []
    parts = workload.parts("float32", tiny)
    for _ in range(2):
        fitted = training.fit(
            jax.random.key(4),
            parts.step,
            parts.objective,
            parts.source,
            steps=updates,
            log_every=workload.chunk,
            initial=(parts.train_state.params, parts.train_state.state),
        )
        ends.append(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fitted.train_state.params)))
    asked = "--xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "") or jax.default_backend() != "gpu"
    equal = ends[0] == ends[1]
    if asked and not equal:
        raise ArithmeticError(f"two runs of {updates} updates differ although deterministic operations were asked for")
    return {
        "updates": updates,
        "equal to the bit": equal,
        "deterministic operations": "on" if asked else "not asked for",
    }


def memory(workload: Workload, *, tiny: bool) -> Found:
    """What the compiled programs of a chunk need: arguments, results that are no argument's, and what is temporary."""
    parts, raw = workload.parts("float32", tiny), workload.raw(tiny)
    window = parts.source.window(0, workload.chunk * parts.step.batches)

    def scan(progress: Any, arrays: Any, window: Any) -> Any:
        def one(progress: Any, i: Any) -> Any:
            key = jax.random.fold_in(jax.random.key(0), i)
            return parts.step.update(key, progress, parts.source.take(key, arrays, window, i))

        return jax.lax.scan(one, progress, jnp.arange(workload.chunk, dtype=jnp.int32))

    ours = jax.jit(scan, donate_argnums=0).lower(parts.train_state.progress, parts.source.arrays, window)
    sizes = {"ours": occupied(ours.compile()), "by hand": occupied(raw.run.lower(raw.carry, *raw.rest).compile())}
    return {f"MB {name}": size / 1e6 for name, size in sizes.items()} | {"ratio": sizes["ours"] / sizes["by hand"]}


def occupied(compiled: Any) -> int:
    found = compiled.memory_analysis()
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return found.argument_size_in_bytes + results + found.temp_size_in_bytes


def convolutions(*, tiny: bool) -> Found:
    """Both forms of gradient steps on convolutions in a scan, and which one a network gets here."""
    x, kernel = jnp.zeros((1, 8, 8, 1)), jnp.zeros((3, 3, 1, 1))
    chosen = "xla" if "conv_general_dilated" in set(primitives(jax.make_jaxpr(convolve)(x, kernel).jaxpr)) else "matmul"
    found: Found = {"chosen": chosen}
    for name, (shape, layers) in test_convolution.CASES.items():
        images = jax.random.normal(jax.random.key(0), (2, *shape[1:]) if tiny else shape)
        kernels = [0.05 * jax.random.normal(jax.random.key(1), size) for _, size, _ in layers]
        runs = {form: partial(test_convolution.program(layers, form, 2), kernels, images) for form in ("xla", "matmul")}
        times = medians(runs, 0.05 if tiny else 1.0, 2 if tiny else 5)
        found[name] = {f"ms {form}": 500 * each for form, each in times.items()} | {
            "faster": min(times, key=times.__getitem__)
        }
    slower = [name for name, case in found.items() if name != "chosen" and case["faster"] != chosen]
    found["slower than the other form"] = slower
    return found


def sections(names: list[str], workloads: list[str], *, tiny: bool) -> dict[str, Callable[[], Found]]:
    """What is to be done, by its title."""
    each = {"speed": speed, "equality": equality, "determinism": determinism, "memory": memory}
    found: dict[str, Callable[[], Found]] = {
        f"{name} {workload}": partial(each[name], WORKLOADS[workload], tiny=tiny)
        for name in names
        if name in each
        for workload in workloads
    }
    return found | ({"convolutions": partial(convolutions, tiny=tiny)} if "convolutions" in names else {})


def device() -> Found:
    first = jax.devices()[0]
    return {
        "device": first.device_kind,
        "platform": first.platform,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def table(result: Found) -> str:
    """The results as Markdown: the device, one line a section, and what failed."""
    where = ", ".join(f"{name} {value}" for name, value in result["where"].items() if value != "")
    lines = [f"# {result['where']['device']}", "", where, "", "| section | seconds | result |", "|---|---|---|"]
    for title, section in result["sections"].items():
        text = f"**failed**: {section['error']}" if "error" in section else said(section["found"])
        lines.append(f"| {title} | {section['seconds']:.1f} | {text.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def said(found: Any) -> str:
    if isinstance(found, dict):
        return "; ".join(f"{name} {said(value)}" for name, value in found.items())
    return (
        f"{found:.4g}"
        if isinstance(found, float)
        else (", ".join(found) or "none" if isinstance(found, list) else str(found))
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--tiny", action="store_true", help="few updates of smaller data, for a test on a CPU")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    result: Found = {"where": device(), "sections": {}}
    for title, make in sections(options.sections, options.workloads, tiny=options.tiny).items():
        start, section = time.perf_counter(), {}
        try:
            section["found"] = make()
        except Exception as error:
            traceback.print_exc()
            section["error"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        section["seconds"] = time.perf_counter() - start
        result["sections"][title] = section
        print(f"{title}: {section.get('error') or said(section['found'])}", flush=True)
        # After each section, so that what there is stays if the device is taken away.
        (options.out / "results.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        (options.out / "results.md").write_text(table(result), encoding="utf-8")
    failed = [title for title, section in result["sections"].items() if "error" in section]
    print(f"failed: {', '.join(failed)}" if failed else "all sections are done")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

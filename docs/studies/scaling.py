"""The study of scaling: what a 100 M-parameter VAE, Glow and DCGAN cost each device, and so how they should scale.

    python docs/studies/scaling.py compile     # needs the compilers of jax[tpu] and jax[cuda13]
    python docs/studies/scaling.py measure     # on virtual CPU devices, one process for each number of them

writes docs/studies/scaling.json, from which docs/scaling.md quotes. Nothing of `compile` runs: `training.cost` compiles
one data-parallel update for eight devices that are not there, and the prediction is a roofline of what it counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

if sys.argv[1:2] == ["one"]:  # before JAX is imported
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[3]}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import jax.numpy as jnp
import optax

import vifx
from vifx import flows, games, networks, training

HERE = Path(__file__).parent
COUNTS = (1, 8, 64, 256, 1024)
DEVICES = {
    "h200:8": {
        "name": "NVIDIA H200",
        "flops": 494.5e12,  # dense TF32, which float32 products use by default
        "bandwidth": 4.8e12,
        "links": ((8, 450e9), (None, 50e9)),  # NVLink within a host of 8, 400 Gb/s InfiniBand for each GPU beyond
        "memory": 141e9,
        "source": "NVIDIA H200 data sheet; DGX H200 data sheet for the networks",
    },
    "v5e-8": {
        "name": "TPU v5e",
        "flops": 197e12,  # bfloat16 products, which float32 ones use by default
        "bandwidth": 819e9,
        "links": (
            (256, 200e9),
            (None, 12.5e9),
        ),  # 1,600 Gb/s in a pod; 100 Gb/s between pods, assumed
        "memory": 16e9,
        "source": "Google Cloud documentation, TPU v5e",
    },
}


def vae():
    """A VAE of 64×64 colour images with layers of 3,072 units."""
    body = networks.MLP((3072, 3072))
    encoder = networks.Conditional(body, networks.DiagonalNormal((256,)))
    decoder = networks.Conditional(body, networks.BernoulliHead((64, 64, 3)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    prior = vifx.factor("z", vifx.standard_normal(256))
    objective = vifx.kl(inference, vifx.Joint(prior, vifx.factor("x | z", decoder, name="decoder")))
    return objective, training.optimize(objective, optax.adam(1e-4)), (64, 64, 3)


def glow():
    """A Glow of 32×32 colour images: 3 levels of 32 steps, 832 hidden channels."""
    bijection = flows.chain(flows.logit(alpha=0.05), flows.glow(levels=3, depth=32, hidden=832))
    generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(3072), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    return objective, training.optimize(objective, optax.adam(1e-4)), (32, 32, 3)


def dcgan():
    """A DCGAN of 64×64 images, twice as wide as the published one, one update of each player."""
    widths = (256, 512, 1024, 2048)
    generator = networks.DCGANGenerator((64, 64), widths[::-1])
    model = games.gan(generator, networks.DCGANCritic(widths), prior=vifx.standard_normal(100))
    return model.objective, training.optimize(model.objective, optax.adam(2e-4, b1=0.5)), (64, 64, 1)


WORKLOADS = {"VAE": (vae, 4096), "Glow": (glow, 32), "DCGAN": (dcgan, 256)}
"""By name: what it is, and the examples of a minibatch for each device."""
MEASURED = {"VAE": 64, "Glow": 8, "DCGAN": 16}
"""Examples of the whole minibatch, on one, two and eight virtual devices of one CPU."""


def costed(name, topology):
    make, each = WORKLOADS[name]
    objective, step, shape = make()
    mesh = training.make_mesh(training.topology(topology))
    batch = {"x": jax.ShapeDtypeStruct((each * mesh.size, *shape), jnp.float32)}
    state = jax.eval_shape(partial(training.start, jax.random.key(0), step, objective), batch)
    found = training.cost(step, state, batch, mesh)
    return {
        "workload": name,
        "topology": topology,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "examples": each,
        "flops": found.flops,
        "matmul_flops": found.matmul_flops,
        "bytes_accessed": found.bytes_accessed,
        "memory": found.memory.peak,
        "reduced": sum(kind.bytes for kind in found.communication.values()),
    }


def link(device, count):
    """Bytes a second that each of so many devices sends."""
    return next(rate for most, rate in DEVICES[device]["links"] if most is None or count <= most)


def predicted(row, count):
    """Seconds of a step on so many devices: the roofline of one, and the gradients after it, not hidden behind it."""
    device = DEVICES[row["topology"]]
    computed = max(row["matmul_flops"] / device["flops"], row["bytes_accessed"] / device["bandwidth"])
    return computed + 2 * (count - 1) / count * row["reduced"] / link(row["topology"], count)


def table(rows):
    """One line for each workload and device: what is counted, the time of a step alone, and what is left of it."""
    lines = []
    for row in rows:
        alone, device = predicted(row, 1), DEVICES[row["topology"]]
        bound = "products" if row["matmul_flops"] / device["flops"] >= alone else "memory"
        shares = [f"{alone / predicted(row, count):.0%}".replace("%", " %") for count in COUNTS[1:]]
        cells = [
            row["workload"],
            device["name"],
            f"{row['parameters'] / 1e6:.0f} M",
            f"{row['examples']}",
            f"{row['matmul_flops'] / 1e12:.2f}",
            f"{row['bytes_accessed'] / 1e9:.1f}",
            f"{row['memory'] / 1e9:.1f}",
            f"{row['reduced'] / 1e9:.2f}",
            f"{1e3 * alone:.1f} ({bound})",
            *shares,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def measured_table(rows):
    """One line for each workload: seconds of a step on one, two and eight virtual devices."""
    lines = []
    for name, examples in MEASURED.items():
        times = {row["devices"]: row["seconds"] for row in rows if row["workload"] == name}
        if times:
            lines.append(f"| {name} | {examples} | {' | '.join(f'{times[count]:.2f}' for count in sorted(times))} |")
    return lines


def measure_one(name, count):
    """Seconds of a step: the median of five after the one that compiles."""
    make, _ = WORKLOADS[name]
    objective, step, shape = make()
    x = jax.random.uniform(jax.random.key(1), (MEASURED[name], *shape), minval=0.1, maxval=0.9)
    state = training.start(jax.random.key(0), step, objective, {"x": x})
    mesh = training.make_mesh() if count > 1 else None
    update = training.compile(step, mesh)
    times = []
    for _ in range(6):
        began = time.monotonic()
        state, metrics = update(state, {"x": x})
        jax.block_until_ready(metrics)
        times.append(time.monotonic() - began)
    return {"workload": name, "devices": count, "seconds": sorted(times[1:])[2]}


def write(**parts):
    path = HERE / "scaling.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **parts}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["compile"]:
        found = []
        for workload in WORKLOADS:
            for kind in DEVICES:
                found.append(costed(workload, kind))
                print(table(found)[-1], flush=True)
        write(compiled=found)
    elif sys.argv[1:2] == ["one"]:
        print(json.dumps(measure_one(sys.argv[2], int(sys.argv[3]))))
    else:
        found = []
        for workload in sys.argv[2:] or MEASURED:
            for number in (1, 2, 8):
                call = [sys.executable, __file__, "one", workload, str(number)]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                print(found[-1], flush=True)
        write(measured=found)

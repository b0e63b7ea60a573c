"""The workloads W1 to W5 of the benchmarks: each by vifx, and as the hand-written program it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import test_dcgan, test_glow, test_mixtures, test_realnvp, test_vae

from vifx import data, em, training
from vifx.training.chunk import first_batch

KEY = jax.random.key


class Parts(NamedTuple):
    """What `training.fit` is given, and a train state to begin with."""

    objective: Any
    step: training.Step
    source: Any
    train_state: training.TrainState
    batch: Any


class Raw(NamedTuple):
    """The hand-written program: ``carry, values = run(carry, *rest)`` makes so many updates; the carry is donated."""

    run: Callable[..., Any]
    carry: Any
    rest: tuple[Any, ...]
    updates: int


class Workload(NamedTuple):
    """One of the workloads.

    Attributes:
      title: what it is.
      chunk: how many updates one call makes.
      parts: ``parts(precision, tiny)`` by vifx; each call traces anew, for the default device.
      raw: ``raw(tiny)`` by hand.
      precisions: those it has; a flow's and a mixture's numbers are its density, which stays in float32.
    """

    title: str
    chunk: int
    parts: Callable[[str, bool], Parts]
    raw: Callable[[bool], Raw]
    precisions: tuple[str, ...] = ("float32",)


def made(objective, step, source, initial=None) -> Parts:
    batch = first_batch(KEY(0), source)
    start = partial(training.start, step=step, objective=objective, batch=batch, initial=initial)
    return Parts(objective, step, source, start(KEY(0)), batch)


def few(examples, tiny):
    return examples()[: 2_000 if tiny else None]


def order(examples):
    return jax.random.permutation(KEY(1), len(examples))


def vae_raw(tiny):
    pixels = few(test_vae.images, tiny)
    params = test_vae.raw_init(KEY(0))
    carry = params, test_vae.OPTIMIZER.init(params)
    run = jax.jit(test_vae.raw_scan, donate_argnums=0)
    return Raw(run, carry, (KEY(2), jnp.asarray(pixels), order(pixels), jnp.int32(0)), test_vae.CHUNK)


def dcgan_raw(tiny):
    form = "matmul" if jax.default_backend() == "cpu" else "xla"
    raw = test_dcgan.Raw(test_dcgan.images(), form, scanned=True)
    return Raw(raw.run, raw.carry, (raw.key, raw.arrays, raw.order, jnp.int32(0)), test_dcgan.CHUNK)


def realnvp_raw(tiny):
    x = few(test_realnvp.points, tiny)
    params = test_realnvp.raw_init(KEY(0))
    run = jax.jit(test_realnvp.raw_scan, donate_argnums=0)
    carry = params, test_realnvp.OPTIMIZER.init(params)
    return Raw(run, carry, (jnp.asarray(x), order(x), jnp.int32(0)), test_realnvp.CHUNK)


def mixture(tiny):
    x = few(test_mixtures.points, tiny).astype(np.float32)
    model = em.mixture(em.gaussian, test_mixtures.STATES, covariance="full")
    source = data.Full({"x": x})
    stacked, state = em.starts(KEY(0), model, source.arrays, "k-means++", 1)
    return model, source, jax.tree.map(lambda leaf: leaf[0], stacked), state


def mixture_parts(precision, tiny):
    model, source, params, state = mixture(tiny)
    features = jax.jit(model.solver.features)(state, source.arrays)
    step = training.solve(model.objective, "model", chunk=test_mixtures.CHUNK)
    return made(model.objective, step, source.with_features(features), (params, state))


def mixture_raw(tiny):
    _, source, params, state = mixture(tiny)
    white = jax.jit(test_mixtures.whiten)(state["components"], source.arrays["x"])
    features = jax.jit(lambda x: test_mixtures.raw_features(x, True))(white)

    def scan(params, features):
        return jax.lax.scan(
            lambda params, _: test_mixtures.raw_iteration(params, features, True),
            params,
            length=test_mixtures.ITERATIONS,
        )

    carry = test_mixtures.raw_start(params, state, "full")
    return Raw(jax.jit(scan, donate_argnums=0), carry, (features,), test_mixtures.ITERATIONS)


def glow_raw(tiny):
    pixels = few(test_glow.images, tiny)
    params, fixed = test_glow.raw_init(KEY(0), glow_depth(tiny))
    run = jax.jit(test_glow.raw_scan, donate_argnums=0)
    carry = params, test_glow.OPTIMIZER.init(params)
    return Raw(run, carry, (KEY(2), jnp.asarray(pixels), order(pixels), jnp.int32(0), fixed), test_glow.CHUNK)


def glow_depth(tiny):
    return 1 if tiny else test_glow.DEPTH


def realnvp_parts(precision, tiny):
    _, objective, step = test_realnvp.vifx_parts()
    return made(objective, step, data.Resident({"x": few(test_realnvp.points, tiny)}, test_realnvp.BATCH, 0))


BOTH = ("float32", "bfloat16")
WORKLOADS = MappingProxyType(
    {
        "W1": Workload(
            "VAE 784-512-512-(2×32)-512-512-784, batch 128",
            test_vae.CHUNK,
            lambda precision, tiny: made(*test_vae.vifx_parts(few(test_vae.images, tiny), precision)),
            vae_raw,
            BOTH,
        ),
        "W2": Workload(
            "DCGAN 28×28, 64 to 128 channels, batch 64",
            test_dcgan.CHUNK,
            lambda precision, tiny: made(*test_dcgan.vifx_parts(few(test_dcgan.images, tiny), precision)),
            dcgan_raw,
            BOTH,
        ),
        "W3": Workload(
            "RealNVP, 8 couplings of 2×64, dimension 64, batch 256", test_realnvp.CHUNK, realnvp_parts, realnvp_raw
        ),
        "W4": Workload(
            "EM of a Gaussian mixture, 32 full covariances, 60,000 × 16",
            test_mixtures.ITERATIONS,
            mixture_parts,
            mixture_raw,
        ),
        "W5": Workload(
            "Glow of 2 levels and 8 steps, 64 channels, 32×32×1, batch 32",
            test_glow.CHUNK,
            lambda precision, tiny: made(*test_glow.vifx_parts(few(test_glow.images, tiny), glow_depth(tiny))),
            glow_raw,
        ),
    }
)

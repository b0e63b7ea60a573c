"""What `fit` adds to its step: W1 against a bare scan of the same guarded step, and what a checkpoint costs the loop.

The two programs take turns in one run: whenever a chunk of `fit` ends, the bare scan makes as many updates. Behind a
checkpoint `fit` goes on for some chunks first, so that what is still being written counts as its own.
"""

from __future__ import annotations

import itertools
import statistics
import time

import jax
import jax.numpy as jnp
import optax
import pytest

import vifx
from benchmarks.test_vae import BATCH, D, images, vifx_parts
from vifx import data, networks, training

pytestmark = pytest.mark.benchmark

LOG, SAVE, BEHIND, WINDOWS = 100, 1_000, 300, 8
KEY = jax.random.key(2)


def bare(step, source):
    """One `lax.scan` over the updates of a chunk, the data on the device, the state donated."""

    def scan(progress, arrays, order, first):
        def one(progress, i):
            rows = jax.lax.dynamic_slice(order, (i * BATCH % (len(order) - BATCH),), (BATCH,))
            noise, update = jax.random.split(jax.random.fold_in(KEY, i))
            return step.update(update, progress, source.transform(noise, {"x": arrays["x"][rows]}))

        return jax.lax.scan(one, progress, first + jnp.arange(LOG))

    return jax.jit(scan, donate_argnums=0)


class Turns:
    """An observer of `fit` that stops its clock while another program makes as many updates."""

    def __init__(self, other):
        self.other, self.at, self.began = other, 0, 0.0
        self.seconds = []  # of both, since the turn before

    def __call__(self, event):
        if event.kind == "log" and not 0 <= event.step % SAVE < BEHIND:
            now = time.perf_counter()
            for _ in range(self.at, event.step, LOG):
                self.other()
            self.seconds.append((now - self.began, time.perf_counter() - now))
            self.at, self.began = event.step, time.perf_counter()


def test_fit_costs_little_more_than_its_step(tmp_path, capsys):
    objective, step, source = vifx_parts(images())
    step = training.guarded(step)
    scan, order = bare(step, source), jax.random.permutation(jax.random.key(1), len(source.arrays["x"]))
    held = training.start(jax.random.key(0), step, objective, {"x": jnp.zeros((BATCH, D), jnp.float32)}).progress
    first = itertools.count(step=LOG)

    def other():
        nonlocal held
        held, metrics = scan(held, source.arrays, order, next(first))
        jax.block_until_ready(metrics)

    turns, each = Turns(other), (SAVE - BEHIND) // LOG
    training.fit(
        jax.random.key(0),
        step,
        objective,
        source,
        steps=(WINDOWS + 1) * SAVE + SAVE - LOG,
        directory=tmp_path,
        log_every=LOG,
        checkpoint_every=SAVE,
        best="loss/model",
        observe=turns,
    )
    # The first windows compile and import orbax. The first turn of one has a checkpoint and BEHIND + LOG updates.
    ratios = [ours / theirs for ours, theirs in turns.seconds[2 * each :]]
    assert len(ratios) == each * WINDOWS
    saving, logging = ratios[::each], [ratio for i, ratio in enumerate(ratios) if i % each]
    share = (BEHIND + LOG) / SAVE
    overall = share * statistics.median(saving) + (1 - share) * statistics.median(logging)
    with capsys.disabled():
        print(
            f"\nW1 by fit, {jax.default_backend()}: time as a ratio to the bare scan {overall:.3f}: chunks with rows "
            f"{statistics.median(logging):.3f} ({min(logging):.3f} to {max(logging):.3f}), those with a checkpoint too "
            f"{statistics.median(saving):.3f} ({min(saving):.3f} to {max(saving):.3f})"
        )
    assert overall <= 1.03


def test_a_checkpoint_of_a_tiny_model_costs_the_loop_little(tmp_path, capsys):
    """Every second row is followed by a checkpoint: how much longer the chunk behind those rows takes."""
    body = networks.MLP((16,))
    objective = vifx.kl(
        vifx.Joint(
            vifx.evidence("x"),
            vifx.factor("z | x", networks.Conditional(body, networks.DiagonalNormal((4,))), name="encoder"),
        ),
        vifx.Joint(
            vifx.factor("z", vifx.standard_normal(4)),
            vifx.factor("x | z", networks.Conditional(body, networks.BernoulliHead((D,))), name="decoder"),
        ),
    )
    rows = []
    training.fit(
        jax.random.key(0),
        training.guarded(training.optimize(objective, optax.adam(1e-3))),
        objective,
        data.Resident({"x": images()}, BATCH, 0, data.binarize()),
        steps=2 * 200 * 64,
        directory=tmp_path,
        log_every=200,
        checkpoint_every=2 * 200,
        best="loss/model",
        observe=lambda event: rows.append(time.perf_counter()) if event.kind == "log" else None,
    )
    chunks = [end - begin for begin, end in itertools.pairwise(rows)][8:]  # the first checkpoints import orbax
    without, saving = chunks[::2], chunks[1::2]
    cost = 1e3 * (statistics.median(saving) - statistics.median(without))
    with capsys.disabled():
        print(
            f"\na checkpoint of a tiny model costs the loop {cost:.1f} ms: chunks with one take "
            f"{1e3 * min(saving):.0f} to {1e3 * max(saving):.0f}, others {1e3 * min(without):.0f} to "
            f"{1e3 * max(without):.0f}"
        )
    assert cost <= 50

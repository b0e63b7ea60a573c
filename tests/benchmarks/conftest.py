"""Timings, without the checks that slow every call: ``XLA_FLAGS= pytest -n 0 -m benchmark tests/benchmarks``."""

from __future__ import annotations

import statistics
import time

import jax
import optax
import pytest


@pytest.fixture(autouse=True)
def _plain():
    with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def ratio(capsys):
    """Return a function that times two programs A B A B and prints the ratio of their speeds."""

    def measure(label, ours, theirs, *, blocks, per_block):
        for run in (ours, theirs):
            run()
        times = [(_seconds(theirs), _seconds(ours)) for _ in range(blocks)]
        ratios = sorted(other / own for other, own in times)
        middle = statistics.median(ratios)
        own = statistics.median(own for _, own in times)
        with capsys.disabled():
            print(
                f"\n{label}, {jax.default_backend()}: speed as a ratio to the limit {middle:.3f} "
                f"({ratios[0]:.3f} to {ratios[-1]:.3f}), {per_block / own:.1f} steps a second"
            )
        return middle

    return measure


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def scanned(loss, start, block):
    """Return a program of some updates of Adam in one scan, each with a key of its own; it returns their losses."""
    optimizer = optax.adam(1e-3)

    def update(carry, key):
        params, slot = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        change, slot = optimizer.update(gradient, slot)
        return (optax.apply_updates(params, change), slot), value

    program = jax.jit(lambda params, slot, keys: jax.lax.scan(update, (params, slot), keys)[1])

    def run():
        keys = jax.random.split(jax.random.key(1), block)
        return jax.block_until_ready(program(start, optimizer.init(start), keys))

    return run

"""Streams: the model of `vae_sprites` on images that are made as they are read, against images on the device.

The same updates on the same minibatches, A B A B; how many images the source makes a second in one thread; and the
memory of the process over some hundred updates.
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vifx import data, experiment, training
from vifx.data.rows import read_all
from vifx.training.chunk import advance, first_batch

pytestmark = pytest.mark.benchmark

N, CHUNK = 20_000, 20
FILE = experiment.load(Path(__file__).parents[2] / "experiments" / "vae_sprites.py")
PAGE = resource.getpagesize()


@pytest.fixture(scope="module")
def parts():
    """The experiment, and a source of the first images of its own, on the device or streamed."""
    built = FILE.build(FILE.config())
    config, sprites = FILE.config().data, data.Sprites(N)
    resident = data.Resident(read_all(sprites), config.batch_size, 0, built.source.transform)
    return built, resident, data.Streaming(sprites, config.batch_size, 0, built.source.transform)


def runner(built, run, train_state):
    held = {"state": train_state, "first": 0}

    def chunk():
        held["state"], metrics = run(held["state"], held["first"], CHUNK)
        held["first"] += CHUNK
        return jax.block_until_ready(metrics)

    return chunk


def test_a_stream_is_as_fast_as_resident_images_where_the_model_takes_the_time(ratio, parts):
    built, resident, streaming = parts
    with advance(built.step, resident, None, 0) as near, advance(built.step, streaming, None, 0) as far:
        runs = []
        for run in (far, near):
            train_state = training.start(
                jax.random.key(0), built.step, built.objective, first_batch(jax.random.key(0), resident)
            )
            runs.append(runner(built, run, train_state))
        ours, theirs = runs
        np.testing.assert_allclose(ours()["loss/model"], theirs()["loss/model"], rtol=1e-4)
        assert ratio("streamed sprites, against resident ones", ours, theirs, blocks=9, per_block=CHUNK) >= 0.90


def test_images_a_second(capsys):
    sprites, size, count = data.Sprites(10**9), 128, 200
    sprites.__getitems__(range(size))
    start = time.process_time()
    for i in range(count):
        sprites.__getitems__(range(i * size, (i + 1) * size))
    rate = count * size / (time.process_time() - start)
    with capsys.disabled():
        print(f"\nsprites: {rate:,.0f} images a second and core")
    assert rate > 10_000


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def test_memory_is_flat(capsys, parts):
    """Over 400 updates after a warm-up of 200, on images of which none comes twice."""
    built, *_ = parts
    with advance(built.step, built.source, None, 0) as run:
        batch = first_batch(jax.random.key(0), built.source)
        chunk = runner(built, run, training.start(jax.random.key(0), built.step, built.objective, batch))
        used = [chunk() and resident_bytes() for _ in range(30)]
    before, after = statistics.median(used[10:20]), statistics.median(used[20:])
    with capsys.disabled():
        print(f"\nmemory: {before / 2**20:.0f} MiB, {after / before - 1:+.2%} over the next {CHUNK * 10} updates")
    assert after < 1.01 * before

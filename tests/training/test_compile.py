"""A compiled step: traced once, donated, the same in scans and on many devices."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import equal, line_data, regression

from vifx.training import accumulated, averaged, compile, descend, make_mesh, replicate, scanned, shard_batch, start


def setup(noise=0.1, traces=None, **kwargs):
    objective = regression(noise, traces)
    step = averaged(descend(objective, "model", optax.adam(0.05)), 0.9)
    data = {name: jnp.asarray(value) for name, value in line_data(**kwargs).items()}
    return objective, step, data


def test_it_traces_once_even_when_compiled_twice():
    objective, step, data = setup(traces=1)
    train_state = start(jax.random.key(0), step, objective, data)
    update = compile(step)
    for _ in range(3):
        train_state, _ = update(train_state, data)
    train_state, _ = compile(step)(train_state, data)
    assert int(train_state.step) == 4


def test_the_state_is_donated_and_the_batch_is_not():
    objective, step, data = setup()
    key = jax.random.key(0)
    old = start(key, step, objective, data)
    new, _ = compile(step)(old, data)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
    assert not any(leaf.is_deleted() for leaf in (*data.values(), key))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_the_key_of_an_update_is_folded_from_its_number():
    objective, step, data = setup()
    train_state = start(jax.random.key(7), step, objective, data)
    run_key = jax.random.clone(train_state.key)
    progress = jax.tree.map(jnp.copy, train_state.progress)
    for t in range(3):
        train_state, metrics = compile(step)(train_state, data)
        progress, expected = jax.jit(step.update)(jax.random.fold_in(run_key, t), progress, data)
        np.testing.assert_allclose(metrics["loss/model"], expected["loss/model"], rtol=1e-6)
    assert equal(train_state.key, run_key)


def test_scan_and_single_updates_draw_the_same_noise(x64):
    objective, step, data = setup(dtype=np.float64)
    parts = {name: value.reshape(5, 8, *value.shape[1:]) for name, value in data.items()}
    first = {name: value[0] for name, value in parts.items()}
    single, scan = (start(jax.random.key(0), step, objective, first) for _ in range(2))
    rows = []
    for i in (*range(5), *range(5)):
        single, metrics = compile(step)(single, {name: value[i] for name, value in parts.items()})
        rows.append(float(metrics["loss/model"]))
    five = compile(scanned(step, 5))
    for part in (rows[:5], rows[5:]):
        scan, metrics = five(scan, parts)
        np.testing.assert_allclose(metrics["loss/model"], part, rtol=1e-11)
    chex.assert_trees_all_close(scan.params, single.params, rtol=1e-11)
    assert int(scan.step) == 10


@pytest.mark.first(1)
@pytest.mark.parametrize("wrap", [lambda step: step, lambda step: accumulated(step, 5)])
def test_eight_devices_agree_with_one(x64, wrap):
    objective, step, data = setup(dtype=np.float64)
    step, mesh = wrap(step), make_mesh()
    assert mesh.shape["data"] == 8
    one, many = (start(jax.random.key(0), step, objective, data) for _ in range(2))
    host = {name: np.asarray(value) for name, value in data.items()}
    for _ in range(4):
        one, expected = compile(step)(one, data)
        many, metrics = compile(step, mesh)(many, host)
    np.testing.assert_allclose(metrics["loss/model"], expected["loss/model"], rtol=1e-12)
    chex.assert_trees_all_close(many.params, one.params, rtol=1e-11)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(many))


def test_the_batch_is_divided_and_the_program_reduces_over_devices():
    objective, step, data = setup()
    mesh = make_mesh()
    batch = shard_batch(data, mesh)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(5, 3)}
    again = shard_batch(batch, mesh)
    assert again["x"] is batch["x"]
    stacked = shard_batch({"x": np.zeros((3, 16))}, mesh, batches=3)
    assert {shard.data.shape for shard in stacked["x"].addressable_shards} == {(3, 2)}
    progress = replicate(start(jax.random.key(0), step, objective, data).progress, mesh)
    text = jax.jit(step.update).lower(jax.random.key(0), progress, batch).compile().as_text()
    assert "all-reduce" in text


def test_a_mesh_traces_once_and_donates():
    objective, step, data = setup(traces=1)
    mesh = make_mesh()
    old = replicate(start(jax.random.key(0), step, objective, data), mesh)
    new, _ = compile(step, mesh)(old, data)
    new, _ = compile(step, mesh)(new, data)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))


def test_remainders_and_meshes_are_named():
    objective, step, data = setup(examples=42)
    with pytest.raises(ValueError, match=r"42 examples of 'x' .* 8 devices .*remainder 2.* multiple of 8"):
        compile(step, make_mesh())(start(jax.random.key(0), step, objective, data), data)
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(ValueError, match=r"axis named 'data', got \('model',\)"):
        compile(step, mesh)
    assert make_mesh(jax.devices()[:2]).shape["data"] == 2

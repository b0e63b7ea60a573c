"""Where the train state lies: divided by a rule, with the numbers of one device."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

import vifx
from vifx import data, em, networks, training
from vifx.training.layout import Layout

X = np.random.default_rng(0).normal(size=(48, 2)).astype(np.float32)


def vae():
    """A small VAE under Adam, with an average of its parameters."""
    encoder = networks.Conditional(networks.MLP((16,)), networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(networks.MLP((16,)), networks.DiagonalNormal((2,)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder"))
    objective = vifx.kl(inference, generative)
    return objective, training.averaged(training.optimize(objective, optax.adam(1e-2)), 0.9)


def run(parts, steps, **where):
    objective, step = parts
    return training.fit(
        jax.random.key(0), step, objective, data.Resident({"x": X}, 16, 0), steps=steps, log_every=5, **where
    )


def by_path(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.first(1)
@pytest.mark.parametrize("parts", [2, 8])
def test_a_divided_train_state_has_the_updates_of_one_device(parts, tmp_path):
    """Parameters, moments and averages lie in parts; the run goes on with another number of devices."""
    model, mesh = vae(), training.make_mesh(fsdp=parts)
    rule = training.fsdp(mesh, minimum=64)
    alone = run(model, 15).train_state
    many = run(model, 10, mesh=mesh, sharding=rule, directory=tmp_path).train_state
    lies = by_path(many)
    divided = [name for name, leaf in lies.items() if not leaf.sharding.is_fully_replicated]
    for name in divided:
        assert lies[name].addressable_shards[0].data.size == lies[name].size // parts
    for word in (".params", ".mu", ".nu", ".slot.params"):
        assert [name for name in divided if word in name], f"nothing is divided in {word}: {list(lies)}"
    resumed = run(model, 15, mesh=training.make_mesh(jax.devices()[:2]), directory=tmp_path).train_state
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(resumed))
    for name, expected in by_path(alone.params).items():
        size = float(np.abs(expected).max())
        np.testing.assert_allclose(by_path(resumed.params)[name], expected, rtol=0, atol=2e-5 * max(size, 0.1))


@pytest.mark.thorough
def test_single_updates_are_divided_too():
    objective, step = vae()
    mesh = training.make_mesh(fsdp=4)
    update = training.compile(step, mesh, sharding=training.fsdp(mesh, minimum=64))
    batch = {"x": jnp.asarray(X[:16])}
    alone, held = (training.start(jax.random.key(0), step, objective, batch) for _ in range(2))
    one = training.compile(step)
    for _ in range(3):
        alone, expected = one(alone, batch)
        held, metrics = update(held, batch)
    assert held.params["decoder"]["body"]["Dense_0"]["kernel"].sharding.spec == PartitionSpec(None, "fsdp")
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4)


def test_the_longest_axis_that_fits_is_divided():
    rule = training.fsdp(training.make_mesh(fsdp=4), minimum=400)
    assert rule("w", (5, 8, 100)) == PartitionSpec(None, None, "fsdp")
    assert rule("w", (8, 8, 3)) == PartitionSpec("fsdp")  # the first of equals
    assert rule("w", (7, 101)) == PartitionSpec()  # nothing fits
    assert rule("w", (4, 24)) == PartitionSpec()  # 384 bytes
    assert rule("w", (4, 25)) == PartitionSpec("fsdp")
    assert rule == training.fsdp(training.make_mesh(fsdp=4), minimum=400)


def test_meshes_and_rules_that_do_not_fit_are_refused():
    mesh = training.make_mesh(data=4, fsdp=2)
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2}
    with pytest.raises(ValueError, match=r"data=3 and fsdp=2 must make up the 8 devices"):
        training.make_mesh(data=3, fsdp=2)
    with pytest.raises(ValueError, match=r"fsdp=3 must make up the 8 devices"):
        training.make_mesh(fsdp=3)
    with pytest.raises(ValueError, match=r"needs an axis named 'fsdp', got \('data',\)"):
        training.fsdp(training.make_mesh())
    with pytest.raises(ValueError, match=r"sharding needs the mesh"):
        Layout.checked(None, training.fsdp(mesh), "fit")
    tree = {"w": jnp.zeros((6, 4))}
    for answer, message in (
        (PartitionSpec("data"), r"\['w'\] of shape \(6, 4\) .* 6 does not divide over 4 devices"),
        (PartitionSpec("model"), r"names an axis 'model', and the mesh has \('data', 'fsdp'\)"),
        (PartitionSpec(None, None, "data"), r"more entries than the array has axes"),
    ):
        with pytest.raises(ValueError, match=message):
            Layout(mesh, lambda path, shape, answer=answer: answer).shardings(tree)
    with pytest.raises(TypeError, match=r"sharding: the rule's answer for \['w'\]"):
        Layout(mesh, lambda path, shape: ("fsdp",)).shardings(tree)


@pytest.mark.thorough
def test_explicit_axes_are_those_of_the_compiler_inside_a_step():
    """`jax.make_mesh` makes axes explicit unless it is told otherwise; the numbers are the same."""
    explicit = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    found, expected = (run(vae(), 5, mesh=mesh).train_state for mesh in (explicit, training.make_mesh()))
    chex.assert_trees_all_equal(found.params, expected.params)
    model = em.mixture(em.gaussian, 3, covariance="full").objective
    source = data.Full({"x": X})
    ends = [
        training.fit(jax.random.key(0), training.solve(model, "model", mesh=mesh), model, source, steps=3, mesh=mesh)
        for mesh in (explicit, training.make_mesh())
    ]
    chex.assert_trees_all_equal(*(end.train_state.params for end in ends))

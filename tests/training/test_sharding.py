"""Examples over devices: a whole data set that does not divide is padded, and nothing else changes."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, em, networks, training
from vifx.training.sharding import padded

X = np.random.default_rng(0).normal(size=(45, 2)) + 4 * np.arange(45)[:, None] // 15


def descending(_):
    """A small VAE, whose noise is drawn for each example."""
    encoder = networks.Conditional(networks.MLP((4,)), networks.DiagonalNormal((2,)))
    decoder = networks.Conditional(networks.MLP((4,)), networks.DiagonalNormal((2,)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder"))
    objective = vifx.kl(inference, generative)
    return objective, training.descend(objective, "model", optax.sgd(1e-3))


def solving(mesh):
    """EM of a mixture of Gaussians."""
    objective = em.mixture(em.gaussian, 3, covariance="full").objective
    return objective, training.solve(objective, "model", chunk=4, mesh=mesh)


def runs(kind, x, weights):
    """Three updates on one device, and on eight."""
    source = data.Full({"x": x} if weights is None else {"x": x, "@weights": weights})
    for mesh in (None, training.make_mesh()):
        objective, step = kind(mesh)
        yield training.fit(jax.random.key(0), step, objective, source, steps=3, log_every=1, mesh=mesh)


WEIGHTS = pytest.mark.parametrize("weights", [None, np.arange(45) % 4])


@pytest.mark.thorough
@WEIGHTS
def test_em_on_all_examples_is_that_of_one_device(x64, weights):
    one, many = runs(solving, X, weights)
    chex.assert_trees_all_close(many.train_state.progress, one.train_state.progress, rtol=1e-9, atol=1e-12)
    assert [row.keys() for row in many.history] == [row.keys() for row in one.history]
    for row, same in zip(many.history, one.history, strict=True):
        assert row == pytest.approx(same, rel=1e-9)


@pytest.mark.first(1)
@WEIGHTS
def test_gradients_of_all_examples_are_those_of_one_device(weights):
    """The noise of an example is the same, however many come behind it."""
    one, many = runs(descending, X.astype(np.float32) / 10, weights)
    chex.assert_trees_all_close(many.train_state.params, one.train_state.params, rtol=1e-5, atol=1e-6)
    assert many.history[-1] == pytest.approx(one.history[-1], rel=1e-5)


def test_padding_is_copies_of_the_last_example_without_weight():
    mesh = training.make_mesh(jax.devices()[:4])
    batch = {"x": jnp.arange(12.0).reshape(6, 2), "x@features": (jnp.arange(6),), "@weights": jnp.arange(6)}
    found = padded(batch, mesh)
    np.testing.assert_array_equal(found["x"], jnp.concatenate([batch["x"], batch["x"][-1:], batch["x"][-1:]]))
    np.testing.assert_array_equal(found["x@features"][0], [0, 1, 2, 3, 4, 5, 5, 5])
    np.testing.assert_array_equal(found["@weights"], [0, 1, 2, 3, 4, 5, 0, 0])
    twice = padded({"x": jnp.stack([batch["x"], -batch["x"]])}, mesh, batches=2)
    np.testing.assert_array_equal(twice["x"], jnp.stack([found["x"], -found["x"]]))
    np.testing.assert_array_equal(twice["@weights"], [[1, 1, 1, 1, 1, 1, 0, 0]] * 2)


@pytest.mark.parametrize("batch", [{}, {"x": np.zeros(8)}, {"x": np.zeros(3), "y": np.zeros(5)}])
def test_what_divides_or_has_several_numbers_of_examples_is_not_padded(batch):
    assert padded(batch, training.make_mesh(jax.devices()[:4])) is batch

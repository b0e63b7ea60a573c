"""Every bijection takes the events and the condition that it was initialized with, and no others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import flows, networks
from vifx.training import Checkpoints

X = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, size=(5, 4)), jnp.float32)
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4, 4, 2)), jnp.float32)
GIVEN = jnp.asarray(np.random.default_rng(2).normal(size=(5, 3)), jnp.float32)

CONDITIONAL = {
    "maf": lambda: flows.maf(2, hidden=(8,)),
    "iaf": lambda: flows.iaf(2, hidden=(8,)),
    "planar": flows.planar,
    "radial": flows.radial,
    "residual": lambda: flows.residual(2, hidden=(8,)),
    "cnf": lambda: flows.cnf(hidden=(8,), steps=2),
    "realnvp": lambda: flows.realnvp(2, hidden=(8,)),
    "nice": lambda: flows.nice(2, hidden=(8,)),
    "spline": lambda: flows.spline(2, hidden=(8,)),
    "conditional_affine": lambda: flows.conditional_affine(networks.MLP((8,))),
    "conditioned": lambda: flows.conditioned(flows.planar(), networks.MLP((8,))),
    "inverted": lambda: flows.invert(flows.maf(1, hidden=(8,))),
    "stacked": lambda: flows.stack(flows.chain(flows.planar(), flows.actnorm()), 2),
}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_condition_of_init_is_required(name):
    bijection = CONDITIONAL[name]()
    params, state = jax.jit(bijection.init)(jax.random.key(0), X, GIVEN)
    for direction in (bijection.forward, bijection.inverse):
        run = lambda *given, direction=direction: jax.eval_shape(direction, params, state, X, *given)  # noqa: E731
        assert run(GIVEN)[1].shape == (5,)
        with pytest.raises(ValueError, match=r"given is missing; it was initialized with given of \[\[\d\]\]|missing"):
            run()
        with pytest.raises(ValueError, match=r"initialized with given of \[\[3\]\] per example, got \[\[2\]\]"):
            run(GIVEN[:, :2])
    if name not in ("conditional_affine", "conditioned"):
        params, state = jax.jit(bijection.init)(jax.random.key(0), X)
        with pytest.raises(ValueError, match=r"got given of \[\[3\]\] per example, but was initialized without"):
            jax.eval_shape(bijection.forward, params, state, X, GIVEN)


SHAPED = {
    "scale": flows.scale,
    "actnorm": flows.actnorm,
    "identity": flows.identity,
    "logit": flows.logit,
    "linear": flows.linear,
    "reverse": flows.reverse,
    "flatten": flows.flatten,
    "split_off": lambda: flows.split_off(flows.actnorm()),
    "last_scale": flows.last_scale,
    "maf": lambda: flows.maf(2, hidden=(8,)),
    "coupling": lambda: flows.coupling(flows.dense((8,)), flows.affine(), mask=flows.halves()),
    "planar": flows.planar,
    "stack": lambda: flows.stack(flows.scale(), 3),
    "chain": lambda: flows.chain(flows.scale(), flows.planar()),
    "invert": lambda: flows.invert(flows.scale()),
}


@pytest.mark.parametrize("name", SHAPED)
def test_the_event_of_init_is_required(name):
    bijection = SHAPED[name]()
    params, state = jax.jit(bijection.init)(jax.random.key(0), X)
    wide, long = jnp.stack([X, X], axis=1), jnp.concatenate([X, X], axis=1)
    for value in (wide, long, X[:, :2], *([] if name == "invert" else [X.reshape(5, 2, 2)])):
        with pytest.raises(ValueError, match=r"was initialized with"):
            jax.eval_shape(bijection.forward, params, state, value)
    for value in (wide, long, X[:, :2]):
        with pytest.raises(ValueError, match=r"was initialized with"):
            jax.eval_shape(bijection.inverse, params, state, value)


@pytest.mark.parametrize("build", [flows.planar, lambda: flows.maf(1, hidden=(8,))])
def test_as_many_elements_in_another_shape_are_no_event(build):
    """Flows of vectors flatten what they are given, so that nothing else would tell."""
    params, state = jax.jit(build().init)(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"inverse was initialized with events \[4\], got \[2, 2\]"):
        jax.eval_shape(build().inverse, params, state, X.reshape(5, 2, 2))


def test_images_of_another_size_are_refused():
    bijection = flows.glow(levels=1, depth=2, hidden=4)
    params, state = jax.jit(bijection.init)(jax.random.key(0), IMAGES)
    assert jax.eval_shape(bijection.forward, params, state, IMAGES)[0].shape == (6, 32)
    with pytest.raises(ValueError, match=r"squeeze: forward was initialized with events \[4, 4, 2\], got \[8, 4, 2\]"):
        jax.eval_shape(bijection.forward, params, state, jnp.concatenate([IMAGES, IMAGES], axis=1))


def test_the_log_determinant_of_a_scale_counts_every_element():
    """`scale` of [n, 3] took [n, 4, 3] and counted its log-determinant once."""
    bijection = flows.scale()
    params, state = {"log_scale": jnp.full((4, 3), 0.2)}, bijection.init(jax.random.key(0), jnp.zeros((1, 4, 3)))[1]
    z, log_det = bijection.forward(params, state, jnp.ones((2, 4, 3)))
    np.testing.assert_allclose(log_det, [2.4, 2.4], rtol=1e-6)
    np.testing.assert_allclose(z, np.full((2, 4, 3), np.exp(0.2)), rtol=1e-6)


def test_shapes_pass_through_a_checkpoint_and_vmap(tmp_path):
    bijection = flows.stack(flows.chain(flows.actnorm(), flows.maf(1, hidden=(8,))), 2)
    tree = jax.jit(bijection.init)(jax.random.key(0), X, GIVEN)
    z, log_det = jax.jit(bijection.forward)(*tree, X, GIVEN)
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, tree)
        params, state = checkpoints.restore(tree)
    for found, expected in zip(bijection.forward(params, state, X, GIVEN), (z, log_det), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="given is missing"):
        bijection.forward(params, state, X)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (params, state))
    both = jax.vmap(bijection.forward, in_axes=(0, 0, None, None))(*two, X, GIVEN)
    np.testing.assert_allclose(both[0][1], z, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="was initialized with events"):
        jax.vmap(bijection.forward, in_axes=(0, 0, None, None))(*two, X[:, :2], GIVEN)

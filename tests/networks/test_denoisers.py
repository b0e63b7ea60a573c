"""Denoisers: what they read of the level, the conditions and the pixels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import PointDenoiser, UNet, time_features

Z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(5, 8, 8, 1)), jnp.float32)
T = jnp.linspace(0.1, 0.9, 5)[:, None]


def outputs(module, *inputs):
    """A function of the inputs, with parameters that are not those of the start, whose last layer is zero."""
    params = module.init(jax.random.key(0), *inputs)
    noise = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
    leaves, tree = jax.tree.flatten(params)
    moved = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, noise, strict=True)]
    return jax.jit(lambda *inputs: module.apply(tree.unflatten(moved), *inputs))


def test_time_features_are_waves_of_the_stated_frequencies():
    with jax.enable_x64(True):
        t = jnp.linspace(0, 1, 7, dtype=jnp.float64)[:, None]
        rates = np.pi * 1000.0 ** np.linspace(0, 1, 4)
        angles = np.outer(t, rates)
        expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        np.testing.assert_allclose(time_features(t, 8), expected, atol=1e-9)
    with pytest.raises(ValueError, match="even number, sines and cosines, got 3"):
        time_features(T, 3)


@pytest.mark.thorough
def test_the_level_and_conditions_are_read_and_dropped_ones_are_not():
    y, other = jnp.ones((5, 2)), jnp.zeros((5, 2))
    on, off = jnp.ones((5, 1)), jnp.zeros((5, 1))
    points = outputs(PointDenoiser((16, 16), conditions_dropped=True), Z, T, y, on)
    images = outputs(UNet((4, 4), heads=2, classes=3), IMAGES, T, jnp.zeros(5, jnp.int32), on)
    labels = jnp.zeros(5, jnp.int32), jnp.full(5, 2)
    for run, z, one, two in ((points, Z, y, other), (images, IMAGES, *labels)):
        found = run(z, T, one, on)
        assert found.shape == z.shape
        assert float(jnp.max(jnp.abs(found - run(z, T[::-1], one, on)))) > 1e-3
        assert float(jnp.max(jnp.abs(found - run(z, T, two, on)))) > 1e-3
        np.testing.assert_array_equal(run(z, T, one, off), run(z, T, two, off))
        assert float(jnp.max(jnp.abs(found - run(z, T, one, off)))) > 1e-3


@pytest.mark.thorough
def test_every_pixel_reads_every_other_one():
    """Attention at the lowest resolution sees the whole image, in patches too."""
    for patch in (1, 2):
        run = outputs(UNet((4, 4), heads=2, patch=patch), IMAGES[:1], T[:1])
        slope = jax.grad(lambda z, run=run: run(z, T[:1])[0, 0, 0, 0])(IMAGES[:1])
        assert float(jnp.min(jnp.abs(slope))) > 0


@pytest.mark.parametrize("patch", [1, 2])
def test_the_result_weighs_each_pixel_and_its_waves(patch):
    """At the start the last convolution is its bias alone: the same weights in all patches."""
    z, waves = jnp.concatenate([IMAGES, 2 * IMAGES], axis=-1), (1.0, 2.5)
    network = UNet((4, 4), heads=2, waves=waves, patch=patch)
    params = jax.jit(network.init)(jax.random.key(0), z, T)["params"]
    last = max((name for name in params if name.startswith("Conv_")), key=lambda name: int(name[5:]))
    assert not np.any(params[last]["kernel"])
    weights = jax.random.normal(jax.random.key(1), (patch, patch, 2, 6))
    params[last]["bias"] = weights.ravel()
    told = np.stack([np.ones_like(z), z, *(wave(n * np.pi * z) for n in waves for wave in (np.sin, np.cos))], axis=-1)
    expected = np.sum(told * np.tile(weights, (8 // patch, 8 // patch, 1, 1)), axis=-1)
    found = jax.jit(network.apply)({"params": params}, z, T)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.max(np.abs(expected)))


@pytest.mark.parametrize("count", [0.0, -8.0, float("nan")])
def test_numbers_of_waves_are_positive(count):
    with pytest.raises(ValueError, match=r"UNet: waves must be .*> 0"):
        UNet((4, 4), waves=(8.0, count))


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="8×8 pixels cannot be halved 4 times in patches of 1"):
        UNet((4, 4, 4, 4, 4)).init(jax.random.key(0), IMAGES, T)

"""The VAE family's experiments optimize what they are named after: the bounds by hand, the levels, the classes."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from vifx import data, experiment

FOLDER = Path(__file__).parents[2] / "experiments"


def build(name, folder, **values):
    file = experiment.load(FOLDER / f"{name}.py")
    source = "fashion_mnist" if "fashion" in name else "digits"
    config = file.config(data=data.Config(source, batch_size=8, directory=str(folder), validation=10), **values)
    return config, file.build(config)


@pytest.mark.thorough
def test_vae_digits_minimizes_the_negative_elbo(folder):
    """The loss equals −log w averaged over the encoder's draws, computed here from the joints' factors."""
    _, built = build("vae_digits", folder, hidden=(16,), latent=2)
    batch = {name: jax.numpy.asarray(array[:4]) for name, array in built.splits.test.items()}
    params, state = jax.jit(built.objective.init)(jax.random.key(0), batch)
    loss = built.objective.players["model"].loss

    def negative_log_weight(key):
        values = built.inference.sample(key, params, state, batch).values
        above = sum(built.generative.log_prob(params, state, values).values())
        return sum(built.inference.log_prob(params, state, values).values()) - above

    keys = jax.random.split(jax.random.key(1), 4000)
    values = jax.jit(jax.vmap(lambda key: loss(key, params, state, batch)[0]))(keys)
    oracle = jax.jit(jax.vmap(negative_log_weight))(keys).mean(axis=1)
    error = float(oracle.std() + values.std()) / np.sqrt(len(keys))
    assert abs(float(values.mean() - oracle.mean())) < 4.3 * error


@pytest.mark.thorough
def test_iwae_maximizes_the_bound_with_its_k(folder):
    """At the initial parameters the loss averages to −log (1/K) Σ w over K draws."""
    config, built = build("iwae_fashion_mnist", folder, hidden=(8,), latent=2, samples=3)
    batch = {"x": jax.numpy.asarray((built.splits.test["x"][:2] > 127).astype(np.float32))}
    params, state = jax.jit(built.objective.init)(jax.random.key(0), batch)

    def log_weight(key):
        values = built.inference.sample(key, params, state, batch).values
        below = sum(built.inference.log_prob(params, state, values).values())
        return sum(built.generative.log_prob(params, state, values).values()) - below

    keys = jax.random.split(jax.random.key(1), 3000)
    weights = jax.jit(jax.vmap(log_weight))(keys).reshape(1000, config.samples, 2)
    oracle = -(logsumexp(weights, axis=1) - np.log(config.samples)).mean(axis=1)
    keys = jax.random.split(jax.random.key(2), 1000)
    loss = built.objective.players["model"].loss
    values = jax.jit(jax.vmap(lambda key: loss(key, params, state, batch)[0]))(keys)
    error = float(jax.numpy.hypot(oracle.std(), values.std())) / np.sqrt(1000)
    assert abs(float(values.mean() - oracle.mean())) < 4.3 * error


@pytest.mark.parametrize(
    ("direction", "inference"),
    [
        ("top_down", "p̃(x) · encoder_z3(z3 | x) · encoder_z2(z2 | z3, x) · encoder_z1(z1 | z2, x)"),
        ("bottom_up", "p̃(x) · encoder_z1(z1 | x) · encoder_z2(z2 | z1) · encoder_z3(z3 | z2)"),
    ],
)
def test_hvae_has_its_levels_in_order(direction, inference, folder):
    _, built = build("hvae_fashion_mnist", folder, direction=direction, latents=(4, 3, 2), hidden=(8,))
    assert str(built.inference) == inference
    assert str(built.generative) == "Normal(z3) · decoder_z2(z2 | z3) · decoder_z1(z1 | z2) · decoder_x(x | z1)"


def test_hvae_needs_two_levels():
    file = experiment.load(FOLDER / "hvae_fashion_mnist.py")
    with pytest.raises(ValueError, match="latents needs at least two levels"):
        file.config(latents=(3,))


@pytest.mark.thorough
def test_cvae_draws_what_it_is_asked_for(folder):
    """Samples change with the class and not with the classes of other images."""
    _, built = build("cvae_digits", folder, hidden=(16,), latent=2)
    batch = {name: jax.numpy.asarray(array[:4]) for name, array in built.splits.test.items()}
    params, state = jax.jit(built.objective.init)(jax.random.key(0), batch)
    z = jax.numpy.ones((3, 2))
    labels = jax.numpy.asarray([0, 1, 0])

    @jax.jit
    def mean(key):
        drawn = built.generative.sample(key, params, state, {"y": labels}, fixed={"z": z})
        return drawn.conditionals["x"].mean

    means = np.asarray(mean(jax.random.key(1)))
    np.testing.assert_allclose(means[0], means[2], rtol=1e-5)
    assert np.abs(means[0] - means[1]).max() > 1e-3

"""The importance-weighted bound over finite latents: exactly by multisets, or drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import Joint, evidence, factor
from vifx.verification import tabular

BATCH = {"x": jnp.array([0, 1, 2, 1])}
INFERENCE = Joint(evidence("x"), factor("z | x", tabular(3, states=3), name="encoder"))
GENERATIVE = Joint(factor("z", tabular(states=3), name="prior"), factor("x | z", tabular(3, states=3), name="decoder"))


@pytest.mark.thorough
def test_too_many_multisets_are_drawn_and_named():
    """Unbiased in value and gradient: a mean over keys against the exact bound by multisets of the same model."""
    joints = INFERENCE, GENERATIVE
    few, many = (vifx.importance_weighted(*joints, samples=samples) for samples in (3, 300))
    params, state = few.init(jax.random.key(0), BATCH)
    exact, drawn = (vifx.explain(objective, BATCH) for objective in (few, many))
    assert "all K-tuples of states, exactly" in exact
    assert "z: 300 draws, score function" in drawn

    def metrics(objective):
        return objective.players["model"].loss(jax.random.key(1), params, state, BATCH)[1].metrics

    assert {*metrics(few)} == {"iwae", "elbo"}
    assert {*metrics(many)} == {"iwae_sampled", "elbo", "effective_samples"}

    with pytest.raises(ValueError, match=r"a sum over 3\^300 tuples, more than 1000000; verify"):
        vifx.verify(many, params, state, BATCH)

    def run(key, params, objective=few):
        return objective.players["model"].loss(key, params, state, BATCH)[0]

    with pytest.MonkeyPatch.context() as patch:
        value, gradient = jax.jit(jax.value_and_grad(run, 1))(jax.random.key(1), params)
        patch.setattr("vifx.variational.bounds.MOST_MULTISETS", 9)
        keys = jax.random.split(jax.random.key(2), 4000)
        values, gradients = jax.jit(jax.vmap(jax.value_and_grad(run, 1), (0, None)))(keys, params)
    for one, each in zip(jax.tree.leaves((value, gradient)), jax.tree.leaves((values, gradients)), strict=True):
        error = jnp.std(each, axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(jnp.mean(each, axis=0) - one) < 4.5 * error + 1e-6)

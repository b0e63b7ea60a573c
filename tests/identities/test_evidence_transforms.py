"""mixup and SamplePairing replace the evidence: what they keep, and what mixing the labels amounts to.

The expectation over a ratio is a Gauss–Jacobi quadrature whose nodes are rows of the evidence, weighted by
``"@weights"``: the loss is the supervised one, ``kl(p̃(x, y), p̃(x) q(y | x))``.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import roots_jacobi

import vifx
from vifx import data
from vifx.distributions import Categorical
from vifx.nets import Net

CLASSES = 3
POINTS = np.random.default_rng(0).normal(size=(4, 2))
LABELS = np.eye(CLASSES)[[0, 2, 1, 2]]


def supervised():
    def init(key, x):
        first, second = jax.random.split(key)
        return {"w": jax.random.normal(first, (2, 5)), "v": jax.random.normal(second, (5, CLASSES))}, {}

    def apply(params, state, x, *, key=None, train=False):
        return Categorical(jnp.tanh(x @ params["w"]) @ params["v"]), state

    classifier = Net(init, apply)
    inference = vifx.Joint(vifx.evidence("x", "y"))
    return vifx.kl(inference, vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", classifier, name="classifier")))


def mixed(first, second, *, labels):
    """All pairs, mixed by every node of the quadrature of Beta(first, second)."""
    nodes, weights = roots_jacobi(
        40, second - 1, first - 1
    )  # weight (1 − t)^(second − 1) (1 + t)^(first − 1) on [−1, 1]
    ratio, share = ((nodes + 1) / 2)[:, None, None, None], weights / weights.sum()
    x = ratio * POINTS[:, None] + (1 - ratio) * POINTS
    y = ratio * LABELS[:, None] + (1 - ratio) * LABELS if labels == "mixed" else LABELS[:, None] + 0 * ratio * LABELS
    pairs = len(POINTS) ** 2
    return {
        "x": jnp.asarray(x.reshape(-1, 2)),
        "y": jnp.asarray(y.reshape(-1, CLASSES)),
        "@weights": jnp.asarray(np.repeat(share, pairs)),
    }


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixed_labels_are_labels_of_the_first_with_a_ratio_nearer_to_it(alpha, x64):
    # E over Beta(α, α) of a loss that is linear in the label = E over Beta(α + 1, α) with the first label alone.
    objective = supervised()
    loss = jax.jit(jax.value_and_grad(lambda *args: objective.players["model"].loss(*args)[0], 1))
    both, first = mixed(alpha, alpha, labels="mixed"), mixed(alpha + 1, alpha, labels="first")
    params, state = objective.init(jax.random.key(0), both)
    found = [loss(jax.random.key(1), params, state, batch) for batch in (both, first)]
    chex.assert_trees_all_close(*found, rtol=1e-9, atol=1e-12)
    other = loss(jax.random.key(1), params, state, mixed(alpha, alpha, labels="first"))
    assert abs(float(other[0]) / float(found[0][0]) - 1) > 1e-3


@pytest.mark.parametrize(
    "transform", [data.sample_pairing(), data.mixup(alpha=0.4, per="batch")], ids=["sample_pairing", "mixup"]
)
def test_a_permutation_keeps_the_mean_of_the_evidence_exactly(transform, x64):
    batch = {"x": jnp.asarray(POINTS), "y": jnp.asarray(LABELS)}
    found = jax.jit(transform)(jax.random.key(3), batch)
    np.testing.assert_allclose(jnp.mean(found["x"], axis=0), POINTS.mean(0), rtol=1e-12)
    np.testing.assert_allclose(jnp.mean(found["y"], axis=0), LABELS.mean(0), rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(found["y"], axis=1), 1, rtol=1e-12)
    assert jnp.min(found["y"]) >= 0


def test_mixup_of_each_example_keeps_the_mean_in_expectation(x64):
    batch, draws = {"x": jnp.asarray(POINTS), "y": jnp.asarray(LABELS)}, 20_000
    keys = jax.random.split(jax.random.key(5), draws)
    found = jax.jit(jax.vmap(lambda key: data.mixup(alpha=0.4)(key, batch)))(keys)
    for name in ("x", "y"):
        means = np.asarray(jnp.mean(found[name], axis=1))
        error = means.std(axis=0) / np.sqrt(draws)
        assert (np.abs(means.mean(axis=0) - np.asarray(batch[name]).mean(0)) < 4.5 * error).all()

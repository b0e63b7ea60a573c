"""mixup and SamplePairing replace the evidence: what they keep, what soft labels and mixing them amount to.

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
from vifx.core.nets import Net
from vifx.distributions import Categorical
from vifx.verification import tabular

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
    "transform",
    [data.sample_pairing(), data.mixup(alpha=0.4, per="batch"), data.sample_pairing(share=0.0)],
    ids=["sample_pairing", "mixup", "nothing"],
)
def test_a_permutation_keeps_the_mean_of_the_evidence_exactly(transform, x64):
    batch = {"x": jnp.asarray(POINTS), "y": jnp.asarray(LABELS)}
    found = jax.jit(transform)(jax.random.key(3), batch)
    np.testing.assert_allclose(jnp.mean(found["x"], axis=0), POINTS.mean(0), rtol=1e-12)
    np.testing.assert_allclose(jnp.mean(found["y"], axis=0), LABELS.mean(0), rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(found["y"], axis=1), 1, rtol=1e-12)
    assert jnp.min(found["y"]) >= 0


@pytest.mark.parametrize(
    "transform", [data.mixup(alpha=0.4), data.sample_pairing(share=0.3)], ids=["mixup", "sample_pairing"]
)
def test_what_is_drawn_for_each_example_keeps_the_mean_in_expectation(transform, x64):
    batch, draws = {"x": jnp.asarray(POINTS), "y": jnp.asarray(LABELS)}, 20_000
    keys = jax.random.split(jax.random.key(5), draws)
    found = jax.jit(jax.vmap(lambda key: transform(key, batch)))(keys)
    np.testing.assert_allclose(jnp.sum(found["y"], axis=2), 1, rtol=1e-12)
    assert jnp.min(found["y"]) >= 0
    for name in ("x", "y"):
        means = np.asarray(jnp.mean(found[name], axis=1))
        error = means.std(axis=0) / np.sqrt(draws)
        assert (np.abs(means.mean(axis=0) - np.asarray(batch[name]).mean(0)) < 4.5 * error + 1e-12).all()


def test_a_share_of_the_examples_is_paired(x64):
    batch, draws = {"x": jnp.asarray(POINTS)}, 20_000
    found = jax.jit(jax.vmap(lambda key: data.sample_pairing(share=0.3)(key, batch)["x"]))(
        jax.random.split(jax.random.key(6), draws)
    )
    moved = np.any(np.asarray(found) != POINTS, axis=2)
    # One partner in four is the example itself.
    assert abs(moved.mean() - 0.3 * 0.75) < 4.5 * moved.mean(axis=1).std() / np.sqrt(draws)


def test_draws_of_mixup_have_the_expectation_of_the_quadrature(x64):
    """The transform itself, not its formula: value and gradient of the loss, against Beta(α + 1, α) and one label."""
    alpha, draws, objective = 0.4, 4000, supervised()
    batch = {"x": jnp.asarray(POINTS), "y": jnp.asarray(LABELS)}
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.value_and_grad(lambda *args: objective.players["model"].loss(*args)[0], 1)

    def drawn(key):
        return loss(jax.random.key(1), params, state, data.mixup(alpha=alpha)(key, batch))

    found = jax.jit(jax.vmap(drawn))(jax.random.split(jax.random.key(7), draws))
    expected = jax.jit(loss)(jax.random.key(1), params, state, mixed(alpha + 1, alpha, labels="first"))
    for each, value in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        error = np.asarray(each).std(axis=0) / np.sqrt(draws)
        assert (np.abs(np.asarray(each).mean(axis=0) - np.asarray(value)) < 4.5 * error).all()


SOFT = np.random.default_rng(3).dirichlet(np.ones(CLASSES), len(POINTS))


def test_soft_labels_are_a_cross_entropy_in_closed_form(x64):
    """−Σ_k y_k log softmax(xᵀW)_k and its gradient x (softmax(xᵀW) − y)ᵀ; hard labels are its corners."""
    kernel = np.random.default_rng(4).normal(size=(2, CLASSES))

    def init(key, x):
        return {"w": jnp.asarray(kernel)}, {}

    linear = Net(init, lambda params, state, x, *, key=None, train=False: (Categorical(x @ params["w"]), state))
    inference = vifx.Joint(vifx.evidence("x", "y"))
    objective = vifx.kl(inference, vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", linear, name="classifier")))
    loss = jax.jit(jax.value_and_grad(lambda *args: objective.players["model"].loss(*args)[0], 1))
    log_probs = POINTS @ kernel - np.log(np.exp(POINTS @ kernel).sum(axis=1, keepdims=True))
    batch = {"x": jnp.asarray(POINTS), "y": jnp.asarray(SOFT)}
    params, state = objective.init(jax.random.key(0), batch)
    value, gradient = loss(jax.random.key(1), params, state, batch)
    assert float(value) == pytest.approx(-np.mean(np.sum(SOFT * log_probs, axis=1)), rel=1e-12)
    expected = POINTS.T @ (np.exp(log_probs) - SOFT) / len(POINTS)
    np.testing.assert_allclose(gradient["classifier"]["w"], expected, rtol=1e-9)
    corners, integers = (
        loss(jax.random.key(1), params, state, {"x": batch["x"], "y": jnp.asarray(labels)})
        for labels in (LABELS, LABELS.argmax(axis=1))
    )
    chex.assert_trees_all_close(corners, integers, rtol=1e-12)


@pytest.mark.parametrize("weights", [None, [3.0, 0.0, 0.5, 1.0]], ids=["alike", "weighted"])
def test_a_soft_label_is_a_row_for_each_class(weights, x64):
    objective = supervised()
    batch = {"x": jnp.asarray(POINTS), "y": jnp.asarray(SOFT)}
    counts = np.ones(len(POINTS)) if weights is None else np.asarray(weights)
    batch |= {} if weights is None else {"@weights": jnp.asarray(weights)}
    rows = {
        "x": jnp.repeat(batch["x"], CLASSES, axis=0),
        "y": jnp.tile(jnp.arange(CLASSES), len(POINTS)),
        "@weights": jnp.asarray((SOFT * counts[:, None]).reshape(-1)),
    }
    params, state = objective.init(jax.random.key(0), batch)
    loss = jax.jit(jax.value_and_grad(lambda *args: objective.players["model"].loss(*args)[0], 1))
    found = [loss(jax.random.key(1), params, state, each) for each in (batch, rows)]
    chex.assert_trees_all_close(*found, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("weights", [None, [3.0, 0.0, 0.5, 1.0]], ids=["alike", "weighted"])
def test_soft_labels_are_verified(weights, x64):
    """Loss − H(p̃(y | x)) = KL(p̃(x, y) ‖ p̃(x) q(y | x)), with y given x drawn from the soft labels of that x."""
    classifier = vifx.factor("y | x", tabular(2, states=CLASSES), name="classifier")
    objective = vifx.kl(vifx.Joint(vifx.evidence("x", "y")), vifx.Joint(vifx.evidence("x"), classifier))
    points = np.array([0, 1, 1, 0])
    batch = {"x": jnp.asarray(points), "y": jnp.asarray(SOFT)}
    batch |= {} if weights is None else {"@weights": jnp.asarray(weights)}
    params, state = objective.init(jax.random.key(0), batch)
    found = vifx.verify(objective, params, state, batch)["model"]
    assert found.value_error < 1e-12
    assert found.gradient_error < 1e-12
    shares = np.ones(4) / 4 if weights is None else np.asarray(weights) / np.sum(weights)
    joint = np.stack([shares[points == x] @ SOFT[points == x] for x in (0, 1)])
    logits = np.asarray(params["classifier"])
    model = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = joint / joint.sum(axis=1, keepdims=True)
    assert found.claim == pytest.approx(np.sum(joint * np.log(given / model)), rel=1e-10)

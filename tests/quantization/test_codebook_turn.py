"""The turn of a codebook is k-means and its stepwise form, and codes that are revived harm no others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

import vifx
from vifx import em, quantization, training
from vifx.core.nets import from_functions

KEY = jax.random.key(0)
DRAW = np.random.default_rng(1)
K = 6
X = np.concatenate([DRAW.normal(size=(30, 3)) * 0.3 + 2 * DRAW.normal(size=3) for _ in range(5)])
IDENTITY = from_functions(lambda key, x: {}, lambda params, x: x)


def inference():
    quantizer = quantization.vector(IDENTITY, (3,), codes=K)
    return vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", quantizer, name="codes"))


def started(joint, step, x=X, means=None):
    params, state = joint.init(KEY, {"x": jnp.asarray(x)})
    if means is not None:
        params = {"codes": {**params["codes"], "codebook": {"mean": jnp.asarray(means)}}}
    return training.Progress(params, state, step.init(KEY, params, state))


def means_of(progress):
    return np.asarray(progress.params["codes"]["codebook"]["mean"])


@pytest.mark.parametrize("updates", [1, pytest.param(12, marks=pytest.mark.thorough)])
def test_the_turn_is_k_means(x64, updates):
    """Hard EM from the same start: the centres are scikit-learn's Lloyd iterations'."""
    joint = inference()
    step = quantization.codebook_turn(joint, rate=None, revive=None)
    start = X[DRAW.choice(len(X), K, replace=False)]
    progress, update = started(joint, step, means=start), jax.jit(step.update)
    for _ in range(updates):
        progress, _ = update(KEY, progress, {"x": jnp.asarray(X)})
    theirs = KMeans(K, init=start, n_init=1, max_iter=updates, tol=0, algorithm="lloyd").fit(X)
    # Its last assignment is of the centres that it returns; these are the means of the assignment before.
    np.testing.assert_allclose(means_of(progress), theirs.cluster_centers_, rtol=1e-6, atol=1e-6)


@pytest.mark.thorough
def test_the_moving_average_is_stepwise_em(x64):
    """The same numbers as `em.mixture` of equal spherical components at temperature 0 by `training.solve`."""
    joint, rate = inference(), 0.2
    step = quantization.codebook_turn(joint, rate=rate, revive=None)
    progress, update = started(joint, step), jax.jit(step.update)
    model = em.mixture(
        "gaussian",
        K,
        covariance="spherical",
        fixed={"scale": np.full(K, np.sqrt(0.5))},
        weights=np.full(K, 1 / K),
        temperature=0.0,
    )
    stepwise = training.solve(
        model.objective, "model", networks=("components",), rate=lambda t: jnp.full(t.shape, rate)
    )
    params, state = model.objective.init(KEY, {"x": jnp.asarray(X)})
    params = {**params, "components": {"mean": jnp.asarray(means_of(progress))}}
    other, own = training.Progress(params, state, stepwise.init(KEY, params, state)), jax.jit(stepwise.update)
    old_count, old_sum = np.zeros(K), np.zeros((K, 3))  # and of a moving average as papers write it
    means, weight = means_of(progress), 0.0
    for turn in range(8):
        batch = X[DRAW.choice(len(X), 40)]
        nearest = ((batch[:, None] - means[None]) ** 2).sum(-1).argmin(1)
        one_hot = np.eye(K)[nearest]
        old_count = (1 - rate) * old_count + rate * one_hot.sum(0)
        old_sum = (1 - rate) * old_sum + rate * one_hot.T @ batch
        weight = (1 - rate) * weight + rate
        seen = old_count > 0
        means = np.where(seen[:, None], old_sum / np.where(seen, old_count, 1)[:, None], means)
        progress, _ = update(jax.random.fold_in(KEY, turn), progress, {"x": jnp.asarray(batch)})
        other, _ = own(jax.random.fold_in(KEY, turn), other, {"x": jnp.asarray(batch)})
        np.testing.assert_allclose(means_of(progress), other.params["components"]["mean"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(means_of(progress), means, rtol=1e-8, atol=1e-8)


def distortions(means, x):
    return ((x[:, None] - means[None]) ** 2).sum(-1).min(1)


@pytest.mark.thorough
@pytest.mark.parametrize("rate", [None, 0.1])
def test_reviving_harms_no_other_code_and_is_counted(x64, rate):
    joint = inference()
    far = np.concatenate([X[:2], np.full((K - 2, 3), 1e3) + np.arange(K - 2)[:, None]])
    with_it = quantization.codebook_turn(joint, rate=rate, revive=2)
    without = quantization.codebook_turn(joint, rate=rate, revive=None)
    one, other = started(joint, with_it, means=far), started(joint, without, means=far)
    update, plain = jax.jit(with_it.update), jax.jit(without.update)
    batch = {"x": jnp.asarray(X)}
    one, metrics = update(jax.random.key(1), one, batch)
    other, _ = plain(jax.random.key(1), other, batch)
    assert (int(metrics["codebook/dead"]), int(metrics["codebook/revived"])) == (0, 0)
    np.testing.assert_array_equal(means_of(one), means_of(other))
    one, metrics = update(jax.random.key(2), one, batch)
    other, _ = plain(jax.random.key(2), other, batch)
    assert (int(metrics["codebook/dead"]), int(metrics["codebook/revived"])) == (K - 2, K - 2)
    np.testing.assert_array_equal(means_of(one)[:2], means_of(other)[:2])  # live ones
    assert all(np.any(np.all(np.isclose(X, mean), axis=1)) for mean in means_of(one)[2:])
    assert len(np.unique(means_of(one)[2:], axis=0)) == K - 2
    before, after = distortions(means_of(other), X), distortions(means_of(one), X)
    assert np.all(after <= before)
    assert after.sum() < before.sum()
    # What a revived code was before is forgotten: after the next turn it is among its vectors, not on the way there.
    one, metrics = update(jax.random.key(3), one, batch)
    assert int(metrics["codebook/revived"]) == 0
    assert np.abs(means_of(one)).max() <= np.abs(X).max()
    assert distortions(means_of(one), X).sum() <= after.sum() + 1e-9


@pytest.mark.thorough
def test_what_a_revived_code_was_is_forgotten(x64):
    """A code that had vectors far away, and then none, does not return there by its running averages."""
    joint = inference()
    step = quantization.codebook_turn(joint, rate=0.1, revive=2)
    far = np.full((40, 3), 1e3)
    progress, update = started(joint, step, means=np.concatenate([X[: K - 1], far[:1]])), jax.jit(step.update)
    progress, _ = update(KEY, progress, {"x": jnp.asarray(np.concatenate([X, far]))})
    assert np.abs(means_of(progress)).max() > 900
    revived = 0
    for turn in range(6):
        progress, metrics = update(jax.random.fold_in(KEY, turn), progress, {"x": jnp.asarray(X)})
        revived += int(metrics["codebook/revived"])
    assert revived >= 1
    assert np.abs(means_of(progress)).max() <= np.abs(X).max()


@pytest.mark.thorough
def test_codes_of_weight_zero_do_not_count(x64):
    joint = inference()
    step = quantization.codebook_turn(joint, rate=0.3, revive=1)
    weights = jnp.asarray(DRAW.integers(0, 3, len(X)), jnp.float64)
    rows = np.repeat(np.arange(len(X)), np.asarray(weights, int))
    update, none = jax.jit(step.update), X[:K] + 1e-3
    one, metrics = update(KEY, started(joint, step, means=none), {"x": jnp.asarray(X), "@weights": weights})
    other, others = update(KEY, started(joint, step, means=none), {"x": jnp.asarray(X[rows])})
    live = np.bincount(((X[rows][:, None] - none[None]) ** 2).sum(-1).argmin(1), minlength=K) > 0
    np.testing.assert_allclose(means_of(one)[live], means_of(other)[live], rtol=1e-8, atol=1e-8)
    for name in ("codebook/perplexity", "codebook/dead", "codebook/log_prob"):
        np.testing.assert_allclose(metrics[name], others[name], rtol=1e-8)


def test_usage_counts():
    found = quantization.usage(np.asarray([[0, 1], [1, 1], [4, 4]]), 6)
    share = np.asarray([1, 3, 2]) / 6
    np.testing.assert_allclose(found.counts, [1, 3, 0, 0, 2, 0])
    np.testing.assert_allclose(found.perplexity, np.exp(-(share * np.log(share)).sum()), rtol=1e-6)
    assert (int(found.used), int(found.dead)) == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate must be .*got 0"),
        ({"rate": 1.5}, "rate must be .* 1"),
        ({"revive": 0}, "revive must be an integer ≥ 1, got 0"),
        ({"latent": "x"}, "is not quantized"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        quantization.codebook_turn(inference(), **arguments)


def test_fixed_codes_have_no_turn():
    quantizer = quantization.finite_scalar(IDENTITY, levels=(3, 3, 3))
    joint = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", quantizer, name="codes"))
    with pytest.raises(ValueError, match="are fixed, so there is no turn"):
        quantization.codebook_turn(joint)

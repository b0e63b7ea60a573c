"""The importance-weighted bound over finite latents: exactly by multisets, or drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import Joint, evidence, factor, training
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


def gradients(objective, params, state, count, seed=7):
    """The gradients of many keys, and their mean: trees with a leading axis, and without."""
    loss = objective.players["model"].loss
    run = jax.jit(jax.vmap(jax.grad(lambda p, key: loss(key, p, state, BATCH)[0]), (None, 0)))
    return run(params, jax.random.split(jax.random.key(seed), count))


def test_vimco_is_unbiased_and_less_noisy_than_the_score_function():
    """Against the exact gradient by multisets; the variance of the encoder's is measured against the plain score."""
    joints, count = (INFERENCE, GENERATIVE), 4000
    exact = vifx.importance_weighted(*joints, samples=5)
    params, state = exact.init(jax.random.key(0), BATCH)
    truth = jax.grad(lambda p: exact.players["model"].loss(jax.random.key(1), p, state, BATCH)[0])(params)
    vimco = gradients(vifx.importance_weighted(*joints, samples=5, gradient="vimco"), params, state, count)
    for one, each in zip(jax.tree.leaves(truth), jax.tree.leaves(vimco), strict=True):
        error = jnp.std(each, axis=0) / np.sqrt(count)
        assert np.all(np.abs(jnp.mean(each, axis=0) - one) < 4.5 * error + 1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vifx.variational.bounds.MOST_MULTISETS", 9)
        plain = gradients(vifx.importance_weighted(*joints, samples=5), params, state, count)
    assert float(jnp.var(vimco["encoder"], axis=0).sum()) < 0.1 * float(jnp.var(plain["encoder"], axis=0).sum())


@pytest.mark.thorough
def test_several_bounds_have_one_expectation_and_less_noise():
    """MIWAE: the value and gradient of the inner bound, by multisets and by draws."""
    joints, count = (INFERENCE, GENERATIVE), 4000
    one, several = (vifx.importance_weighted(*joints, samples=3, outer=outer) for outer in (1, 4))
    params, state = one.init(jax.random.key(0), BATCH)
    run = [o.players["model"].loss(jax.random.key(1), params, state, BATCH)[0] for o in (one, several)]
    np.testing.assert_allclose(*run, rtol=1e-6)
    assert vifx.verify(several, params, state, BATCH)["model"].value_error < 1e-5
    assert "the mean of 4 such bounds has the same expectation" in vifx.explain(several, BATCH)
    truth = jax.grad(lambda p: one.players["model"].loss(jax.random.key(1), p, state, BATCH)[0])(params)
    spreads = {}
    for gradient in ("vimco", "reparameterized"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vifx.variational.bounds.MOST_MULTISETS", 9)
            for outer in (1, 4):
                drawn = vifx.importance_weighted(*joints, samples=3, outer=outer, gradient=gradient)
                each = gradients(drawn, params, state, count)
                for exact, found in zip(jax.tree.leaves(truth), jax.tree.leaves(each), strict=True):
                    error = jnp.std(found, axis=0) / np.sqrt(count)
                    assert np.all(np.abs(jnp.mean(found, axis=0) - exact) < 4.5 * error + 1e-6)
                spreads[gradient, outer] = float(sum(jnp.var(leaf, axis=0).sum() for leaf in jax.tree.leaves(each)))
        np.testing.assert_allclose(spreads[gradient, 4], spreads[gradient, 1] / 4, rtol=0.15)


@pytest.mark.thorough
def test_joints_apart_move_by_bounds_of_their_own():
    """PIWAE: the inference joint by the mean of M bounds of K draws, the generative one by that of M·K."""
    joints = (INFERENCE, GENERATIVE)
    objective = vifx.importance_weighted(*joints, samples=2, outer=3, apart=True)
    params, state = objective.init(jax.random.key(0), BATCH)
    assert {name: player.owns for name, player in objective.players.items()} == {
        "inference": ("encoder",),
        "generative": ("prior", "decoder"),
    }
    for name, samples in (("inference", 2), ("generative", 6)):
        plain = vifx.importance_weighted(*joints, samples=samples).players["model"].loss
        own = objective.players[name].loss
        one, other = (
            jax.value_and_grad(lambda p, run=run: run(jax.random.key(1), p, state, BATCH)[0])(params)
            for run in (own, plain)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)
    verified = vifx.verify(objective, params, state, BATCH)
    assert max(each.value_error for each in verified.values()) < 1e-5
    assert max(each.gradient_error for each in verified.values()) < 1e-5
    assert "the generative one by the bound of K = 6" in vifx.explain(objective)
    step = training.optimize(objective, optax.sgd(0.1))
    held = training.start(jax.random.key(0), step, objective, BATCH)
    moved, _ = training.compile(step)(held, BATCH)
    assert not np.allclose(moved.params["encoder"], params["encoder"])
    assert not np.allclose(moved.params["decoder"], params["decoder"])
    shared = tabular(3, states=3)
    with pytest.raises(ValueError, match=r"apart must be False unless each joint has networks of its own; 'both'"):
        vifx.importance_weighted(
            Joint(evidence("x"), factor("z | x", shared, name="both")),
            Joint(factor("z", tabular(states=3), name="prior"), factor("x | z", shared, name="both")),
            samples=2,
            apart=True,
        )


@pytest.mark.thorough
def test_a_convex_combination_of_bounds_is_one_of_objectives():
    """CIWAE, by value and gradient."""
    joints, beta = (INFERENCE, GENERATIVE), 0.3
    ends = vifx.kl(*joints), vifx.importance_weighted(*joints, samples=3, name="iwae")
    objective = beta * ends[0] + (1 - beta) * ends[1]
    params, state = objective.init(jax.random.key(0), BATCH)

    def run(of):
        return jax.value_and_grad(lambda p: of.players["model"].loss(jax.random.key(1), p, state, BATCH)[0])(params)

    expected = jax.tree.map(lambda a, b: beta * a + (1 - beta) * b, *map(run, ends))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), run(objective), expected)

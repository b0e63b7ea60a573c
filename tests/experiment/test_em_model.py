"""What EM experiments share: the start, the step, resuming, measures, and optimizers of some networks."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from vifx import data, em, evaluation, training
from vifx.data import images
from vifx.experiment import em_model

CENTRES = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def blobs(count, seed):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    x = CENTRES[y] + 0.5 * generator.standard_normal((count, 2))
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


SPLITS = data.from_arrays(train=blobs(240, 0), test=blobs(80, 1), validation=40)


def config(**values):
    return em_model.Config(**{"restarts": 3, "start_steps": 2, "chunk": 64, "seed": 1, **values})


@pytest.fixture(scope="module")
def model():
    return em.mixture(em.gaussian, 3, covariance="spherical")


@pytest.mark.thorough
def test_the_best_of_the_starts_is_trained(model):
    """Which one is best after two iterations, found here by running them one by one."""
    chosen = config(start="random")
    batch = {"x": jnp.asarray(SPLITS.train["x"])}
    params, state = jax.jit(em_model.starting(chosen, model))(jax.random.key(3), batch)
    stacked, _ = em.starts(jax.random.key(3), model, batch, "random", 3)
    scores = []
    update = jax.jit(training.solve(model.objective, "model").update)
    for i in range(3):
        progress = training.Progress(jax.tree.map(lambda leaf, i=i: leaf[i], stacked), state, ())
        for t in range(2):
            progress, metrics = update(jax.random.key(t), progress, batch)
        scores.append(float(metrics["objective"]))
    expected = jax.tree.map(lambda leaf: leaf[int(np.argmax(scores))], stacked)
    chex.assert_trees_all_close(params, dict(expected), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def built(model):
    return em_model.experiment(config(), model, SPLITS, drawings={})


@pytest.mark.thorough
def test_a_run_that_was_stopped_continues_bit_for_bit(built, tmp_path):
    def fit(steps, folder):
        return training.fit(
            jax.random.key(0),
            built.step,
            built.objective,
            built.source,
            steps=steps,
            directory=tmp_path / folder,
            log_every=2,
            checkpoint_every=2,
            monotone=built.monotone,
        )

    whole = fit(8, "whole")
    fit(4, "halves")
    resumed = fit(8, "halves")
    chex.assert_trees_all_equal(whole.train_state.params, resumed.train_state.params)
    rows = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "halves")]
    assert rows[0] == rows[1]
    assert (np.diff([row["objective"] for row in whole.history]) > -1e-5).all()


@pytest.mark.thorough
def test_measures_are_those_of_scipys_mixture(built, model):
    params, state = jax.jit(built.objective.init)(jax.random.key(0), {"x": jnp.asarray(SPLITS.train["x"])})
    found = built.evaluate(jax.random.key(1), params, state)
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    weights = np.exp(own["weights"]["logits"][0])

    def log_probs(x):
        each = [
            np.log(weights[k])
            + stats.multivariate_normal(own["components"]["mean"][k], own["components"]["scale"][k] ** 2).logpdf(x)
            for k in range(3)
        ]
        return np.stack(each, axis=1)

    train, test = (log_probs(split["x"]) for split in (SPLITS.train, SPLITS.test))
    total = np.logaddexp.reduce(train, axis=1).sum()
    np.testing.assert_allclose(found["log_prob/test"].values, np.logaddexp.reduce(test, axis=1), rtol=1e-4, atol=1e-4)
    assert found["parameters"] == 2 + 3 * 3
    assert found["bic"] == pytest.approx(11 * np.log(200) - 2 * total, rel=1e-5)
    assert found["aic"] == pytest.approx(2 * 11 - 2 * total, rel=1e-5)
    low, high = found["log_prob/test"].interval
    assert f"95 % interval {low:.3f} to {high:.3f}".replace("-", "−") in found["log_prob/test"].note
    assert found["cluster_purity"] == found["cluster_accuracy"].mean == 1.0
    loss = built.monitor(jax.random.key(2), params, state)["loss"]
    expected = -np.logaddexp.reduce(log_probs(SPLITS.validation["x"]), axis=1)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
def test_other_numbers_are_fitted_once_and_only_if_named():
    def make(size):
        return em.mixture(em.gaussian, size, covariance="spherical")

    assert em_model.tried(config(), make, SPLITS) is None
    fits = em_model.tried(config(components_tried=(3, 1), steps=40), make, SPLITS)
    found = fits()
    assert [*found] == [3, 1]
    assert found[3].bic() < found[1].bic()
    assert fits()[3] is found[3]
    with pytest.raises(ValueError, match="201 components needs at least as many examples"):
        em_model.tried(config(components_tried=(201,)), make, SPLITS)


def test_only_the_named_networks_move():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    optimizer = em_model.only(optax.sgd(0.5), "b")
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], 0)
    np.testing.assert_allclose(updates["b"], -0.5)


def test_of_dequantized_images_the_bits_are_those_of_the_best_gaussian():
    shade = np.clip(np.random.default_rng(0).normal(8, 3, (300, 2, 3, 1)), 0, 16).astype(int)
    x = np.rint(255 * shade / 16).astype(np.uint8)
    grey = data.from_arrays(train={"x": x[:200]}, test={"x": x[200:]}, validation=0)
    features = images.embedding(
        np.concatenate(
            [grey.train["x"], np.rint(np.arange(17) * 255 / 16).repeat(6).reshape(17, 2, 3, 1).astype(np.uint8)]
        ),
        "dequantized",
    )
    splits = images.mapped(grey, features.project)
    make = lambda size: em.mixture(em.gaussian, size, floor=1e-9)  # noqa: E731
    built = em_model.images(config(restarts=1), splits, grey.test["x"], features, make, 1)
    params, state = jax.jit(built.objective.init)(jax.random.key(0), {"x": jnp.asarray(splits.train["x"])})
    step = jax.jit(built.step.update)
    progress = training.Progress(params, state, ())
    progress, _ = step(jax.random.key(0), progress, {"x": jnp.asarray(splits.train["x"])})
    found = built.evaluate(jax.random.key(1), progress.params, progress.state)["bits_per_dim"]
    exact = evaluation.bits_per_dim(
        evaluation.gaussian_nll(splits.train["x"], splits.test["x"]), (6,), offset=np.log(17)
    )
    assert features.shades == 17
    np.testing.assert_allclose(found.values, exact, rtol=2e-4)

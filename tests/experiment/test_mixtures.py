"""What EM experiments share: the start, the step, resuming, measures, and optimizers of some networks."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from vifx import data, em, training
from vifx.experiment import latents, pixels
from vifx.experiment import mixtures as experiment

CENTRES = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def blobs(count, seed):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    x = CENTRES[y] + 0.5 * generator.standard_normal((count, 2))
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


SPLITS = data.from_arrays(train=blobs(240, 0), test=blobs(80, 1), validation=40)


def config(**values):
    return experiment.Config(**{"restarts": 3, "start_steps": 2, "chunk": 64, "seed": 1, **values})


@pytest.fixture(scope="module")
def model():
    return em.mixture(em.gaussian, 3, covariance="spherical")


@pytest.mark.thorough
def test_the_best_of_the_starts_is_trained(model):
    """Which one is best after two iterations, found here by running them one by one."""
    chosen = config(start="random")
    batch = {"x": jnp.asarray(SPLITS.train["x"])}
    params, state = jax.jit(experiment.starting(chosen, model))(jax.random.key(3), batch)
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
    return experiment.fitted_by_em(config(), model, SPLITS, drawings={})


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

    assert experiment.tried(config(), make, SPLITS) is None
    fits = experiment.tried(config(components_tried=(3, 1), steps=40), make, SPLITS)
    found = fits()
    assert [*found] == [3, 1]
    assert found[3].bic < found[1].bic
    assert fits()[3] is found[3]
    with pytest.raises(ValueError, match="201 components needs at least as many examples"):
        experiment.tried(config(components_tried=(201,)), make, SPLITS)


def test_only_the_named_networks_move():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    optimizer = experiment.only(optax.sgd(0.5), "b")
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], 0)
    np.testing.assert_allclose(updates["b"], -0.5)


def test_binary_images_are_drawn_once_with_their_grey():
    grey = np.random.default_rng(0).integers(0, 256, (4000, 2, 2, 1), dtype=np.uint8)
    grey[:, 0, 0] = [0]
    grey[:, 0, 1] = [255]
    splits = data.from_arrays(train={"x": grey}, test={"x": grey[:100] // 2}, validation=100)
    found, again = pixels.binarized(splits), pixels.binarized(splits)
    x = found.train["x"]
    np.testing.assert_array_equal(x, again.train["x"])
    assert found.info.shape == (4,)
    np.testing.assert_array_equal(x[:, :2], np.broadcast_to([0.0, 1.0], (len(x), 2)))
    bins = splits.train["x"][:, 1, 0, 0] // 64
    for b in range(4):
        expected = splits.train["x"][bins == b, 1, 0, 0].mean() / 255
        assert x[bins == b, 2].mean() == pytest.approx(expected, abs=0.06)


def test_pixels_are_scaled_and_come_back():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1) * 10
    every = pixels.embedding(images, None)
    np.testing.assert_allclose(every.project(images), images.reshape(2, 12) / 255, rtol=1e-6)
    np.testing.assert_allclose(every.restore(every.project(images)), images / 255, rtol=1e-6)


@pytest.mark.thorough
def test_the_true_casino_is_called_right():
    """Bad orders and wrong tables show: here the states are the other way round."""
    rolls = data.load(data.Config("casino")).test
    few = {name: array[:20] for name, array in rolls.items()}
    model = em.hmm(lambda states: em.categorical(6, states=states), 2, length=300)
    truth = data.CASINO
    tables = [np.maximum(table, 1e-30) for table in (truth.initial[::-1], truth.transitions[::-1, ::-1])]
    initial, transitions = (jnp.log(jnp.asarray(table, jnp.float32)) for table in tables)
    faces = jnp.log(jnp.asarray(truth.faces[::-1], jnp.float32))
    params = {"chain": {"initial": initial, "transitions": transitions}, "emissions": {"logits": faces}}
    found = latents.casino(model, few)(jax.random.key(0), params, {})
    assert found["faces_error"] == pytest.approx(0, abs=1e-6)
    assert found["transitions_error"] == pytest.approx(0, abs=1e-6)
    assert 0.75 < found["state_accuracy"].mean < 0.9
    expected = float(np.mean(np.asarray(model.log_prob(params, {}, few["x"]))))
    assert found["log_prob/test/true"].mean == pytest.approx(expected, rel=1e-5)

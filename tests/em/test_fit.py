"""Fitting mixtures: against scikit-learn, from every kind of start, and what happens when something is wrong."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vifx import em, training

KEY = jax.random.key(0)
IRIS = load_iris().data
SCIKIT = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def model(covariance="diagonal", components=3, **options):
    return em.mixture(em.gaussian, components, covariance=covariance, **options)


def clusters(examples=90, size=2, states=3, seed=0, dtype=np.float64):
    random = np.random.default_rng(seed)
    centres = 10 * random.normal(size=(states, size))
    return (centres[np.arange(examples) % states] + random.normal(size=(examples, size))).astype(dtype)


def precisions(params, covariance):
    if covariance == "full":
        return np.linalg.inv(np.einsum("kij,klj->kil", params["scale_tril"], params["scale_tril"]))
    if covariance == "tied":
        return np.linalg.inv(np.asarray(params["scale_tril"] @ params["scale_tril"].T))
    return 1 / np.asarray(params["scale"]) ** 2


@pytest.mark.first(1)
@pytest.mark.parametrize("covariance", SCIKIT)
def test_every_iteration_is_scikit_learns(covariance, x64):
    mixture = model(covariance)
    params, state = jax.jit(mixture.objective.init)(jax.random.key(1), {"x": jnp.asarray(IRIS)})
    found = em.fit(KEY, mixture, IRIS, start=(params, state), steps=20, tolerance=0.0, chunk=64)
    other = GaussianMixture(
        3,
        covariance_type=SCIKIT[covariance],
        weights_init=np.exp(params["weights"]["logits"][0]),
        means_init=np.asarray(params["components"]["mean"]),
        precisions_init=precisions(params["components"], covariance),
        max_iter=1,
        warm_start=True,
        tol=0,
        reg_covar=0,
    )
    theirs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(20):
            theirs.append(other.fit(IRIS).lower_bound_)
    np.testing.assert_allclose(found.history[:20], theirs, atol=1e-9)
    assert (np.diff(found.history) > -1e-12).all()
    np.testing.assert_allclose(found.log_prob(IRIS), other.score_samples(IRIS), atol=1e-9)
    np.testing.assert_allclose(found.posterior(IRIS).probs, other.predict_proba(IRIS), atol=1e-9)
    assert abs(found.bic() - other.bic(IRIS)) < 1e-9 * abs(other.bic(IRIS))
    assert abs(found.aic() - other.aic(IRIS)) < 1e-9 * abs(other.aic(IRIS))


@pytest.mark.thorough
def test_restarts_find_what_scikit_learn_finds(x64):
    found = em.fit(KEY, model("full"), IRIS, restarts=8, tolerance=1e-7)
    other = GaussianMixture(3, n_init=8, tol=1e-7, max_iter=1000, reg_covar=0, random_state=0).fit(IRIS)
    assert found.converged
    assert found.history[-1] > other.lower_bound_ - 1e-5
    assert found.histories.shape == (len(found.history), 8)
    assert found.history[-1] == found.histories[-1].max()
    # Each start is what it would be alone: parameters differ, the data are shared.
    start = np.argmax(found.histories[-1])
    assert np.ptp(found.histories[-1]) > 1e-6 or start == 0


@pytest.mark.thorough
def test_starts_of_every_kind(x64):
    x = clusters()
    labels = np.arange(90) % 3
    by_labels = em.fit(KEY, model(), x, start=labels, steps=1, tolerance=0.0)
    by_shares = em.fit(KEY, model(), x, start=np.eye(3)[labels], steps=1, tolerance=0.0)
    np.testing.assert_allclose(by_labels.history, by_shares.history, atol=1e-13)
    # From labels: the means of the classes, before the first update.
    params, _ = em.starts(KEY, model(), {"x": jnp.asarray(x)}, labels, 1)
    expected = np.stack([x[labels == k].mean(0) for k in range(3)])
    np.testing.assert_allclose(params["components"]["mean"][0], expected, atol=1e-12)
    best = em.fit(KEY, model(), x, start=labels, tolerance=1e-9)
    for kind in ("k-means", "k-means++", "random"):
        found = em.fit(KEY, model(), x, start=kind, restarts=4, tolerance=1e-9)
        assert abs(found.history[-1] - best.history[-1]) < 1e-6
        again = em.fit(KEY, model(), x, start=kind, restarts=4, tolerance=1e-9)
        np.testing.assert_allclose(found.histories, again.histories, atol=1e-12)


@pytest.mark.thorough
def test_a_fit_goes_on_where_it_was(x64):
    x = clusters()
    whole = em.fit(KEY, model(), x, start="random", steps=9, tolerance=0.0)
    half = em.fit(KEY, model(), x, start="random", steps=4, tolerance=0.0)
    assert not half.converged
    assert "not converged after 4 updates" in half.messages[-1]
    rest = em.fit(KEY, model(), x, start=(half.params, half.state), steps=5, tolerance=0.0)
    np.testing.assert_allclose(np.concatenate([half.history[:-1], rest.history]), whole.history, atol=1e-12)


def test_k_means_is_lloyds_iterations(x64):
    from sklearn.cluster import KMeans

    x = clusters(seed=3)
    standard = (x - x.mean(0)) / x.std(0)
    found = np.asarray(em.k_means(jax.random.key(2), jnp.asarray(x), 3)).argmax(1)
    centres = np.stack([standard[found == k].mean(0) for k in range(3)])
    other = KMeans(3, init=centres, n_init=1).fit(standard)
    np.testing.assert_array_equal(found, other.labels_)


@pytest.mark.thorough
def test_an_empty_component_gets_half_of_the_largest(x64):
    """Two components on the data and one far away, which nothing belongs to."""
    x = clusters(states=2)
    mixture = model("spherical")
    far = {"mean": jnp.array([[0.0, 0.0], [1.0, 1.0], [1e6, 1e6]]), "scale": jnp.ones(3)}
    _, state = em.starts(KEY, mixture, {"x": jnp.asarray(x)}, "random", 1)
    params = {"weights": {"logits": jnp.log(jnp.ones((1, 3)) / 3)}, "components": far}
    found = em.fit(KEY, mixture, x, start=(params, state), tolerance=1e-8)
    assert any("component 2 was empty and got half of component" in text for text in found.messages)
    shares = np.asarray(found.posterior(x).probs).mean(0)
    assert (shares > 0.01).all()
    assert np.isfinite(found.history).all()
    assert np.abs(found.params["components"]["mean"]).max() < 100


@pytest.mark.thorough
def test_a_component_on_one_point_is_floored(x64):
    x = np.concatenate([clusters(60, states=2), [[50.0, 50.0]]])
    for covariance, name in (("full", "scale_tril"), ("diagonal", "scale"), ("spherical", "scale")):
        found = em.fit(KEY, model(covariance, floor=1e-4), x, start=np.r_[np.arange(60) % 2, 2])
        assert np.isfinite(found.history).all()
        scale = np.asarray(found.params["components"][name])[2]
        variance = np.diag(scale @ scale.T) if covariance == "full" else scale**2
        np.testing.assert_allclose(variance, 1e-4, rtol=1e-6)


def test_a_fall_of_the_objective_is_an_error(x64):
    """A family whose M step doubles every scale lowers the likelihood at once."""

    def broken(states):
        family = em.gaussian(states, covariance="diagonal")

        def maximize(params, state, statistics):
            found = family.maximize(params, state, statistics)
            return {**found, "scale": 2 * found["scale"]}

        return dataclasses.replace(family, maximize=maximize)

    mixture, x, seen = em.mixture(broken, 2), clusters(states=2), []
    both = r"all 2 starts failed: start 0: objective fell by .*; start 1: objective fell by "
    with pytest.raises(training.Diverged, match=both) as caught:
        em.fit(KEY, mixture, x, restarts=2, observe=lambda *found: seen.append(found))
    error, (updates, metrics) = caught.value, seen[-1]
    assert (error.step, error.start) == (updates + 1, 1)
    assert {np.size(found["objective"]) for _, found in seen} == {2, 1}
    # Its parameters are those before the update that lowered the objective, whose E step was the last one seen.
    own = np.asarray(mixture.log_prob(error.train_state.params, error.train_state.state, x)).mean()
    np.testing.assert_allclose(own, metrics["objective"].item(), rtol=1e-12)


@pytest.mark.thorough
def test_a_start_that_fails_is_left_out_and_the_others_are_what_they_are_alone(x64):
    """Of a family that is not a number where its first component is not the left one."""

    def fragile(states):
        family = em.gaussian(states, covariance="spherical")

        def maximize(params, state, statistics):
            found = family.maximize(params, state, statistics)
            bad = found["mean"][0, 0] > found["mean"][1, 0]
            return {**found, "scale": jnp.where(bad, jnp.nan, found["scale"])}

        return dataclasses.replace(family, maximize=maximize)

    mixture, x = em.mixture(fragile, 2), clusters(states=2)
    right = em.mixture(em.gaussian, 2, covariance="spherical")
    batch = {"x": jnp.asarray(x)}
    first = em.starts(jax.random.fold_in(KEY, 0), right, batch, "k-means", 5)[0]["components"]["mean"]
    failing = [start for start, mean in enumerate(np.asarray(first)) if mean[0, 0] > mean[1, 0]]
    assert 0 < len(failing) < 5
    found = em.fit(KEY, mixture, x, restarts=5, steps=3, tolerance=0.0)
    assert np.isfinite(found.histories).all()
    assert found.histories.shape == (4, 5 - len(failing))
    said = [text for text in found.messages if text.endswith("; it was left out")]
    assert [text.partition(":")[0] for text in said] == [f"start {start}" for start in failing]
    kept = [start for start in range(5) if start not in failing]
    whole = em.fit(KEY, right, x, restarts=5, steps=3, tolerance=0.0)
    np.testing.assert_allclose(found.histories, whole.histories[:, kept], rtol=1e-10)
    assert found.history[-1] == found.histories[-1].max()


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance", SCIKIT)
def test_scikit_learns_case_of_regularization_fits(covariance, dtype):
    """Ten components of two points in ten features: all at the floor; the optimum is ``−5 log(2π floor) − log 2``."""
    with jax.enable_x64(dtype == np.float64):
        x = np.repeat(np.eye(2)[:, :1], 5, axis=0).repeat(10, axis=1).astype(dtype)
        found = em.fit(jax.random.key(0), model(covariance, 10), x, steps=40)
        best, rtol = -5 * np.log(2 * np.pi * 1e-6) - np.log(2), 0.01 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(found.log_likelihood / 10, best, rtol=rtol)
        everyone = ", ".join(map(str, range(10)))
        assert f"components {everyone}: the least variance is the floor, 1e-06; they may" in found.messages[-1]


@pytest.mark.thorough
def test_a_constant_feature_is_fitted_and_said(x64):
    x = np.concatenate([clusters(), np.full((90, 1), 0.1)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = GaussianMixture(3, covariance_type="diag", reg_covar=0.0, random_state=0).fit(x[:, :2])
    found = em.fit(KEY, model(floor=1e-4), x, restarts=3, tolerance=1e-12)
    constant = -0.5 * np.log(2 * np.pi * 1e-4)
    np.testing.assert_allclose(found.log_likelihood / 90, theirs.score(x[:, :2]) + constant, rtol=1e-6)
    assert found.messages == ("feature 2 is 0.1 in all 90 examples: its variance is the floor, 0.0001",)
    with pytest.raises(ValueError, match=r"feature 2, of 1 constant ones, is 0.1 in all 90 .* or give a floor above 0"):
        em.fit(KEY, model(floor=0.0), x)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_sequences_with_the_floor_rise_and_a_wrong_m_step_is_caught(dtype):
    """60 steps at 0 and 60 at 5 with a standard deviation of 0.02, below that of the floor."""
    with jax.enable_x64(dtype == np.float64):
        steps = np.repeat([0.0, 5.0], 60) + 0.02 * np.random.default_rng(0).normal(size=120)
        x = steps[None, :, None].astype(dtype)
        found = em.fit(jax.random.key(0), hmm(), x, steps=20)
        np.testing.assert_allclose(found.log_likelihood, 277.4, rtol=2e-3)
        assert "the least variance is the floor, 0.001" in found.messages[-1]
        with pytest.raises(training.Diverged, match=r"objective fell by .* At that update: components .* 0.001"):
            em.fit(jax.random.key(0), hmm(wrong), x, steps=20)


def hmm(make=em.gaussian):
    return em.hmm(make, 5, length=120, covariance="diagonal", floor=1e-3)


def wrong(states, **options):
    """A family whose M step moves means a hundredth too far."""
    family = em.gaussian(states, **options)

    def maximize(params, state, statistics):
        found = family.maximize(params, state, statistics)
        return {**found, "mean": found["mean"] + 0.01 * jnp.sign(found["mean"] - params["mean"])}

    return dataclasses.replace(family, maximize=maximize)


@pytest.mark.thorough
def test_weights_are_counts(x64):
    x = clusters(30)
    times = np.random.default_rng(0).integers(0, 4, 30)
    labels = np.arange(30) % 3
    weighted = em.fit(KEY, model(), x, weights=times, start=labels, steps=5, tolerance=0.0)
    repeated = em.fit(KEY, model(), np.repeat(x, times, axis=0), start=np.repeat(labels, times), steps=5, tolerance=0.0)
    np.testing.assert_allclose(weighted.history, repeated.history, atol=1e-10)
    assert weighted.examples == times.sum()
    assert abs(weighted.bic() - repeated.bic()) < 1e-9 * abs(repeated.bic())


@pytest.mark.thorough
def test_devices_share_the_data(x64):
    for x in (clusters(96), clusters(90)):
        one = em.fit(KEY, model("full"), x, steps=5, tolerance=0.0, restarts=2)
        mesh = training.make_mesh()
        eight = em.fit(KEY, model("full"), x, steps=5, tolerance=0.0, restarts=2, chunk=5, mesh=mesh)
        np.testing.assert_allclose(one.histories, eight.histories, rtol=1e-11)
        assert eight.examples == len(x)
        assert abs(eight.bic() - one.bic()) < 1e-9 * abs(one.bic())


@pytest.mark.thorough
def test_float32_is_near_float64():
    x = 1000 + clusters(2000, 4, dtype=np.float64)
    labels = np.arange(2000) % 3
    narrow = em.fit(KEY, model("full"), x.astype(np.float32), start=labels, steps=5, tolerance=0.0, chunk=100)
    with jax.enable_x64(True):
        wide = em.fit(jax.random.key(0), model("full"), x, start=labels, steps=5, tolerance=0.0)
    np.testing.assert_allclose(narrow.history, wide.history, atol=1e-3)


@pytest.mark.thorough
def test_samples_and_densities_belong_together(x64):
    found = em.fit(KEY, model("full"), clusters(), tolerance=1e-6)
    drawn = found.sample(jax.random.key(5), 4000)
    # The mean of log q over own samples is minus the entropy, which quadrature gives.
    grid = np.stack(np.meshgrid(np.linspace(-20, 20, 161), np.linspace(-20, 20, 161)), axis=-1).reshape(-1, 2)
    log_prob = np.asarray(found.log_prob(grid))
    cell = (40 / 160) ** 2
    assert abs(np.exp(log_prob).sum() * cell - 1) < 1e-3
    entropy = -(np.exp(log_prob) * log_prob).sum() * cell
    own = -np.asarray(found.log_prob(drawn["x"]))
    assert abs(own.mean() - entropy) < 4 * own.std() / np.sqrt(4000)


def test_observe_sees_every_e_step(x64):
    seen = []
    found = em.fit(KEY, model(), clusters(), steps=3, tolerance=0.0, observe=lambda n, m: seen.append((n, m)))
    assert [n for n, _ in seen] == [0, 1, 2, 3]
    np.testing.assert_allclose([float(m["objective"][0]) for _, m in seen], found.history, atol=0)
    assert len(found.seconds) == 4


def test_bad_input_is_named():
    x = clusters(10, dtype=np.float32)
    cases = [
        ({"x": x[:2]}, "needs at least as many examples, got 2"),
        ({"x": np.where(x > 3, np.nan, x)}, "finite, got nan at index"),
        ({"x": x[:0]}, "must have examples"),
        ({"x": np.array(["a", "b", "c"])}, "must be an array of real numbers"),
        ({"x": x + 1j}, "must be an array of real numbers"),
        ({"x": np.arange(10)[:, None] + 3_000_000_000}, "integer 3000000009; convert to floating point"),
        ({"weights": np.zeros(10)}, "weights are all zero"),
        ({"weights": -np.ones(10)}, "example 0 has -1.0"),
        ({"weights": np.ones(9)}, r"weights must have shape \[10\]"),
        ({"start": "kmeans"}, "start must be 'k-means'"),
        ({"start": np.arange(10)}, "labels 0 to 9, but the components are 0 to 2"),
        ({"start": np.zeros(4, int)}, r"integer labels \[10\] or responsibilities \[10, 3\], got int64\[4\]"),
        ({"start": np.full((10, 3), 0.5)}, "sum to 1 for each example"),
        ({"start": np.zeros((10, 2))}, r"responsibilities \[10, 3\]"),
        ({"start": np.arange(10) % 3, "restarts": 2}, "would all be the same"),
        ({"restarts": 0}, "restarts must be an integer ≥ 1"),
        ({"steps": 0}, "steps must be an integer ≥ 1"),
        ({"chunk": 0}, "chunk must be an integer ≥ 1"),
        ({"tolerance": -1.0}, "tolerance must be a finite number"),
    ]
    for options, message in cases:
        with pytest.raises((TypeError, ValueError), match=message):
            em.fit(KEY, model(), options.pop("x", x), **options)
    for components in (2.5, True):
        with pytest.raises(TypeError, match="components must be an integer"):
            em.mixture(em.gaussian, components)
    for components in (0, -1):
        with pytest.raises(ValueError, match="components must be an integer ≥ 1"):
            em.mixture(em.gaussian, components)


@pytest.mark.thorough
def test_select_prefers_the_true_number(x64):
    x, outside = clusters(150, seed=1), clusters(150, seed=1)[::-1] + 0.1
    for criterion in ("bic", "aic", "held_out"):
        found = em.select(
            KEY, lambda k: model("spherical", k), (1, 2, 3), x, criterion=criterion, held_out=outside, tolerance=1e-4
        )
        assert found.best.components == 3
    single = found.candidates[0]
    assert single.held_out == pytest.approx(float(np.mean(single.fit.log_prob(outside))))
    with pytest.raises(ValueError, match="criterion must be one of"):
        em.select(KEY, model, (1, 2), x, criterion="likelihood")
    with pytest.raises(ValueError, match="needs examples that are not fitted"):
        em.select(KEY, model, (1, 2), x, criterion="held_out")
    with pytest.raises(ValueError, match="each once"):
        em.select(KEY, model, (1, 1), x)


@pytest.mark.thorough
def test_examples_of_weight_zero_are_not_there(x64):
    x = clusters()
    labels = np.arange(90) % 3
    far = np.concatenate([x, [[1e6, 1e6]]])
    weights = np.concatenate([np.ones(90), [0.0]])
    plain = em.fit(KEY, model("full"), x, start=labels, steps=4, tolerance=0.0)
    without = em.fit(KEY, model("full"), far, weights=weights, start=np.r_[labels, 0], steps=4, tolerance=0.0)
    np.testing.assert_allclose(without.history, plain.history, atol=1e-12)
    with pytest.raises(ValueError, match="needs at least as many examples, got 2"):
        em.fit(KEY, model(), x, weights=np.r_[1, 1, np.zeros(88)])


@pytest.mark.thorough
def test_numbers_are_vectors_of_one(x64):
    x = clusters(size=1)
    found = em.fit(KEY, model(), x, steps=3, tolerance=0.0)
    loss, _ = found.model.objective.players["model"].loss(jax.random.key(0), found.params, found.state, {"x": x})
    assert abs(loss + found.history[-1]) < 1e-12
    with pytest.raises(ValueError, match=r"numbers are vectors of one, x\[:, None\]"):
        em.fit(KEY, model(), x[:, 0])


@pytest.mark.thorough
def test_a_schedule_of_temperatures_runs_on(x64):
    """The temperature falls with the updates, and the likelihood that is reported is that of temperature 1."""
    x = clusters()
    falling = em.mixture(em.gaussian, 3, temperature=optax.linear_schedule(4.0, 1.0, 15))
    found = em.fit(KEY, falling, x, steps=40)
    assert int(found.state["model@updates"]) == 40
    assert not found.converged
    # At the end the temperature is 1, and the objective the likelihood of plain EM, which it nearly ends at.
    assert abs(found.log_likelihood / 90 - found.history[-1]) < 1e-12
    cold = em.mixture(em.gaussian, 3)
    further = em.fit(KEY, cold, x, start=(found.params, found.state), steps=20, tolerance=0.0)
    assert abs(further.history[0] - found.history[-1]) < 1e-12
    assert further.history[-1] - further.history[0] < 0.02
    hot = em.fit(KEY, em.mixture(em.gaussian, 3, temperature=3.0), x, steps=5)
    plain = em.mixture(em.gaussian, 3)
    own = np.asarray(plain.log_prob(hot.params, hot.state, x))
    np.testing.assert_allclose(hot.log_prob(x), own, atol=1e-10)
    assert abs(hot.log_likelihood - own.sum()) < 1e-8
    assert hot.history[-1] > own.mean() + 0.1


@pytest.mark.thorough
def test_float32_of_six_covariances_of_18_points_is_at_its_rounding():
    """In 4 dimensions, at 1e4, the rounding is far above the floor of 1e-6: 10 ε of the data's variance stand in."""
    x = (1e4 * np.random.default_rng(0).normal(size=(18, 4))).astype(np.float32)
    found = em.fit(KEY, model("full", 6), x)
    scale_tril = np.asarray(found.params["components"]["scale_tril"], np.float64)
    whole = np.linalg.inv(np.cov(x.T.astype(np.float64), bias=True))
    least = [np.linalg.eigvals(tril @ tril.T @ whole).real.min() for tril in scale_tril]
    np.testing.assert_allclose(min(least), 10 * np.finfo(np.float32).eps, rtol=0.05)
    means = np.asarray(found.params["components"]["mean"], np.float64)
    pairs = zip(means, scale_tril, strict=True)
    each = [scipy.stats.multivariate_normal(mean, tril @ tril.T).logpdf(x) for mean, tril in pairs]
    weights = scipy.special.log_softmax(np.asarray(found.params["weights"]["logits"][0], np.float64))
    exact = scipy.special.logsumexp(np.stack(each, 1) + weights, axis=1).sum()
    np.testing.assert_allclose(found.log_likelihood, exact, rtol=0.01)


@pytest.mark.thorough
def test_features_that_disagree_with_densities_are_an_error(x64):
    def broken(states):
        family = em.gaussian(states)
        return dataclasses.replace(
            family, log_probs=lambda prepared, features: family.log_probs(prepared, features) + 0.5
        )

    with pytest.raises(training.Diverged, match=r"nats by features and .* by densities: float64 has too few digits"):
        em.fit(KEY, em.mixture(broken, 2), clusters(states=2))


@pytest.mark.thorough
def test_an_impossible_example_is_infinitely_unlikely(x64):
    mixture = em.mixture(functools.partial(em.categorical, 4), 2)
    seen, unseen = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 3])
    found = em.fit(KEY, mixture, seen, steps=5)
    np.testing.assert_array_equal(np.isfinite(found.log_prob(unseen)), [True, False])
    np.testing.assert_allclose(np.asarray(found.posterior(unseen).probs).sum(1), 1)
    solver = mixture.solver
    for chunk in (1, 2):
        step = training.solve(mixture.objective, "model", chunk=chunk)
        progress = training.Progress(found.params, found.state, ())
        _, metrics = step.update(jax.random.key(0), progress, {"x": jnp.asarray(unseen)})
        assert metrics["log_prob"] == -np.inf
    for temperature in (0.0, 2.0):
        other = em.mixture(functools.partial(em.categorical, 4), 2, temperature=temperature)
        prepared = other.solver.prepare(found.params, found.state)
        expected = other.solver.expect(
            jax.random.key(0), found.params, found.state, prepared, {"x": jnp.asarray(unseen)}
        )
        assert abs(expected.counts["z"].sum() - 1) < 1e-12
    assert solver.degrees(found.params) == 7

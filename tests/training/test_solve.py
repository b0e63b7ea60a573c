"""Closed-form turns: against EM in NumPy, in chunks, on eight devices, step by step."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, em, networks, training
from vifx.networks import BernoulliHead
from vifx.training import Progress
from vifx.verification import tabular

KEY = jax.random.key(0)


def gaussian_mixture(states, *, covariance="diagonal", temperature=1.0, anchored=False):
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(states), name="weights"),
        vifx.factor("x | z", em.gaussian(states, covariance=covariance), name="components"),
    )
    posterior = vifx.exact_posterior(generative, "z | x", temperature=temperature, anchored=anchored)
    return vifx.kl(vifx.Joint(vifx.evidence("x"), posterior), generative)


def clusters(examples, size=2, states=3, seed=0, dtype=np.float64):
    random = np.random.default_rng(seed)
    centres = 4 * random.normal(size=(states, size))
    return (centres[random.integers(0, states, examples)] + random.normal(size=(examples, size))).astype(dtype)


def run(objective, batch, updates, params, state, **options):
    """Make updates; return the parameters and the metrics of each."""
    step = training.solve(objective, "model", **options)
    update = jax.jit(lambda progress, batch: step.update(jax.random.key(0), progress, batch))
    progress, history = Progress(params, state, step.init(jax.random.key(1), params, state)), []
    for _ in range(updates):
        progress, metrics = update(progress, batch)
        history.append(metrics)
    return progress.params, history


def start(objective, batch, seed=0):
    return jax.jit(objective.init)(jax.random.key(seed), batch)


def same(one, other, tolerance):
    chex.assert_trees_all_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.thorough
def test_several_latents_are_solved_as_by_hand(x64):
    """A hierarchy w → z → x of tables: expected counts of every factor, enumerated in NumPy."""
    generative = vifx.Joint(
        vifx.factor("w", em.categorical(2), name="top"),
        vifx.factor("z | w", em.categorical(3, states=2), name="middle"),
        vifx.factor("x | z, w", em.categorical(4, states=(3, 2)), name="bottom"),
    )
    posteriors = (vifx.exact_posterior(generative, "z | x"), vifx.exact_posterior(generative, "w | x, z"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), *posteriors), generative)
    batch = {"x": jnp.array([0, 1, 1, 3, 2, 0, 3])}
    params, state = start(objective, batch)
    moved, history = run(objective, batch, 3, params, state, chunk=3)
    top, middle, bottom = (np.exp(np.asarray(params[n]["logits"])) for n in ("top", "middle", "bottom"))
    x, found = np.asarray(batch["x"]), []
    for _ in range(3):
        joint = top[0][None, None] * middle.T[None] * bottom.reshape(3, 2, 4)[:, :, x].transpose(2, 0, 1)
        found.append(np.log(joint.sum((1, 2))).mean())
        r = joint / joint.sum((1, 2), keepdims=True)
        top = (r.sum((0, 1)) / len(x))[None]
        middle = (r.sum(0) / r.sum((0, 1))).T
        counts = np.stack([r[x == v].sum(0) for v in range(4)], axis=-1).reshape(6, 4)
        bottom = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose([m["log_prob"] for m in history], found, atol=1e-12)
    for name, expected in (("top", top), ("middle", middle), ("bottom", bottom)):
        np.testing.assert_allclose(np.exp(moved[name]["logits"]), expected, atol=1e-12)


def test_without_latents_it_is_maximum_likelihood(x64):
    generative = vifx.Joint(vifx.factor("x", em.gaussian(1, covariance="full"), name="normal"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    x = clusters(40, 3)
    params, state = start(objective, {"x": jnp.asarray(x)})
    params, _ = run(objective, {"x": jnp.asarray(x)}, 1, params, state)
    np.testing.assert_allclose(params["normal"]["mean"][0], x.mean(0), atol=1e-12)
    scale = np.asarray(params["normal"]["scale_tril"][0])
    np.testing.assert_allclose(scale @ scale.T, np.cov(x.T, bias=True), atol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
def test_chunks_and_stored_features_change_nothing(covariance, x64):
    objective = gaussian_mixture(3, covariance=covariance)
    batch = {"x": jnp.asarray(clusters(101))}
    params, state = start(objective, batch)
    expected, history = run(objective, batch, 4, params, state)
    stored = {**batch, **objective.players["model"].solver.features(state, batch)}
    for chunk, given in ((7, batch), (50, stored), (101, stored), (1000, batch)):
        moved, other = run(objective, given, 4, params, state, chunk=chunk)
        same(moved, expected, 1e-10)
        np.testing.assert_allclose([m["log_prob"] for m in other], [m["log_prob"] for m in history], atol=1e-12)
    values = np.array([m["objective"] for m in history])
    assert (np.diff(values) > 0).all()


@pytest.mark.thorough
def test_eight_devices_agree_with_one(x64):
    objective = gaussian_mixture(3, covariance="full")
    batch = {"x": jnp.asarray(clusters(96))}
    params, state = start(objective, batch)
    expected, history = run(objective, batch, 3, params, state)
    mesh = training.make_mesh()
    assert mesh.size == 8
    moved, other = run(objective, training.shard_batch(batch, mesh), 3, params, state, chunk=5, mesh=mesh)
    same(moved, expected, 1e-10)
    np.testing.assert_allclose([m["log_prob"] for m in other], [m["log_prob"] for m in history], atol=1e-12)
    few = {"x": batch["x"][:90]}
    padded, remaining = run(objective, few, 3, params, state, chunk=5, mesh=mesh), run(objective, few, 3, params, state)
    chex.assert_trees_all_close(padded, remaining, rtol=1e-10, atol=1e-12)


def test_compensated_sums_keep_float32_exact():
    """With 3,000 chunks of one example each, a plain float32 sum is off by far more than its last digit."""
    objective = gaussian_mixture(2)
    x = clusters(3000, dtype=np.float32)
    batch = {"x": jnp.asarray(x)}
    params, state = start(objective, batch)
    moved, history = run(objective, batch, 1, params, state, chunk=1)
    with jax.enable_x64(True):
        exact_params, exact_state = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, state))
        wide = {"x": jnp.asarray(x, jnp.float64)}
        expected, reference = run(objective, wide, 1, exact_params, exact_state)
        # Each summand is rounded, but the 3,000 additions add no error that grows.
        assert abs(float(history[0]["log_prob"]) - float(reference[0]["log_prob"])) < 1e-6
        same(jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), moved), expected, 3e-6)


def test_weights_count_examples(x64):
    objective = gaussian_mixture(3)
    x = clusters(30)
    times = np.random.default_rng(1).integers(0, 4, 30)
    params, state = start(objective, {"x": jnp.asarray(x)})
    weighted = {"x": jnp.asarray(x), "@weights": jnp.asarray(times, jnp.float64)}
    moved, history = run(objective, weighted, 3, params, state, chunk=8)
    repeated, other = run(objective, {"x": jnp.asarray(np.repeat(x, times, axis=0))}, 3, params, state)
    same(moved, repeated, 1e-10)
    np.testing.assert_allclose([m["log_prob"] for m in history], [m["log_prob"] for m in other], atol=1e-12)


def test_given_responsibilities_take_the_place_of_the_posterior(x64):
    objective = gaussian_mixture(3)
    x = clusters(30)
    labels = np.random.default_rng(0).integers(0, 3, 30)
    params, state = start(objective, {"x": jnp.asarray(x)})
    given = {"x": jnp.asarray(x), "@responsibilities": jnp.eye(3)[labels]}
    moved, _ = run(objective, given, 1, params, state, chunk=7)
    for k in range(3):
        own = x[labels == k]
        np.testing.assert_allclose(moved["components"]["mean"][k], own.mean(0), atol=1e-12)
        np.testing.assert_allclose(moved["components"]["scale"][k], own.std(0), atol=1e-10)
    np.testing.assert_allclose(np.exp(moved["weights"]["logits"][0]), np.bincount(labels) / 30, atol=1e-12)


def test_hard_em_of_equal_spheres_is_k_means(x64):
    """At temperature 0, with equal weights and variances, the means follow Lloyd's iterations."""
    objective = gaussian_mixture(3, covariance="spherical", temperature=0.0)
    x = clusters(60, states=3, seed=2)
    _, state = start(objective, {"x": jnp.asarray(x)})
    centres = x[:3].copy()
    step = training.solve(objective, "model", networks=("components",))
    update = jax.jit(lambda params: step.update(jax.random.key(0), Progress(params, state, ()), {"x": jnp.asarray(x)}))
    for _ in range(6):
        equal = {"mean": jnp.asarray(centres), "scale": jnp.ones(3)}
        progress, metrics = update({"weights": {"logits": jnp.zeros((1, 3))}, "components": equal})
        distance = ((x[:, None] - centres[None]) ** 2).sum(-1)
        best = distance.min(1)
        assert abs(metrics["objective"] + (0.5 * best + np.log(2 * np.pi) + np.log(3)).mean()) < 1e-12
        centres = np.stack([x[distance.argmin(1) == k].mean(0) for k in range(3)])
        np.testing.assert_allclose(progress.params["components"]["mean"], centres, atol=1e-12)


@pytest.mark.thorough
def test_annealed_em_ends_where_em_ends(x64):
    objective = gaussian_mixture(3)
    annealed = gaussian_mixture(3, temperature=optax.linear_schedule(5.0, 1.0, 30))
    x = {"x": jnp.asarray(clusters(80, seed=4))}
    params, state = start(annealed, x)
    assert int(state["model@updates"]) == 0
    train_state = training.start(KEY, step := training.solve(annealed, "model"), annealed, x)
    for _ in range(60):
        train_state, metrics = training.compile(step)(train_state, x)
    assert int(train_state.state["model@updates"]) == 60
    _, history = run(objective, x, 60, dict(train_state.params), state)
    assert abs(history[-1]["objective"] - metrics["objective"]) < 1e-3
    # Another power of the joint weighs every state alike in the limit: at a high temperature components merge.
    hot = gaussian_mixture(3, temperature=1e4)
    merged, _ = run(hot, x, 5, params, state)
    np.testing.assert_allclose(merged["components"]["mean"], np.broadcast_to(x["x"].mean(0), (3, 2)), atol=1e-2)


@pytest.mark.thorough
def test_stepwise_em_weighs_minibatches_by_their_rate(x64):
    objective = gaussian_mixture(2)
    x = clusters(40)
    one, two = {"x": jnp.asarray(x[:20])}, {"x": jnp.asarray(x[20:])}
    params, state = start(objective, {"x": jnp.asarray(x)})
    rate = training.cappe_moulines(exponent=0.7, offset=3.0)
    step = training.solve(objective, "model", rate=rate)
    progress = Progress(params, state, step.init(jax.random.key(0), params, state))
    first, _ = step.update(jax.random.key(0), progress, one)
    # The first minibatch counts whole, whatever its rate: it is an EM update.
    full, _ = run(objective, one, 1, params, state)
    same(first.params, full, 1e-10)
    second, _ = step.update(jax.random.key(0), first, two)
    solver = objective.players["model"].solver

    def mean_statistics(params, batch):
        expected = solver.expect(jax.random.key(0), params, state, solver.prepare(params, state), batch)
        return jax.tree.map(lambda leaf: leaf / 20, expected.statistics)

    a, b = 3.0**-0.7, 4.0**-0.7
    old, new = mean_statistics(params, one), mean_statistics(first.params, two)
    norm = (1 - b) * a + b
    mixed = jax.tree.map(lambda s, t: 20 * ((1 - b) * a * s + b * t) / norm, old, new)
    expected = solver.maximize(first.params, state, mixed, ("weights", "components"))
    same(second.params, expected, 1e-10)


@pytest.mark.thorough
def test_stepwise_em_reaches_em_in_two_passes():
    """60,000 points, 8 full covariances: within 1e-3 nats of 100 full updates after 2 passes in minibatches of 500."""
    objective = gaussian_mixture(8, covariance="full")
    x = clusters(60_000, 4, states=8, dtype=np.float32)
    batch, few = {"x": jnp.asarray(x)}, {"x": jnp.asarray(x[:2000])}
    _, state = start(objective, few)
    seeds = {**few, "@responsibilities": em.k_means(jax.random.key(0), few["x"], 8)}
    params, _ = run(objective, seeds, 1, *start(objective, few))
    _, history = run(objective, batch, 100, params, state, chunk=2048)
    step = training.solve(objective, "model", rate=training.cappe_moulines(), examples=60_000)
    given = dataclasses.replace(objective, init=lambda key, batch: (params, state))
    fitted = training.fit(jax.random.key(5), step, given, data.Resident({"x": x}, 500, 0), steps=240)
    _, after = run(objective, batch, 1, dict(fitted.train_state.params), state, chunk=2048)
    assert float(history[0]["log_prob"]) < float(history[-1]["log_prob"]) - 0.01
    assert float(history[-1]["log_prob"]) - float(after[0]["log_prob"]) < 1e-3


@pytest.mark.thorough
def test_deep_em_solves_the_prior_and_descends_the_decoder():
    """A neural decoder: an exact E step, a closed-form prior, gradients for the rest; −log q(x) falls."""
    decoder = networks.Conditional(networks.MLP((8,)), BernoulliHead((6,)), inputs=(networks.OneHot(4),))
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(4), name="prior"), vifx.factor("x | z", decoder, name="decoder")
    )
    inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
    objective = vifx.kl(inference, generative)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (32, 6)), jnp.float32)
    solved = training.solve(objective, "model", networks=("prior",))
    step = training.in_turn(solved, training.descend(objective, "model", optax.sgd(0.1)))
    train_state = training.start(jax.random.key(1), step, objective, {"x": x})
    before = train_state.params
    loss = objective.players["model"].loss(jax.random.key(0), before, train_state.state, {"x": x})[0]
    posterior, _ = inference.factor_of("z").conditional(jax.random.key(0), before, train_state.state, x, train=False)
    moved, _ = solved.update(jax.random.key(0), Progress(before, train_state.state, ()), {"x": x})
    np.testing.assert_allclose(
        np.exp(moved.params["prior"]["logits"][0]), posterior.probs.mean(0), rtol=1e-6, atol=1e-6
    )
    for _ in range(30):
        train_state, metrics = training.compile(step)(train_state, {"x": x})
    assert metrics["loss/model"] < loss - 0.05
    with pytest.raises(ValueError, match="'decoder', which player 'model' owns, is not a family"):
        training.solve(objective, "model")


def test_what_has_no_closed_form_is_refused():
    objective = gaussian_mixture(3)
    encoder, decoder = tabular(4, states=3), tabular(3, states=4)
    vae = vifx.kl(
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder")),
        vifx.Joint(vifx.factor("z", em.categorical(3), name="prior"), vifx.factor("x | z", decoder, name="decoder")),
    )
    with pytest.raises(ValueError, match="has no closed-form turn"):
        training.solve(vae, "model")
    with pytest.raises(ValueError, match="has no closed-form turn"):
        training.solve(objective + vae, "model")
    with pytest.raises(ValueError, match="did you mean 'components'"):
        training.solve(objective, "model", networks=("component",))
    with pytest.raises(ValueError, match="networks must be names"):
        training.solve(objective, "model", networks="components")
    with pytest.raises(ValueError, match="chunk must be an integer ≥ 1, got 0"):
        training.solve(objective, "model", chunk=0)
    with pytest.raises(ValueError, match=r"exponent must be a number in \(0.5, 1\]"):
        training.cappe_moulines(exponent=0.5)
    with pytest.raises(ValueError, match="offset must be a finite number ≥ 1"):
        training.cappe_moulines(offset=0.5)


def test_stepwise_statistics_follow_the_entries_of_the_batch_or_an_example(x64):
    """The evidence may have another name in the batch, and a model that cannot be sampled is given a batch."""
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(2), name="weights"),
        vifx.factor("x | z", em.multinomial(2), name="components"),
    )
    inference = vifx.Joint(vifx.evidence(x="words"), vifx.exact_posterior(generative, "z | x"))
    objective = vifx.kl(inference, generative)
    batch = {"words": jnp.asarray(np.random.default_rng(0).integers(0, 5, (20, 4)))}
    params, state = start(objective, batch)
    expected, _ = run(objective, batch, 1, params, state)
    moved, _ = run(objective, batch, 1, params, state, rate=training.cappe_moulines(), like=batch)
    same(moved, expected, 1e-12)
    with pytest.raises(ValueError, match="trials"):
        run(objective, batch, 1, params, state, rate=training.cappe_moulines())


def test_states_of_a_family_and_of_its_parents_agree():
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(4), name="weights"),
        vifx.factor("x | z", em.gaussian(3), name="components"),
    )
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    with pytest.raises(ValueError, match=r"family of 3 states, but its parents z have 4; give the family states=4"):
        start(objective, {"x": jnp.asarray(clusters(20, dtype=np.float32))})


def test_what_is_no_turn_of_latents_is_refused(x64):
    """Observed parents, factors that share parameters, and objectives that are maximized."""
    x, y = clusters(12), jnp.arange(12) % 3
    generative = vifx.Joint(
        vifx.factor("y", em.categorical(3), name="labels"),
        vifx.factor("x | y", em.gaussian(3), name="components"),
    )
    supervised = vifx.kl(vifx.Joint(vifx.evidence("x", "y")), generative)
    batch = {"x": jnp.asarray(x), "y": y}
    params, state = start(supervised, batch)
    with pytest.raises(ValueError, match="its parent 'y' is observed"):
        run(supervised, batch, 1, params, state)
    shared = em.gaussian(3)
    twice = vifx.Joint(
        vifx.factor("z", em.categorical(3), name="weights"),
        vifx.factor("x | z", shared, name="components"),
        vifx.factor("y | z", shared, name="components"),
    )
    both = vifx.kl(vifx.Joint(vifx.evidence("x", "y"), vifx.exact_posterior(twice, "z | x, y")), twice)
    with pytest.raises(ValueError, match="which share no parameters"):
        training.solve(both, "model")
    with pytest.raises(ValueError, match="has no closed-form turn"):
        training.solve(-1.0 * gaussian_mixture(3), "model")
    assert training.solve(2.0 * gaussian_mixture(3), "model").batches == 1


@pytest.mark.thorough
def test_a_minibatch_without_weight_changes_nothing(x64):
    objective = gaussian_mixture(2)
    batch = {"x": jnp.asarray(clusters(20)), "@weights": jnp.ones(20)}
    params, state = start(objective, batch)
    step = training.solve(objective, "model", rate=training.cappe_moulines())
    update = jax.jit(lambda progress, batch: step.update(jax.random.key(0), progress, batch)[0])
    first = update(Progress(params, state, step.init(jax.random.key(0), params, state)), batch)
    nothing = update(first, {**batch, "@weights": jnp.zeros(20)})
    same(nothing.slot[:2], first.slot[:2], 1e-14)

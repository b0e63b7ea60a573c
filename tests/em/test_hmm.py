"""Hidden Markov models: Baum and Welch's iterations against hmmlearn, paths against enumeration, lengths one by one."""

from __future__ import annotations

import itertools
import logging

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hmmlearn.hmm import CategoricalHMM, GaussianHMM, PoissonHMM

import vifx
from vifx import em, training

pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning:hmmlearn")

SEQUENCES, LENGTH, STATES = 6, 9, 3
GENERATOR = np.random.default_rng(0)
MEANS = np.array([[-1.0, 0.0], [1.5, 1.0], [0.0, -2.0]])
HIDDEN = GENERATOR.integers(0, STATES, size=(SEQUENCES, LENGTH))
VECTORS = MEANS[HIDDEN] + GENERATOR.normal(size=(SEQUENCES, LENGTH, 2))
SYMBOLS = np.where(GENERATOR.uniform(size=HIDDEN.shape) < 0.7, HIDDEN, GENERATOR.integers(0, 4, size=HIDDEN.shape))
PATHS = np.array(list(itertools.product(range(STATES), repeat=4)))
KEY = jax.random.key(0)
KINDS = {
    "diagonal": (em.gaussian, {"covariance": "diagonal", "floor": 0.0}, VECTORS),
    "full": (em.gaussian, {"covariance": "full", "floor": 0.0}, VECTORS),
    "categorical": (lambda states: em.categorical(4, states=states), {}, SYMBOLS),
    "poisson": (em.poisson, {}, GENERATOR.poisson(np.exp(MEANS[HIDDEN]) + 0.2)),
}


def start(model, x, seed=0):
    """Parameters away from symmetry."""
    params, state = jax.jit(model.objective.init)(jax.random.key(seed), {"x": jnp.asarray(x)})
    noise = np.random.default_rng(seed)
    chain = {"initial": noise.normal(size=STATES), "transitions": noise.normal(size=(STATES, STATES))}
    return {**params, "chain": jax.tree.map(jnp.asarray, chain)}, state


def turns(objective, params, state, batch, number, **options):
    """Iterations of `solve`: all parameters, and the mean log-likelihood before each."""
    step = training.solve(objective, "model", **options)

    def turn(progress, _):
        after, metrics = step.update(jax.random.key(0), progress, batch)
        return after, (progress.params, metrics)

    run = jax.jit(lambda p: jax.lax.scan(turn, training.Progress(p, state, ()), length=number))
    progress, (params, metrics) = run(params)
    return progress.params, params, metrics


def peer_of(kind, params, turns):
    """hmmlearn's model at the same parameters, without its priors and floors."""
    chain = jax.tree.map(lambda leaf: np.asarray(jax.nn.softmax(leaf)), params["chain"])
    common = {"n_iter": turns, "tol": -np.inf, "init_params": "", "startprob_prior": 1.0, "transmat_prior": 1.0}
    if kind == "categorical":
        peer = CategoricalHMM(STATES, emissionprob_prior=1.0, n_features=4, **common)
        peer.emissionprob_ = np.asarray(jax.nn.softmax(params["emissions"]["logits"]))
    elif kind == "poisson":
        peer = PoissonHMM(STATES, lambdas_prior=0.0, lambdas_weight=0.0, **common)
        peer.lambdas_ = np.exp(np.asarray(params["emissions"]["log_rate"]))
    else:
        own = params["emissions"]
        peer = GaussianHMM(
            STATES,
            covariance_type="diag" if kind == "diagonal" else "full",
            min_covar=0.0,
            means_prior=0.0,
            means_weight=0.0,
            covars_prior=0.0,
            covars_weight=1.0,
            **common,
        )
        peer.means_ = np.asarray(own["mean"])
        scale = np.asarray(own["scale"] if kind == "diagonal" else own["scale_tril"])
        peer.covars_ = scale**2 if kind == "diagonal" else scale @ np.swapaxes(scale, -1, -2)
    peer.startprob_, peer.transmat_ = chain["initial"], chain["transitions"]
    return peer


@pytest.mark.first(1)
@pytest.mark.parametrize("kind", KINDS)
def test_every_turn_is_hmmlearns(x64, kind, caplog):
    make, options, x = KINDS[kind]
    model = em.hmm(make, STATES, length=LENGTH, **options)
    params, state = start(model, x)
    batch = {"x": jnp.asarray(x)}
    last, _, metrics = turns(model.objective, params, state, batch, 12)
    peer = peer_of(kind, params, 12)
    caplog.set_level(logging.ERROR, "hmmlearn")
    peer.fit(x.reshape(SEQUENCES * LENGTH, -1), [LENGTH] * SEQUENCES)
    np.testing.assert_allclose(metrics["log_prob"] * SEQUENCES, list(peer.monitor_.history), rtol=0, atol=1e-8)
    assert np.diff(metrics["log_prob"]).min() > -1e-12
    np.testing.assert_allclose(jax.nn.softmax(last["chain"]["transitions"]), peer.transmat_, atol=1e-8)
    np.testing.assert_allclose(jax.nn.softmax(last["chain"]["initial"]), peer.startprob_, atol=1e-8)
    # The marginals and the path of the fitted model.
    posterior = jax.jit(lambda p: model.posterior(p, state, batch["x"]).marginals)(last)
    flat = x.reshape(SEQUENCES * LENGTH, -1)
    np.testing.assert_allclose(posterior.reshape(-1, STATES), peer.predict_proba(flat, [LENGTH] * SEQUENCES), atol=1e-7)
    path = em.most_likely_path(model, last, state, x)
    np.testing.assert_array_equal(path.ravel(), peer.predict(flat, [LENGTH] * SEQUENCES))
    each = [peer.score(sequence.reshape(LENGTH, -1)) for sequence in x]
    np.testing.assert_allclose(model.log_prob(last, state, x), each, rtol=0, atol=1e-7)


def test_a_chain_that_is_known_stays_and_the_rest_is_hmmlearns(x64, caplog):
    """With the transitions held fixed, which hmmlearn leaves alone as well."""
    params, state = start(em.hmm(em.gaussian, STATES, length=LENGTH, covariance="diagonal", floor=0.0), VECTORS)
    known = {"transitions": params["chain"]["transitions"]}
    model = em.hmm(em.gaussian, STATES, length=LENGTH, covariance="diagonal", floor=0.0, chain=known)
    peer = peer_of("diagonal", params, 8)
    peer.params = "smc"
    own = {**params, "chain": {"initial": params["chain"]["initial"]}}
    last, _, metrics = turns(model.objective, own, state, {"x": jnp.asarray(VECTORS)}, 8)
    caplog.set_level(logging.ERROR, "hmmlearn")
    peer.fit(VECTORS.reshape(SEQUENCES * LENGTH, -1), [LENGTH] * SEQUENCES)
    np.testing.assert_allclose(metrics["log_prob"] * SEQUENCES, list(peer.monitor_.history), rtol=1e-10)
    np.testing.assert_allclose(jax.nn.softmax(last["chain"]["initial"]), peer.startprob_, atol=1e-9)
    assert {*last["chain"]} == {"initial"}
    free, held = em.hmm(em.gaussian, STATES, length=LENGTH), em.hmm(em.gaussian, STATES, length=LENGTH, chain=known)
    assert free.solver.degrees(params) - held.solver.degrees(own) == STATES * (STATES - 1)


@pytest.mark.thorough
def test_scans_and_chunks_and_weights_agree(x64):
    found = {}
    weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 3.0])
    many = np.repeat(VECTORS, weights.astype(int), axis=0)
    for name, parallel, x, extra, options in (
        ("scan", False, VECTORS, {}, {}),
        ("parallel", True, VECTORS, {}, {}),
        ("chunks", False, VECTORS, {}, {"chunk": 4}),
        ("weighted", False, VECTORS, {"@weights": jnp.asarray(weights)}, {}),
        ("repeated", False, many, {}, {}),
    ):
        model = em.hmm(em.gaussian, STATES, length=LENGTH, parallel=parallel)
        params, state = start(model, VECTORS)
        found[name] = turns(model.objective, params, state, {"x": jnp.asarray(x), **extra}, 5, **options)
    for one, other in (("scan", "parallel"), ("scan", "chunks"), ("weighted", "repeated")):
        chex.assert_trees_all_close(found[one], found[other], rtol=1e-7, atol=1e-10)
    assert abs(float(found["scan"][2]["log_prob"][4] - found["weighted"][2]["log_prob"][4])) > 1e-3


def lengths_joints(length, **options):
    generative = vifx.Joint(
        vifx.evidence("lengths"),
        vifx.factor("z | lengths", em.markov_chain(STATES, length=length, **options), name="chain"),
        vifx.factor("x | z, lengths", em.each_step(em.gaussian(STATES)), name="emissions"),
    )
    inference = vifx.Joint(vifx.evidence("x", "lengths"), vifx.exact_posterior(generative, "z | x, lengths"))
    return generative, vifx.kl(inference, generative)


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
def test_sequences_of_several_lengths_are_hmmlearns_and_ends_count_for_nothing(x64, parallel):
    lengths = np.array([9, 4, 1, 7, 2, 9])
    padded = np.where(np.arange(LENGTH)[None, :, None] < lengths[:, None, None], VECTORS, 1e3)
    _, objective = lengths_joints(LENGTH, parallel=parallel)
    batch = {"x": jnp.asarray(padded), "lengths": jnp.asarray(lengths)}
    first, state = jax.jit(objective.init)(jax.random.key(0), batch)
    # The start comes from what is no filling.
    assert np.abs(first["emissions"]["mean"]).max() < 10
    params, _ = start(em.hmm(em.gaussian, STATES, length=LENGTH), VECTORS)
    last, each, metrics = turns(objective, params, state, batch, 6)
    peer = peer_of("full", params, 6)
    flat = np.concatenate([own[:n] for own, n in zip(padded, lengths, strict=True)])
    peer.fit(flat, lengths)
    np.testing.assert_allclose(metrics["log_prob"] * SEQUENCES, list(peer.monitor_.history), rtol=0, atol=1e-8)
    np.testing.assert_allclose(jax.nn.softmax(last["chain"]["transitions"]), peer.transmat_, atol=1e-8)
    np.testing.assert_allclose(jax.nn.softmax(last["chain"]["initial"]), peer.startprob_, atol=1e-8)
    np.testing.assert_allclose(last["emissions"]["mean"], peer.means_, atol=1e-8)
    # The loss is the same, and what the log-likelihood of each sequence alone adds up to.
    at = jax.tree.map(lambda leaf: leaf[0], each)
    loss = jax.jit(jax.value_and_grad(lambda p: objective.players["model"].loss(jax.random.key(0), p, state, batch)[0]))
    value, gradient = loss(at)

    def alone(p):
        total = 0.0
        for own, n in zip(padded, lengths, strict=True):
            model = em.hmm(em.gaussian, STATES, length=int(n))
            total = total - model.log_prob(p, state, own[None, :n])[0] / SEQUENCES
        return total

    expected, slope = jax.jit(jax.value_and_grad(alone))(at)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-11)
    chex.assert_trees_all_close(gradient, slope, rtol=1e-7, atol=1e-10)


def enumerated(model, params, state, x):
    """``log q(x, z)`` of every path, ``[paths, sequences]``."""

    def one(path):
        values = {"x": x, "z": jnp.broadcast_to(path, x.shape[:2])}
        return sum(model.generative.log_prob(params, state, values).values())

    return jax.jit(jax.vmap(one))(jnp.asarray(PATHS))


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
def test_the_path_and_tempered_posteriors_are_those_of_all_paths(x64, parallel):
    x = jnp.asarray(VECTORS[:, :4])
    model = em.hmm(em.gaussian, STATES, length=4)
    params, state = start(model, x)
    log_prob = np.asarray(enumerated(model, params, state, x))
    best = log_prob.argmax(axis=0)
    np.testing.assert_array_equal(em.most_likely_path(model, params, state, x), PATHS[best])
    temperatures = (1.0, 2.5, 0.0)
    # Half of the update count, as a schedule that a program reads; and two numbers that it is made with.
    scheduled = em.hmm(em.gaussian, STATES, length=4, temperature=lambda count: count / 2, parallel=parallel)

    def at(model, state):
        prepared = model.solver.prepare(params, state)

        def objective(x):
            return model.solver.expect(jax.random.key(0), params, state, prepared, {"x": x[None]}).log_prob

        return model.posterior(params, state, x).marginals, jax.vmap(objective)(x), model.log_prob(params, state, x)

    counts = jnp.array([2, 5, 0], jnp.int32)
    found = jax.jit(jax.vmap(lambda count: at(scheduled, {**state, "model@updates": count})))(counts)
    cases = [(t, jax.tree.map(lambda leaf, i=i: leaf[i], found)) for i, t in enumerate(temperatures)]
    for t in () if parallel else (2.5, 0.0):
        fixed = em.hmm(em.gaussian, STATES, length=4, temperature=t)
        cases.append((t, jax.jit(lambda fixed=fixed: at(fixed, state))()))
    for temperature, (marginals, value, cold) in cases:
        np.testing.assert_allclose(cold, scipy.special.logsumexp(log_prob, axis=0), rtol=0, atol=1e-11)
        if temperature:
            scaled = log_prob / temperature
            total = scipy.special.logsumexp(scaled, axis=0)
            share, expected = np.exp(scaled - total), temperature * total
        else:
            share, expected = np.eye(len(PATHS))[best].T, log_prob.max(axis=0)
        np.testing.assert_allclose(marginals, np.einsum("pn,ptk->ntk", share, np.eye(STATES)[PATHS]), atol=1e-12)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-11)


@pytest.mark.thorough
def test_viterbi_training_climbs_the_density_of_the_best_path(x64):
    model = em.hmm(em.gaussian, STATES, length=LENGTH, covariance="tied", temperature=0.0)
    params, state = start(model, VECTORS)
    _, _, metrics = turns(model.objective, params, state, {"x": jnp.asarray(VECTORS)}, 8)
    assert np.diff(metrics["log_prob"]).min() > -1e-12
    assert metrics["log_prob"][-1] - metrics["log_prob"][0] > 1e-2


@pytest.mark.thorough
def test_fit_continues_and_samples_follow_the_chain(x64):
    model = em.hmm(em.gaussian, STATES, length=LENGTH)
    params, state = start(model, VECTORS)
    fitted = em.fit(jax.random.key(0), model, VECTORS, start=(params, state), steps=6, tolerance=0.0)
    np.testing.assert_allclose(
        fitted.history, turns(model.objective, params, state, {"x": jnp.asarray(VECTORS)}, 7)[2]["log_prob"], atol=1e-10
    )
    assert fitted.degrees == (STATES - 1) + STATES * (STATES - 1) + STATES * (2 + 3)
    drawn = model.sample(jax.random.key(1), fitted.params, state, 4000)
    z, x = np.asarray(drawn["z"]), np.asarray(drawn["x"])
    pairs = np.zeros((STATES, STATES))
    np.add.at(pairs, (z[:, :-1].ravel(), z[:, 1:].ravel()), 1)
    expected = jax.nn.softmax(fitted.params["chain"]["transitions"])
    np.testing.assert_allclose(pairs / pairs.sum(1, keepdims=True), expected, atol=0.03)
    means = np.stack([x[z == k].mean(0) for k in range(STATES)])
    np.testing.assert_allclose(means, fitted.params["emissions"]["mean"], atol=0.1)


def test_bad_input():
    model = em.hmm(em.gaussian, 2, length=5)
    with pytest.raises(ValueError, match=r"sequences \[sequences, 5, ...\], got shape \[7, 2\]"):
        em.fit(jax.random.key(0), model, np.zeros((7, 2)))
    with pytest.raises(ValueError, match="hmm: states must be an integer ≥ 1, got 0"):
        em.hmm(em.gaussian, 0, length=5)
    with pytest.raises(ValueError, match="markov_chain: length must be an integer ≥ 1, got 0"):
        em.hmm(em.gaussian, 2, length=0)


@pytest.mark.thorough
def test_a_fit_starts_from_names_and_from_labels_of_steps(x64):
    generator = np.random.default_rng(0)
    z = (generator.random((12, 30)).cumsum(axis=1) // 5).astype(int) % 3
    x = generator.normal(size=(12, 30, 2)) + 8 * np.array([[0, 0], [1, 1], [2, 0]])[z]
    model = em.hmm(em.gaussian, 3, length=30, covariance="diagonal")
    best = em.fit(jax.random.key(0), model, x, start=z, tolerance=1e-8)
    assert (np.diff(best.history) > -1e-12).all()
    for start in ("k-means", "random"):
        found = em.fit(jax.random.key(1), model, x, start=start, restarts=3, tolerance=1e-8)
        assert abs(found.history[-1] - best.history[-1]) < 1e-5
    # BIC counts steps, of which there are 360, as hmmlearn does.
    expected = best.degrees * np.log(360) - 2 * np.asarray(best.log_prob(x)).sum()
    assert abs(best.bic() - expected) < 1e-9 * abs(expected)
    path = em.most_likely_path(model, best.params, best.state, x)
    assert (np.asarray(path) == z).mean() > 0.99


@pytest.mark.thorough
def test_a_state_that_nothing_reaches_is_reported_and_the_fit_ends(x64):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(6, 10, 1))
    model = em.hmm(em.gaussian, 2, length=10, covariance="diagonal")
    start = np.zeros((6, 10), int)
    params, state = em.starts(jax.random.key(0), model, model.batch(x), start, 1)
    params = jax.tree.map(lambda leaf: leaf[0], params)
    params["chain"]["initial"] = jnp.array([0.0, -1e30])
    params["chain"]["transitions"] = jnp.array([[0.0, -1e30], [0.0, 0.0]])
    found = em.fit(jax.random.key(0), model, x, start=(params, state), tolerance=1e-8, steps=50)
    assert found.converged
    assert found.messages == ("empty states of 'z' at the end, by start: 1",)
    expected = -0.5 * np.log(2 * np.pi * x.var()) - 0.5
    assert abs(found.history[-1] - 10 * expected) < 1e-9


BAD_LENGTHS = [
    ([3, 0], r"lengths must be from 1 to 3, .* got 0 for sequence 1, and 0 more"),
    ([4, -1], r"lengths must be from 1 to 3, .* got 4 for sequence 0, and 1 more"),
    ([3.0, 2.0], r"integers \[2\]|integers \[examples\]"),
    (
        [3],
        r"integers \[2\], one for each sequence|examples disagrees: \{'x': 2, 'lengths': 1\}|batch shape \[1\]",
    ),
    ([[3], [2]], r"\[examples\]"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("wrong", "message"), BAD_LENGTHS)
def test_concrete_lengths_are_checked_wherever_they_are_taken(x64, wrong, message):
    """By init, the loss, the E step, the posterior, the conditionals of both factors, and `EachStep` alone."""
    generative, objective = lengths_joints(3)
    inference = objective.parts[0].inference
    x, right = jnp.asarray(VECTORS[:2, :3]), jnp.array([3, 2])
    params, state = objective.init(KEY, {"x": x, "lengths": right})
    wrong = jnp.asarray(wrong)
    batch = {"x": x, "lengths": wrong}
    player, emissions = objective.players["model"], generative.factor_of("x")
    paths = jnp.zeros((2, 3), int)
    ready = player.solver.prepare(params, state)
    calls = [
        lambda: objective.init(KEY, batch),
        lambda: player.loss(KEY, params, state, batch),
        lambda: player.solver.expect(KEY, params, state, ready, batch),
        lambda: inference.factor_of("z").conditional(KEY, params, state, x, wrong, train=False),
        lambda: emissions.conditional(KEY, params["emissions"], state["emissions"], paths, wrong, train=False),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.thorough
def test_lengths_that_are_out_of_range_in_compiled_code_are_not_a_number(x64):
    """Where values cannot be read, the loss is NaN and EM's objective not finite, which stops a run."""
    _, objective = lengths_joints(3)
    x = jnp.asarray(VECTORS[:2, :3])
    params, state = objective.init(KEY, {"x": x, "lengths": jnp.array([3, 2])})
    loss = jax.jit(lambda lengths: objective.players["model"].loss(KEY, params, state, {"x": x, "lengths": lengths})[0])
    assert np.isfinite(loss(jnp.array([3, 2])))
    for wrong in ([3, 0], [4, 2], [-1, 2]):
        assert np.isnan(loss(jnp.array(wrong)))
    step = training.solve(objective, "model")
    progress = training.Progress(params, state, ())
    update = jax.jit(lambda lengths: step.update(KEY, progress, {"x": x, "lengths": lengths})[1]["objective"])
    assert np.isfinite(update(jnp.array([3, 2])))
    assert not np.isfinite(update(jnp.array([3, 0])))

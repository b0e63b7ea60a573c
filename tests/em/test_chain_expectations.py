"""Chains as latents: `kl` against enumeration of all K^T sequences, by value and by gradient, and what it refuses."""

from __future__ import annotations

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import vifx
from vifx import em, training
from vifx.core.nets import from_functions
from vifx.distributions import Categorical, MarkovChain, Normal

EXAMPLES, LENGTH, STATES = 4, 4, 3
PATHS = jnp.asarray(np.array(list(itertools.product(range(STATES), repeat=LENGTH))))
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(EXAMPLES, LENGTH, 2))
SYMBOLS = GENERATOR.integers(0, 4, size=(EXAMPLES, LENGTH))
LABELS = GENERATOR.normal(size=(EXAMPLES, 2))


def head():
    """A network of one step: a normal with a mean that is a nonlinear function of the state, and a covariate."""

    def init(key, state, *other):
        del state
        size = 1 + sum(value.shape[-1] for value in other)
        return {"row": jax.random.normal(key, (STATES, 2)), "mix": 0.3 * jnp.ones((size, 2))}

    def apply(params, state, *other):
        inputs = jnp.concatenate([jnp.ones((len(state), 1)), *other], axis=1)
        return Normal(jnp.tanh(params["row"][state]) + inputs @ params["mix"], jnp.full((len(state), 2), 0.8)).to_event(
            1
        )

    return from_functions(init, apply)


def prior_of(parallel, **options):
    return vifx.factor("z", em.markov_chain(STATES, length=LENGTH, parallel=parallel, **options), name="chain")


def gaussian(parallel=False):
    emission = em.each_step(em.gaussian(STATES, covariance="full"))
    return vifx.Joint(prior_of(parallel), vifx.factor("x | z", emission, name="emissions")), ("x",), {"x": X}


def two_emissions(parallel=False):
    """A network and a table, of one chain, beside a variable that does not depend on it."""
    generative = vifx.Joint(
        prior_of(parallel),
        vifx.factor("y", em.gaussian(1), name="alone"),
        vifx.factor("x | z", em.each_step(head()), name="network"),
        vifx.factor("s | z", em.each_step(em.categorical(4, states=STATES)), name="table"),
    )
    return generative, ("x", "s", "y"), {"x": X, "s": SYMBOLS, "y": LABELS}


def covariate(parallel=False):
    """Everything is given an input: a network makes the transitions, the emission reads each step of it."""

    def init(key, u):
        return {"table": jax.random.normal(key, (u.shape[-1], STATES, STATES)), "first": jnp.zeros((STATES,))}

    def apply(params, u):
        first = jnp.broadcast_to(params["first"], (len(u), STATES))
        return MarkovChain(first, jnp.einsum("ntd,dij->ntij", u[:, 1:], params["table"]), LENGTH, parallel=parallel)

    generative = vifx.Joint(
        vifx.evidence("u"),
        vifx.factor("z | u", from_functions(init, apply), name="transitions"),
        vifx.factor("x | z, u", em.each_step(head()), name="network"),
    )
    return generative, ("x", "u"), {"x": X, "u": GENERATOR.normal(size=(EXAMPLES, LENGTH, 3))}


def objective_of(made, **options):
    generative, observed, batch = made
    notation = f"z | {', '.join(observed)}"
    inference = vifx.Joint(vifx.evidence(*observed), vifx.exact_posterior(generative, notation, **options))
    return vifx.kl(inference, generative), {name: jnp.asarray(value) for name, value in batch.items()}


def started(objective, batch):
    """Parameters away from symmetry, and not so narrow that densities round."""
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    noise = np.random.default_rng(1)
    moved = jax.tree.map(lambda leaf: leaf + 0.3 * noise.normal(size=leaf.shape), params)
    if "emissions" in moved:
        moved["emissions"]["scale_tril"] = moved["emissions"]["scale_tril"] + jnp.eye(2)[None]
    return moved, state


def all_paths(generative, params, state, batch):
    """``log q(x, z)`` of every sequence of states, by `Joint.log_prob`, ``[paths, examples]``."""

    def one(path):
        values = {**batch, "z": jnp.broadcast_to(path, (EXAMPLES, LENGTH))}
        return sum(generative.log_prob(params, state, values).values())

    return jax.vmap(one)(PATHS)


@pytest.mark.first(1)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("make", [gaussian, two_emissions, covariate])
def test_the_loss_is_minus_the_log_likelihood(x64, make, parallel):
    made = make(parallel)
    objective, batch = objective_of(made)
    params, state = started(objective, batch)

    def enumerated(params):
        return -jnp.mean(jax.scipy.special.logsumexp(all_paths(made[0], params, state, batch), axis=0))

    def loss(params):
        return objective.players["model"].loss(jax.random.key(0), params, state, batch)

    (value, aux), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    expected, slope = jax.jit(jax.value_and_grad(enumerated))(params)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-11)
    chex.assert_trees_all_close(gradient, slope, rtol=0, atol=1e-10)
    assert set(aux.metrics) == {"kl/z", "elbo", *(f"nll/{name}" for name in made[1] if name != "u")}
    # The posterior of every path.
    log_prob = np.asarray(jax.jit(partial(all_paths, made[0]))(params, state, batch))
    posterior = objective.parts[0].inference.factor_of("z")
    known = [batch[name] for name in posterior.given]

    @jax.jit
    def of_paths(paths):
        conditional, _ = posterior.conditional(jax.random.key(0), params, state, *known, train=False)
        return jax.vmap(conditional.log_prob)(paths)

    found = of_paths(jnp.broadcast_to(PATHS[:, None], (len(PATHS), EXAMPLES, LENGTH)))
    np.testing.assert_allclose(found, log_prob - scipy.special.logsumexp(log_prob, axis=0), rtol=0, atol=1e-11)


def test_a_chain_as_encoder_has_the_enumerated_divergence(x64):
    """A structured posterior that a network makes: the loss and its gradient in both joints."""

    def init(key, x):
        return {"to": jax.random.normal(key, (x.shape[-1], STATES, STATES))}

    def apply(params, x):
        logits = jnp.einsum("ntd,dij->ntij", x, params["to"])
        return MarkovChain(logits[:, 0, 0], logits[:, 1:], LENGTH)

    encoder = vifx.factor("z | x", from_functions(init, apply), name="encoder")
    generative, _, batch = gaussian()
    inference = vifx.Joint(vifx.evidence("x"), encoder)
    objective, batch = vifx.kl(inference, generative), {"x": jnp.asarray(batch["x"])}
    params, state = started(objective, batch)

    def enumerated(params):
        values = jnp.broadcast_to(PATHS[:, None], (len(PATHS), EXAMPLES, LENGTH))
        log_p = jax.vmap(apply(params["encoder"], batch["x"]).log_prob)(values)
        return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - all_paths(generative, params, state, batch)), axis=0))

    loss = jax.jit(jax.value_and_grad(lambda p: objective.players["model"].loss(jax.random.key(0), p, state, batch)[0]))
    (value, gradient), (expected, slope) = loss(params), jax.jit(jax.value_and_grad(enumerated))(params)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-11)
    chex.assert_trees_all_close(gradient, slope, rtol=0, atol=1e-10)
    assert float(jnp.abs(gradient["encoder"]["to"]).max()) > 1e-3


@pytest.mark.thorough
def test_statistics_of_a_turn_are_those_of_all_paths(x64):
    made = two_emissions()
    objective, batch = objective_of(made)
    params, state = started(objective, batch)
    weights = np.array([1.0, 0.5, 0.0, 2.0])
    closed = objective.players["model"].solver
    run = jax.jit(lambda p, b: closed.expect(jax.random.key(0), p, state, closed.prepare(p, state), b))
    found = run(params, {**batch, "@weights": jnp.asarray(weights)})
    log_prob = np.asarray(jax.jit(partial(all_paths, made[0]))(params, state, batch))
    total = scipy.special.logsumexp(log_prob, axis=0)
    share = np.exp(log_prob - total) * weights
    states = np.eye(STATES)[PATHS]
    first, pairs = found.statistics["chain"]
    np.testing.assert_allclose(first, np.einsum("pn,pk->k", share, states[:, 0]), atol=1e-12)
    np.testing.assert_allclose(pairs, np.einsum("pn,pti,ptj->ij", share, states[:, :-1], states[:, 1:]), atol=1e-12)
    table = np.einsum("pn,ptk,ntc->kc", share, states, np.eye(4)[SYMBOLS])
    np.testing.assert_allclose(jax.tree.leaves(found.statistics["table"])[0], table, atol=1e-12)
    np.testing.assert_allclose(found.counts["z"], np.einsum("pn,ptk->k", share, states), atol=1e-12)
    np.testing.assert_allclose([found.log_prob, found.weight], [np.sum(weights * total), weights.sum()], rtol=1e-12)
    given = np.random.default_rng(2).dirichlet(np.ones(STATES), size=(EXAMPLES, LENGTH))
    found = run(params, {**batch, "@responsibilities": jnp.asarray(given)})
    with pytest.raises(ValueError, match=r"those of every step, \[examples, length, states\] = \[4, 4, 3\]"):
        run(params, {**batch, "@responsibilities": jnp.asarray(given[:, 0])})
    table = np.einsum("ntk,ntc->kc", given, np.eye(4)[SYMBOLS])
    np.testing.assert_allclose(jax.tree.leaves(found.statistics["table"])[0], table, atol=1e-12)


def test_an_impossible_sequence_counts_for_nothing(x64):
    emission = em.each_step(em.categorical(2, states=2))
    generative = vifx.Joint(
        vifx.factor("z", em.markov_chain(2, length=3), name="chain"), vifx.factor("x | z", emission, name="table")
    )
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    x = jnp.array([[0, 1, 1], [0, 0, 1], [0, 1, 0]])
    # State 0 emits 0 alone, state 1 emits 1 alone and is never left: the last sequence cannot be.
    params = {
        "chain": {
            "initial": jnp.log(jnp.array([0.5, 0.5])),
            "transitions": jnp.log(jnp.array([[0.25, 0.75], [0.0, 1.0]])),
        },
        "table": {"logits": jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])},
    }
    step = training.solve(objective, "model")
    progress, metrics = jax.jit(lambda p: step.update(jax.random.key(0), training.Progress(p, {}, ()), {"x": x}))(
        params
    )
    assert float(metrics["log_prob"]) == -np.inf
    new = jax.tree.map(np.asarray, jax.tree.map(jax.nn.softmax, progress.params["chain"]))
    np.testing.assert_allclose(new["initial"], [1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(new["transitions"], [[1 / 3, 2 / 3], [0.0, 1.0]], atol=1e-15)
    weighted = {"x": x, "@weights": jnp.array([1.0, 1.0, 0.0])}
    _, metrics = jax.jit(lambda p: step.update(jax.random.key(0), training.Progress(p, {}, ()), weighted))(params)
    expected = (np.log(0.5 * 0.75) + np.log(0.5 * 0.25 * 0.75)) / 2
    np.testing.assert_allclose(metrics["log_prob"], expected, rtol=1e-13)


@pytest.mark.thorough
def test_single_precision_over_a_long_sequence():
    """The messages are scaled, so that the error of a marginal does not grow with the length."""
    length = 2000
    x = np.random.default_rng(0).normal(size=(1, length, 2)) * 3
    marginals = {}
    for wide in (False, True):
        with jax.enable_x64(wide):
            dtype = jnp.float64 if wide else jnp.float32
            chain = em.markov_chain(STATES, length=length)
            emission = em.each_step(em.gaussian(STATES, covariance="diagonal"))
            generative = vifx.Joint(
                vifx.factor("z", chain, name="chain"), vifx.factor("x | z", emission, name="emissions")
            )
            posterior = vifx.exact_posterior(generative, "z | x")
            value = jnp.asarray(x, dtype)
            _, state = jax.jit(partial(generative.init, examples=1))(jax.random.key(0), {"x": value})
            means = jnp.asarray([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]], dtype)
            params = {
                "chain": {"initial": jnp.zeros(STATES, dtype), "transitions": 2 * jnp.eye(STATES, dtype=dtype)},
                "emissions": {"mean": means, "scale": jnp.ones((STATES, 2), dtype)},
            }
            run = jax.jit(
                lambda p, s, v, f=posterior: f.conditional(jax.random.key(0), p, s, v, train=False)[0].marginals
            )
            marginals[wide] = np.asarray(run(params, state, value))
    assert marginals[False].dtype == np.float32
    np.testing.assert_allclose(marginals[False], marginals[True], atol=2e-5)


@pytest.mark.thorough
def test_what_cannot_be_done_is_refused():
    batch = {"x": jnp.asarray(X, jnp.float32), "s": jnp.asarray(SYMBOLS)}
    emission = em.each_step(em.gaussian(STATES))
    generative, _, _ = gaussian()
    after = vifx.factor("w | z", lambda z: Categorical(jnp.zeros((len(z), 2))))
    encoder = vifx.factor("z | x", lambda x: MarkovChain(jnp.zeros((len(x), 3)), jnp.zeros((3, 3)), LENGTH))
    both = vifx.Joint(prior_of(False), after, vifx.factor("x | z, w", head(), name="network"))
    params, state = jax.jit(partial(generative.init, examples=EXAMPLES))(jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"known\(w \| z\) is a latent beside the chain chain\(z\)"):
        vifx.exact_posterior(both, "z | x").conditional(
            jax.random.key(0), {**params, "network": {}}, state, batch["x"], train=False
        )
    loss = vifx.kl(
        vifx.Joint(vifx.evidence("x"), encoder, after), vifx.Joint(prior_of(False), after, *generative.factors[1:])
    )
    with pytest.raises(ValueError, match="may have no further latent after it"):
        loss.players["model"].loss(jax.random.key(0), params, state, batch)
    two = em.each_step(em.gaussian(2))
    own_params, own_state = jax.jit(two.init)(jax.random.key(0), batch["x"], jnp.zeros((EXAMPLES, LENGTH), int))
    made = ({**params, "two": own_params}, {"two": own_state})
    wrong = vifx.Joint(prior_of(False), vifx.factor("x | z", two, name="two"))
    with pytest.raises(
        ValueError, match=r"two\(x \| z\): its log-densities have shape \[4, 4, 2\], but 'z' is a chain"
    ):
        vifx.exact_posterior(wrong, "z | x").conditional(jax.random.key(0), *made, batch["x"], train=False)

    def whole(z):
        return Normal(z[..., None].astype(jnp.float32), jnp.ones((*z.shape, 2))).to_event(2)

    mixed = vifx.Joint(prior_of(False), vifx.factor("x | z", whole))
    with pytest.raises(ValueError, match=r"Independent does not promise; make it with em.each_step"):
        vifx.exact_posterior(mixed, "z | x").conditional(jax.random.key(0), params, state, batch["x"], train=False)
    other = vifx.Joint(
        vifx.factor("z", Categorical(jnp.zeros((LENGTH, STATES))).to_event(1)),
        vifx.factor("x | z", emission, name="emissions"),
    )
    against = vifx.kl(vifx.Joint(vifx.evidence("x"), encoder), other)
    with pytest.raises(
        ValueError, match=r"known\(z \| x\) takes expectations by itself, so Categorical\(z\) must be of a kind that"
    ):
        against.players["model"].loss(jax.random.key(0), params, state, batch)
    with pytest.raises(ValueError, match=r"values must be sequences \[examples, length, ...\], got shape \[3\]"):
        emission.features({}, jnp.zeros(3))
    with pytest.raises(ValueError, match="at most one vector of integers"):
        emission.apply({}, {}, jnp.zeros((2, 3), int), jnp.zeros(2))
    with pytest.raises(TypeError, match="each_step: emission must be a Family"):
        em.each_step(3)

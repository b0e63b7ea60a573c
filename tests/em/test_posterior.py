"""The exact posterior: the E step as a factor, against enumeration in NumPy, by value and by gradient."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import em, training
from vifx.core.nets import from_functions
from vifx.distributions import Bernoulli, Categorical, Finite
from vifx.verification import tabular

BATCH = {"x": jnp.array([0, 1, 1, 3, 2, 0]), "y": jnp.array([0, 0, 1, 1, 1, 0])}


def bernoulli_vector(size):
    """A prior over binary vectors."""

    def init(key):
        return jax.random.normal(key, (size,))

    return from_functions(init, lambda logits: Bernoulli(logits).to_event(1))


def of_bits(size, states):
    """A decoder of binary vectors: a free row for each."""

    def init(key, bits):
        del bits
        return jax.random.normal(key, (2**size, states))

    def apply(table, bits):
        return Categorical(table[(bits.astype(int) @ 2 ** jnp.arange(size)[::-1])])

    return from_functions(init, apply)


def single():
    generative = vifx.Joint(
        vifx.factor("z", tabular(states=3), name="prior"),
        vifx.factor("x | z", tabular(3, states=4), name="decoder"),
    )
    return generative, (vifx.exact_posterior(generative, "z | x"),), ("x",)


def two():
    generative = vifx.Joint(
        vifx.factor("w", tabular(states=2), name="top"),
        vifx.factor("z | w", tabular(2, states=3), name="middle"),
        vifx.factor("x | z, w", tabular(3, 2, states=4), name="decoder"),
    )
    posteriors = (vifx.exact_posterior(generative, "z | x"), vifx.exact_posterior(generative, "w | x, z"))
    return generative, posteriors, ("x",)


def conditional():
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z | y", tabular(2, states=3), name="prior"),
        vifx.factor("x | z, y", tabular(3, 2, states=4), name="decoder"),
    )
    return generative, (vifx.exact_posterior(generative, "z | x, y"),), ("x", "y")


def labelled():
    generative = vifx.Joint(
        vifx.factor("z", tabular(states=3), name="prior"),
        vifx.factor("y | z", tabular(3, states=2), name="labels"),
        vifx.factor("x | z", tabular(3, states=4), name="decoder"),
    )
    return generative, (vifx.exact_posterior(generative, "z | x, y"),), ("x", "y")


def by_families():
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(3), name="prior"),
        vifx.factor("w | z", em.categorical(2, states=3), name="middle"),
        vifx.factor("x | w, z", em.categorical(4, states=(2, 3)), name="decoder"),
    )
    posteriors = (vifx.exact_posterior(generative, "w | x"), vifx.exact_posterior(generative, "z | w, x"))
    return generative, posteriors, ("x",)


STRUCTURES = {f.__name__: f for f in (single, two, conditional, labelled, by_families)}


def evidence_log_prob(generative, params, state, batch, latents):
    """log q(x) by summing exp of the joint's own log-densities over all states, one assignment at a time."""
    observed = {k: v for k, v in batch.items() if k in generative.variables}
    size = len(batch["x"])
    terms = []
    for states in itertools.product(*latents.values()):
        fixed = {name: jnp.full(size, s) for name, s in zip(latents, states, strict=True)}
        each = generative.log_prob(params, state, {**observed, **fixed})
        terms.append(sum(each.values()))
    return jax.nn.logsumexp(jnp.stack(terms), axis=0)


SIZES = {"z": 3, "w": 2}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", STRUCTURES)
def test_kl_is_the_log_evidence_and_verify_agrees(name, x64):
    generative, posteriors, observed = STRUCTURES[name]()
    objective = vifx.kl(vifx.Joint(vifx.evidence(*observed), *posteriors), generative)
    batch = {k: BATCH[k] for k in observed}
    params, state = jax.jit(objective.init)(jax.random.key(3), batch)
    latents = {v: range(SIZES[v]) for v in generative.variables if v not in observed}

    def loss(params):
        return objective.players["model"].loss(jax.random.key(0), params, state, batch)[0]

    def oracle(params):
        return -jnp.mean(evidence_log_prob(generative, params, state, batch, latents))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    expected, expected_gradient = jax.jit(jax.value_and_grad(oracle))(params)
    # The second term of equation (1), E KL(p(z|x) ‖ q(z|x)), is their difference.
    assert abs(value - expected) < 1e-12
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-7, atol=1e-12)
    found = vifx.verify(objective, params, state, batch)["model"]
    assert found.value_error < 1e-12
    assert found.gradient_error < 1e-12


@pytest.mark.thorough
def test_a_vector_of_binary_latents_is_summed_over_all_its_states(x64):
    generative = vifx.Joint(
        vifx.factor("z", bernoulli_vector(3), name="prior"), vifx.factor("x | z", of_bits(3, 4), name="decoder")
    )
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    batch = {"x": BATCH["x"]}
    params, state = jax.jit(objective.init)(jax.random.key(1), batch)
    value, aux = objective.players["model"].loss(jax.random.key(0), params, state, batch)
    on = 1 / (1 + np.exp(-np.asarray(params["prior"])))
    table = np.exp(np.asarray(jax.nn.log_softmax(params["decoder"])))
    total = np.zeros(6)
    for bits in itertools.product((0, 1), repeat=3):
        weight = np.prod(np.where(np.array(bits) == 1, on, 1 - on))
        total += weight * table[int("".join(map(str, bits)), 2)][np.asarray(batch["x"])]
    assert abs(value + np.log(total).mean()) < 1e-12
    assert "kl/z" in aux.metrics


def test_the_posterior_is_bayes_rule(x64):
    generative, (posterior,), _ = single()
    params, state = generative.init(jax.random.key(0), {}, examples=1)
    found, _ = posterior.conditional(jax.random.key(0), params, state, BATCH["x"], train=False)
    assert isinstance(found, Finite)
    prior = np.exp(np.asarray(jax.nn.log_softmax(params["prior"])))
    likelihood = np.exp(np.asarray(jax.nn.log_softmax(params["decoder"])))[:, np.asarray(BATCH["x"])]
    expected = prior[:, None] * likelihood
    np.testing.assert_allclose(found.probs, (expected / expected.sum(0)).T, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 0.0])
def test_a_tempered_posterior_raises_the_joint_to_a_power(temperature, x64):
    generative, _, _ = two()
    posteriors = [vifx.exact_posterior(generative, n, temperature=temperature) for n in ("z | x", "w | x, z")]
    params, state = generative.init(jax.random.key(5), {}, examples=1)
    top, middle, decoder = (np.asarray(jax.nn.log_softmax(params[n])) for n in ("top", "middle", "decoder"))
    # log q(x, z, w) as [x, z, w]
    joint = np.moveaxis(decoder[:, :, np.asarray(BATCH["x"])], -1, 0) + (top[:, None] + middle).T[None]
    flat = joint.reshape(6, -1)
    if temperature == 0:
        expected = np.eye(6)[flat.argmax(1)]
    else:
        powers = np.exp((flat - flat.max(1, keepdims=True)) / temperature)
        expected = powers / powers.sum(1, keepdims=True)

    @jax.jit
    def probs(params):
        given = ((BATCH["x"],), *((BATCH["x"], jnp.full(6, k)) for k in range(3)))
        which = (posteriors[0], *(posteriors[1],) * 3)
        found = [
            p.conditional(jax.random.key(0), params, state, *g, train=False) for p, g in zip(which, given, strict=True)
        ]
        return [conditional.probs for conditional, _ in found]

    z, *ws = probs(params)
    product = np.asarray(z)[:, :, None] * np.stack(ws, axis=1)
    np.testing.assert_allclose(product.reshape(6, -1), expected, atol=1e-12)


@pytest.mark.thorough
def test_a_schedule_of_temperatures_reads_the_update_count(x64):
    generative, _, _ = single()
    falling = optax.linear_schedule(3.0, 1.0, 2)
    warm = vifx.exact_posterior(generative, "z | x", temperature=falling)
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), warm), generative)
    batch = {"x": BATCH["x"]}
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    for count, temperature in ((0, 3.0), (1, 2.0), (5, 1.0)):
        fixed = vifx.exact_posterior(generative, "z | x", temperature=temperature)
        other = vifx.kl(vifx.Joint(vifx.evidence("x"), fixed), generative)
        now = {**state, "model@updates": jnp.array(count, jnp.int32)}
        value, _ = objective.players["model"].loss(jax.random.key(0), params, now, batch)
        expected, _ = other.players["model"].loss(jax.random.key(0), params, state, batch)
        assert abs(value - expected) < 1e-12


@pytest.mark.thorough
def test_an_anchored_posterior_stays_while_the_model_moves(x64):
    generative, _, _ = single()
    held = vifx.exact_posterior(generative, "z | x", anchored=True)
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), held), generative)
    batch = {"x": BATCH["x"]}
    assert objective.players["model"].anchors == ("prior", "decoder")
    train_state = training.start(
        jax.random.key(0), step := training.optimize(objective, optax.sgd(0.5), updates={"model": 3}), objective, batch
    )
    before = train_state.params
    moved, _ = training.compile(step)(jax.tree.map(jnp.copy, train_state), batch)

    # By hand: responsibilities at the start, then three gradient steps of −E_r log q(x, z).
    def joint(params):
        prior, decoder = jax.nn.log_softmax(params["prior"]), jax.nn.log_softmax(params["decoder"])
        return prior[None] + decoder[:, batch["x"]].T

    responsibilities = jax.nn.softmax(joint(before))
    params = before
    for _ in range(3):
        slope = jax.grad(lambda p: -jnp.mean(jnp.sum(responsibilities * joint(p), axis=1)))(params)
        params = jax.tree.map(lambda a, g: a - 0.5 * g, params, slope)
    chex.assert_trees_all_close(dict(moved.params), dict(params), rtol=1e-7, atol=1e-12)


@pytest.mark.thorough
def test_importance_weights_of_an_exact_posterior_are_constant(x64):
    generative, (posterior,), _ = single()
    inference = vifx.Joint(vifx.evidence("x"), posterior)
    batch = {"x": BATCH["x"]}
    one, three = vifx.kl(inference, generative), vifx.importance_weighted(inference, generative, samples=3)
    params, state = one.init(jax.random.key(2), batch)
    value, _ = one.players["model"].loss(jax.random.key(0), params, state, batch)
    weighted, _ = three.players["model"].loss(jax.random.key(0), params, state, batch)
    assert abs(value - weighted) < 1e-12


def test_bad_posteriors_are_refused():
    generative, (posterior,), _ = single()
    other, _, _ = single()
    with pytest.raises(TypeError, match="must be a Joint, got str"):
        vifx.exact_posterior("z", "z | x")
    with pytest.raises(ValueError, match="no variable 'y'"):
        vifx.exact_posterior(generative, "z | y")
    with pytest.raises(ValueError, match="without it it is the prior"):
        vifx.exact_posterior(generative, "z")
    with pytest.raises(ValueError, match="temperature must be a finite number ≥ 0"):
        vifx.exact_posterior(generative, "z | x", temperature=-1.0)
    with pytest.raises(ValueError, match="is not the generative joint"):
        vifx.kl(vifx.Joint(vifx.evidence("x"), posterior), other)
    with pytest.raises(ValueError, match="belongs to the inference joint"):
        vifx.kl(vifx.Joint(vifx.evidence("x", "z")), vifx.Joint(vifx.evidence("x"), posterior))


def test_a_latent_without_finite_support_is_named():
    decoder = from_functions(lambda key, z: (), lambda params, z: Categorical(jnp.zeros((len(z), 4))))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    with pytest.raises(ValueError, match=r"Normal\(z\) is not of finite support"):
        objective.init(jax.random.key(0), {"x": BATCH["x"]})


def test_too_many_states_are_refused():
    generative = vifx.Joint(
        vifx.factor("z", bernoulli_vector(13), name="prior"), vifx.factor("x | z", of_bits(13, 4), name="decoder")
    )
    objective = vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)
    with pytest.raises(ValueError, match=r"2\^13 = 8192 states, more than the 4096"):
        objective.init(jax.random.key(0), {"x": BATCH["x"]})


def test_explain_names_the_e_step_and_when_the_bound_is_tight():
    generative, (posterior,), _ = single()
    tight = vifx.explain(vifx.kl(vifx.Joint(vifx.evidence("x"), posterior), generative))
    assert "E step: posterior(z | x) ∝ generative(z, x); no gradient" in tight
    assert "ELBO = −L = E[log generative(x)]" in tight
    hot = vifx.exact_posterior(generative, "z | x", temperature=2.0)
    loose = vifx.explain(vifx.kl(vifx.Joint(vifx.evidence("x"), hot), generative))
    assert "generative(z, x)^(1/T), T = 2; no gradient" in loose
    assert "ELBO = −L ≤ E[log generative(x)]" in loose
    # The product of two posteriors that are given x alone is not their joint posterior.
    hierarchy, _, _ = two()
    apart = [vifx.exact_posterior(hierarchy, notation) for notation in ("z | x", "w | x")]
    assert "ELBO = −L ≤" in vifx.explain(vifx.kl(vifx.Joint(vifx.evidence("x"), *apart), hierarchy))
    closed, posteriors, _ = by_families()
    text = vifx.explain(vifx.kl(vifx.Joint(vifx.evidence("x"), *posteriors), closed))
    assert "in closed form: prior, middle, decoder" in text

"""Every explicit objective equals the divergence it claims to be, by value and by gradient."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from identities import spaces

import vifx
from vifx.core.objective import Objective, Player
from vifx.core.types import Net
from vifx.distributions import Categorical
from vifx.verification import enumeration, tabular

SPACES = 200
KEY = 0


def many_params(objective, batch, count=SPACES):
    """Parameters of `count` random spaces of one structure, stacked, and the state, which is the same in all."""
    keys = jax.random.split(jax.random.key(7), count)
    params, states = jax.jit(jax.vmap(lambda key: objective.init(key, batch)))(keys)
    return params, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[0]), states)


def run(objective, params, state, batch):
    """The model's loss, compiled."""
    return jax.jit(objective.players["model"].loss)(jax.random.key(KEY), params, state, batch)


def worst(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(np.max(np.abs(np.asarray(a) - np.asarray(b))) for a, b in pairs)


def errors(objective, batch, count=SPACES):
    """Largest error of value and gradient over many random spaces, through the public loss."""
    params, state = many_params(objective, batch, count)
    (part,) = objective.parts
    key = jax.random.key(KEY)

    def loss(params):
        constants = enumeration.constant_value(part.constants, part.inference, batch)
        return objective.players["model"].loss(key, params, state, batch)[0] + constants

    def claim(params):
        return part.exact["model"](params, state, batch)

    def both(params):
        return jax.value_and_grad(loss)(params), jax.value_and_grad(claim)(params)

    (value, gradient), (target, target_gradient) = jax.jit(jax.vmap(both))(params)
    return worst(value, target), worst(gradient, target_gradient)


@pytest.mark.first(3)
@pytest.mark.parametrize("name", spaces.PAIRS)
@pytest.mark.parametrize("estimator", ["kl", "iwae1", "iwae2"])
def test_loss_is_the_enumerated_divergence(x64, name, estimator):
    inference, generative = spaces.PAIRS[name]()
    objective = {
        "kl": lambda: vifx.kl(inference, generative),
        "iwae1": lambda: vifx.importance_weighted(inference, generative, samples=1),
        "iwae2": lambda: vifx.importance_weighted(inference, generative, samples=2),
    }[estimator]()
    value, gradient = errors(objective, spaces.batch(), SPACES if estimator == "kl" else 20)
    assert value < 1e-12
    assert gradient < 1e-12


@pytest.mark.thorough
def test_single_precision_holds_to_1e_6():
    inference, generative = spaces.vae()
    value, gradient = errors(vifx.kl(inference, generative), spaces.batch())
    assert value < 3e-6
    assert gradient < 3e-6


def oracle(params, batch):
    """The VAE's quantities on a finite space by plain arrays, nothing of vifx."""
    data = jnp.mean(jax.nn.one_hot(batch["x"], spaces.X, dtype=float), axis=0)
    encoder = jax.nn.softmax(params["encoder"], axis=-1)
    joint_q = jax.nn.softmax(params["prior"])[:, None] * jax.nn.softmax(params["decoder"], axis=-1)
    joint_p = (data[:, None] * encoder).T
    marginal_q = joint_q.sum(0)
    return {
        "joint": jnp.sum(joint_p * (jnp.log(joint_p) - jnp.log(joint_q))),
        "marginal": jnp.sum(data * (jnp.log(data) - jnp.log(marginal_q))),
        "posterior": jnp.sum(joint_p * (jnp.log(encoder.T) - jnp.log(joint_q / marginal_q[None, :]))),
        "entropy": -jnp.sum(data * jnp.log(data)),
        "kl": jnp.sum(joint_p * (jnp.log(encoder.T) - jax.nn.log_softmax(params["prior"])[:, None])),
        "nll": -jnp.sum(joint_p * jax.nn.log_softmax(params["decoder"], axis=-1)),
        "evidence": jnp.sum(data * jnp.log(marginal_q)),
    }


def test_decomposition_1_and_elbo_2_against_plain_arrays(x64):
    inference, generative = spaces.vae()
    objective = vifx.kl(inference, generative)
    batch = spaces.batch()
    params, state = many_params(objective, batch)

    def loss(params):
        value, aux = run(objective, params, state, batch)
        return value, aux.metrics

    (value, metrics), gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))(params)
    truth = jax.jit(jax.vmap(lambda p: oracle(p, batch)))(params)
    # (1): the loss minus the dropped entropy splits into marginal and posterior divergences.
    assert worst(value - truth["entropy"], truth["marginal"] + truth["posterior"]) < 1e-12
    assert worst(value - truth["entropy"], truth["joint"]) < 1e-12
    # (2): term by term, and the ELBO bounds the evidence.
    assert worst(metrics["kl/z"], truth["kl"]) < 1e-12
    assert worst(metrics["nll/x"], truth["nll"]) < 1e-12
    assert np.all(metrics["elbo"] <= truth["evidence"])
    assert worst(gradient, jax.jit(jax.vmap(jax.grad(lambda p: oracle(p, batch)["joint"])))(params)) < 1e-12


@pytest.mark.thorough
def test_importance_weighted_bound_rises_to_the_evidence(x64):
    inference, generative = spaces.vae()
    batch = spaces.batch()
    bounds = []
    for samples in range(1, 7):
        objective = vifx.importance_weighted(inference, generative, samples=samples)
        params, state = many_params(objective, batch, 50)
        loss = objective.players["model"].loss
        bounds.append(jax.jit(jax.vmap(lambda p, run=loss, s=state: run(jax.random.key(KEY), p, s, batch)[0]))(params))
    bounds = np.stack(bounds)
    nll = -np.asarray(jax.jit(jax.vmap(lambda p: oracle(p, batch)["evidence"]))(params))
    assert np.all(np.diff(bounds, axis=0) <= 1e-14)
    assert np.all(bounds >= nll[None])
    assert np.mean(bounds[-1] - nll) < 0.35 * np.mean(bounds[0] - nll)


def test_importance_weighted_bound_is_evidence_at_the_exact_posterior(x64):
    inference, generative = spaces.vae()
    objective = vifx.importance_weighted(inference, generative, samples=3)
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(1), batch)
    joint = jax.nn.log_softmax(params["prior"])[:, None] + jax.nn.log_softmax(params["decoder"], axis=-1)
    params = {**params, "encoder": joint.T}
    value, aux = run(objective, params, state, batch)
    np.testing.assert_allclose(value, -jax.jit(oracle)(params, batch)["evidence"], rtol=1e-13)
    np.testing.assert_allclose(aux.metrics["elbo"], -value, rtol=1e-13)


def test_weights_and_free_bits_against_plain_arrays(x64):
    inference, generative = spaces.vae()
    batch = spaces.batch()
    beta = vifx.kl(inference, generative, weights={"kl/z": 4.0, "nll/x": 0.5})
    params, state = jax.jit(beta.init)(jax.random.key(3), batch)
    truth = jax.jit(oracle)(params, batch)
    value, aux = run(beta, params, state, batch)
    np.testing.assert_allclose(value, 4 * truth["kl"] + 0.5 * truth["nll"], rtol=1e-13)
    np.testing.assert_allclose(aux.metrics["elbo"], -truth["kl"] - truth["nll"], rtol=1e-13)
    assert vifx.verify(beta, params, state, batch)["model"].gradient_error < 1e-12

    floor = float(truth["kl"]) + 1.0
    free = vifx.kl(inference, generative, free_bits=floor)
    loss = jax.value_and_grad(lambda p: free.players["model"].loss(jax.random.key(KEY), p, state, batch)[0])
    value, gradient = jax.jit(loss)(params)
    np.testing.assert_allclose(value, floor + truth["nll"], rtol=1e-13)
    assert worst(gradient, jax.jit(jax.grad(lambda p: oracle(p, batch)["nll"]))(params)) < 1e-12


def test_schedule_reads_the_update_counter(x64):
    inference, generative = spaces.vae()
    batch = spaces.batch()
    objective = vifx.kl(inference, generative, weights={"kl/z": lambda count: count / 10})
    params, state = jax.jit(objective.init)(jax.random.key(3), batch)
    assert int(state["model@updates"]) == 0
    truth = jax.jit(oracle)(params, batch)
    for count in (0, 5, 10):
        at = {**state, "model@updates": jnp.asarray(count, jnp.int32)}
        value, aux = run(objective, params, at, batch)
        np.testing.assert_allclose(value, count / 10 * truth["kl"] + truth["nll"], rtol=1e-13)
        np.testing.assert_allclose(aux.metrics["weight/kl/z"], count / 10)
        assert int(aux.state["model@updates"]) == count


@pytest.mark.thorough
def test_semi_supervised_sum(x64):
    """Two evidence streams, shared networks: the sum is verified as one objective."""
    labelled = vifx.kl(*spaces.labelled(), name="labelled")
    shared = {f.owner: f for f in (*labelled.parts[0].inference.factors, *labelled.parts[0].generative.factors)}
    inference = vifx.Joint(
        vifx.evidence(x="more_x"),
        vifx.factor("y | x", tabular(spaces.X, states=spaces.Y), name="classifier"),
        shared["encoder"],
    )
    unlabelled = vifx.kl(inference, labelled.parts[0].generative, name="unlabelled")
    batch = {**spaces.batch(), "more_x": jnp.asarray([0, 1, 2, 3, 3, 1, 1])}
    objective = labelled + 0.5 * unlabelled
    assert objective.dropped == ("− H(p̃(x, y))", "− 0.5 H(p̃(x))")
    params, state = jax.jit(objective.init)(jax.random.key(5), batch)
    result = vifx.verify(objective, params, state, batch)["model"]
    assert result.value_error < 1e-12
    assert result.gradient_error < 1e-12
    assert objective.players["model"].owns == ("encoder", "labels", "prior", "decoder", "classifier")
    _, aux = run(objective, params, state, batch)
    assert {"labelled/nll/y", "unlabelled/kl/y", "unlabelled/elbo"} <= set(aux.metrics)


def test_constants_are_the_entropies_of_the_evidence(x64):
    batch = spaces.batch()
    pairs = zip(np.asarray(batch["x"]).tolist(), np.asarray(batch["y"]).tolist(), strict=True)
    counts = {}
    for xy in pairs:
        counts[xy] = counts.get(xy, 0) + 1
    joint = -sum(c / 12 * math.log(c / 12) for c in counts.values())
    ys = np.bincount(np.asarray(batch["y"])) / 12
    marginal = -sum(p * math.log(p) for p in ys if p > 0)
    objective = vifx.kl(*spaces.conditional())
    assert objective.dropped == ("− H(p̃(x | y))",)
    part = objective.parts[0]
    np.testing.assert_allclose(
        enumeration.constant_value(part.constants, part.inference, batch), marginal - joint, rtol=1e-13
    )


def test_reconstruction_is_the_observed_term(x64):
    inference, generative = spaces.vae()
    objective = vifx.reconstruction(inference, generative, weight=2.0)
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(2), batch)
    value, aux = run(objective, params, state, batch)
    truth = jax.jit(oracle)(params, batch)
    np.testing.assert_allclose(value, 2 * truth["nll"], rtol=1e-13)
    assert set(aux.metrics) == {"nll/x"}
    assert objective.dropped == ()
    assert vifx.verify(objective, params, state, batch)["model"].gradient_error < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_impossible_states_are_the_limit_of_improbable_ones(x64, samples):
    """Value, metrics and gradient at probability 0 are those at e^−60, in the encoder alone and in both joints."""
    batch = spaces.batch()

    def run_at(logit, *owners):
        def masked(*given):
            net = tabular(*given, states=spaces.Z)
            forbid = jnp.array([0.0, 0.0, logit])

            def apply(params, state, *parents, key=None, train=False):
                conditional, state = net.apply(params, state, *parents)
                return Categorical(conditional.logits + jnp.broadcast_to(forbid, conditional.logits.shape)), state

            return Net(net.init, apply)

        inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", masked(spaces.X), name="encoder"))
        prior = masked() if "prior" in owners else tabular(states=spaces.Z)
        generative = vifx.Joint(
            vifx.factor("z", prior, name="prior"),
            vifx.factor("x | z", tabular(spaces.Z, states=spaces.X), name="decoder"),
        )
        joints = (inference, generative)
        objective = vifx.importance_weighted(*joints, samples=samples) if samples else vifx.kl(*joints)
        params, state = jax.jit(objective.init)(jax.random.key(0), batch)
        loss = objective.players["model"].loss
        found = jax.jit(jax.value_and_grad(lambda p: loss(jax.random.key(KEY), p, state, batch), has_aux=True))(params)
        return found, vifx.verify(objective, params, state, batch)["model"]

    for owners in ((), ("prior",)):
        found, verified = run_at(-jnp.inf, *owners)
        assert worst(found, run_at(-60.0, *owners)[0]) < 1e-12
        assert verified.value_error < 1e-12
        assert verified.gradient_error < 1e-12


@pytest.mark.thorough
def test_verify_keeps_a_gradient_that_is_not_a_number(x64):
    objective = vifx.kl(*spaces.vae())
    player = objective.players["model"]
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    for owner in player.owns:

        def loss(key, params, state, batch, *, train=True, owner=owner):
            value, aux = player.loss(key, params, state, batch, train=train)
            return value + jnp.sqrt(jnp.sum(0 * params[owner])), aux

        wrong = Objective(objective.init, {"model": Player(player.owns, loss)}, objective.parts)
        assert not vifx.verify(wrong, params, state, batch)["model"].gradient_error < 1


def _faulty(objective, change):
    player = objective.players["model"]

    def loss(key, params, state, batch, *, train=True):
        value, aux = player.loss(key, params, state, batch, train=train)
        return change(value, aux.metrics), aux

    return Objective(objective.init, {"model": Player(player.owns, loss)}, objective.parts)


@pytest.mark.first(1)
@pytest.mark.parametrize(
    "change",
    [
        lambda value, metrics: value / 2,
        lambda value, metrics: metrics["nll/x"] - metrics["kl/z"],
        lambda value, metrics: metrics["nll/x"],
        lambda value, metrics: value + 0.01,
    ],
    ids=["missing half", "flipped sign", "missing term", "wrong constant"],
)
def test_verify_sees_faults(x64, change):
    objective = vifx.kl(*spaces.vae())
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    assert vifx.verify(objective, params, state, batch)["model"].value_error < 1e-12
    assert vifx.verify(_faulty(objective, change), params, state, batch)["model"].value_error > 1e-3


def test_verify_sees_a_swapped_divergence(x64):
    """KL(q ‖ p) for KL(p ‖ q): the latent's term with its arguments exchanged."""
    objective = vifx.kl(*spaces.vae())
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)

    def swapped(key, params, state, batch, *, train=True):
        encoder = jax.nn.log_softmax(params["encoder"][batch["x"]], axis=-1)
        prior = jnp.broadcast_to(jax.nn.log_softmax(params["prior"]), encoder.shape)
        _, aux = objective.players["model"].loss(key, params, state, batch)
        return aux.metrics["nll/x"] + jnp.mean(jnp.sum(jnp.exp(prior) * (prior - encoder), axis=1)), aux

    wrong = Objective(objective.init, {"model": Player(objective.players["model"].owns, swapped)}, objective.parts)
    found = vifx.verify(wrong, params, state, batch)["model"]
    assert found.value_error > 1e-2
    assert found.gradient_error > 1e-2

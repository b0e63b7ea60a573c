"""Weights of examples: every loss and every claim is that of the rows repeated as often, in value and gradient."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from identities import spaces

import vifx
from vifx import distributions, em, nets, training

X, Z = spaces.X, spaces.Z
COUNTS = np.array([3, 1, 0, 2, 2, 0, 1])
ROWS = {"x": np.array([0, 1, 2, 3, 1, 0, 2]), "y": np.array([0, 1, 2, 2, 0, 1, 1])}


def weighted():
    """Rows of weight zero hold what is no value of any variable."""
    rows = {name: jnp.asarray(np.where(COUNTS > 0, values, -99)) for name, values in ROWS.items()}
    return {**rows, "@weights": jnp.asarray(COUNTS)}


def repeated():
    return {name: jnp.asarray(np.repeat(values, COUNTS)) for name, values in ROWS.items()}


def critic(*sizes):
    return nets.from_functions(lambda key, *at: jax.random.normal(key, sizes), lambda params, *at: params[at])


def gan(**options):
    table = vifx.Joint(vifx.factor("x", spaces.tabular(states=X), name="table"))
    return vifx.adversarial(vifx.Joint(vifx.evidence("x")), table, critic(X), on="x", **options)


def on_latents(estimator, **options):
    inference, generative = spaces.vae()
    prior = vifx.factor("z", distributions.Categorical(logits=jnp.array([0.3, -0.2, 0.5])))
    return estimator(inference, vifx.Joint(prior, generative.factors[1]), on="z", **options)


OBJECTIVES = {
    **{f"kl {name}": (lambda pair=pair: vifx.kl(*pair())) for name, pair in spaces.PAIRS.items()},
    "free bits": lambda: vifx.kl(*spaces.vae(), weights={"kl/z": 2.0}, free_bits=0.1),
    "iwae1": lambda: vifx.importance_weighted(*spaces.vae(), samples=1),
    "iwae3 conditional": lambda: vifx.importance_weighted(*spaces.conditional(), samples=3),
    "reconstruction": lambda: vifx.reconstruction(*spaces.vae()),
    "gan": gan,
    "conditional gan": lambda: vifx.adversarial(*spaces.conditional(), critic(X, spaces.Y), on=("x", "y")),
    "relativistic": lambda: gan(divergence="relativistic"),
    "aae": lambda: on_latents(vifx.adversarial, critic=critic(Z)),
    "ali": lambda: vifx.adversarial(*spaces.vae(), critic(X, Z), on=("x", "z"), divergence="pearson"),
    "mmd": lambda: on_latents(vifx.mmd),
}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_weights_are_repetitions(x64, name):
    objective = OBJECTIVES[name]()
    params, state = jax.jit(objective.init)(jax.random.key(0), repeated())
    reference = jax.jit(objective.init)(jax.random.key(0), weighted())[0]
    chex.assert_trees_all_equal(params, reference)
    for player in objective.players.values():

        def evaluate(params, batch, player=player):
            return player.loss(jax.random.key(1), params, state, batch)

        (value, aux), gradient = jax.jit(jax.value_and_grad(evaluate, has_aux=True))(params, weighted())
        (target, expected), slope = jax.jit(jax.value_and_grad(evaluate, has_aux=True))(params, repeated())
        np.testing.assert_allclose(value, target, rtol=1e-12, atol=1e-14)
        assert aux.metrics.keys() == expected.metrics.keys()
        chex.assert_trees_all_close((gradient, aux.metrics), (slope, expected.metrics), rtol=1e-11, atol=1e-13)
    for found, target in zip(
        vifx.verify(objective, params, state, weighted()).values(),
        vifx.verify(objective, params, state, repeated()).values(),
        strict=True,
    ):
        assert found.value_error < 1e-12
        assert found.gradient_error < 1e-12
        np.testing.assert_allclose((found.loss, found.claim), (target.loss, target.claim), rtol=1e-12)


def mixture():
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(2), name="prior"),
        vifx.factor("x | z", spaces.tabular(2, states=X), name="decoder"),
    )
    return vifx.kl(vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x")), generative)


@pytest.mark.thorough
def test_turns_of_both_kinds_optimize_one_objective(x64):
    """The closed-form turn of the prior and the gradient turn of the decoder reach the weighted maximum together."""
    objective = mixture()
    batch = {"x": jnp.arange(4), "@weights": jnp.array([7.0, 1.0, 0.0, 0.0])}
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    by_rows = {"x": jnp.array([0] * 7 + [1])}
    loss = jax.jit(objective.players["model"].loss)
    values = [loss(jax.random.key(0), params, state, each)[0] for each in (batch, by_rows)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-13)
    decoder = training.descend(objective, "model", optax.adam(0.05))
    step = training.in_turn(training.solve(objective, "model", networks=["prior"]), decoder)
    found = training.start(jax.random.key(1), step, objective, batch)
    turn = training.compile(step)
    for _ in range(400):
        found, _ = turn(found, batch)
    marginal = jax.nn.softmax(found.params["prior"]["logits"][0]) @ jax.nn.softmax(found.params["decoder"], axis=-1)
    np.testing.assert_allclose(marginal, [7 / 8, 1 / 8, 0, 0], atol=5e-3)


def gaussian(**options):
    encoder = nets.from_functions(
        lambda key, x: jax.random.normal(key, (2, 2)),
        lambda w, x: distributions.Normal(x @ w, jnp.full(x.shape, 0.5)).to_event(1),
    )
    decoder = nets.from_functions(
        lambda key, z: jax.random.normal(key, (2, 2)),
        lambda w, z: distributions.Normal(jnp.tanh(z @ w), jnp.ones(z.shape)).to_event(1),
    )
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("x | z", decoder, name="decoder"))
    return inference, generative


CONTINUOUS = {
    "kl": lambda: vifx.kl(*gaussian(), samples=2),
    "iwae": lambda: vifx.importance_weighted(*gaussian(), samples=3),
    "dreg": lambda: vifx.importance_weighted(*gaussian(), samples=3, gradient="doubly_reparameterized"),
    "gan": lambda: vifx.adversarial(
        *gaussian(),
        nets.from_functions(lambda key, x: jax.random.normal(key, (2,)), lambda w, x: jnp.tanh(x) @ w),
        on="x",
        penalties=[vifx.lipschitz.r1(0.3), vifx.lipschitz.gradient_penalty(0.2)],
    ),
    "mmd": lambda: vifx.mmd(*gaussian(), on="x"),
}


@pytest.mark.first(1)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_weightless_examples_may_hold_anything_and_move_nothing(x64, name):
    """With draws, equal weights are no weights, and the loss is linear in the shares of one draw."""
    objective = CONTINUOUS[name]()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
    params, state = jax.jit(objective.init)(jax.random.key(0), {"x": x})

    def evaluate(batch):
        def total(params):
            players = objective.players.values()
            return sum(player.loss(jax.random.key(1), params, state, batch)[0] for player in players)

        return jax.value_and_grad(total)(params)

    run = jax.jit(evaluate)
    plain = run({"x": x})
    scaled = run({"x": x, "@weights": jnp.full(5, 3.0)})
    chex.assert_trees_all_close(plain, scaled, rtol=1e-12, atol=1e-14)
    weights = jnp.array([2.0, 0.0, 1.0, 0.0, 4.0])
    filled = [run({"x": jnp.where(weights[:, None] > 0, x, value), "@weights": weights}) for value in (0, jnp.nan)]
    chex.assert_tree_all_finite(filled[0])
    chex.assert_trees_all_equal(*filled)
    if name in ("kl", "iwae"):
        each = [float(run({"x": x, "@weights": jnp.eye(5)[n]})[0]) for n in range(5)]
        np.testing.assert_allclose(filled[0][0], np.dot(each, weights / 7), rtol=1e-12)


@pytest.mark.thorough
def test_microbatches_count_by_their_weights(x64):
    objective = vifx.kl(*spaces.vae())
    batch = {"x": jnp.array([0, 1, 2, 3, 1, 0]), "@weights": jnp.array([1.0, 5.0, 0.0, 0.0, 2.0, 0.5])}
    params, state = jax.jit(objective.init)(jax.random.key(0), batch)
    step = training.descend(objective, "model", optax.sgd(1.0))
    moved = []
    for each in (step, training.accumulated(step, 3)):
        progress = training.Progress(params, state, each.init(jax.random.key(0), params, state))
        moved.append(jax.jit(each.update)(jax.random.key(1), progress, batch))
    chex.assert_trees_all_close(*((progress.params, metrics) for progress, metrics in moved), rtol=1e-12, atol=1e-14)


def test_entries_that_nothing_reads_are_refused():
    objective = vifx.kl(*spaces.vae())
    batch = {"x": jnp.array([0, 1])}
    params, state = objective.init(jax.random.key(0), batch)
    loss = objective.players["model"].loss
    for name, text in (
        ("@weight", "'@weight'] is read by nothing; did you mean '@weights'"),
        ("x@feature", "did you mean 'x@features'"),
        ("y@features", "'y@features'] is read by nothing"),
        ("@responsibilities", "read by training.solve alone"),
    ):
        with pytest.raises(ValueError, match=text):
            loss(jax.random.key(0), params, state, {**batch, name: jnp.ones(2)})
    with pytest.raises(ValueError, match=r"has shape \[3\]; it must have one weight for each example, \[2\]"):
        loss(jax.random.key(0), params, state, {**batch, "@weights": jnp.ones(3)})

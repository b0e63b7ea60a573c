"""Every shipped objective keeps the contract of `Objective` and `Loss`, alone, in a sum and in a step."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
import vifx.distributions
from vifx import Joint, diffusion, evidence, factor, flows, matching, networks, standard_normal, training, transformed

BODY = networks.MLP((8,), norm="batch", dropout=0.2)


def joints():
    encoder = networks.Conditional(BODY, networks.DiagonalNormal((3,)))
    decoder = networks.Conditional(networks.MLP((8,)), networks.BernoulliHead((5,)))
    return (
        Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
        Joint(factor("z", standard_normal(3)), factor("x | z", decoder, name="decoder")),
    )


def discrete():
    encoder = networks.Conditional(BODY, networks.CategoricalHead(3))
    decoder = networks.Conditional(networks.MLP((8,)), networks.BernoulliHead((5,)), (networks.OneHot(3),))
    return (
        Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
        Joint(factor("z", vifx.distributions.uniform_categorical(3)), factor("x | z", decoder, name="decoder")),
    )


def chains(steps=None, **options):
    noise = diffusion.linear_log_snr(start=-4.0)
    reverse = diffusion.reverse(networks.PointDenoiser((8,)), noise, (5,), steps=steps, **options)
    return (
        Joint(evidence("x"), factor("z | x", diffusion.forward(noise, steps=steps))),
        Joint(factor("z", reverse, name="denoiser"), factor("x | z", diffusion.normal(noise))),
    )


def classes(steps=None):
    noise = diffusion.absorbing(2)
    reverse = diffusion.discrete_reverse(networks.Transformer(2, 8, 1, 2), noise, (5,), steps=steps)
    forward = diffusion.discrete_forward(noise, steps=steps)
    return (
        Joint(evidence("x"), factor("z | x", lambda x: forward(x.astype(jnp.int32)))),
        Joint(factor("z", reverse, name="denoiser"), factor("x | z", diffusion.unnoised(noise))),
    )


def continuous():
    flow = flows.continuous(networks.PointDenoiser((8,)), steps=2)
    return Joint(evidence("x")), Joint(transformed("x", standard_normal(5), flow, name="velocity"))


OBJECTIVES = {
    "kl": lambda: vifx.kl(*joints()),
    "kl, several samples": lambda: vifx.kl(*joints(), samples=3),
    "kl, weighted": lambda: vifx.kl(*joints(), weights={"kl/z": optax.linear_schedule(0.0, 1.0, 10)}, free_bits=0.1),
    "kl, finite latent": lambda: vifx.kl(*discrete()),
    "reconstruction": lambda: vifx.reconstruction(*joints()),
    "importance weighted": lambda: vifx.importance_weighted(*joints(), samples=3),
    "sticking the landing": lambda: vifx.importance_weighted(*joints(), samples=1, gradient="sticking_the_landing"),
    "doubly reparameterized": lambda: vifx.importance_weighted(*joints(), samples=3, gradient="doubly_reparameterized"),
    "kl of two chains": lambda: vifx.kl(*chains()),
    "flow matching": lambda: vifx.flow_matching(*continuous()),
    "flow matching, optimal": lambda: vifx.flow_matching(
        *continuous(), pairing="optimal", path=matching.linear(noise=0.1), weighting=matching.logit_normal()
    ),
    "kl of two chains, weighted": lambda: vifx.kl(*chains(steps=3, weighting=diffusion.simple())),
    "kl of two chains of classes": lambda: vifx.kl(*classes()),
    "kl of two chains of classes, in steps": lambda: vifx.kl(*classes(steps=3)),
    "vimco": lambda: vifx.importance_weighted(*joints(), samples=3, gradient="vimco"),
    "several bounds": lambda: vifx.importance_weighted(*joints(), samples=2, outer=2),
    "Rényi": lambda: vifx.renyi(*joints(), alpha=0.5, samples=3),
    "importance weighted, finite latent": lambda: vifx.importance_weighted(*discrete(), samples=3),
}
# Two calls of joints() make two networks of one name, which a sum refuses; so the sum shares its pair.
PAIR = joints()
CRITIC = networks.Critic(networks.MLP((8,), norm="batch"))


def adversaries():
    """A generator and an encoder without densities of their own, or with."""
    inference, generative = joints()
    sampler = networks.MLP((8,), outputs=5, norm="batch", dropout=0.2)
    return (
        inference,
        generative,
        Joint(factor("z", standard_normal(3)), vifx.implicit("x | z", sampler, name="decoder")),
    )


def ali(**options):
    inference, _, generative = adversaries()
    return vifx.adversarial(inference, generative, CRITIC, on=("x", "z"), **options)


def gan(**options):
    _, _, generative = adversaries()
    return vifx.adversarial(Joint(evidence("x")), generative, CRITIC, on="x", **options)


ADVERSARIAL = {
    "gan": gan,
    "gan, proximal": lambda: gan(proximal=optax.linear_schedule(1.0, 2.0, 10), divergence="pearson", form="minimax"),
    "gan, penalties": lambda: gan(divergence="wasserstein", penalties=(vifx.lipschitz.gradient_penalty(10.0),)),
    "gan, all pairs": lambda: gan(divergence="relativistic"),
    "ali": lambda: ali(),
    "ali, hinge": lambda: ali(divergence="hinge", proximal=1.0),
    "mmd": lambda: vifx.mmd(adversaries()[0], adversaries()[2], on=("x", "z")),
}
OBJECTIVES["sum"] = lambda: 0.5 * vifx.kl(*PAIR, name="a") + vifx.reconstruction(*PAIR, name="b")
BATCH = {"x": jnp.asarray((np.random.default_rng(0).random((16, 5)) < 0.4).astype(np.float32))}


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def traced_once(loss):
    chex.clear_trace_counter()  # it tells functions apart by their text
    return chex.assert_max_traces(loss, n=1)


def close(one, other, tolerance):
    chex.assert_trees_all_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.first(1)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract(name):
    objective = OBJECTIVES[name]()
    assert list(objective.players) == ["model"]
    owns, loss, *_ = objective.players["model"]
    init = jax.jit(objective.init)
    params, state = init(jax.random.key(0), BATCH)
    assert same((params, state), init(jax.random.key(0), BATCH))
    alone = {"chains": {"denoiser"}, "flow matching": {"velocity"}}
    owners = next((names for what, names in alone.items() if what in name), {"encoder", "decoder"})
    assert set(owns) == set(params) == owners
    assert {key for key in state if "@" not in key} == set(params)

    run = jax.jit(jax.value_and_grad(traced_once(loss), argnums=1, has_aux=True))
    (value, aux), gradient = run(jax.random.key(1), params, state, BATCH)
    (again, _), _ = run(jax.random.key(1), params, state, BATCH)
    (other, _), _ = run(jax.random.key(2), params, state, BATCH)
    assert value.shape == ()
    assert float(value) == float(again) != float(other)
    assert all(metric.shape == () and np.isfinite(metric) for metric in aux.metrics.values())
    assert jax.tree.structure(aux.state) == jax.tree.structure(state)
    assert "encoder" not in owns or not same(aux.state["encoder"], state["encoder"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    for owner in owns:
        assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient[owner])) > 0

    # Evaluation keeps the state and has no dropout: its noise is the latents' alone.
    _, evaluated = jax.jit(partial(loss, train=False))(jax.random.key(1), params, state, BATCH)
    assert same(evaluated.state, state)

    # It maps over parameters and over keys.
    several = jax.jit(jax.vmap(lambda key: loss(key, params, state, BATCH)[0]))
    many = several(jax.random.split(jax.random.key(1), 4))
    assert len(set(np.asarray(many).tolist())) == 4

    # The printed derivation names both joints and every metric's term.
    text = vifx.explain(objective, BATCH)
    for part in objective.parts:
        assert str(part.inference) in text
        assert str(part.generative) in text


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_contract_of_players(name):
    """Each player's loss is pure, moves what it owns, keeps the tree of the state, and says what it is."""
    objective = ADVERSARIAL[name]()
    init = jax.jit(objective.init)
    params, state = init(jax.random.key(0), BATCH)
    assert same((params, state), init(jax.random.key(0), BATCH))
    owned = [owner for player in objective.players.values() for owner in player.owns]
    assert sorted(owned) == sorted(params)
    assert {key for key in state if "@" not in key} == set(params)
    elsewhere = init(jax.random.key(5), BATCH)[0]
    for player in objective.players.values():
        params = {**params, **{f"{owner}@anchor": elsewhere[owner] for owner in player.anchors}}

    for player in objective.players.values():
        run = jax.jit(jax.value_and_grad(traced_once(player.loss), argnums=1, has_aux=True))
        (value, aux), gradient = run(jax.random.key(1), params, state, BATCH)
        (again, _), _ = run(jax.random.key(1), params, state, BATCH)
        (other, _), _ = run(jax.random.key(2), params, state, BATCH)
        assert value.shape == ()
        assert float(value) == float(again) != float(other)
        assert all(metric.shape == () and np.isfinite(metric) for metric in aux.metrics.values())
        assert jax.tree.structure(aux.state) == jax.tree.structure(state)
        assert not same(aux.state["decoder"], state["decoder"])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        for owner in player.owns:
            assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient[owner])) > 0
        _, evaluated = jax.jit(partial(player.loss, train=False))(jax.random.key(1), params, state, BATCH)
        assert same(evaluated.state, state)

    text = vifx.explain(objective, BATCH)
    assert str(objective.parts[0].inference) in text
    assert str(objective.parts[0].generative) in text
    if "critic" in objective.players:
        assert "critic moves critic" in text
        assert str(objective.parts[0].others[0].owner) == "critic"


@pytest.mark.first(1)
@pytest.mark.parametrize(
    "name",
    [
        *("kl", "importance weighted", "kl, finite latent"),
        pytest.param("flow matching, optimal", marks=pytest.mark.thorough),
    ],
)
def test_singly_scanned_and_on_eight_devices(name):
    """The same updates, however they are run: equal up to the order of sums."""
    objective = OBJECTIVES[name]()
    step = training.optimize(objective, optax.sgd(0.05))
    length = 4
    batches = {"x": jnp.stack([BATCH["x"]] * length)}

    def fresh():
        return training.start(jax.random.key(0), step, objective, BATCH)

    update, single = training.compile(step), fresh()
    for _ in range(length):
        single, metrics = update(single, BATCH)
    scan, scanned = training.compile(training.scanned(step, length)), fresh()
    scanned, history = scan(scanned, batches)
    assert int(single.step) == int(scanned.step) == length
    close(single.params, scanned.params, 2e-5)
    close(metrics, {key: values[-1] for key, values in history.items()}, 2e-4)

    mesh = training.make_mesh()
    assert mesh.size == 8
    on_mesh, sharded = training.compile(step, mesh), fresh()
    for _ in range(length):
        sharded, metrics_on_mesh = on_mesh(sharded, BATCH)
    close(single.params, sharded.params, 2e-5)
    close(single.state, sharded.state, 2e-5)
    close(metrics, metrics_on_mesh, 2e-4)


@pytest.mark.thorough
def test_annealing_counts_updates_in_every_kind_of_run():
    objective = OBJECTIVES["kl, weighted"]()
    step = training.optimize(objective, optax.sgd(0.0))
    update = training.compile(step)
    held = training.start(jax.random.key(0), step, objective, BATCH)
    seen = []
    for _ in range(3):
        held, metrics = update(held, BATCH)
        seen.append(float(metrics["weight/kl/z"]))
    np.testing.assert_allclose(seen, [0.0, 0.1, 0.2], rtol=1e-6)
    accumulated = training.accumulated(step, 4)
    update = training.compile(accumulated)
    held = training.start(jax.random.key(0), accumulated, objective, BATCH)
    for _ in range(3):
        held, metrics = update(held, BATCH)
    np.testing.assert_allclose(float(metrics["weight/kl/z"]), 0.2, rtol=1e-6)

"""Phases of adversarial training: anchors, turns and updates, against loops written by hand."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training import problems

import vifx
from vifx import Joint, evidence, factor, implicit, nets, networks, standard_normal, training

RATES = {"critic": optax.sgd(0.2), "model": optax.sgd(0.3, momentum=0.5)}
EXAMPLES = 8


def affine(inputs, outputs):
    def init(key, *at):
        del at
        return jax.random.normal(key, (inputs, outputs), jnp.result_type(float))

    return nets.from_functions(init, lambda params, at: jnp.tanh(at) @ params)


def gan(generator=None, **options):
    generator = affine(3, 2) if generator is None else generator
    generative = Joint(factor("z", standard_normal(3)), implicit("x | z", generator, name="generator"))
    return vifx.adversarial(Joint(evidence("x")), generative, affine(2, 1), on="x", **options)


def minibatches(count, seed=0):
    real = np.random.default_rng(seed).normal(size=(count, EXAMPLES, 2))
    return {"x": jnp.asarray(real, jnp.result_type(float))}


def begin(step, objective):
    return training.start(jax.random.key(0), step, objective, {"x": minibatches(1)["x"][0]})


def by_hand(objective, progress, keys, batch, turns, updates, *, late=0):
    """The phase as a loop: critic, then G° = G, then turns × updates of G. `late` refreshes G° that often instead."""
    params, state = progress.params, dict(progress.state)
    slots = {
        name: RATES[name].init({own: params[own] for own in player.owns}) for name, player in objective.players.items()
    }
    for key in keys:
        for index, (name, player) in enumerate(objective.players.items()):
            anchors, made = {f"{own}@anchor": params[own] for own in player.anchors}, 0
            turn = jax.random.fold_in(key, index)
            for minibatch in range(turns.get(name, 1)):
                own_key = jax.random.fold_in(turn, minibatch) if turns.get(name, 1) > 1 else turn
                for _ in range(updates.get(name, 1)):
                    if late and made % late == 0:
                        anchors = {f"{own}@anchor": params[own] for own in player.anchors}

                    frozen = {**params, **anchors}

                    def value(mine, player=player, own_key=own_key, minibatch=minibatch, frozen=frozen):
                        fresh = jax.random.clone(own_key)
                        return player.loss(fresh, {**frozen, **mine}, state, {"x": batch["x"][minibatch]})[0]

                    mine = {own: params[own] for own in player.owns}
                    change, slots[name] = RATES[name].update(jax.grad(value)(mine), slots[name], mine)
                    params, made = {**params, **optax.apply_updates(mine, change)}, made + 1
    return params


def difference(one, other):
    return max(float(jnp.max(jnp.abs(one[name] - other[name]))) for name in ("generator", "critic"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("turns", "updates"), [({"critic": 2, "model": 2}, {"model": 2}), ({}, {"model": 3}), ({"model": 3}, {})]
)
def test_a_phase_equals_the_loop_by_hand(x64, turns, updates):
    """G° is frozen over the whole phase; refreshed before the last update it gives other parameters."""
    objective = gan(proximal=5.0)
    assert objective.players["model"].anchors == ("generator",)
    step = training.optimize(objective, RATES, turns=turns, updates=updates)
    progress = first = begin(step, objective).progress
    count = max(turns.values(), default=1)
    batch = minibatches(count)
    assert step.batches == count
    given = batch if count > 1 else {"x": batch["x"][0]}
    keys = jax.random.split(jax.random.key(3), 3)
    update = jax.jit(step.update)
    for key in keys:
        progress, metrics = update(jax.random.clone(key), progress, given)
    expected = by_hand(objective, first, keys, batch, turns, updates)
    assert difference(progress.params, expected) < 1e-12
    assert float(metrics["proximal/x"]) > 0
    assert set(progress.params) == {"generator", "critic"}
    again = jax.random.split(jax.random.key(3), 3)
    whole = turns.get("model", 1) * updates.get("model", 1)
    early = by_hand(objective, first, again, batch, turns, updates, late=whole - 1)
    assert difference(progress.params, early) > 1e-4


GENERATORS = {"plain": lambda: affine(3, 2), "batch norm": lambda: networks.MLP((4,), norm="batch", outputs=2)}


@pytest.mark.thorough
@pytest.mark.parametrize("generator", GENERATORS)
def test_one_update_a_phase_is_bitwise_without_the_proximal_term(generator):
    """λ is an argument of one compiled program, so that λ = 0 and λ = 5 run the same instructions, in float32."""

    def phases(turns, updates):
        batches = minibatches(max(turns.values(), default=1))
        given = batches if turns else {"x": batches["x"][0]}

        @jax.jit
        def run(weight):
            objective = gan(GENERATORS[generator](), proximal=lambda count: weight)
            step = training.optimize(objective, RATES, turns=turns, updates=updates)
            progress = begin(step, objective).progress
            for i in range(2):
                progress, _ = step.update(jax.random.fold_in(jax.random.key(2), i), progress, given)
            return progress

        return [run(jnp.float32(weight)) for weight in (0.0, 5.0)]

    with pytest.warns(UserWarning, match="makes one update a turn"):
        without, pulled = phases({}, {})
    assert problems.equal(without, pulled)
    for turns, updates in (({}, {"model": 2}), ({"model": 2}, {})):
        without, pulled = phases(turns, updates)
        one, other = (jax.tree.leaves(each.params["generator"]) for each in (without, pulled))
        assert max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(one, other, strict=True)) > 1e-4


def test_one_update_warns_in_one_line_and_others_do_not():
    with pytest.warns(UserWarning, match="one update") as caught:
        training.optimize(gan(proximal=1.0), RATES)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text == (
        "player 'model' makes one update a turn, at which the gradient of its proximal term is exactly zero; give "
        "turns or updates {'model': 2} or more."
    )
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.optimize(gan(proximal=1.0), RATES, updates={"model": 2})
        training.optimize(gan(proximal=1.0), RATES, turns={"model": 2})
        training.optimize(gan(), RATES)
    with pytest.raises(ValueError, match="must be an integer ≥ 1, got 0"):
        training.optimize(gan(), RATES, turns={"critic": 0})
    with pytest.raises(ValueError, match="must be an integer ≥ 1, got 0"):
        training.optimize(gan(), RATES, updates={"model": 0})


@pytest.mark.thorough
def test_all_turns_are_one_program_without_host_transfers():
    objective, traces = gan(proximal=1.0), []

    def counted(loss, name):
        def run(*args, **kwargs):
            traces.append(name)
            return loss(*args, **kwargs)

        return run

    players = {name: each._replace(loss=counted(each.loss, name)) for name, each in objective.players.items()}
    counting = vifx.Objective(objective.init, players, objective.parts)
    turns, updates = {"critic": 5, "model": 3}, {"model": 2}
    step = training.optimize(counting, RATES, turns=turns, updates=updates)
    batch = minibatches(5)
    update, held = training.compile(step), begin(step, objective)
    held, _ = update(held, batch)
    seen = sorted(traces)
    assert seen == ["critic", "model"]
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            held, metrics = update(held, batch)
    assert sorted(traces) == seen
    assert int(held.step) == 4

    many = training.compile(training.scanned(step, 4))
    scanned = begin(step, objective)
    scanned, history = many(scanned, {"x": jnp.concatenate([batch["x"]] * 4)})
    assert difference(scanned.params, held.params) < 1e-6
    for name, value in metrics.items():
        np.testing.assert_allclose(history[name][-1], value, rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
def test_an_anchored_run_resumes_bit_for_bit(tmp_path):
    """A checkpoint between two phases has no anchor, and needs none."""
    objective = gan(proximal=5.0)
    step = training.optimize(objective, RATES, updates={"model": 2})
    update = training.compile(step)
    batches = minibatches(6)["x"]

    def advance(held, first, last):
        for i in range(first, last):
            held, _ = update(held, {"x": batches[i]})
        return held

    whole = advance(begin(step, objective), 0, 6)
    half = advance(begin(step, objective), 0, 3)
    with training.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, half)
        restored = checkpoints.restore(begin(step, objective))
    assert not any("@anchor" in name for name in restored.params)
    assert problems.equal(advance(restored, 3, 6), whole)

"""Each combinator against the loop that it stands for, written by hand."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.problems import bilinear, equal, line_data, regression

from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.training import (
    Progress,
    anchored,
    averaged,
    averaged_params,
    constrained,
    descend,
    guarded,
    in_turn,
    optimize,
    repeat,
    scanned,
    start,
)

KEY = 0


def begin(step, objective, batch):
    train_state = start(jax.random.key(KEY), step, objective, batch)
    return train_state.progress


def batch_of(value, examples=4):
    return {"x": jnp.full((examples,), value)}


def numbers(progress):
    return float(progress.params["a"]["v"]), float(progress.params["b"]["v"])


# descend


def test_descend_equals_the_optax_loop_bit_for_bit():
    objective, batch = regression(noise=0.1), jax.tree.map(jnp.asarray, line_data(8))
    optimizer = optax.sgd(0.05, momentum=0.9)
    step = descend(objective, "model", optimizer, grad_norm=True)
    progress = begin(step, objective, batch)
    params, state, slot = progress.params, progress.state, optimizer.init(progress.params)
    loss = objective.players["model"].loss

    @jax.jit
    def by_hand(key, params, state, slot):
        (value, aux), gradient = jax.value_and_grad(lambda p: loss(key, p, state, batch), has_aux=True)(params)
        updates, slot = optimizer.update(gradient, slot, params)
        return optax.apply_updates(params, updates), aux.state, slot, value, gradient

    update = jax.jit(step.update)
    for i in range(5):
        progress, metrics = update(jax.random.key(i), progress, batch)
        params, new, slot, value, gradient = by_hand(jax.random.key(i), params, state, slot)
        state = {**state, **new}
        assert equal(progress.params, params)
        assert equal(progress.slot, slot)
        assert equal(metrics["loss/model"], value)
        norm = np.linalg.norm(np.append(gradient["line"]["w"], gradient["line"]["b"]))
        assert float(metrics["grad_norm/model"]) == pytest.approx(norm, rel=1e-6)
    assert int(progress.state["line"]["seen"]) == 5
    assert int(progress.state["model@updates"]) == 5


def test_descend_moves_only_what_the_player_owns():
    objective = bilinear()
    step = descend(objective, "min", optax.sgd(0.1), grad_norm=True)
    progress, metrics = step.update(jax.random.key(1), begin(step, objective, batch_of(2.0)), batch_of(2.0))
    # a ← 1 − 0.1 · b · mean(x) = 1 − 0.1 · 0.5 · 2
    assert numbers(progress) == pytest.approx((0.9, 0.5), abs=1e-7)
    assert float(metrics["grad_norm/min"]) == pytest.approx(1.0)


def test_descend_names_the_nearest_player_and_network():
    with pytest.raises(ValueError, match=r"unknown player 'mux'; did you mean 'max'\?"):
        descend(bilinear(), "mux", optax.sgd(0.1))
    loss = bilinear().players["max"].loss
    step = descend(Objective(bilinear().init, {"max": Player(("c",), loss)}, ()), "max", optax.sgd(0.1))
    with pytest.raises(ValueError, match="unknown network of player 'max' 'c'"):
        step.init(jax.random.key(0), {"a": 1}, {})


# turns


def test_in_turn_and_repeat_follow_the_recursion_of_the_bilinear_game():
    objective = bilinear()
    step = in_turn(repeat(descend(objective, "max", optax.sgd(0.1)), 3), descend(objective, "min", optax.sgd(0.2)))
    assert step.batches == 3
    means = np.array([1.0, 2.0, 3.0])
    batch = {"x": jnp.asarray(np.broadcast_to(means[:, None], (3, 4)), jnp.float32)}
    progress = begin(step, objective, batch_of(1.0))
    a, b = 1.0, 0.5
    for _ in range(4):
        progress, metrics = step.update(jax.random.key(3), progress, batch)
        values = []
        for m in means:
            values.append(a * b * m)
            b += 0.1 * a * m
        value = a * b * means[0]  # the last turn takes the first minibatch
        a -= 0.2 * b * means[0]
        assert numbers(progress) == pytest.approx((a, b), rel=1e-5)
        assert float(metrics["value/max"]) == pytest.approx(np.mean(values), rel=1e-5)
        assert float(metrics["value/min"]) == pytest.approx(value, rel=1e-5)


def noisy():
    """The loss is v · u with u drawn from the key: a step moves v by −u, so v tells which keys were used."""

    def loss(key, params, state, batch, *, train=True):
        value = params["a"]["v"] * (jax.random.normal(key) + jnp.mean(batch["x"]))
        return value, Aux({"count": jnp.ones((), jnp.int32)}, state)

    return Objective(lambda key, batch: ({"a": {"v": jnp.zeros(())}}, {}), {"min": Player(("a",), loss)}, ())


def test_repetitions_draw_their_own_noise_when_fresh_and_the_same_otherwise():
    inner = descend(noisy(), "min", optax.sgd(1.0))

    def draw(i):
        return float(jax.random.normal(jax.random.fold_in(jax.random.key(5), i)))

    fresh, same = repeat(inner, 2), repeat(inner, 2, fresh=False)
    assert (fresh.batches, same.batches) == (2, 1)
    two = {"x": jnp.asarray([[1.0, 1.0], [2.0, 4.0]])}
    moved, metrics = fresh.update(jax.random.key(5), begin(fresh, noisy(), batch_of(0.0)), two)
    assert float(moved.params["a"]["v"]) == pytest.approx(-(draw(0) + 1.0 + draw(1) + 3.0), rel=1e-6)
    assert metrics["count"].dtype == jnp.int32
    assert int(metrics["count"]) == 1
    moved, _ = same.update(jax.random.key(5), begin(same, noisy(), batch_of(0.0)), batch_of(1.0))
    assert float(moved.params["a"]["v"]) == pytest.approx(
        -2 * (float(jax.random.normal(jax.random.key(5))) + 1), rel=1e-6
    )


def test_nested_repetitions_take_their_minibatches_in_order():
    step = repeat(repeat(descend(bilinear(), "max", optax.sgd(1.0)), 2), 3)
    assert step.batches == 6
    batch = {"x": jnp.arange(6.0)[:, None] * jnp.ones((6, 2))}
    progress, _ = step.update(jax.random.key(0), begin(step, bilinear(), batch_of(0.0)), batch)
    assert float(progress.params["b"]["v"]) == pytest.approx(0.5 + 15.0)  # a = 1, so b grows by each mean
    one = repeat(descend(bilinear(), "max", optax.sgd(1.0)), 1)
    progress, _ = one.update(jax.random.key(0), begin(one, bilinear(), batch_of(0.0)), batch_of(2.0))
    assert float(progress.params["b"]["v"]) == pytest.approx(2.5)


def proximal():
    """loss = ½ (v − v°)² + v, minimized by descent from v° = the start of the phase."""

    def loss(key, params, state, batch, *, train=True):
        v, anchor = params["a"]["v"], params["a@anchor"]["v"]
        near = 0.5 * (v - anchor) ** 2
        return near + v * jnp.mean(batch["x"]), Aux({"near": near}, {"a": {}})

    return Objective(lambda key, batch: ({"a": {"v": jnp.ones(())}}, {"a": {}}), {"min": Player(("a",), loss)}, ())


def test_the_anchor_is_the_value_at_the_start_of_the_phase():
    rate, pull = 0.25, 2.0
    step = anchored(repeat(descend(proximal(), "min", optax.sgd(rate)), 3, fresh=False), "a")
    progress = begin(step, proximal(), batch_of(pull))
    assert set(progress.params) == {"a"}
    v = 1.0
    for _ in range(3):
        progress, metrics = step.update(jax.random.key(0), progress, batch_of(pull))
        anchor, near = v, []
        for _ in range(3):
            near.append(0.5 * (v - anchor) ** 2)
            v -= rate * ((v - anchor) + pull)  # no gradient through the anchor
        assert float(progress.params["a"]["v"]) == pytest.approx(v, rel=1e-6)
        assert float(metrics["near"]) == pytest.approx(np.mean(near), rel=1e-6)
        assert set(progress.params) == {"a"}


def test_with_one_update_a_phase_the_proximal_term_has_no_gradient():
    step = anchored(descend(proximal(), "min", optax.sgd(0.25), grad_norm=True), ["a"])
    progress, metrics = step.update(jax.random.key(0), begin(step, proximal(), batch_of(2.0)), batch_of(2.0))
    assert float(progress.params["a"]["v"]) == 1.0 - 0.25 * 2.0
    assert float(metrics["near"]) == 0.0
    assert float(metrics["grad_norm/min"]) == 2.0


def test_turns_refuse_what_cannot_be():
    inner = descend(proximal(), "min", optax.sgd(0.1))
    with pytest.raises(ValueError, match="networks must be the name of a network"):
        anchored(inner, [])
    with pytest.raises(ValueError, match="unknown network to anchor 'aa'; did you mean 'a'"):
        begin(anchored(inner, "aa"), proximal(), batch_of(0.0))
    twice = anchored(anchored(inner, "a"), "a")
    with pytest.raises(ValueError, match="anchored twice"):
        twice.update(jax.random.key(0), begin(twice, proximal(), batch_of(0.0)), batch_of(0.0))
    both = in_turn(guarded(descend(bilinear(), "max", optax.sgd(0.1))))
    with pytest.raises(ValueError, match=r"guarded\(in_turn"):
        both.update(jax.random.key(0), begin(both, bilinear(), batch_of(0.0)), batch_of(0.0))
    with pytest.raises(ValueError, match="times must be an integer ≥ 1, got 0"):
        repeat(inner, 0)
    with pytest.raises(ValueError, match="at least one step"):
        in_turn()
    with pytest.raises(ValueError, match=r"write scanned\(repeat\(...\), 4\)"):
        repeat(scanned(inner, 4), 2)


# averages


def test_the_average_is_the_unbiased_exponential_one():
    decay, objective = 0.9, bilinear()
    step = averaged(descend(objective, "max", optax.sgd(1.0)), decay)
    progress = begin(step, objective, batch_of(1.0))
    assert equal(averaged_params(progress.slot), progress.params)
    values = []
    for t in range(1, 6):
        progress, _ = step.update(jax.random.key(t), progress, batch_of(float(t)))
        values.append(float(progress.params["b"]["v"]))
        weights = (1 - decay) * decay ** np.arange(t - 1, -1, -1)
        assert weights.sum() == pytest.approx(1 - decay**t)
        expected = weights @ values / weights.sum()
        assert float(averaged_params(progress.slot)["b"]["v"]) == pytest.approx(expected, rel=1e-5)
        assert float(averaged_params(progress.slot)["a"]["v"]) == pytest.approx(1.0, rel=1e-6)


def test_a_slow_average_is_accurate_in_single_precision():
    step = averaged(descend(bilinear(), "max", optax.sgd(0.0)), 0.9999)
    progress = begin(step, bilinear(), batch_of(1.0))
    progress = progress._replace(params={**progress.params, "b": {"v": jnp.full((), 3.0)}})
    progress, _ = step.update(jax.random.key(0), progress, batch_of(1.0))
    assert float(averaged_params(progress.slot)["b"]["v"]) == pytest.approx(3.0, rel=1e-6)


def test_averages_are_found_inside_other_slots_and_only_once():
    objective = bilinear()
    step = guarded(averaged(descend(objective, "max", optax.sgd(1.0)), 0.5))
    assert equal(averaged_params(begin(step, objective, batch_of(1.0)).slot)["b"]["v"], jnp.full((), 0.5))
    with pytest.raises(ValueError, match="found 0"):
        averaged_params(())
    with pytest.raises(ValueError, match="0 < decay < 1, got 1"):
        averaged(step, 1.0)


# constraints


def test_a_projection_follows_the_update_and_a_loss_transform_goes_through_it():
    objective = bilinear()
    inner = descend(objective, "max", optax.sgd(1.0), grad_norm=True)

    def clip(params):
        return jax.tree.map(lambda leaf: jnp.clip(leaf, -0.75, 0.75), params)

    step = constrained(inner, update=clip)
    progress, metrics = step.update(jax.random.key(0), begin(step, objective, batch_of(4.0)), batch_of(4.0))
    assert numbers(progress) == (0.75, 0.75)
    assert float(metrics["loss/max"]) == -2.0  # measured before the projection

    def halve(loss):
        def halved(key, params, state, batch, *, train=True):
            scaled = {name: jax.tree.map(lambda leaf: 0.5 * leaf, tree) for name, tree in params.items()}
            return loss(key, scaled, state, batch, train=train)

        return halved

    step = constrained(inner, loss=halve, update=clip)
    progress, metrics = step.update(jax.random.key(0), begin(step, objective, batch_of(0.4)), batch_of(0.4))
    assert float(metrics["grad_norm/max"]) == pytest.approx(0.1)  # ∂/∂b of (a/2)(b/2)·0.4
    assert numbers(progress) == pytest.approx((0.75, 0.6))
    outer = constrained(constrained(inner, update=clip), loss=halve)
    assert equal(outer.update(jax.random.key(0), begin(outer, objective, batch_of(0.4)), batch_of(0.4))[0], progress)
    with pytest.raises(ValueError, match="needs loss=, update= or both"):
        constrained(inner)


# scans and compositions


def test_a_scan_equals_its_single_updates():
    objective = regression(noise=0.1)
    step = descend(objective, "model", optax.sgd(0.05))
    many = scanned(step, 4)
    assert (many.batches, many.length) == (4, 4)
    data = {name: jnp.asarray(value).reshape(4, 10, *value.shape[1:]) for name, value in line_data(40).items()}
    keys, again = (jax.random.split(jax.random.key(9), 4) for _ in range(2))
    progress = single = begin(step, objective, {name: value[0] for name, value in data.items()})
    progress, metrics = many.update(keys, progress, data)
    for i in range(4):
        single, one = step.update(again[i], single, {name: value[i] for name, value in data.items()})
        np.testing.assert_allclose(metrics["nll/y"][i], one["nll/y"], rtol=1e-5)
    chex.assert_trees_all_close(progress.params, single.params, rtol=1e-5)
    assert scanned(step, 1) is step
    with pytest.raises(ValueError, match="length must be an integer ≥ 1, got 0"):
        scanned(step, 0)


def test_a_scan_hands_each_update_its_own_minibatches():
    step = scanned(repeat(descend(bilinear(), "max", optax.sgd(1.0)), 2), 3)
    batch = {"x": jnp.arange(6.0)[:, None] * jnp.ones((6, 2))}
    progress = begin(step, bilinear(), batch_of(0.0))
    progress, metrics = step.update(jax.random.split(jax.random.key(0), 3), progress, batch)
    b, values = 0.5, []
    for mean in range(6):
        values.append(-b * mean)
        b += mean
    np.testing.assert_allclose(metrics["loss/max"], np.mean(np.reshape(values, (3, 2)), 1), rtol=1e-6)
    assert float(progress.params["b"]["v"]) == pytest.approx(15.5)


def test_optimize_is_the_composition_that_it_says():
    objective = bilinear()
    composed = optimize(objective, {"min": optax.sgd(0.2), "max": optax.sgd(0.1)}, turns={"max": 3})
    by_hand = in_turn(repeat(descend(objective, "max", optax.sgd(0.1)), 3), descend(objective, "min", optax.sgd(0.2)))
    batch = {"x": jnp.asarray([[1.0], [2.0], [3.0]])}
    progress = begin(composed, objective, batch_of(1.0))
    assert composed.batches == 3
    one, other = (s.update(jax.random.key(0), progress, batch)[0] for s in (composed, by_hand))
    assert equal(one, other)
    single = optimize(regression(), optax.sgd(0.1))
    assert single.batches == 1
    assert set(begin(single, regression(), {"x": jnp.ones((2, 3)), "y": jnp.ones(2)}).params) == {"line"}
    with pytest.raises(ValueError, match="unknown player 'mix'; did you mean 'min'"):
        optimize(objective, {"mix": optax.sgd(0.1), "max": optax.sgd(0.1)})
    with pytest.raises(ValueError, match="unknown player 'criti'"):
        optimize(objective, optax.sgd(0.1), turns={"criti": 2})
    with pytest.raises(ValueError, match=r"none is given for \['min'\]"):
        optimize(objective, {"max": optax.sgd(0.1)})
    assert isinstance(progress, Progress)


def test_start_and_optimize_say_what_they_take():
    objective = regression()
    step = optimize(objective, optax.sgd(0.1))
    with pytest.raises(TypeError, match="optimizers must be an optax optimizer"):
        optimize(objective, 1e-3)
    with pytest.raises(TypeError, match="objective must be an Objective, got a dict"):
        start(jax.random.key(0), step, {}, {})
    with pytest.raises(TypeError, match="batch must be a mapping"):
        start(jax.random.key(0), step, objective, jnp.ones(3))

"""What evaluation sees of a train state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import training
from vifx.core.nets import from_functions
from vifx.evaluation.known_law import best_normal


def trained(step_of):
    net = from_functions(lambda key: jnp.zeros(1), lambda loc: vifx.distributions.Normal(loc, jnp.ones(1)).to_event(1))
    model = vifx.Joint(vifx.factor("x", net, name="model"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), model)
    step = step_of(training.descend(objective, "model", optax.sgd(0.5)))
    batch = {"x": jnp.full((2, 1), 4.0)}
    state = training.start(jax.random.key(0), step, objective, batch)
    for _ in range(2):
        state, _ = training.compile(step)(state, batch)
    return state


def test_averages_are_evaluated_where_a_step_keeps_them():
    """Updates from 0 by half the way to 4 are 2 and 3; with decay ½ their average is (½·2 + 3)/1.5 = 8/3."""
    averaged = trained(lambda step: training.averaged(step, 0.5))
    np.testing.assert_allclose(averaged.params["model"], 3.0)
    np.testing.assert_allclose(training.evaluated(averaged).params["model"], 8 / 3, rtol=1e-6)
    plain = trained(lambda step: step)
    np.testing.assert_allclose(training.evaluated(plain).params["model"], 3.0)


@pytest.mark.thorough
def test_the_best_normal_is_the_published_optimum():
    for name, loc, scale in (("kl", 1.0, 1.8314), ("reverse_kl", 1.5810, 1.6302), ("pearson", 0.5540, 1.9261)):
        found = best_normal(vifx.divergences.named(name), vifx.data.modes("fgan_mixture"))
        np.testing.assert_allclose(found, (loc, scale), atol=1e-3)


def test_ancestors_alone_are_kept():
    normal = vifx.standard_normal(1)
    joint = vifx.Joint(
        vifx.factor("a", normal),
        vifx.factor("b | a", lambda a: vifx.distributions.Normal(a, jnp.ones_like(a)).to_event(1)),
        vifx.factor("c", normal),
    )
    assert joint.ancestral(("b",)).variables == ("a", "b")
    assert joint.ancestral(("c",)).variables == ("c",)


@pytest.mark.thorough
def test_a_paired_critic_saturates_by_pairs():
    """Logits 10 at the data and 0 at the samples: every pair has odds above 99 to 1."""
    critic = from_functions(lambda key, x: jnp.zeros(()), lambda zero, x: jnp.where(x[:, 0] > 50, 10.0, 0.0) + zero)
    generator = from_functions(lambda key, z: jnp.zeros(()), lambda zero, z: z + zero)
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(1)), vifx.implicit("x | z", generator, name="generator")
    )
    game = vifx.adversarial(vifx.Joint(vifx.evidence("x")), generative, critic, on="x", divergence="relativistic")
    metrics = []
    for value in (100.0, 0.0):
        batch = {"x": jnp.full((4, 1), value)}
        params, state = game.init(jax.random.key(0), batch)
        metrics.append(game.players["critic"].loss(jax.random.key(1), params, state, batch)[1].metrics)
    assert [float(each["critic/saturation"]) for each in metrics] == [1.0, 0.0]
    assert [float(each["critic/accuracy"]) for each in metrics] == [1.0, 0.0]

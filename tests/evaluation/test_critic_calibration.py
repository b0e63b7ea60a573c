"""The calibration of critics of two Gaussians, of which the best one is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit
from scipy.stats import norm

import vifx
from vifx import data, evaluation, training
from vifx.core.nets import Net, as_net
from vifx.networks import MLP, Critic

SHIFT = 1.2


def samples(seed, n=4000):
    """Samples of N(0, 1) and N(shift, 1), their origins, and the best critic's logits."""
    generator = np.random.default_rng(seed)
    origins = np.repeat([1, 0], n)
    s = generator.normal(size=2 * n) + SHIFT * (1 - origins)
    return s, origins, norm.logpdf(s) - norm.logpdf(s, SHIFT)


def test_the_best_critic_has_no_error_but_chance():
    _, origins, best = samples(0)
    assert evaluation.critic_calibration(best, expit(best)).error == pytest.approx(0, abs=1e-9)
    found = evaluation.critic_calibration(best, origins)
    assert found.error < 2 * found.chance
    assert found.share.sum() == pytest.approx(1)
    assert len(found.share) == 15
    np.testing.assert_array_less(np.abs(found.accuracy - found.confidence), 4.3 * found.spread)


def test_a_critic_that_is_too_sure_or_reversed_is_found():
    """The controls: the error of a scaled critic by hand, and of one with the two sides exchanged."""
    _, origins, best = samples(1)
    sure = evaluation.critic_calibration(4 * best, origins)
    assert sure.error > 5 * sure.chance
    expected = np.mean(np.abs(expit(4 * best) - expit(best)))  # no bin has both signs but the middle one
    assert evaluation.critic_calibration(4 * best, expit(best), bins=60).error == pytest.approx(expected, rel=0.02)
    assert evaluation.critic_calibration(-best, origins).error > 0.3
    ignorant = evaluation.critic_calibration(np.zeros(len(best)), origins)
    assert ignorant.error == pytest.approx(0, abs=1e-9)
    assert len(ignorant.share) == 1


@pytest.mark.thorough
def test_a_trained_critic_is_calibrated_and_drawn():
    s, origins, best = samples(2)
    inference = vifx.Joint(vifx.evidence("x"))
    generator = Net(
        init=lambda key, z: ({"shift": jnp.full(1, SHIFT)}, {}),
        apply=lambda params, state, z, key=None, train=False: (z + params["shift"][None], state),
    )
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(1)), vifx.implicit("x | z", generator, name="generator")
    )
    objective = vifx.adversarial(inference, generative, Critic(MLP((16,))), on="x")
    source = data.Resident({"x": s[origins == 1][:, None].astype(np.float32)}, 256, 0)
    step = training.descend(objective, "critic", optax.adam(1e-2))
    fitted = training.fit(jax.random.key(0), step, objective, source, steps=400, observe=None)
    fresh, origins, best = samples(3)
    params = fitted.train_state.params["critic"]
    logits, _ = as_net(Critic(MLP((16,)))).apply(params, {}, jnp.asarray(fresh[:, None], jnp.float32))
    found = evaluation.critic_calibration(logits, expit(best))
    assert found.error < 0.04
    assert np.abs(expit(np.asarray(logits)) - expit(best)).mean() < 0.06
    untrained = objective.init(jax.random.key(1), {"x": jnp.ones((4, 1))})[0]["critic"]
    logits, _ = as_net(Critic(MLP((16,)))).apply(untrained, {}, jnp.asarray(fresh[:, None], jnp.float32))
    assert evaluation.critic_calibration(logits, expit(best)).error > 0.1
    words = {"confidence": "D, the critic's probability of A", "accuracy": "share of A"}
    figure = evaluation.reliability_diagram({"critic": found}, **words)
    assert figure.axes[0].get_ylabel() == "share of A"
    assert figure.axes[1].get_xlabel() == words["confidence"]

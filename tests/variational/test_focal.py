"""The focal loss against its formula, its derivatives, and the likelihood that it is in one case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import networks
from vifx.core.nets import from_functions
from vifx.distributions import Bernoulli, EachStep, Normal

LOGITS = np.random.default_rng(0).normal(scale=2.0, size=(6, 5, 2))
LENGTHS = np.array([5, 3, 1, 5, 2, 4])
WITHIN = (np.arange(5)[None] < LENGTHS[:, None])[..., None] * np.ones(2)


def batch():
    y = (np.random.default_rng(1).random((6, 5, 2)) < 0.3).astype(float)
    return {"x": jnp.arange(6), "y": jnp.asarray(y)}


def tagger(*, steps=False):
    """Logits as parameters, one for each element of each example."""

    def apply(params, x):
        logits = params["logits"][x]
        if not steps:
            return Bernoulli(logits).to_event(2)
        return EachStep(Bernoulli(logits.reshape(-1, 2)).to_event(1), 5, lengths=jnp.asarray(LENGTHS)[x])

    return from_functions(lambda key, x: {"logits": jnp.asarray(LOGITS, jnp.result_type(float))}, apply)


def joints(network):
    return vifx.Joint(vifx.evidence("x", "y")), vifx.Joint(
        vifx.evidence("x"), vifx.factor("y | x", network, name="tagger")
    )


def by_hand(logits, y, alpha, gamma, within=1.0):
    p = 1 / (1 + np.exp(-logits))
    ones, zeros = -alpha * (1 - p) ** gamma * np.log(p), -(1 - alpha) * p**gamma * np.log(1 - p)
    return np.mean(np.sum(within * (y * ones + (1 - y) * zeros), axis=(1, 2)))


def run(objective, data, logits=LOGITS):
    params, state = objective.init(jax.random.key(0), data)
    params = {"tagger": {"logits": jnp.asarray(logits, params["tagger"]["logits"].dtype)}}
    loss = objective.players["model"].loss
    f = jax.jit(jax.value_and_grad(lambda params: loss(jax.random.key(1), params, state, data), has_aux=True))
    (value, aux), slope = f(params)
    return float(value), aux.metrics, np.asarray(slope["tagger"]["logits"])


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize("steps", [False, True])
def test_value_and_slope_are_those_of_the_formula(x64, alpha, gamma, steps):
    data, within = batch(), WITHIN if steps else np.ones(WITHIN.shape)
    value, metrics, slope = run(vifx.focal(*joints(tagger(steps=steps)), alpha=alpha, gamma=gamma), data)
    y = np.asarray(data["y"])
    assert value == pytest.approx(by_hand(LOGITS, y, alpha, gamma, within), rel=1e-12)
    assert float(metrics["focal/y"]) == pytest.approx(value, rel=1e-12)
    for place in [(0, 0, 0), (1, 2, 1), (2, 3, 0), (5, 3, 1)]:
        step = np.zeros(LOGITS.shape)
        step[place] = 1e-5
        above, below = (by_hand(LOGITS + sign * step, y, alpha, gamma, within) for sign in (1, -1))
        assert slope[place] == pytest.approx((above - below) / 2e-5, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_without_focus_it_is_the_weighted_likelihood(x64, alpha):
    """γ = 0: −α Σ log P of ones and −(1 − α) Σ log(1 − P) of zeros; half of `kl` for α = ½, in value and gradient."""
    data, both = batch(), joints(tagger(steps=True))
    value, metrics, slope = run(vifx.focal(*both, alpha=alpha, gamma=0.0), data)
    nll, true, true_slope = run(vifx.kl(*both), data)
    assert float(metrics["nll/y"]) == pytest.approx(nll, rel=1e-12)
    assert float(true["nll/y"]) == pytest.approx(nll, rel=1e-12)
    weights = np.where(np.asarray(data["y"]) > 0, alpha, 1 - alpha)
    np.testing.assert_allclose(slope, weights * true_slope, atol=1e-12)
    if alpha == 0.5:
        assert value == pytest.approx(nll / 2, rel=1e-12)


def test_claim_is_the_definition(x64):
    objective = vifx.focal(*joints(tagger(steps=True)), alpha=0.3, gamma=1.5)
    params, state = objective.init(jax.random.key(0), batch())
    found = vifx.verify(objective, params, state, batch())["model"]
    assert max(found.value_error, found.gradient_error) < 1e-12
    assert found.cosines["tagger"] == pytest.approx(1.0)


def test_weights_of_examples_are_repetitions(x64):
    data = batch()
    weighted = {**data, "@weights": jnp.asarray([2.0, 0.0, 1.0, 0.0, 0.0, 3.0])}
    rows = np.array([0, 0, 2, 5, 5, 5])
    objective = vifx.focal(*joints(tagger()))
    value, _, slope = run(objective, weighted)
    again, _, same = run(objective, {name: array[rows] for name, array in data.items()})
    assert value == pytest.approx(again, rel=1e-12)
    np.testing.assert_allclose(slope, same, atol=1e-12)


def test_sure_elements_have_finite_slopes():
    data = {name: jnp.asarray(value, jnp.float32) if name == "y" else value for name, value in batch().items()}
    for size in (50.0, 1e30):
        for gamma in (0.5, 2.0):
            value, _, slope = run(vifx.focal(*joints(tagger()), gamma=gamma), data, size * np.sign(LOGITS))
            assert np.isfinite(value)
            assert np.isfinite(slope).all()


def test_explain_says_that_it_is_no_likelihood():
    text = vifx.explain(vifx.focal(*joints(tagger())))
    assert "neither a likelihood nor a divergence" in text
    assert "focal/y" in text
    assert "nll" not in text
    assert "dropped     nothing" in text
    assert r"(1 - P_i)^{2} \log P_i\text{, }P_i = \mathrm{tagger}(y \mid x)_i" in vifx.explain(
        vifx.focal(*joints(tagger())), style="latex"
    )


def test_misuse_is_named():
    both = joints(tagger())
    with pytest.raises(ValueError, match=r"alpha must be a number in \(0, 1\), got 1; it is the weight of ones"):
        vifx.focal(*both, alpha=1)
    with pytest.raises(ValueError, match="gamma must be a finite number ≥ 0, got -1"):
        vifx.focal(*both, gamma=-1)
    network = networks.Conditional(networks.MLP((4,)), networks.BernoulliHead((5, 2)))
    inference = vifx.Joint(vifx.evidence("y"), vifx.factor("z | y", network, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", vifx.standard_normal(2)), vifx.factor("y | z", network, name="decoder"))
    with pytest.raises(ValueError, match=r"encoder\(z \| y\) is not a factor .* use kl"):
        vifx.focal(inference, generative)
    normal = from_functions(
        lambda key, x: {}, lambda params, x: Normal(jnp.zeros((6, 5, 2)), jnp.ones((6, 5, 2))).to_event(2)
    )
    data = batch()
    objective = vifx.focal(*joints(normal))
    params, state = objective.init(jax.random.key(0), data)
    with pytest.raises(ValueError, match=r"tagger\(y \| x\) is a Normal, expected independent binary elements"):
        objective.players["model"].loss(jax.random.key(0), params, state, data)

"""Quantizers: the loss of a VQ-VAE from its formula, levels, numbers, and the sum over codes."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import networks, quantization
from vifx.core.nets import from_functions
from vifx.distributions import Categorical, Normal, uniform_categorical
from vifx.quantization import CodePrior, straight_through

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(size=(40, 3)), jnp.float32)
BETA, GAMMA, K = 0.3, 0.7, 5

ENCODER = from_functions(
    lambda key, x: {"matrix": 0.7 * jax.random.normal(key, (3, 4))},
    lambda params, x: jnp.tanh(x @ params["matrix"]).reshape(-1, 2, 2),
)
DECODER = from_functions(
    lambda key, z: {"matrix": jax.random.normal(key, (4, 3))},
    lambda params, z: Normal(z.reshape(len(z), -1) @ params["matrix"], jnp.ones((len(z), 3))).to_event(1),
)


def joints(quantizer):
    return (
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", quantizer, name="codes")),
        vifx.Joint(vifx.factor("z", quantizer, name="codes"), vifx.factor("x | z", DECODER, name="decoder")),
    )


def value_and_gradient(objective, params, state, batch=None):
    def value(params):
        return objective.players["model"].loss(KEY, params, state, batch or {"x": X})[0]

    return jax.jit(jax.value_and_grad(value))(params)


def close(one, other, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1.0, float(jnp.max(jnp.abs(b)))))


def by_hand(params, x=X, weights=None):
    """``−log q(x | E + sg(e − E)) + 2 log K + β ‖E − sg e‖² + γ ‖sg E − e‖²``, every symbol as it is written."""
    sg = jax.lax.stop_gradient
    encoded, means = jnp.tanh(x @ params["codes"]["encoder"]["matrix"]).reshape(-1, 2, 2), params["codes"]["codebook"]
    means = means["mean"]
    nearest = jnp.argmin(jnp.sum((encoded[:, :, None] - means[None, None]) ** 2, axis=-1), axis=-1)
    code = means[nearest]
    read = encoded + sg(code - encoded)
    loc = read.reshape(len(x), -1) @ params["decoder"]["matrix"]
    nll = 0.5 * jnp.sum((x - loc) ** 2, axis=1) + 1.5 * math.log(2 * math.pi)
    apart = BETA * (encoded - sg(code)) ** 2 + GAMMA * (sg(encoded) - code) ** 2
    each = nll + 2 * math.log(K) + jnp.sum(apart, axis=(1, 2))
    return jnp.mean(each) if weights is None else jnp.sum(weights * each) / jnp.sum(weights)


def test_the_loss_of_a_vq_vae_is_its_formula():
    inference, generative = joints(quantization.vector(ENCODER, (2, 2), codes=K))
    objective = vifx.kl(inference, generative) + quantization.commitment(inference, weight=BETA, codebook=GAMMA)
    params, state = objective.init(KEY, {"x": X})
    expected = jax.jit(jax.value_and_grad(by_hand))(params)
    found = value_and_gradient(objective, params, state)
    close(found, expected)
    assert all(float(jnp.max(jnp.abs(leaf))) > 1e-3 for leaf in jax.tree.leaves(found[1]))
    _, aux = objective.players["model"].loss(KEY, params, state, {"x": X})
    np.testing.assert_allclose(aux.metrics["kl/z"], 2 * math.log(K), rtol=1e-6)
    np.testing.assert_allclose(aux.metrics["elbo"], -aux.metrics["nll/x"] - 2 * math.log(K), rtol=1e-6)
    assert "straight through" in vifx.explain(objective, {"x": X})
    assert "weight 0.3" in vifx.explain(objective)


@pytest.mark.thorough
def test_weights_of_examples_are_those_of_rows():
    inference, generative = joints(quantization.vector(ENCODER, (2, 2), codes=K))
    objective = vifx.kl(inference, generative) + quantization.commitment(inference, weight=BETA, codebook=GAMMA)
    params, state = objective.init(KEY, {"x": X})
    weights = jnp.asarray(DRAW.integers(0, 4, len(X)), jnp.float32)
    found = value_and_gradient(objective, params, state, {"x": X, "@weights": weights})
    close(found, jax.value_and_grad(by_hand)(params, X, weights))


@pytest.mark.thorough
def test_without_commitment_nothing_reaches_the_codes():
    inference, generative = joints(quantization.vector(ENCODER, (2, 2), codes=K))
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": X})
    _, gradient = value_and_gradient(objective, params, state)
    assert not np.any(gradient["codes"]["codebook"]["mean"])
    assert np.any(gradient["codes"]["encoder"]["matrix"])


@pytest.mark.thorough
def test_straight_through_in_both_modes():
    e, c = jnp.asarray([0.1, 0.7]), jnp.asarray([0.3, -2.0])
    value, tangent = jax.jvp(straight_through, (e, c), (jnp.asarray([1.0, 2.0]), jnp.asarray([9.0, 9.0])))
    assert np.array_equal(value, c)
    assert np.array_equal(tangent, [1.0, 2.0])
    assert np.array_equal(jax.grad(lambda e: jnp.sum(straight_through(e, c) ** 2))(e), 2 * c)


@pytest.mark.parametrize("levels", [(2,), (3,), pytest.param((4, 5, 2), marks=pytest.mark.thorough)])
def test_finite_scalar_levels_numbers_and_gradient(levels):
    count = np.asarray(levels)
    y = jnp.asarray(np.linspace(-6, 6, 4001)[:, None] * np.ones(len(levels)), jnp.float32)
    identity = from_functions(lambda key, x: {}, lambda params, x: x)
    quantizer = quantization.finite_scalar(identity, levels=levels)
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", quantizer, name="codes"))
    params, state = inference.init(KEY, {"x": y})

    def draw(y):
        return inference.sample(KEY, params, state, {"x": y}).values["z"]

    z = np.asarray(draw(y))
    for axis, size in enumerate(count):  # every level is reached, and they are equally spaced
        np.testing.assert_allclose(
            np.unique(z[:, axis]), (np.arange(size) - size // 2) / (size // 2), rtol=1e-5, atol=1e-6
        )
    points = quantizer.points({}, {})
    every = list(itertools.product(*(range(size) for size in count[::-1])))
    lattice = (np.asarray(every)[:, ::-1] - count // 2) / (count // 2)
    np.testing.assert_allclose(points, lattice, rtol=1e-5, atol=1e-6)
    codes = quantization.codes_of(KEY, inference, params, state, {"x": y})
    np.testing.assert_allclose(points[codes], z, rtol=1e-5, atol=1e-6)

    half = (count - 1) * 1.001 / 2  # Mentzer et al. (2023), with its constants
    shift = np.arctanh(np.where(count % 2 == 0, 0.5, 0.0) / half)
    slope = half / np.cosh(np.asarray(y, np.float64) + shift) ** 2 / (count // 2)
    np.testing.assert_allclose(jax.grad(lambda y: jnp.sum(draw(y)))(y), slope, rtol=1e-4, atol=1e-6)


def soft_by_hand(params, x, scale):
    """``E_x Σ_k p(k | x) [log p(k | x) + log K − log q(x | e_k)]``, enumerated."""
    encoded, means = jnp.tanh(x @ params["codes"]["encoder"]["matrix"]), params["codes"]["codebook"]["mean"]
    logits = -jnp.sum((encoded[:, None] - means[None]) ** 2, axis=-1) / (2 * scale**2)
    log_p = jax.nn.log_softmax(logits)
    loc = means @ params["decoder"]["matrix"]
    nll = 0.5 * jnp.sum((x[:, None] - loc[None]) ** 2, axis=-1) + 1.5 * math.log(2 * math.pi)
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p + math.log(K) + nll), axis=1))


@pytest.mark.thorough
def test_the_sum_over_codes_is_exact():
    single = from_functions(
        lambda key, x: {"matrix": jax.random.normal(key, (3, 4))}, lambda params, x: jnp.tanh(x @ params["matrix"])
    )
    quantizer = quantization.vector(single, (4,), codes=K)
    soft = vifx.factor("k | x", quantizer.soft(0.6), name="codes")
    lookup = vifx.factor("z | k", quantizer.lookup, name="codes")
    inference = vifx.Joint(vifx.evidence("x"), soft, lookup)
    prior = vifx.factor("k", uniform_categorical(K))
    generative = vifx.Joint(prior, lookup, vifx.factor("x | z", DECODER, name="decoder"))
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": X})
    expected = jax.value_and_grad(lambda params: soft_by_hand(params, X, 0.6))(params)
    close(value_and_gradient(objective, params, state), expected)


@pytest.mark.thorough
def test_the_sum_over_codes_is_what_verify_enumerates():
    """On a finite x, with the codebook inside of one network: the loss is the enumeration of the joint divergence."""

    def init(key, *parents):
        one, two, three = jax.random.split(key, 3)
        return {
            "table": jax.random.normal(one, (4, 2)),
            "mean": jax.random.normal(two, (K, 2)),
            "out": jax.random.normal(three, (2, 4)),
        }

    def encode(params, x):
        apart = params["table"][x][:, None] - params["mean"][None]
        return Categorical(-jnp.sum(apart**2, axis=-1) / (2 * 0.6**2))

    both = vifx.nets.from_functions(init, encode)
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("k | x", both, name="codes"))
    table = from_functions(
        lambda key, k: {"logits": jax.random.normal(key, (K, 4))}, lambda params, k: Categorical(params["logits"][k])
    )
    generative = vifx.Joint(vifx.factor("k", uniform_categorical(K)), vifx.factor("x | k", table, name="decoder"))
    x = jnp.asarray([0, 1, 1, 3, 2, 0], jnp.int32)
    embedded = from_functions(lambda key, x: {"table": jnp.zeros((4, 2))}, lambda params, x: params["table"][x])
    quantizer = quantization.vector(embedded, (2,), codes=K)
    same = vifx.Joint(vifx.evidence("x"), vifx.factor("k | x", quantizer.soft(0.6), name="codes"))
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": x})
    report = vifx.verify(objective, params, state, {"x": x})
    enumerated = vifx.verification.enumeration.joint_kl(inference, generative, params, state, {"x": x})
    ours = {
        "codes": {
            "encoder": {"table": params["codes"]["table"]},
            "codebook": {"mean": params["codes"]["mean"]},
        },
        "decoder": params["decoder"],
    }
    kept = {"codes": {"encoder": {}, "codebook": {}}, "decoder": {}}
    found = vifx.kl(same, generative)
    value, _ = found.players["model"].loss(KEY, ours, kept, {"x": x})
    constant = vifx.verification.enumeration.constant_value(found.constants, same, {"x": x})
    np.testing.assert_allclose(value + constant, enumerated, rtol=1e-5)
    assert "model" in str(report)
    with_ours = vifx.verify(found, ours, kept, {"x": x})
    assert "model" in str(with_ours)


@pytest.mark.thorough
def test_a_prior_of_the_numbers_is_another_factor_of_the_same_codes():
    quantizer = quantization.vector(ENCODER, (2, 2), codes=K)
    prior = networks.autoregressive(networks.GatedSymbols(K, 4, (1,)), length=2, classes=K)
    codes = vifx.factor("z | x", quantizer, name="codes")
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("k | x", quantizer.numbers, name="codes"), codes)
    generative = vifx.Joint(
        vifx.factor("k", prior, name="prior"),
        vifx.factor("z | k", quantizer.lookup, name="codes"),
        vifx.factor("x | z", DECODER, name="decoder"),
    )
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": X})
    numbers = jnp.asarray(quantization.codes_of(KEY, inference, params, state, {"x": X}))
    law = vifx.Joint(vifx.factor("k", prior, name="prior"))
    _, aux = objective.players["model"].loss(KEY, params, state, {"x": X})
    nats = -jnp.mean(law.log_prob(params, state, {"k": numbers})["k"])
    np.testing.assert_allclose(aux.metrics["kl/k"], nats, rtol=1e-5)
    assert aux.metrics["kl/z"] == 0
    drawn = generative.sample(KEY, params, state, examples=50).values
    np.testing.assert_array_equal(drawn["z"], params["codes"]["codebook"]["mean"][drawn["k"]])


@pytest.mark.thorough
def test_the_uniform_prior_sums_to_one_over_the_codes():
    points = jnp.asarray(DRAW.normal(size=(3, 2)), jnp.float32)
    law = CodePrior(points, (2,))
    every = points[np.asarray(list(itertools.product(range(3), repeat=2)))]
    np.testing.assert_allclose(np.exp(law.log_prob(every)).sum(), 1, rtol=1e-6)
    assert law.log_prob(every[:1] + 0.1)[0] == -np.inf
    drawn = np.asarray(law.sample(KEY, (3000,)))
    share = np.mean(np.all(drawn == np.asarray(every[4]), axis=(1, 2)))
    assert abs(share - 1 / 9) < 0.03


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantization.vector(ENCODER, (2, 2), codes=1), "codes must be an integer from 2 to 4096, got 1"),
        (lambda: quantization.finite_scalar(ENCODER, levels=(8, 1)), r"levels\[1\] must be an integer ≥ 2, got 1"),
        (lambda: quantization.commitment(joints(SMALL)[0], weight=-1), "weight must be .*≥ 0, got -1"),
        (lambda: quantization.commitment(joints(SMALL)[1], latent="x"), "is not quantized"),
        (lambda: joints(quantization.vector(ENCODER, (2, 2), codes=99))[0].init(KEY, {"x": X}), "80 of the batch, got"),
        (lambda: joints(quantization.vector(ENCODER, (4,), codes=9))[0].init(KEY, {"x": X}), r"expected \[4\]"),
        (lambda: quantization.vector(ENCODER, (2, 2)).soft(1.0), r"512\^2 states"),
        (lambda: joints(SMALL)[1].init(KEY, {}, examples=4), "initialize the inference joint"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


SMALL = quantization.vector(ENCODER, (2, 2), codes=K)

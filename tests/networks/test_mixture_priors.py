"""Priors that are mixtures: a VampPrior against one written by hand, and quadrature."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import networks
from vifx.core.nets import as_net
from vifx.distributions import MixtureOf, Normal
from vifx.networks import MLP, Conditional, DiagonalNormal, NormalFixedScale, NormalMixture, vamp_prior

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(30, 3)), jnp.float32)


def joints(components=7, weighted=False):
    encoder = vamp_prior(Conditional(MLP((8,)), DiagonalNormal((2,))), components=components, weighted=weighted)
    decoder = Conditional(MLP((8,)), NormalFixedScale((3,), 0.5))
    return (
        vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder")),
        vifx.Joint(vifx.factor("z", encoder, name="encoder"), vifx.factor("x | z", decoder, name="decoder")),
    )


def normal(x, loc, scale):
    return jnp.sum(-0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi), axis=-1)


@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_vamp_prior_is_its_formula_by_value_and_gradient(weighted):
    inference, generative = joints(weighted=weighted)
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": X})
    assert params["encoder"]["inputs"].shape == (7, 3)
    if weighted:
        params["encoder"]["logits"] = jnp.linspace(-1.0, 1.0, 7)
    # The draw that the loss takes: the same for the same keys.
    z = inference.sample(jax.random.key(5), params, state, {"x": X}).values["z"]
    bodies = [as_net(Conditional(MLP((8,)), DiagonalNormal((2,)))), as_net(generative.factors[1].source)]

    def by_hand(params, z):
        mine, _ = bodies[0].apply(params["encoder"]["network"], {}, params["encoder"]["inputs"])
        loc, scale = mine.base_dist.loc, mine.base_dist.scale
        each = normal(z[:, None], loc[None], scale[None])
        logits = params["encoder"].get("logits", jnp.zeros(7))
        return jax.nn.logsumexp(each + jnp.broadcast_to(jax.nn.log_softmax(logits), each.shape), axis=1)

    def ours(params, z):
        return generative.log_prob(params, state, {"z": z, "x": X})["z"]

    np.testing.assert_allclose(ours(params, z), by_hand(params, z), rtol=2e-5)

    def noise_of(params, loss):  # value and gradient of the whole loss: the draw is E + ε S of a common ε
        return loss(params)

    epsilon = jax.random.normal(jax.random.key(3), z.shape)

    def whole(params, log_prior):
        posterior, _ = bodies[0].apply(params["encoder"]["network"], {}, X)
        loc, scale = posterior.base_dist.loc, posterior.base_dist.scale
        z = loc + scale * epsilon
        likelihood, _ = bodies[1].apply(params["decoder"], {}, z)
        return jnp.mean(normal(z, loc, scale) - log_prior(params, z) - likelihood.log_prob(X))

    one = jax.jit(jax.value_and_grad(lambda p: whole(p, ours)))(params)
    other = jax.jit(jax.value_and_grad(lambda p: whole(p, by_hand)))(params)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.any(one[1]["encoder"]["inputs"])


@pytest.mark.thorough
def test_the_loss_tends_to_its_integral():
    """Of one latent dimension, the drawn divergence has the mean and the gradient of the quadrature."""
    encoder = vamp_prior(Conditional(MLP((4,)), DiagonalNormal((1,))), components=3)
    decoder = Conditional(MLP((4,)), NormalFixedScale((3,), 0.5))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(vifx.factor("z", encoder, name="encoder"), vifx.factor("x | z", decoder, name="decoder"))
    x = X[:4]
    objective = vifx.kl(inference, generative, samples=40_000)
    params, state = objective.init(KEY, {"x": x})
    grid = jnp.linspace(-9, 9, 3001)[:, None]

    def quadrature(params):
        def one(x):
            same = jnp.broadcast_to(x, (len(grid), 3))
            log_p = inference.log_prob(params, state, {"x": same, "z": grid})["z | x"]
            log_q = generative.log_prob(params, state, {"x": same, "z": grid})
            return jnp.sum(jnp.exp(log_p) * (log_p - log_q["z"] - log_q["x | z"])) * (18 / 3000)

        return jnp.mean(jax.vmap(one)(x))

    def drawn(params):
        return objective.players["model"].loss(jax.random.key(1), params, state, {"x": x})[0]

    one, other = jax.jit(jax.value_and_grad(drawn))(params), jax.jit(jax.value_and_grad(quadrature))(params)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(one[0], other[0], rtol=0.01)


@pytest.mark.thorough
def test_inputs_begin_as_examples_and_no_two_are_equal():
    inference, _ = joints(components=90)
    params, _ = inference.init(KEY, {"x": X})
    inputs = np.asarray(params["encoder"]["inputs"])
    assert len(np.unique(inputs, axis=0)) == 90
    nearest = ((inputs[:, None] - np.asarray(X)[None]) ** 2).sum(-1).min(1)
    assert np.sqrt(nearest.mean()) < 0.3


@pytest.mark.thorough
def test_a_mixture_of_normals_is_a_prior():
    decoder = Conditional(MLP((8,)), NormalFixedScale((3,), 0.5))
    generative = vifx.Joint(
        vifx.factor("z", NormalMixture(4, (2,)), name="prior"), vifx.factor("x | z", decoder, name="decoder")
    )
    encoder = Conditional(MLP((8,)), DiagonalNormal((2,)))
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    objective = vifx.kl(inference, generative)
    params, state = objective.init(KEY, {"x": X})
    gradient = jax.grad(lambda p: objective.players["model"].loss(KEY, p, state, {"x": X})[0])(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["prior"]))
    z = jnp.asarray([[0.3, -1.0], [2.0, 0.5]])
    loc = params["prior"]["loc"]
    expected = jax.nn.logsumexp(normal(z[:, None], loc[None], jnp.ones_like(loc)[None]), axis=1) - math.log(4)
    found = vifx.Joint(generative.factors[0]).log_prob(params, state, {"z": z})["z"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: vamp_prior(MLP((4,), 2), components=0), ValueError, "components must be an integer ≥ 1, got 0"),
        (lambda: joints()[0].init(KEY, {"x": X.astype(jnp.int32)}), TypeError, "x is int32"),
        (lambda: joints()[1].init(KEY, {}, examples=2), ValueError, "0 parents, expected one"),
        (lambda: NormalMixture(0, (2,)), ValueError, "components must be an integer ≥ 1, got 0"),
        (lambda: MixtureOf(Normal(jnp.zeros(()), jnp.ones(()))), ValueError, "one batch axis"),
        (lambda: MixtureOf(Normal(jnp.zeros(3), jnp.ones(3)), jnp.zeros(2)), ValueError, "one for each of 3"),
        (lambda: networks.MaskedGrid(4, (3, 3), width=4), ValueError, "width must be odd, got 4"),
        (lambda: networks.MaskedGrid(4, (3,)), ValueError, "height and width"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

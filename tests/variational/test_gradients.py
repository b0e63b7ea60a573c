"""Gradient estimators are unbiased: z-tests against quadrature, each with a control that must fail.

The model is z ~ N(0, 1), x | z ~ N(wz, s²), with the encoder z | x ~ N(ax + b, e^c). References are exact:
Gauss–Hermite quadrature of the K-sample bound in the noise, differentiated.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest

import vifx
from vifx import Joint, evidence, factor, standard_normal
from vifx.core.nets import from_functions
from vifx.core.types import Net
from vifx.distributions import Bernoulli, Normal

DRAWS = 200_000
LIMIT = 4.26
"""|z| of a two-sided test at 2e-5."""

ENCODER = from_functions(
    lambda key, x: {"a": jnp.array(0.7, x.dtype), "b": jnp.array(-0.2, x.dtype), "c": jnp.array(-0.3, x.dtype)},
    lambda p, x: Normal(p["a"] * x + p["b"], jnp.broadcast_to(jnp.exp(p["c"]), x.shape)).to_event(1),
)
DECODER = from_functions(
    lambda key, z: {"w": jnp.array(1.3, z.dtype)},
    lambda p, z: Normal(p["w"] * z, jnp.full(z.shape, 0.6, z.dtype)).to_event(1),
)
BATCH = {"x": np.array([[0.8]], np.float32)}


def joints():
    return (
        Joint(evidence("x"), factor("z | x", ENCODER, name="encoder")),
        Joint(factor("z", standard_normal(1)), factor("x | z", DECODER, name="decoder")),
    )


def exact_gradient(params, samples, alpha=0.0):
    """∇L_K, with α the Rényi bound, by tensor quadrature over the K noises, in double precision."""
    with jax.enable_x64(True):
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        weights = weights / weights.sum()
        grid = np.array(list(itertools.product(nodes, repeat=samples)))
        mass = np.prod(list(itertools.product(weights, repeat=samples)), axis=1)
        x = float(BATCH["x"][0, 0])

        def bound(params):
            e, d = params["encoder"], params["decoder"]
            z = e["a"] * x + e["b"] + jnp.exp(e["c"]) * grid
            log_weight = (
                -0.5 * z**2 - 0.5 * ((x - d["w"] * z) / 0.6) ** 2 - np.log(0.6) - 0.5 * np.log(2 * np.pi)
                + 0.5 * grid**2 + e["c"]
            )  # fmt: skip
            powers = jax.scipy.special.logsumexp((1 - alpha) * log_weight, axis=1) - np.log(samples)
            return -jnp.sum(mass * powers / (1 - alpha))

        params = jax.tree.map(lambda v: jnp.asarray(v, float), params)
        return jax.tree.map(float, jax.jit(jax.value_and_grad(bound))(params))


def estimates(objective, seed=0):
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    loss = objective.players["model"].loss
    run = jax.jit(jax.vmap(lambda key: jax.value_and_grad(lambda p: loss(key, p, state, batch)[0])(params)))
    return params, run(jax.random.split(jax.random.key(seed), DRAWS))


def z_scores(samples, truth):
    def score(sample, true):
        sample = np.asarray(sample, np.float64)
        return (sample.mean(0) - np.asarray(true)) / (sample.std(0) / np.sqrt(len(sample)))

    scores = jax.tree.leaves(jax.tree.map(score, samples, truth))
    return np.concatenate([np.ravel(s) for s in scores]).tolist()


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("samples", "gradient"),
    [
        (1, "reparameterized"),
        (1, "sticking_the_landing"),
        (1, "doubly_reparameterized"),
        (2, "reparameterized"),
        (2, "doubly_reparameterized"),
        (2, "vimco"),
    ],
)
def test_importance_weighted_gradients_are_unbiased(samples, gradient):
    objective = vifx.importance_weighted(*joints(), samples=samples, gradient=gradient)
    params, (value, grads) = estimates(objective)
    true_value, true_gradient = exact_gradient(params, samples)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


def test_sticking_the_landing_is_biased_beyond_one_sample():
    """The control: this estimator must be caught at K = 2, for the encoder and for it alone."""
    objective = vifx.importance_weighted(*joints(), samples=2, gradient="sticking_the_landing")
    params, (value, grads) = estimates(objective)
    true_value, true_gradient = exact_gradient(params, 2)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads["encoder"], true_gradient["encoder"]))) > 3 * LIMIT
    assert max(map(abs, z_scores(grads["decoder"], true_gradient["decoder"]))) < LIMIT


def test_kl_gradient_is_unbiased_with_several_samples():
    params, (value, grads) = estimates(vifx.kl(*joints(), samples=3))
    true_value, true_gradient = exact_gradient(params, 1)
    assert max(map(abs, z_scores(value, true_value))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    variance = 1 / (1 + 1.3**2 / 0.36)
    posterior = {"a": variance * 1.3 / 0.36, "b": 0.0, "c": 0.5 * np.log(variance)}
    batch = jax.tree.map(jnp.asarray, BATCH)

    def spread(gradient):
        objective = vifx.importance_weighted(*joints(), samples=1, gradient=gradient)
        params, state = objective.init(jax.random.key(0), batch)
        params = {**params, "encoder": jax.tree.map(jnp.float32, posterior)}
        loss = objective.players["model"].loss
        run = jax.vmap(lambda key: jax.grad(lambda p: loss(key, p, state, batch)[0])(params))
        grads = jax.jit(run)(jax.random.split(jax.random.key(0), 100))
        return max(float(jnp.std(g)) for g in jax.tree.leaves(grads["encoder"]))

    assert spread("sticking_the_landing") < 1e-5
    assert spread("doubly_reparameterized") < 1e-5
    assert spread("reparameterized") > 0.1


def bernoulli_joints():
    encoder = from_functions(
        lambda key, x: jnp.array([0.4, -0.3, 0.8], x.dtype), lambda p, x: Bernoulli(p[None] * x).to_event(1)
    )
    decoder = from_functions(
        lambda key, z: jnp.array([0.9, -0.5, 0.3], z.dtype),
        lambda p, z: Normal(z @ p[:, None], jnp.ones((len(z), 1), z.dtype)).to_event(1),
    )
    prior = Bernoulli(jnp.array([0.2, 0.0, -0.4])).to_event(1)
    return (
        Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
        Joint(factor("z", prior), factor("x | z", decoder, name="decoder")),
    )


def bernoulli_bound(params, samples):
    """The bound over binary vectors by enumeration of all tuples of the 8 states."""
    states = np.array(list(itertools.product([0.0, 1.0], repeat=3)), np.float32)
    x = BATCH["x"][0, 0]

    def bits(logits):
        return jnp.sum(states * jax.nn.log_sigmoid(logits) + (1 - states) * jax.nn.log_sigmoid(-logits), axis=1)

    with jax.numpy_rank_promotion("allow"):
        log_p = bits(params["encoder"] * x)
        log_w = (
            bits(jnp.array([0.2, 0.0, -0.4]))
            - 0.5 * (x - states @ params["decoder"]) ** 2 - 0.5 * np.log(2 * np.pi) - log_p
        )  # fmt: skip
    index = np.array(list(itertools.product(range(8), repeat=samples)))
    bound = jax.scipy.special.logsumexp(log_w[index], axis=1) - np.log(samples)
    return -jnp.sum(jnp.exp(jnp.sum(log_p[index], axis=1)) * bound)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("samples", "gradient"), [(0, ""), (1, "reparameterized"), (2, "reparameterized"), (2, "vimco"), (3, "vimco")]
)
def test_score_function_is_unbiased_on_binary_vectors(samples, gradient):
    """A latent that can be neither summed (it is a vector) nor reparameterized; 0 stands for `kl`."""
    joints = bernoulli_joints()
    objective = vifx.importance_weighted(*joints, samples=samples, gradient=gradient) if samples else vifx.kl(*joints)
    params, (value, grads) = estimates(objective)
    truth, true_gradient = jax.value_and_grad(bernoulli_bound)(params, max(samples, 1))
    assert max(map(abs, z_scores(value, truth))) < LIMIT
    assert max(map(abs, z_scores(grads, true_gradient))) < LIMIT


@pytest.mark.thorough
def test_dropping_the_score_is_caught():
    """The control: the same draws without their score factor."""
    objective = vifx.kl(*bernoulli_joints())
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    inference, generative = bernoulli_joints()

    def wrong(params, key):
        values = inference.sample(key, params, state, batch).values
        values = {**values, "z": jax.lax.stop_gradient(values["z"])}
        q, p = generative.log_prob(params, state, values), inference.log_prob(params, state, values)
        return -jnp.mean(q["z"] + q["x | z"] - p["z | x"])

    grads = jax.jit(jax.vmap(jax.grad(wrong), (None, 0)))(params, jax.random.split(jax.random.key(1), DRAWS))
    truth = jax.grad(bernoulli_bound)(params, 1)
    assert max(map(abs, z_scores(grads["encoder"], truth["encoder"]))) > 3 * LIMIT


def test_doubly_reparameterized_refuses_other_latents():
    objective = vifx.importance_weighted(*bernoulli_joints(), samples=2, gradient="doubly_reparameterized")
    batch = jax.tree.map(jnp.asarray, BATCH)
    params, state = objective.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"encoder\(z \| x\) is not reparameterizable"):
        objective.players["model"].loss(jax.random.key(0), params, state, batch)


class Undeclared(numpyro.Distribution):
    """A Bernoulli without declared parameters, which NumPyro calls reparameterized."""

    support = numpyro.constraints.boolean

    def __init__(self, logits):
        self.logits = logits
        super().__init__(batch_shape=logits.shape, validate_args=False)

    def sample(self, key, sample_shape=()):
        shape = sample_shape + self.batch_shape
        return jax.random.bernoulli(key, jnp.broadcast_to(jax.nn.sigmoid(self.logits), shape)).astype(int)

    def log_prob(self, value):
        return Bernoulli(self.logits).log_prob(value)


@pytest.mark.thorough
def test_integers_are_never_reparameterized():
    def gradient(family):
        encoder = from_functions(
            lambda key, x: jnp.array([0.4, -0.3, 0.8], x.dtype), lambda p, x: family(p[None] * x).to_event(1)
        )
        decoder = from_functions(
            lambda key, z: jnp.array([0.9, -0.5, 0.3]),
            lambda p, z: Normal(z.astype(p.dtype) @ p[:, None], jnp.ones((len(z), 1))).to_event(1),
        )
        prior = Bernoulli(jnp.array([0.2, 0.0, -0.4])).to_event(1)
        objective = vifx.importance_weighted(
            Joint(evidence("x"), factor("z | x", encoder, name="encoder")),
            Joint(factor("z", prior), factor("x | z", decoder, name="decoder")),
            samples=2,
        )
        batch = jax.tree.map(jnp.asarray, BATCH)
        params, state = objective.init(jax.random.key(0), batch)
        return jax.grad(lambda p: objective.players["model"].loss(jax.random.key(2), p, state, batch)[0])(params)

    ours, theirs = gradient(Bernoulli), gradient(Undeclared)
    np.testing.assert_allclose(theirs["encoder"], ours["encoder"], rtol=1e-6)
    np.testing.assert_allclose(theirs["decoder"], ours["decoder"], rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("gradient", ["sticking_the_landing", "doubly_reparameterized"])
def test_shared_networks_with_state_are_evaluated_again_as_at_first(gradient):
    """A network whose output depends on how often it ran, against three networks that stand for its runs."""

    def counting(start):
        def apply(params, state, x, *, key=None, train=False):
            offset = start + state["runs"]
            return Normal(params * x + offset, jnp.full(x.shape, 0.7)).to_event(1), {"runs": state["runs"] + 1}

        return Net(lambda key, x: (jnp.array(0.7, x.dtype), {"runs": jnp.zeros(())}), apply)

    def gradients(nets, names):
        objective = vifx.importance_weighted(
            Joint(evidence("x"), factor("z | x", nets[0], name=names[0]), factor("w | z", nets[1], name=names[1])),
            Joint(
                factor("w", standard_normal(1)),
                factor("z | w", nets[2], name=names[2]),
                factor("x | z", DECODER, name="decoder"),
            ),
            samples=3,
            gradient=gradient,
        )
        batch = jax.tree.map(jnp.asarray, BATCH)
        params, state = objective.init(jax.random.key(0), batch)
        return jax.grad(lambda p: objective.players["model"].loss(jax.random.key(2), p, state, batch)[0])(params)

    shared = gradients([counting(0.0)] * 3, ["net"] * 3)
    apart = gradients([counting(0.0), counting(1.0), counting(2.0)], ["one", "two", "three"])
    np.testing.assert_allclose(shared["net"], apart["one"] + apart["two"] + apart["three"], rtol=1e-5)
    np.testing.assert_allclose(shared["decoder"]["w"], apart["decoder"]["w"], rtol=1e-5)


@pytest.mark.first(1)
@pytest.mark.first(1)
@pytest.mark.parametrize("gradient", ["sticking_the_landing", "doubly_reparameterized"])
def test_dropout_is_the_same_when_networks_are_evaluated_again(gradient):
    """The generative network's gradient does not depend on the estimator, dropout included."""

    def apply(params, state, z, *, key=None, train=False):
        kept = jax.random.bernoulli(key, 0.5, z.shape).astype(z.dtype)
        return Normal(2 * params * kept * z, jnp.full(z.shape, 0.6)).to_event(1), state

    noisy = Net(lambda key, z: (jnp.array(1.3, z.dtype), {}), apply)
    generative = Joint(factor("z", standard_normal(1)), factor("x | z", noisy, name="decoder"))
    batch = {"x": jnp.linspace(-1, 1, 8)[:, None]}

    def decoder_gradient(name):
        objective = vifx.importance_weighted(joints()[0], generative, samples=4, gradient=name)
        params, state = objective.init(jax.random.key(0), batch)
        loss = objective.players["model"].loss
        return jax.jit(jax.grad(lambda p: loss(jax.random.key(2), p, state, batch)[0]))(params)["decoder"]

    np.testing.assert_allclose(decoder_gradient(gradient), decoder_gradient("reparameterized"), rtol=1e-5)

"""The maximum mean discrepancy against double loops, quadrature and enumeration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from identities import spaces

import vifx
from vifx import Joint, evidence, factor, implicit, nets, standard_normal
from vifx.core.conditional import fold
from vifx.distributions import Categorical
from vifx.verification import tabular

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
GENERATOR = nets.from_functions(
    lambda key, z: jax.random.normal(key, (3, 2), jnp.result_type(float)), lambda params, z: jnp.tanh(z) @ params
)


def joints(generator=GENERATOR):
    return Joint(evidence("x")), Joint(factor("z", standard_normal(3)), implicit("x | z", generator, name="generator"))


def kernel(first, second, width=1.0, scales=SCALES):
    base = 2 * len(first) * width**2
    return sum(base * c / (base * c + np.sum((first - second) ** 2)) for c in scales)


def model_loss(objective, params, state, batch, key=0):
    return jax.jit(objective.players["model"].loss)(jax.random.key(key), params, state, batch)


@pytest.mark.first(1)
@pytest.mark.parametrize(("width", "scales"), [(1.0, SCALES), (0.5, (0.3, 2.0))])
def test_equals_the_double_loop_over_different_pairs(x64, width, scales):
    inference, generative = joints()
    objective = vifx.mmd(inference, generative, on="x", width=width, scales=scales)
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))}
    params, state = jax.jit(objective.init)(jax.random.key(1), batch)
    assert objective.players["model"].owns == ("generator",)
    noise = fold(jax.random.key(0), "generative", "z", "draw")
    z = standard_normal(3).sample(noise, (5,))

    def by_hand(weight):
        a, b = np.asarray(batch["x"]), np.tanh(np.asarray(z)) @ np.asarray(weight)
        within = [
            kernel(each[i], each[j], width, scales) / 20
            for each in (a, b)
            for i in range(5)
            for j in range(5)
            if i != j
        ]
        across = [kernel(one, other, width, scales) / 25 for one in a for other in b]
        return sum(within) - 2 * sum(across)

    value, aux = model_loss(objective, params, state, batch)
    np.testing.assert_allclose(value, by_hand(params["generator"]), rtol=1e-12)
    np.testing.assert_array_equal(aux.metrics["mmd/x"], value)
    gradient = jax.jit(jax.grad(lambda params: model_loss(objective, params, state, batch)[0]))(params)["generator"]
    for i in range(3):
        for j in range(2):
            step = np.zeros((3, 2))
            step[i, j] = 1e-5
            middle = np.asarray(params["generator"])
            slope = (by_hand(middle + step) - by_hand(middle - step)) / 2e-5
            np.testing.assert_allclose(gradient[i, j], slope, rtol=1e-6, atol=1e-8)


def population(loc_a, scale_a, loc_b, scale_b):
    """MMD² of two normals on a line: a difference of independent ones is normal, so one quadrature is enough."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def mean_kernel(loc, variance):
        distance = (loc + np.sqrt(variance) * nodes) ** 2
        return sum(float(np.sum(weights * 2 * c / (2 * c + distance))) for c in (1.0, 5.0))

    a, b = mean_kernel(0.0, 2 * scale_a**2), mean_kernel(0.0, 2 * scale_b**2)
    return a + b - 2 * mean_kernel(loc_a - loc_b, scale_a**2 + scale_b**2)


def test_the_estimate_is_unbiased(x64):
    """Means over many minibatches of three agree with quadrature; what keeps the pairs (a, a) does not."""
    line = nets.from_functions(lambda key, z: jnp.asarray([0.7, 0.5]), lambda params, z: params[0] + params[1] * z)
    generative = Joint(factor("z", standard_normal(1)), implicit("x | z", line, name="generator"))
    objective = vifx.mmd(Joint(evidence("x")), generative, on="x", scales=(1.0, 5.0))
    keys = jax.random.split(jax.random.key(5), 4000)
    params = {"generator": jnp.asarray([0.7, 0.5])}

    @jax.jit
    @jax.vmap
    def estimate(key):
        data, noise = jax.random.split(key)
        return objective.players["model"].loss(noise, params, {}, {"x": jax.random.normal(data, (3, 1))})[0]

    values = np.asarray(estimate(keys))
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - population(0.0, 1.0, 0.7, 0.5)) < 4 * error
    # Each of the two sums with its diagonal is larger by (k(0) − E k)/3.
    assert error < 0.01


def test_evidence_that_both_sides_read_does_not_bias_it(x64):
    """Both read the label, so that (a, b) of one example are not independent: equal joints give zero in the mean."""
    inference = Joint(evidence("y"), factor("z", standard_normal(1)))
    shift = nets.from_functions(lambda key, z: jnp.zeros((1, 1)), lambda params, z: z + params)
    generative = Joint(evidence("y"), factor("u", standard_normal(1)), implicit("z | u", shift, name="generator"))
    objective = vifx.mmd(inference, generative, on=("y", "z"))
    params = {"generator": jnp.zeros((1, 1))}

    @jax.jit
    @jax.vmap
    def estimate(key):
        data, noise = jax.random.split(key)
        return objective.players["model"].loss(noise, params, {}, {"y": 3 * jax.random.normal(data, (3, 1))})[0]

    values = np.asarray(estimate(jax.random.split(jax.random.key(6), 4000)))
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert error < 0.02


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("pair", "on"),
    [("mixture", "x"), ("vae", "z"), ("vae", ("x", "z")), ("conditional", ("x", "y", "z")), ("labelled", ("y", "z"))],
)
def test_finite_spaces_are_exact(x64, pair, on):
    objective = vifx.mmd(*spaces.PAIRS[pair](), on=on)
    params, state = jax.jit(objective.init)(jax.random.key(1), spaces.batch())
    verification = vifx.verify(objective, params, state, spaces.batch())["model"]
    assert verification.value_error < 1e-12
    assert verification.gradient_error < 1e-12
    assert verification.loss > 1e-3


def test_equal_tables_have_none(x64):
    logits = jnp.asarray([0.3, -0.2, 0.5])
    generative = Joint(factor("z", Categorical(logits=logits)), factor("x | z", tabular(3, states=4), name="decoder"))
    inference = Joint(evidence("x"), factor("z | x", tabular(4, states=3), name="encoder"))
    objective = vifx.mmd(inference, generative, on="z")
    batch = spaces.batch()
    params, state = jax.jit(objective.init)(jax.random.key(1), batch)
    equal = {**params, "encoder": jnp.broadcast_to(logits, (4, 3))}
    assert abs(float(model_loss(objective, equal, state, batch)[0])) < 1e-14
    gradient = jax.jit(jax.grad(lambda p: model_loss(objective, p, state, batch)[0]))(equal)
    assert float(jnp.max(jnp.abs(gradient["encoder"]))) < 1e-14
    a = np.asarray(jax.nn.softmax(logits))
    encoder = np.asarray(jax.nn.softmax(params["encoder"], axis=-1))
    b = np.mean(encoder[np.asarray(batch["x"])], axis=0)
    table = np.array([[kernel(np.array([i]), np.array([j])) for i in range(3)] for j in range(3)])
    found = model_loss(objective, params, state, batch)[0]
    np.testing.assert_allclose(found, (a - b) @ table @ (a - b), rtol=1e-10)


def test_bad_input_is_refused():
    inference, generative = joints()
    for width in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="mmd: width must be a finite number > 0"):
            vifx.mmd(inference, generative, on="x", width=width)
    with pytest.raises(ValueError, match="mmd: scales must be a finite number > 0, got 0"):
        vifx.mmd(inference, generative, on="x", scales=(1.0, 0))
    with pytest.raises(ValueError, match="mmd: scales is empty"):
        vifx.mmd(inference, generative, on="x", scales=())
    with pytest.raises(ValueError, match="mmd: on='w', but the inference joint"):
        vifx.mmd(inference, generative, on="w")
    objective = vifx.mmd(inference, generative, on="x")
    one = {"x": jnp.zeros((1, 2))}
    params, state = jax.jit(objective.init)(jax.random.key(0), one)
    with pytest.raises(ValueError, match="one example has no pairs"):
        model_loss(objective, params, state, one)

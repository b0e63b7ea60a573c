"""A flow with its parameters: the same numbers as the functions of parameters, and as the factor of a joint."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.places import place
from scipy import stats

import vifx
from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 2))
AFFINE = {"log_scale": jnp.array([0.5, -1.0]), "shift": jnp.array([1.0, 2.0])}


def test_log_density_and_draws_in_two_lines():
    """Of a Gaussian, whose moments are known."""
    fitted = flows.Flow(vifx.standard_normal(2), flows.scale(shift=True)).at(AFFINE, {})
    scale, mean = np.exp([-0.5, 1.0]), np.array([-1.0, -2.0]) * np.exp([-0.5, 1.0])
    log_prob, samples = jax.jit(lambda x, key: (fitted.log_prob(x), fitted.sample(key, 20_000)))(
        jnp.asarray(X, jnp.float32), jax.random.key(0)
    )
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(X, mean, scale).sum(1), rtol=1e-5)
    error = 4.26 * scale / np.sqrt(20_000)
    assert np.all(np.abs(np.mean(samples, axis=0) - mean) < error)
    assert np.all(np.abs(np.std(samples, axis=0) - scale) < error)
    assert repr(fitted) == "FittedFlow(4 parameters)"


@pytest.mark.thorough
def test_its_functions_are_those_of_the_flow_and_of_the_joint(x64):
    bijection, x, given = flows.maf(2, hidden=(8,)), jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    flow = flows.Flow(vifx.standard_normal(2), bijection)
    params, state = place(bijection, x, given)
    fitted, key = flow.at(params, state), jax.random.key(0)
    factor = vifx.transformed("x | y", vifx.standard_normal(2), bijection, name="flow")
    generative = vifx.Joint(vifx.evidence("y"), factor)
    joint = generative.log_prob({"flow": params}, {"flow": state}, {"x": x, "y": given})
    np.testing.assert_allclose(jax.jit(fitted.log_prob)(x, given), sum(joint.values()), rtol=1e-12)
    pairs = [
        (fitted.log_prob(x, given), flow.log_prob(params, state, x, given)),
        (fitted.encode(x, given), flow.encode(params, state, x, given)),
        (fitted.decode(x, given), flow.decode(params, state, x, given)),
        (
            fitted.sample(jax.random.clone(key), 5, given, temperature=0.5),
            flow.sample(jax.random.clone(key), params, state, 5, given, temperature=0.5),
        ),
        (
            fitted.interpolate(x, x + 1, given, points=3),
            flow.interpolate(params, state, x, x + 1, given, points=3),
        ),
    ]
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(fitted.decode(fitted.encode(x, given), given), x, rtol=1e-9)


def test_wrong_arguments_say_so():
    fitted = flows.Flow(vifx.standard_normal(2), flows.scale(shift=True)).at(AFFINE, {})
    with pytest.raises(TypeError, match=r"got the integer 0; give jax.random.key\(0\)"):
        fitted.sample(0, 5)
    with pytest.raises(ValueError, match=r"x \[5, 3\] becomes z \[5, 3\], but the base has events \[2\]"):
        flows.Flow(vifx.standard_normal(2), flows.identity()).at({}, {}).log_prob(jnp.zeros((5, 3)))

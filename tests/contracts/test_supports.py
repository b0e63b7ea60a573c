"""Log-densities are −∞ outside the support, which the constraint says too, with finite gradients and never NaN."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx import distributions as d
from vifx import flows
from vifx.distributions.transformed import Transformed
from vifx.dynamics import Transition

INF, NAN = np.inf, np.nan
ZEROS = jnp.zeros(3)
EYE = jnp.eye(2)


class Case(NamedTuple):
    """A distribution by its parameters, with values inside and outside of its support, event by event."""

    make: object
    parameters: tuple
    inside: list
    outside: list


def transformed(loc):
    return Transformed(d.standard_normal(2), flows.scale(), {"log_scale": loc}, {}, None)


def squashed(loc):
    bijection = flows.chain(flows.logit(), flows.scale())
    params = [{}, {"log_scale": loc}]
    return Transformed(d.standard_normal(2), bijection, params, [{}, {}], None)


def chain(loc, start, **options):
    law = lambda params, state, features, key, train: d.Normal(features[0] + params, jnp.ones_like(features[0]))  # noqa: E731
    transition = Transition(lambda key, *_: (0.0, {}), law)
    return d.Chain(start, transition, 3, params=loc, state={}, **options)


VECTORS = [[0.0, 0.0], [1e3, -1e3]], [[NAN, 0.0], [0.0, INF], [-INF, NAN]]
PIXELS = [0, 1, 128, 255], [-1, 256, -(2**31), 2**31 - 1]
SEQUENCES = [[0, 1, 2], [2, 2, 2]], [[0, 1, 3], [-1, 0, 0], [0, 0, 2**31 - 1]]
CASES = {
    "autoregressive": Case(
        lambda table: d.Autoregressive(lambda rows: jnp.broadcast_to(table, (*rows.shape, 3)), None, 3, 3),
        (ZEROS,),
        *SEQUENCES,
    ),
    "bernoulli": Case(d.Bernoulli, (0.7,), [0.0, 1.0, 0.25], [2.0, -1e-3, 1.001, 255.0, NAN, INF, -INF]),
    "bernoulli of pixels": Case(d.Bernoulli, (0.7,), [0, 1], [2, -1, 255]),
    "categorical": Case(d.Categorical, (jnp.arange(3.0),), [0, 1, 2], [-1, 3, 2**31 - 1, -(2**31)]),
    "categorical of weights": Case(
        d.Categorical,
        (jnp.arange(3.0),),
        [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [1 / 3] * 3],
        [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.5, -0.5, 0.0], [NAN, 0.5, 0.5], [INF, 0, 0], [0.2, 0.3, 0.49]],
    ),
    "discretized logistic": Case(d.DiscretizedLogistic, (0.1, -2.0), *PIXELS),
    "discretized logistic of 17 shades": Case(
        lambda loc, log_scale: d.DiscretizedLogistic(loc, log_scale, shades=17),
        (0.1, -2.0),
        [0, 16, 128, 255],
        [1, 127, 254, -1, 256, -(2**31), 2**31 - 1],
    ),
    "mixture of discretized logistics": Case(d.MixtureOfDiscretizedLogistics, (ZEROS, ZEROS, ZEROS), *PIXELS),
    "mixture of normals": Case(
        lambda loc: d.MixtureOf(d.Normal(loc, jnp.ones((3, 2))).to_event(1)), (jnp.zeros((3, 2)),), *VECTORS
    ),
    "affine normal": Case(d.AffineNormal, (jnp.zeros(2), EYE), *VECTORS),
    "affine normal, half observed": Case(
        lambda loc, scale: d.AffineNormal(loc, scale, observed=jnp.array([True, False])),
        (jnp.zeros(2), EYE),
        [[0.0, 0.0], [1e3, NAN]],
        [[NAN, 0.0], [-INF, NAN]],
    ),
    "gaussian chain": Case(
        lambda *parameters: d.GaussianChain(*parameters, 2),
        (jnp.zeros(2), EYE, EYE, jnp.zeros(2), EYE),
        [[[0.0, 0.0], [1e2, -1e2]]],
        [[[NAN, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, INF]]],
    ),
    "finite": Case(
        lambda logits: d.Finite(jnp.array([[0, 0], [0, 1], [1, 0]]), logits),
        (ZEROS,),
        [[0, 0], [0, 1], [1, 0]],
        [[1, 1], [-1, 0], [2, 0]],
    ),
    "chain": Case(
        lambda loc: chain(loc, d.Normal(jnp.zeros(()), jnp.ones(()))),
        (0.5,),
        [[[0.0, 1e3, -1.0]], [[1.0, 2.0, 3.0]]],
        [[[NAN, 0.0, 0.0]], [[0.0, INF, 0.0]], [[0.0, 0.0, -INF]]],
    ),
    "chain beyond the end": Case(
        lambda loc: chain(loc, d.Normal(jnp.zeros(1), jnp.ones(1)), examples=1, lengths=jnp.array([2])),
        (0.5,),
        [[[0.0, 1.0, 2.0]], [[0.0, 1.0, NAN]], [[0.0, 0.0, INF]]],
        [[[0.0, NAN, 0.0]], [[INF, 0.0, NAN]]],
    ),
    "markov chain": Case(lambda a, b: d.MarkovChain(a, b, 3), (ZEROS, jnp.zeros((3, 3))), *SEQUENCES),
    "markov chain of fractions": Case(
        lambda a, b: d.MarkovChain(a, b, 2), (ZEROS, jnp.zeros((3, 3))), [[0.0, 2.0]], [[0.5, 1.0], [NAN, 0.0]]
    ),
    "multinomial": Case(d.Multinomial, (ZEROS,), [[0, 0, 0], [3, 0, 1]], [[-1, 2, 0], [0, -(2**31), 0]]),
    "multinomial of fractions": Case(
        d.Multinomial, (ZEROS,), [[3.0, 0.0, 1.0]], [[0.5, 0.5, 0.0], [-1.0, 2.0, 0.0], [NAN, 0, 0], [INF, 0, 0]]
    ),
    "poisson": Case(d.Poisson, (1.0,), [0, 1, 1000], [-1, -2, -(2**31)]),
    "poisson of fractions": Case(d.Poisson, (1.0,), [0.0, 3.0], [-1.0, 0.5, -0.5, INF, -INF, NAN]),
    "normal": Case(d.Normal, (1.0, 2.0), [0.0, -1e3], [INF, -INF, NAN]),
    "standard normal": Case(lambda: d.standard_normal(2), (), *VECTORS),
    "tempered": Case(lambda loc: d.tempered(d.Normal(loc, jnp.ones(2)).to_event(1), 0.5), (jnp.zeros(2),), *VECTORS),
    "multivariate normal": Case(d.MultivariateNormal, (jnp.zeros(2), EYE), *VECTORS),
    "student t": Case(d.MultivariateStudentT, (4.0, jnp.zeros(2), EYE), *VECTORS),
    "transformed": Case(transformed, (jnp.zeros(2),), *VECTORS),
    "independent categoricals": Case(
        lambda logits: d.Categorical(logits).to_event(1),
        (jnp.zeros((2, 3)),),
        [[0, 2], [1, 1]],
        [[0, 3], [-1, 0]],
    ),
    "each step": Case(
        lambda logits: d.EachStep(d.Categorical(logits), 3),
        (jnp.zeros((3, 3)),),
        *([[sequence] for sequence in sequences] for sequences in SEQUENCES),
    ),
    "steps beyond the end": Case(
        lambda loc: d.EachStep(d.Normal(loc, jnp.ones(3)), 3, lengths=jnp.array([2])),
        (ZEROS,),
        [[[0.0, 1.0, 2.0]], [[0.0, 1.0, NAN]], [[0.0, 0.0, INF]]],
        [[[0.0, NAN, 0.0]], [[INF, 0.0, NAN]]],
    ),
}


def test_every_distribution_has_a_case():
    made = [case.make(*(jnp.asarray(p, jnp.float32) for p in case.parameters)) for case in CASES.values()]
    found = {type(getattr(law, "base_dist", law)).__name__ for law in made}
    classes = {name for name in d.__all__ if isinstance(getattr(d, name), type)}
    assert classes - found == {"PointMass", "Unnormalized"}  # a value, and a density of which only the user knows


@pytest.mark.first(6)
@pytest.mark.parametrize("name", CASES)
def test_outside_the_support_densities_are_zero(name):
    case = CASES[name]
    parameters = tuple(jnp.asarray(p, jnp.float32) for p in case.parameters)

    @jax.jit
    def both(value, *parameters):
        log_prob = lambda *parameters: case.make(*parameters).log_prob(value)  # noqa: E731
        found, pull = jax.vjp(log_prob, *parameters)
        return found, pull(jnp.ones_like(found)), case.make(*parameters).support(value)

    for values, expected in ((case.inside, True), (case.outside, False)):
        kind = np.float32 if isinstance(np.asarray(case.inside).flat[0], np.floating) else np.int32
        for value in values:
            value = np.asarray(value, kind)
            log_prob, slopes, supported = both(jnp.asarray(value), *parameters)
            assert np.all(np.isfinite(log_prob)) == expected, (value, log_prob)
            assert np.all(np.isfinite(log_prob) | np.isneginf(log_prob)), (value, log_prob)
            assert np.all(supported) == expected, (value, supported)
            assert np.all(np.asarray(case.make(*parameters).support(value)) == np.asarray(supported)), value
            assert all(np.all(np.isfinite(slope)) for slope in slopes), (value, slopes)


# float16 is thorough: XLA compiles it only for instruction sets that have it.
HALF = pytest.param("float16", marks=pytest.mark.thorough)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", HALF, "bfloat16", "float32"])
def test_supports_take_every_dtype(dtype):
    zero_and_one = jnp.array([0, 1], dtype)
    for distribution in (d.Bernoulli(ZEROS), d.Poisson(ZEROS), d.DiscretizedLogistic(ZEROS, ZEROS)):
        assert distribution.support(zero_and_one).all()
        assert distribution.support(np.asarray(zero_and_one)).all()
    if dtype != "bool":
        largest = jnp.asarray(127, dtype)
        assert d.DiscretizedLogistic(ZEROS, ZEROS).support(largest)
        assert not d.Bernoulli(ZEROS).support(largest)


@pytest.mark.parametrize("dtype", [HALF, "bfloat16", "float32"])
def test_soft_labels_rounded_in_any_precision_are_a_distribution(dtype):
    weights = np.random.default_rng(0).dirichlet(np.ones(1000), 20)
    law, rounded = d.Categorical(jnp.zeros(1000)), jnp.asarray(weights.astype(jnp.dtype(dtype)))
    assert law.support(rounded).all()
    with jax.enable_x64(True):
        assert law.support(jnp.asarray(np.asarray(rounded).astype(np.float64))).all()


def test_a_missing_label_costs_its_own_example_alone():
    law = d.Categorical(jnp.zeros((3, 4)))
    np.testing.assert_allclose(law.log_prob(jnp.array([0, -1, 3])), [-np.log(4), -np.inf, -np.log(4)], rtol=1e-6)


def test_data_without_a_logit_have_density_zero_when_compiled():
    """A sigmoid of a normal variable: inside of the interval scipy's density, outside zero, with finite gradients."""
    log_prob = jax.jit(lambda log_scale, x: squashed(log_scale).log_prob(x))
    x = jnp.array([[0.2, 0.9], [0.5, 1.2], [-0.3, 0.5], [jnp.nan, 0.5]])
    found = log_prob(jnp.zeros(2), x)
    u = 0.05 + 0.9 * np.array([0.2, 0.9])
    expected = (scipy.stats.norm.logpdf(np.log(u / (1 - u))) + np.log(0.9 / (u * (1 - u)))).sum()
    np.testing.assert_allclose(found, [expected, -np.inf, -np.inf, -np.inf], rtol=1e-5)
    assert np.all(np.isfinite(jax.grad(lambda s: log_prob(s, x[1:]).sum())(jnp.zeros(2))))


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "finite", "steps beyond the end"])
def test_a_support_is_an_argument_of_a_compiled_function(name):
    case = CASES[name]
    support = case.make(*(jnp.asarray(p, jnp.float32) for p in case.parameters)).support
    leaves, structure = jax.tree.flatten(support)
    assert jax.tree.unflatten(structure, leaves) == support
    contains = jax.jit(lambda support, value: support(value))
    assert np.all(contains(support, jnp.asarray(case.inside[1])))
    assert not np.any(contains(support, jnp.asarray(case.outside[0])))

"""Every name of `distributions` and every head: densities sum or integrate to 1, and samples are drawn from them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx import distributions as d
from vifx import flows, networks
from vifx.distributions.transformed import Transformed
from vifx.dynamics import Transition
from vifx.networks import heads

DRAW = np.random.default_rng(0)
LOGITS = DRAW.normal(size=4)
COUNTS = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
PATHS = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
LINE = np.linspace(-30, 30, 24001)
PLANE = np.stack(np.meshgrid(*[np.linspace(-12, 12, 481)] * 2, indexing="ij"), -1).reshape(-1, 2)
WIDE = np.stack(np.meshgrid(*[np.linspace(-120, 120, 801)] * 2, indexing="ij"), -1).reshape(-1, 2)


class Case(NamedTuple):
    """A distribution without a batch, all its values or a grid of them, and the volume that a point stands for."""

    make: object
    values: np.ndarray
    volume: float = 1.0
    tolerance: float = 1e-9


def markov_chain():
    return d.MarkovChain(jnp.asarray(LOGITS[:2]), jnp.asarray(LOGITS.reshape(2, 2)), 3)


def chain():
    """Logits of a state by the one before it, and by the step."""
    table = jnp.asarray(LOGITS.reshape(2, 2))

    def law(params, state, features, key, train):
        previous, t = features
        return d.Categorical(table[previous] * jnp.broadcast_to(1 + t, (len(previous), 2)))

    return d.Chain(d.Categorical(jnp.asarray(LOGITS[2:])), Transition(lambda key, *_: ({}, {}), law), 3)


def each_step():
    return d.EachStep(d.Categorical(jnp.asarray(DRAW.normal(size=(3, 2)))), 3)


def autoregressive():
    """Logits of a symbol that depend on its place, and on how many 1s were before it."""
    places = jnp.asarray(DRAW.normal(size=(3, 2)))

    def logits(rows):
        before = jnp.cumsum(rows, axis=1) - rows
        return jnp.broadcast_to(places, (len(rows), 3, 2)) * (1.0 + before.astype(places.dtype)[..., None])

    return d.Autoregressive(logits, None, 3, 2)


TRIL = np.array([[0.8, 0.0], [0.5, 1.3]])


def gaussian_chain():
    start = (jnp.array([0.3]), jnp.array([[1.2]]))
    return d.GaussianChain(*start, jnp.array([[0.8]]), jnp.array([-0.5]), jnp.array([[0.7]]), 2, reverse=True)


DISTRIBUTIONS = {
    "AffineNormal": Case(lambda: d.AffineNormal(jnp.array([0.3, -1.0]), jnp.asarray(TRIL)), PLANE, 0.05**2),
    "Autoregressive": Case(autoregressive, PATHS),
    "Bernoulli": Case(lambda: d.Bernoulli(jnp.asarray(0.7)), np.arange(2)),
    "Categorical": Case(lambda: d.Categorical(jnp.asarray(LOGITS)), np.arange(4)),
    "Chain": Case(chain, PATHS),
    "DiscretizedLogistic": Case(lambda: d.DiscretizedLogistic(jnp.asarray(0.3), jnp.asarray(-2.0)), np.arange(256)),
    "EachStep": Case(each_step, PATHS[:, None]),
    "Finite": Case(lambda: d.Finite(COUNTS[:4], jnp.asarray(LOGITS)), COUNTS[:4]),
    "GaussianChain": Case(gaussian_chain, PLANE[..., None], 0.05**2),
    "MarkovChain": Case(markov_chain, PATHS),
    "MixtureOf": Case(
        lambda: d.MixtureOf(d.Normal(jnp.asarray(LOGITS), jnp.asarray([0.5, 1.0, 0.3, 2.0])), jnp.asarray(LOGITS)),
        LINE,
        0.0025,
    ),
    "MixtureOfDiscretizedLogistics": Case(
        lambda: d.MixtureOfDiscretizedLogistics(*(jnp.asarray(k * LOGITS) for k in (1, 0.3, 1))), np.arange(256)
    ),
    "Multinomial": Case(lambda: d.Multinomial(jnp.asarray(LOGITS[:3]), trials=3), COUNTS[COUNTS.sum(1) == 3]),
    "MultivariateNormal": Case(lambda: d.MultivariateNormal(jnp.array([0.3, -1.0]), jnp.asarray(TRIL)), PLANE, 0.05**2),
    "MultivariateStudentT": Case(
        lambda: d.MultivariateStudentT(jnp.asarray(7.0), jnp.array([0.3, -1.0]), jnp.asarray(TRIL)), WIDE, 0.3**2, 1e-6
    ),
    "Normal": Case(lambda: d.Normal(jnp.asarray(0.3), jnp.asarray(1.7)), LINE, 0.0025),
    "Poisson": Case(lambda: d.Poisson(jnp.asarray(1.2)), np.arange(100)),
    "Transformed": Case(
        lambda: Transformed(d.standard_normal(2), flows.scale(), {"log_scale": jnp.array([0.5, -0.4])}, {}, None),
        PLANE,
        0.05**2,
    ),
    "standard_normal": Case(lambda: d.standard_normal(1), LINE[:, None], 0.0025),
    "tempered": Case(lambda: d.tempered(d.standard_normal(1), 0.6), LINE[:, None], 0.0025),
    "uniform_categorical": Case(lambda: d.uniform_categorical(5), np.arange(5)),
}
WITHOUT_A_DENSITY = {"PointMass", "Unnormalized"}  # a value; a density without its constant


def head(module, shape=(1, 3)):
    features = jnp.asarray(DRAW.normal(size=shape), jnp.float32)
    params = module.init(jax.random.key(0), features)

    def moved(leaf):
        return leaf + 0.5 * jnp.asarray(DRAW.normal(size=leaf.shape), leaf.dtype)

    return module.apply(jax.tree.map(moved, params), features)


PIXELS = np.arange(256)[:, None, None]
HEADS = {
    "BernoulliHead": Case(lambda: head(networks.BernoulliHead((1,))), np.arange(2)[:, None, None]),
    "CategoricalHead": Case(lambda: head(networks.CategoricalHead(3)), np.arange(3)[:, None]),
    "DiagonalNormal": Case(lambda: head(networks.DiagonalNormal((1,))), LINE[:, None, None], 0.0025),
    "DiscretizedLogisticHead": Case(lambda: head(networks.DiscretizedLogisticHead((1,))), PIXELS),
    "GaussianChainHead": Case(
        lambda: head(networks.GaussianChainHead(1, 0.4), (1, 2, 3)), 3 * PLANE[:, None, :, None], 0.15**2
    ),
    "MixtureOfLogisticsHead": Case(lambda: head(networks.MixtureOfLogisticsHead((1,), 2)), PIXELS),
    "NormalFixedScale": Case(lambda: head(networks.NormalFixedScale((1,), 0.7)), LINE[:, None, None], 0.0025),
    "NormalGlobalScale": Case(lambda: head(networks.NormalGlobalScale((1,))), LINE[:, None, None], 0.0025),
}
EVERY = {**DISTRIBUTIONS, **HEADS}


def test_every_name_is_checked():
    assert {*DISTRIBUTIONS, *WITHOUT_A_DENSITY} == set(d.__all__)
    assert set(HEADS) == set(heads.__all__)
    assert set(heads.__all__) <= set(networks.__all__)


def values_of(name):
    """In the dtype of the parameters: networks are of single precision."""
    values = jnp.asarray(EVERY[name].values)
    single = name in HEADS and jnp.issubdtype(values.dtype, jnp.floating)
    return values.astype(jnp.float32) if single else values


@pytest.mark.parametrize("name", EVERY)
def test_densities_sum_to_one(x64, name):
    case = EVERY[name]
    law = case.make()
    log_prob = np.asarray(jax.jit(jax.vmap(law.log_prob))(values_of(name)), np.float64)
    assert abs(np.exp(log_prob).sum() * case.volume - 1) < (1e-5 if name in HEADS else case.tolerance)


@pytest.mark.parametrize("name", EVERY)
def test_samples_are_drawn_from_the_density(x64, name):
    """Inside the support; as often as the density says, by its own quantiles: every value, or halves of the grid."""
    case, draws = EVERY[name], 4000
    law, values = case.make(), np.asarray(case.values)
    samples = np.asarray(jax.jit(lambda key: law.sample(key, (draws,)))(jax.random.key(1)))
    assert samples.shape == (draws, *values.shape[1:])
    assert np.all(law.support(samples))
    log_prob = np.asarray(jax.jit(jax.vmap(law.log_prob))(values_of(name)), np.float64).reshape(-1)
    share = np.exp(log_prob) * case.volume
    # A statistic that tells values apart: a projection of the event, compared by its distribution function.
    weights = np.array([1.0, 1.618, 0.577])
    project = lambda x: x.reshape(len(x), -1).astype(float) @ weights[: x[0].size]  # noqa: E731
    order = np.argsort(project(values), kind="stable")
    cumulative = np.cumsum(share[order])
    edges = np.unique(np.searchsorted(cumulative, np.linspace(0.1, 0.9, 9)))
    places = np.searchsorted(project(values)[order], project(samples) - 1e-9)
    for edge in edges[edges < len(order) - 1]:
        expected = cumulative[edge]
        if 0.005 < expected < 0.995:
            found = int((places <= edge).sum())
            assert scipy.stats.binomtest(found, draws, min(expected, 1.0)).pvalue > 1e-6, (edge, found, expected)

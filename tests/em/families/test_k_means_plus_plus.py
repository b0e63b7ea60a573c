"""k-means++ against its definition, nearest seeds, random responsibilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from vifx.em.families.k_means_plus_plus import k_means_plus_plus, nearest_seeds, random_responsibilities
from vifx.em.families.seed_statistics import seeded, softened

X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [5.0, 1.0]])


def test_pairs_of_seeds_have_the_probabilities_of_the_definition(x64):
    """``P(a, b) = ¼ · d²(a, b) / Σ_c d²(a, c)``."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: k_means_plus_plus(key, jnp.asarray(X), 2)))(keys))
    distance = np.sum((X[:, None] - X[None]) ** 2, axis=2)
    expected = 0.25 * distance / distance.sum(axis=1, keepdims=True)
    counts = np.zeros((4, 4))
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    assert np.all(np.diag(counts) == 0)
    off = ~np.eye(4, dtype=bool)
    assert scipy.stats.chisquare(counts[off], 20_000 * expected[off]).pvalue > 1e-4


def test_the_third_seed_is_far_from_both(x64):
    """Of four points, those left have a probability proportional to the least squared distance."""
    keys = jax.random.split(jax.random.key(1), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: k_means_plus_plus(key, jnp.asarray(X), 3)))(keys))
    third = drawn[(drawn[:, 0] == 3) & (drawn[:, 1] == 2)][:, 2]
    nearest = np.min(np.sum((X[:2, None] - X[None, [3, 2]]) ** 2, axis=2), axis=1)
    found = np.bincount(third, minlength=4)
    assert found[2] == found[3] == 0
    assert scipy.stats.chisquare(found[:2], len(third) * nearest / nearest.sum()).pvalue > 1e-4


def test_equal_examples_are_seeds_without_end():
    at = k_means_plus_plus(jax.random.key(0), jnp.ones((5, 2)), 3)
    assert np.all((np.asarray(at) >= 0) & (np.asarray(at) < 5))


def test_each_example_belongs_to_the_nearest_seed(x64):
    x = np.random.default_rng(0).normal(size=(50, 2))
    key = jax.random.key(2)
    found = np.asarray(nearest_seeds(key, jnp.asarray(x), 4))
    seeds = x[np.asarray(k_means_plus_plus(jax.random.clone(key), jnp.asarray(x), 4))]
    nearest = np.argmin(np.sum((x[:, None] - seeds[None]) ** 2, axis=2), axis=1)
    np.testing.assert_array_equal(found, np.eye(4)[nearest])
    soft = softened(jax.random.clone(key), jnp.asarray(x), 4)
    np.testing.assert_allclose(soft, 0.8 * np.eye(4)[nearest] + 0.05, rtol=1e-12)


def test_seeds_do_not_depend_on_the_origin():
    """In single precision, on multiples of 2⁻⁸ that the offset leaves exact."""
    x = np.round(2**8 * np.random.default_rng(0).normal(size=(200, 3))).astype(np.float32) / 2**8
    here, there = (
        jax.jit(nearest_seeds, static_argnums=2)(jax.random.key(3), jnp.asarray(x + np.float32(offset)), 5)
        for offset in (0, 2**14)
    )
    np.testing.assert_array_equal(here, there)
    spread = [float(jnp.sum(jnp.var(x[np.asarray(there[:, k]) == 1], axis=0))) for k in range(5)]
    assert np.mean(spread) < 0.7 * np.var(x, axis=0).sum()


def test_responsibilities_are_uniform_on_the_simplex(x64):
    drawn = np.asarray(random_responsibilities(jax.random.key(0), 4000, 3))
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=1e-12)
    # Of a flat Dirichlet, one share has the distribution function 1 − (1 − t)².
    assert scipy.stats.kstest(drawn[:, 1], scipy.stats.beta(1, 2).cdf).pvalue > 1e-4


def test_statistics_of_a_start_add_up_over_chunks(x64):
    """More examples than a chunk, and no multiple of one."""
    rng = np.random.default_rng(0)
    x, responsibilities = rng.normal(size=(9001, 2)), rng.dirichlet([1, 1], 9001)
    found = jax.jit(lambda x, r: seeded(lambda x, r: r.T @ x, x, r))(jnp.asarray(x), jnp.asarray(responsibilities))
    np.testing.assert_allclose(found, responsibilities.T @ x, rtol=1e-11)

"""Every family: its densities are its distribution's, and `kl` of it has the gradient of the likelihood."""

from __future__ import annotations

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import em

DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(12, 3)) + 2 * (np.arange(12) % 2)[:, None]
COUNTS = DRAW.poisson(np.array([[1.0, 6.0, 2.0], [5.0, 1.0, 3.0]])[np.arange(12) % 2])
LENGTH = 3

# Two states each. A family that has no entry is one of vectors of reals that needs nothing but its number of states.
EMISSIONS = {
    "autoregressive": (lambda: em.autoregressive(2), DRAW.normal(size=(8, LENGTH, 2))),
    "bernoulli": (lambda: em.bernoulli(2), (COUNTS > 2).astype(float)),
    "categorical": (lambda: em.categorical(3, states=2), COUNTS[:, 0] % 3),
    "each_step": (lambda: em.each_step(em.gaussian(2)), DRAW.normal(size=(8, LENGTH, 2))),
    "factor_analysis": (lambda: em.factor_analysis(2, latent=1), ROWS),
    "markov_chain": (lambda: em.each_step(em.poisson(2)), COUNTS.reshape(4, LENGTH, 3)),
    "multinomial": (lambda: em.multinomial(2), COUNTS),
    "poisson": (lambda: em.poisson(2), COUNTS),
    "ppca": (lambda: em.ppca(2, latent=1), ROWS),
}
SEQUENCES = ("autoregressive", "each_step", "markov_chain")
GAUSSIAN = {"gaussian_chain", "linear_gaussian"}  # of a continuous latent, tested as the pair that they are
NO_FAMILY = {  # the other names of their room
    *("Beta", "Dirichlet", "Gamma", "InverseGamma", "InverseWishart", "NormalInverseWishart"),
    *("check_values", "latent_posterior", "reconstruct"),
}


NAMED = {name for name in em.__all__ if getattr(em, name).__module__.startswith("vifx.em.families")}
EMISSIONS |= {
    name: (partial(getattr(em, name), 2), ROWS) for name in sorted(NAMED - {*EMISSIONS, *NO_FAMILY, *GAUSSIAN})
}


def test_every_name_is_checked():
    assert {*EMISSIONS, *NO_FAMILY, *GAUSSIAN} == NAMED


def moved(params):
    """Away from the start, by a little, so that covariances stay what they are."""
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: np.asarray(leaf) * (1 + 0.1 * draw.uniform(size=leaf.shape)), params)


def likelihood(prior, emission, paths, params, state, x):
    """``mean log q(x)`` by the distributions of `apply` alone, summed over all states or all sequences of states."""

    def joint(path):
        z = jnp.broadcast_to(path[None], (len(x), *path.shape))
        of_latent, _ = prior.apply(params["prior"], state["prior"])
        of_data, _ = emission.apply(params["emission"], state["emission"], z)
        return of_latent.log_prob(path) + of_data.log_prob(x)

    each = jnp.stack([joint(path) for path in paths])
    return jnp.mean(jax.nn.logsumexp(each, axis=0))


@pytest.mark.first(5)
@pytest.mark.parametrize("name", EMISSIONS)
def test_kl_has_the_value_and_the_gradient_of_the_likelihood(x64, name):
    make, values = EMISSIONS[name]
    emission, x = make(), jnp.asarray(values)
    if name in SEQUENCES:
        prior = em.markov_chain(2, length=LENGTH)
        paths = jnp.asarray(list(itertools.product(range(2), repeat=LENGTH)))
    else:
        prior, paths = em.categorical(2), jnp.arange(2)
    generative = vifx.Joint(vifx.factor("z", prior, name="prior"), vifx.factor("x | z", emission, name="emission"))
    inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
    objective = vifx.kl(inference, generative)
    params, state = jax.jit(objective.init)(jax.random.key(0), {"x": x})
    params = moved(params)

    def loss(params):
        return objective.players["model"].loss(jax.random.key(1), params, state, {"x": x})[0]

    def oracle(params):
        return -likelihood(prior, emission, paths, params, state, x)

    found, expected = jax.jit(lambda at: [jax.value_and_grad(each)(at) for each in (loss, oracle)])(params)
    chex.assert_trees_all_close(found, expected, rtol=1e-8, atol=1e-10)
    assert all(np.any(np.abs(np.asarray(leaf)) > 1e-6) for leaf in jax.tree.leaves(found[1]))


@pytest.mark.thorough
def test_kl_of_gaussian_families_has_the_value_and_the_gradient_of_the_dense_likelihood(x64):
    """All steps as one Gaussian: ``(I − S ⊗ A) z`` has independent steps, S the shift by one."""
    generative = vifx.Joint(
        vifx.factor("z", em.gaussian_chain(2, length=LENGTH), name="prior"),
        vifx.factor("x | z", em.linear_gaussian(noise="full"), name="emission"),
    )
    inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
    objective, x = vifx.kl(inference, generative), jnp.asarray(DRAW.normal(size=(5, LENGTH, 3)))
    params, state = jax.jit(objective.init)(jax.random.key(0), {"x": x})
    params = moved(params)

    def loss(params):
        return objective.players["model"].loss(jax.random.key(1), params, state, {"x": x})[0]

    def oracle(params):
        chain, seen = params["prior"], {name: jnp.asarray(leaf) for name, leaf in params["emission"].items()}
        apart = jnp.eye(2 * LENGTH) - jnp.kron(jnp.eye(LENGTH, k=-1), chain["transitions"])
        steps = jnp.concatenate([chain["initial_mean"], *[chain["offset"]] * (LENGTH - 1)])
        roots = [jnp.tril(chain["initial_scale_tril"])] + [jnp.tril(chain["scale_tril"])] * (LENGTH - 1)
        root = jnp.linalg.solve(apart, jax.scipy.linalg.block_diag(*roots))
        loadings = jnp.kron(jnp.eye(LENGTH), seen["loadings"])
        noise = jnp.kron(jnp.eye(LENGTH), jnp.tril(seen["scale_tril"]))
        mean = loadings @ jnp.linalg.solve(apart, steps) + jnp.tile(seen["mean"], LENGTH)
        covariance = loadings @ root @ root.T @ loadings.T + noise @ noise.T
        density = jax.vmap(lambda row: jax.scipy.stats.multivariate_normal.logpdf(row, mean, covariance))
        return -jnp.mean(density(x.reshape(5, -1)))

    found, expected = jax.jit(lambda at: [jax.value_and_grad(each)(at) for each in (loss, oracle)])(params)
    triangles = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.tril(leaf) if "tril" in path[-1].key else leaf, found[1]
    )
    chex.assert_trees_all_close((found[0], triangles), expected, rtol=1e-8, atol=1e-10)
    assert all(np.any(np.abs(np.asarray(leaf)) > 1e-6) for leaf in jax.tree.leaves(found[1]))


@pytest.mark.first(2)
@pytest.mark.parametrize("name", [name for name in EMISSIONS if name not in SEQUENCES])
def test_densities_of_features_are_those_of_the_distribution(x64, name):
    make, values = EMISSIONS[name]
    family, x = make(), jnp.asarray(values)
    params, state = family.init(jax.random.key(0), x, jnp.zeros(len(x), jnp.int32))
    params = moved(params)

    @jax.jit
    def both(params):
        by_features = family.log_probs(family.prepare(params, state), family.features(state, x))
        laws = [family.apply(params, state, jnp.full(len(x), one))[0] for one in range(2)]
        return by_features, jnp.stack([law.log_prob(x) for law in laws], axis=1)

    by_features, by_laws = both(params)
    np.testing.assert_allclose(by_features, by_laws, rtol=1e-9, atol=1e-10)

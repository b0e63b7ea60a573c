"""Gaussian chains against the dense normal distribution of all steps, by value and by gradient."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx.distributions import AffineNormal, EachStep, GaussianChain, MultivariateNormal
from vifx.distributions.kl_estimates import estimate

BATCH, LENGTH, SIZE, SEEN = 2, 5, 3, 2
DRAW = np.random.default_rng(0)


def tril(*shape):
    lower = np.tril(DRAW.normal(size=(*shape, SIZE, SIZE)), -1)
    return lower + np.eye(SIZE) * DRAW.uniform(0.4, 1.5, size=(*shape, SIZE, 1))


def parameters(lead, initial=(BATCH,)):
    loc = DRAW.normal(size=(BATCH, SIZE))
    matrix, offset = DRAW.normal(size=(*lead, SIZE, SIZE)), DRAW.normal(size=(*lead, SIZE))
    return loc, tril(*initial), 0.7 * matrix, offset, tril(*lead)


LEADS = {"shared": (), "by time": (LENGTH - 1,), "each": (BATCH, LENGTH - 1)}
PARAMETERS = {name: parameters(lead, () if name == "shared" else (BATCH,)) for name, lead in LEADS.items()}
OTHER = {name: parameters(lead, (BATCH,) if name == "shared" else ()) for name, lead in LEADS.items()}
VALUE = DRAW.normal(size=(BATCH, LENGTH, SIZE))


def chain(parameters, *, length=LENGTH, **options):
    return GaussianChain(*map(jnp.asarray, parameters), length, **options)


def dense(parameters, length=LENGTH, *, reverse=False):
    """The mean ``[batch, T·D]`` and the covariance of all steps, as linear functions of the noise, step by step."""
    loc, initial, *factors = map(jnp.asarray, parameters)
    times = [jnp.broadcast_to(x, (BATCH, length - 1, *x.shape[-k:])) for x, k in zip(factors, (2, 1, 2), strict=True)]
    mean, root = loc, jnp.broadcast_to(initial, (BATCH, SIZE, SIZE))
    root = jnp.concatenate([root, jnp.zeros((BATCH, SIZE, (length - 1) * SIZE))], axis=-1)
    means, roots = [mean], [root]
    for step in range(length - 1):
        matrix, offset, scale = (x[:, length - 2 - step if reverse else step] for x in times)
        mean = jnp.einsum("nij,nj->ni", matrix, mean) + offset
        root = jnp.einsum("nij,njk->nik", matrix, root)
        root = root.at[:, :, (step + 1) * SIZE : (step + 2) * SIZE].set(scale)
        means.append(mean)
        roots.append(root)
    order = slice(None, None, -1 if reverse else 1)
    mean, root = jnp.concatenate(means[order], axis=1), jnp.concatenate(roots[order], axis=1)
    return mean, root @ jnp.swapaxes(root, -1, -2)


def dense_log_prob(mean, covariance, value):
    return jax.vmap(jax.scipy.stats.multivariate_normal.logpdf)(value.reshape(len(value), -1), mean, covariance)


def dense_kl(mean, covariance, other_mean, other_covariance):
    inverse, apart = jnp.linalg.inv(other_covariance), other_mean - mean
    square = jnp.einsum("ni,nij,nj->n", apart, inverse, apart) + jnp.einsum("nij,nji->n", inverse, covariance)
    log_dets = jnp.linalg.slogdet(other_covariance)[1] - jnp.linalg.slogdet(covariance)[1]
    return 0.5 * (square - mean.shape[1] + log_dets)


def blocks(covariance):
    return jnp.moveaxis(covariance.reshape(BATCH, LENGTH, SIZE, LENGTH, SIZE), 3, 2)


def emissions(matrix, offset, scale, observed=None):
    """Affine in one step each, evaluated at the probes."""

    def at(value):
        loc = jnp.einsum("...tj,tij->...ti", value, matrix) + offset[None]
        rows = loc.reshape(-1, SEEN)
        return EachStep(AffineNormal(rows, scale, observed=observed), LENGTH)

    return at


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(("kind", "reverse"), [("each", True), ("shared", False), ("by time", True), ("each", False)])
def test_everything_is_that_of_the_dense_normal(x64, kind, reverse, parallel):
    """Densities, moments, entropies and divergences from chains of both directions; gradients of all of them."""
    other = OTHER["by time" if kind == "shared" else kind]

    def found(parameters):
        own = chain(parameters, reverse=reverse, parallel=parallel)
        others = {r: chain(other, reverse=r, parallel=parallel) for r in (False, True)}
        return {
            "log_prob": own.log_prob(jnp.asarray(VALUE)),
            "means": own.means,
            "covariances": own.covariances,
            "squares": own.scale_trils @ jnp.swapaxes(own.scale_trils, -1, -2),
            "pairs": own.cross_covariances,
            "entropy": own.entropy(),
            **{f"kl {r}": estimate(own, each).value(jax.random.key(0)) for r, each in others.items()},
        }

    def expected(parameters):
        mean, covariance = dense(parameters, reverse=reverse)
        pairs = blocks(covariance)
        steps = jnp.moveaxis(jnp.diagonal(pairs, axis1=1, axis2=2), -1, 1)
        return {
            "log_prob": dense_log_prob(mean, covariance, jnp.asarray(VALUE)),
            "means": mean.reshape(BATCH, LENGTH, SIZE),
            "covariances": steps,
            "squares": steps,
            "pairs": jnp.stack([pairs[:, t + 1, t] for t in range(LENGTH - 1)], axis=1),
            "entropy": 0.5 * jnp.linalg.slogdet(2 * np.pi * np.e * covariance)[1],
            **{f"kl {r}": dense_kl(mean, covariance, *dense(other, reverse=r)) for r in (False, True)},
        }

    at = tuple(map(jnp.asarray, PARAMETERS[kind]))
    compare(found, expected, at)
    assert np.all(np.triu(chain(at, reverse=reverse, parallel=parallel).scale_trils, 1) == 0)


def compare(found, expected, at):
    """Values, and the gradient of a random sum of them."""
    noise = np.random.default_rng(1)
    shapes = jax.eval_shape(expected, at)
    weights = {name: jnp.asarray(noise.normal(size=leaf.shape)) for name, leaf in shapes.items()}

    def run(function):
        def total(at):
            values = function(at)
            return sum(jnp.sum(weights[k] * v) for k, v in values.items()), values

        (_, values), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(at)
        return values, gradient

    values, gradient = run(found)
    expected_values, expected_gradient = run(expected)
    chex.assert_trees_all_close(values, expected_values, rtol=1e-10, atol=1e-11)
    lower = lambda at: (at[0], jnp.tril(at[1]), at[2], at[3], jnp.tril(at[4]))  # noqa: E731
    chex.assert_trees_all_close(lower(gradient), lower(expected_gradient), rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("reverse", [False, True])
def test_expected_emissions_are_those_of_the_dense_normal(x64, reverse):
    """A quadratic form has the expectation ``½ tr(H Cov)`` + its value at the mean; H by automatic differentiation."""
    own = chain(PARAMETERS["shared"], reverse=reverse)
    matrix, offset = DRAW.normal(size=(LENGTH, SEEN, SIZE)), DRAW.normal(size=(LENGTH, SEEN))
    scale = jnp.asarray(np.array([[0.7, 0.0], [-0.4, 1.2]]))
    observed = DRAW.random((BATCH, LENGTH, SEEN)) < 0.6
    x = np.where(observed, DRAW.normal(size=observed.shape), np.nan)
    tiled = jnp.tile(jnp.asarray(observed).reshape(-1, SEEN), (SIZE + 1, 1))
    probes = jnp.repeat(own.probes(), BATCH, axis=0)
    mean, covariance = dense(PARAMETERS["shared"], reverse=reverse)

    def at_path(path, row):
        """``log q(x|z)`` of the observed elements by SciPy's formula for each step, as a function of the path."""
        total = 0.0
        for t in range(LENGTH):
            seen = np.flatnonzero(observed[row, t])
            loc = matrix[t] @ path.reshape(LENGTH, SIZE)[t] + offset[t]
            if len(seen):
                law = (scale @ scale.T)[np.ix_(seen, seen)]
                total += jax.scipy.stats.multivariate_normal.logpdf(jnp.asarray(x[row, t, seen]), loc[seen], law)
        return total

    for row in range(BATCH):
        curvature = jax.jit(jax.hessian(lambda z, row=row: at_path(z, row)))(mean[row])
        expected = jax.jit(lambda z, row=row: at_path(z, row))(mean[row]) + 0.5 * jnp.sum(curvature * covariance[row])
        conditional = emissions(jnp.asarray(matrix), jnp.asarray(offset), scale, tiled)(probes)
        found = own.expected_log_prob(conditional, jnp.asarray(x))
        np.testing.assert_allclose(found[row], expected, rtol=1e-11)
    gradient = jax.grad(
        lambda m: jnp.sum(
            own.expected_log_prob(emissions(m, jnp.asarray(offset), scale, tiled)(probes), jnp.asarray(x))
        )
    )(jnp.asarray(matrix))
    assert bool(jnp.all(jnp.isfinite(gradient)))


@pytest.mark.thorough
def test_one_step_is_its_start(x64):
    for reverse in (False, True):
        own = chain((*PARAMETERS["shared"][:2], *OTHER["shared"][2:]), length=1, reverse=reverse, parallel=reverse)
        peer = MultivariateNormal(jnp.asarray(PARAMETERS["shared"][0]), jnp.asarray(PARAMETERS["shared"][1]))
        np.testing.assert_allclose(own.log_prob(VALUE[:, :1]), peer.log_prob(VALUE[:, 0]), rtol=1e-13)
        np.testing.assert_allclose(own.means[:, 0], peer.loc, rtol=1e-14)
        np.testing.assert_allclose(own.covariances[:, 0], peer.covariance_matrix, rtol=1e-13)
        np.testing.assert_allclose(own.entropy(), peer.entropy(), rtol=1e-13)
        assert own.cross_covariances.shape == (BATCH, 0, SIZE, SIZE)
        np.testing.assert_allclose(own.kl(own), np.zeros(BATCH), atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("reverse", [False, True])
def test_samples_have_the_moments_and_their_gradient(reverse):
    """The empirical mean and covariance of all steps; samples move with the offset as the means do."""
    own = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), chain(PARAMETERS["each"], reverse=reverse))
    other = GaussianChain(
        *(getattr(own, n) for n in ("initial_loc", "initial_scale_tril", "transition", "offset", "scale_tril")),
        LENGTH,
        reverse=reverse,
        parallel=True,
    )
    draw = jax.jit(lambda own, key: own.sample(key, (20_000,)))
    drawn = np.asarray(draw(own, jax.random.key(0)), np.float64)
    np.testing.assert_allclose(draw(other, jax.random.key(0)), drawn, rtol=1e-4, atol=1e-4)
    with jax.enable_x64(True):
        mean, covariance = map(np.asarray, dense(PARAMETERS["each"], reverse=reverse))
    for row in range(BATCH):
        white = np.linalg.solve(np.linalg.cholesky(covariance[row]), (drawn[:, row].reshape(20_000, -1) - mean[row]).T)
        assert scipy.stats.kstest(np.sum(white**2, axis=0), scipy.stats.chi2(LENGTH * SIZE).cdf).pvalue > 1e-3
        np.testing.assert_allclose(np.cov(white), np.eye(LENGTH * SIZE), atol=0.05)

    def moved(offset, what):
        law = GaussianChain(
            own.initial_loc, own.initial_scale_tril, own.transition, offset, own.scale_tril, LENGTH, reverse=reverse
        )
        return jnp.sum(law.means**3 if what == "means" else law.sample(jax.random.key(1)))

    by_samples = jax.grad(moved)(own.offset, "samples")
    expected = jax.grad(
        lambda offset: jnp.sum(
            GaussianChain(
                own.initial_loc, own.initial_scale_tril, own.transition, offset, own.scale_tril, LENGTH, reverse=reverse
            ).means
        )
    )(own.offset)
    np.testing.assert_allclose(by_samples, expected, rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="length must be an integer ≥ 1, got 0"):
        GaussianChain(jnp.zeros(3), jnp.eye(3), jnp.eye(3), jnp.zeros(3), jnp.eye(3), 0)
    with pytest.raises(
        ValueError, match=r"offset of shape \[4\] must be \[3\] or \[4, 3\] for initial_loc of shape \[3\]"
    ):
        GaussianChain(jnp.zeros(3), jnp.eye(3), jnp.eye(3), jnp.zeros(4), jnp.eye(3), 5)
    with pytest.raises(ValueError, match=r"transition of shape \[4, 3, 3\] must be \[3, 3\] or \[3, 3, 3\] or \[2, 3"):
        GaussianChain(jnp.zeros((2, 3)), jnp.eye(3), jnp.zeros((4, 3, 3)), jnp.zeros(3), jnp.eye(3), 4)
    own = chain(PARAMETERS["shared"])
    with pytest.raises(ValueError, match=r"events \[5, 3\] is compared with one of events \[4, 3\]"):
        own.kl(chain(PARAMETERS["shared"], length=4))
    assert own.kl_estimate(MultivariateNormal(jnp.zeros(3), jnp.eye(3))) is None
    with pytest.raises(ValueError, match="which MultivariateNormal does not promise"):
        own.expected_log_prob(EachStep(MultivariateNormal(jnp.zeros((40, 3)), jnp.eye(3)), LENGTH), VALUE)

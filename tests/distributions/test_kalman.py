"""The Kalman filter and smoother against the dense normal distribution of all steps, by value and by gradient."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.distributions import GaussianChain
from vifx.distributions.kalman import filtered, smoothed
from vifx.distributions.linear_evidence import LinearEvidence

DRAW = np.random.default_rng(0)
SEQUENCES, LENGTH, SIZE, SEEN = 3, 6, 3, 2


def tril(*shape, size=SIZE):
    lower = np.tril(DRAW.normal(size=(*shape, size, size)), -1)
    return 0.5 * lower + np.eye(size) * DRAW.uniform(0.4, 1.5, size=(*shape, size, 1))


def system(lead=(), batch=(), length=LENGTH):
    """A random system: its chain's parameters, and emissions ``C, d`` and the Cholesky factor of R."""
    square = (*lead, SIZE, SIZE)
    chain = (
        DRAW.normal(size=(*batch, SIZE)),
        tril(*batch),
        0.6 * DRAW.normal(size=square),
        DRAW.normal(size=square[:-1]),
        tril(*lead),
    )
    emission = (DRAW.normal(size=(SEEN, SIZE)), DRAW.normal(size=SEEN), tril(size=SEEN))
    x = DRAW.normal(size=(SEQUENCES, length, SEEN)) * 2
    return chain, emission, x


def whitened(emission, x, observed):
    """``log N(x; C z + d, R)`` of the observed elements as linear evidence: rows are dropped before R is factored."""
    matrix, offset, scale = emission
    covariance = scale @ scale.T
    known = observed.astype(x.dtype)
    both = known[..., :, None] * known[..., None, :]
    eye = jnp.broadcast_to(jnp.eye(SEEN, dtype=x.dtype), both.shape)
    factor = jnp.linalg.cholesky(both * covariance[None, None] + eye * (1 - known)[..., None])
    inverse = jnp.linalg.inv(factor)
    rows = known[..., None] * jnp.broadcast_to(matrix, (*known.shape, SIZE))
    residual = jnp.where(observed, x - offset[None, None], 0)
    log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    constants = -log_det - 0.5 * np.log(2 * np.pi) * jnp.sum(known, axis=-1)
    return LinearEvidence(inverse @ rows, jnp.einsum("ntij,ntj->nti", inverse, residual), constants)


def shared(emission, x):
    """The same where everything is observed: one matrix for all steps."""
    matrix, offset, scale = emission
    inverse = jnp.linalg.inv(scale)
    constant = -jnp.sum(jnp.log(jnp.diagonal(scale))) - 0.5 * SEEN * np.log(2 * np.pi)
    values = jnp.einsum("ij,ntj->nti", inverse, x - offset[None, None])
    return LinearEvidence(inverse @ matrix, values, jnp.broadcast_to(constant, x.shape[:2]))


def dense(chain, emission, length=LENGTH):
    """The mean and the covariance ``[N, T (D + d)]`` of all states, then all observations."""
    loc, initial, *factors = chain
    square = (SEQUENCES, length - 1)
    transition, offset, scale = (
        jnp.broadcast_to(x, (*square, *x.shape[-k:])) for x, k in zip(factors, (2, 1, 2), strict=True)
    )
    mean = jnp.broadcast_to(loc, (SEQUENCES, SIZE))
    root = jnp.broadcast_to(initial, (SEQUENCES, SIZE, SIZE))
    root = jnp.concatenate([root, jnp.zeros((SEQUENCES, SIZE, (length - 1) * SIZE))], axis=-1)
    means, roots = [mean], [root]
    for t in range(length - 1):
        mean = jnp.einsum("nij,nj->ni", transition[:, t], mean) + offset[:, t]
        root = (transition[:, t] @ root).at[:, :, (t + 1) * SIZE : (t + 2) * SIZE].set(scale[:, t])
        means.append(mean)
        roots.append(root)
    matrix, shift, noise = emission
    seen = [jnp.einsum("ij,nj->ni", matrix, mean) + shift[None] for mean in means]
    wide = jnp.concatenate(roots, axis=1)
    roots = jnp.concatenate([wide, jnp.kron(jnp.eye(length), matrix)[None] @ wide], axis=1)
    own = jnp.zeros((length * SIZE, length * SEEN))
    own = jnp.concatenate([own, jnp.kron(jnp.eye(length), noise)])
    roots = jnp.concatenate([roots, jnp.broadcast_to(own, (SEQUENCES, *own.shape))], axis=-1)
    return jnp.concatenate(means + seen, axis=1), roots @ roots.mT


def conditioned(mean, covariance, x, places, row):
    """``log q(x)``, and the mean and covariance of all states, given the observations at some places."""
    states = slice(0, mean.shape[1] - x[0].size)
    at = states.stop + places
    if not len(places):
        return jnp.zeros(()), mean[row, states], covariance[row, states, states]
    inner = covariance[row][np.ix_(at, at)]
    value = x[row].reshape(-1)[places]
    cross = covariance[row][states, at]
    gain = jnp.linalg.solve(inner, cross.T).T
    return (
        jax.scipy.stats.multivariate_normal.logpdf(value, mean[row, at], inner),
        mean[row, states] + gain @ (value - mean[row, at]),
        covariance[row, states, states] - gain @ cross.T,
    )


def expected(chain, emission, x, observed, length=LENGTH):
    """Everything that is asked of the filter and the smoother, by dense algebra."""
    mean, covariance = dense(chain, emission, length)
    times = np.repeat(np.arange(length), SEEN)
    found = {name: [] for name in ("log_prob", "log_probs", "means", "covariances", "pairs", "filtered", "predicted")}
    for row in range(SEQUENCES):
        flat = observed[row].reshape(-1)
        up_to = [conditioned(mean, covariance, x, np.flatnonzero(flat & (times < t)), row) for t in range(length + 1)]
        totals = jnp.stack([each[0] for each in up_to])
        _, m, p = up_to[-1]
        blocks = p.reshape(length, SIZE, length, SIZE)
        found["log_prob"].append(totals[-1])
        found["log_probs"].append(totals[1:] - totals[:-1])
        found["means"].append(m.reshape(length, SIZE))
        found["covariances"].append(jnp.stack([blocks[t, :, t] for t in range(length)]))
        found["pairs"].append(jnp.stack([blocks[t + 1, :, t] for t in range(length - 1)]))
        for name, ahead in (("filtered", 1), ("predicted", 0)):
            steps = []
            for t in range(length):
                m, p = up_to[t + ahead][1].reshape(length, SIZE)[t], up_to[t + ahead][2]
                steps.append(jnp.concatenate([m[None], p.reshape(length, SIZE, length, SIZE)[t, :, t]]))
            found[name].append(jnp.stack(steps))
    return {name: jnp.stack(each) for name, each in found.items()}


def own(chain, emission, x, observed, parallel, length=LENGTH):
    prior = GaussianChain(*chain, length, parallel=parallel)
    evidence = shared(emission, x) if observed is None else whitened(emission, x, observed)
    total, posterior = smoothed(prior, evidence)
    steps = filtered(prior, evidence)
    moments = {
        name: jnp.concatenate([mean[..., None, :], scale @ scale.mT], axis=-2)
        for name, mean, scale in (
            ("filtered", steps.means, steps.scale_trils),
            ("predicted", steps.predicted_means, steps.predicted_scale_trils),
        )
    }
    return {
        "log_prob": total,
        "log_probs": steps.log_probs,
        "means": posterior.means,
        "covariances": posterior.covariances,
        "pairs": posterior.cross_covariances,
        **moments,
    }


MISSING = DRAW.random((SEQUENCES, LENGTH, SEEN)) < 0.6
MISSING[0, 2:4] = False  # a gap
MISSING[1, 0] = False  # from the start
MISSING[2, 3:] = False  # a short sequence
CASES = {
    "by sequence, missing entries": (system((SEQUENCES, LENGTH - 1), (SEQUENCES,)), MISSING),
    "shared": (system(), None),
    "by time": (system((LENGTH - 1,)), MISSING),
}


@pytest.mark.first(4)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_everything_is_that_of_the_dense_normal(x64, name, parallel):
    """Log-densities, filtered, predicted and smoothed moments and covariances of neighbours; their gradients."""
    (chain, emission, x), observed = CASES[name]
    at = jax.tree.map(jnp.asarray, (chain, emission))
    holes = np.where(observed, x, np.nan) if observed is not None else x
    everything = np.ones(x.shape, bool) if observed is None else observed
    mask = None if observed is None else jnp.asarray(observed)
    noise = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda at: expected(*at, x, everything), at)
    weights = {key: jnp.asarray(noise.normal(size=leaf.shape)) for key, leaf in shapes.items()}

    def run(function):
        def total(at):
            values = function(at)
            return sum(jnp.sum(weights[k] * v) for k, v in values.items()), values

        (_, values), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(at)
        (loc, initial, transition, offset, scale), (matrix, shift, sensor) = gradient
        return values, (loc, jnp.tril(initial), transition, offset, jnp.tril(scale), matrix, shift, jnp.tril(sensor))

    values, gradient = run(lambda at: own(*at, jnp.asarray(holes), mask, parallel))
    peers, peer = run(lambda at: expected(*at, jnp.asarray(x), everything))
    chex.assert_trees_all_close(values, peers, rtol=1e-10, atol=1e-10)
    chex.assert_trees_all_close(gradient, peer, rtol=1e-9, atol=1e-9)

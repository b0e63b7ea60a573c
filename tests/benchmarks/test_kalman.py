"""W6: the Kalman filter, 64 sequences of 1,000 steps, states of dimension 4, observations of dimension 8.

The limit is the textbook's filter written by hand, one scan of covariances and gains by Cholesky factors, with the same
results: log-densities, filtered and predicted means and covariances. Where all is observed, both compute the
covariances once for all sequences; with missing observations, for each of them.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.linalg import cho_solve, solve_triangular

from vifx.distributions import GaussianChain
from vifx.distributions.kalman import filtered
from vifx.distributions.linear_evidence import LinearEvidence

pytestmark = pytest.mark.benchmark

LENGTH, SEQUENCES, SIZE, SEEN = 1000, 64, 4, 8


def problem(missing):
    random = np.random.default_rng(0)
    transition = 0.95 * np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    observed = random.uniform(size=(SEQUENCES, LENGTH, SEEN)) < 0.8
    matrix = random.normal(size=(SEEN, SIZE))
    x = random.normal(size=(SEQUENCES, LENGTH, SEEN))
    if missing:
        matrix, x = np.where(observed[..., None], matrix, 0), np.where(observed, x, 0)
    return [jnp.asarray(each, jnp.float32) for each in (transition, 0.3 * np.eye(SIZE), matrix, x)]


def raw(transition, noise, matrix, x):
    """The textbook's filter; a missing element has a row of zeros, and so the variance 1 of its whitened noise."""
    covariance, each = noise @ noise.T, matrix.ndim == 4
    identity = jnp.eye(SIZE)

    def step(carry, now):
        mean, before = carry
        values, rows = now if each else (now, matrix[None])
        innovation = values - (jnp.einsum("nij,nj->ni", rows, mean) if each else mean @ matrix.T)
        cross = rows @ before
        factor = jnp.linalg.cholesky(cross @ rows.mT + jnp.eye(SEEN))
        gain = cho_solve((factor, True), cross).mT
        if each:
            white = solve_triangular(factor, innovation[..., None], lower=True)[..., 0]
            after = mean + jnp.einsum("nij,nj->ni", gain, innovation)
        else:
            white = solve_triangular(factor[0], innovation.T, lower=True).T
            after = mean + innovation @ gain[0].T
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
        spread = (identity - gain @ rows) @ before
        following = after @ transition.T, transition @ spread @ transition.T + covariance
        return following, (-0.5 * jnp.sum(white**2, axis=-1) - log_det, after, spread, mean, before)

    batch = SEQUENCES if each else 1
    start = jnp.zeros((SEQUENCES, SIZE)), jnp.broadcast_to(identity, (batch, SIZE, SIZE))
    over = jnp.moveaxis(x, 1, 0)
    found = jax.lax.scan(step, start, (over, jnp.moveaxis(matrix, 1, 0)) if each else over)[1]
    return tuple(jnp.moveaxis(jnp.broadcast_to(leaf, (LENGTH, SEQUENCES, *leaf.shape[2:])), 0, 1) for leaf in found)


def own(transition, noise, matrix, x, *, parallel=False):
    prior = GaussianChain(jnp.zeros(SIZE), jnp.eye(SIZE), transition, jnp.zeros(SIZE), noise, LENGTH, parallel=parallel)
    return prior, LinearEvidence(matrix, x, jnp.zeros(x.shape[:2]))


@pytest.mark.parametrize("missing", [False, True])
def test_the_filter(missing, ratio):
    at = problem(missing)
    ours = jax.jit(lambda *at: filtered(*own(*at)))
    theirs, held = jax.jit(raw), {}

    def run(function, name):
        held[name] = jax.block_until_ready(function(*at))

    middle = ratio(
        f"W6 {'missing observations' if missing else 'all observed'}",
        lambda: run(ours, "ours"),
        lambda: run(theirs, "raw"),
        blocks=15,
        per_block=1,
    )
    log_probs, means, scales, _, _ = held["ours"]
    np.testing.assert_allclose(log_probs, held["raw"][0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(means, held["raw"][1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scales @ scales.mT, held["raw"][2], rtol=1e-3, atol=1e-4)
    assert middle >= 0.9


@pytest.mark.parametrize("missing", [False, True])
def test_what_an_associative_scan_costs(missing, capsys):
    """Many cores, or few long sequences, are what it is for: it makes more operations, in fewer steps."""
    at, found = problem(missing), {}
    for parallel in (False, True):
        run = jax.jit(lambda *at, parallel=parallel: filtered(*own(*at, parallel=parallel)))
        times = []
        for _ in range(6):
            begin = time.perf_counter()
            found[parallel] = jax.block_until_ready(run(*at))
            times.append(time.perf_counter() - begin)
        with capsys.disabled():
            print(
                f"\nW6 {'missing observations' if missing else 'all observed'}, {jax.default_backend()}: "
                f"{'an associative scan' if parallel else 'a scan'} takes {1e3 * np.median(times[1:]):.1f} ms, and "
                f"{times[0]:.1f} s at the first call"
            )
    np.testing.assert_allclose(found[True].means, found[False].means, rtol=1e-3, atol=1e-3)

"""W4: EM of a Gaussian mixture, 32 components, 60,000 points in 16 dimensions, against JAX by hand and scikit-learn.

The limit holds the features ``[x_i x_j (i ≤ j), x, 1]`` (or ``[x², x, 1]``) of whitened data in chunks of 2,000 and
scans over them: a matrix product for the E step, one for the M step, then Cholesky factors of 32 covariances. One call
an iteration, the parameters donated. scikit-learn runs in double precision, as it always does.
"""

from __future__ import annotations

import math
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vifx import em, training
from vifx.em.families.whitening import whiten

pytestmark = pytest.mark.benchmark

N, DIMS, STATES, CHUNK, ITERATIONS = 60_000, 16, 32, 2000, 10
SCIKIT = {"full": "full", "diagonal": "diag"}
LEAST = {("full", "float32"): 18, ("full", "float64"): 10, ("diagonal", "float32"): 5}


def points():
    random = np.random.default_rng(0)
    centres = 2 * random.normal(size=(STATES, DIMS))
    return centres[random.integers(0, STATES, N)] + random.normal(size=(N, DIMS)) @ random.normal(size=(DIMS, DIMS)) / 4


def raw_features(x, full):
    ones = jnp.ones((len(x), 1), x.dtype)
    squares = [x[:, i : i + 1] * x[:, i:] for i in range(DIMS)] if full else [x**2]
    return jnp.concatenate([*squares, x, ones], axis=1).reshape(len(x) // CHUNK, CHUNK, -1)


def raw_natural(weights, mean, scale, full):
    half = 0.5 * DIMS * math.log(2 * math.pi)
    if not full:
        precision = 1 / scale**2
        rest = jnp.log(weights) - jnp.sum(0.5 * precision * mean**2 + jnp.log(scale), axis=1) - half
        return jnp.concatenate([-0.5 * precision, precision * mean, rest[:, None]], axis=1).T
    inverse = solve_triangular(scale, jnp.broadcast_to(jnp.eye(DIMS, dtype=scale.dtype), scale.shape), lower=True)
    precision = jnp.einsum("kia,kib->kab", inverse, inverse)
    rows, columns = np.triu_indices(DIMS)
    quadratic = -precision[:, rows, columns] * jnp.where(rows == columns, 0.5, 1.0).astype(scale.dtype)
    linear = jnp.einsum("kab,kb->ka", precision, mean)
    log_det = jnp.sum(jnp.log(jnp.diagonal(scale, axis1=1, axis2=2)), axis=1)
    rest = jnp.log(weights) - 0.5 * jnp.sum(linear * mean, axis=1) - log_det - half
    return jnp.concatenate([quadratic, linear, rest[:, None]], axis=1).T


def raw_iteration(params, features, full):
    natural, examples = raw_natural(*params, full), features.shape[0] * CHUNK

    def chunk(carry, phi):
        log_prob = phi @ natural
        best = jnp.max(log_prob, axis=1, keepdims=True)
        each = jnp.exp(log_prob - best)
        total = jnp.sum(each, axis=1, keepdims=True)
        return (carry[0] + (each / total).T @ phi, carry[1] + jnp.sum(best + jnp.log(total))), None

    width = features.shape[-1]
    zeros = jnp.zeros((STATES, width), features.dtype), jnp.zeros((), features.dtype)
    (sums, log_prob), _ = jax.lax.scan(chunk, zeros, features)
    counts = sums[:, -1]
    mean = sums[:, -1 - DIMS : -1] / counts[:, None]
    square = sums[:, : -1 - DIMS] / counts[:, None]
    if full:
        rows, columns = np.triu_indices(DIMS)
        index = np.zeros((DIMS, DIMS), int)
        index[rows, columns] = index[columns, rows] = np.arange(len(rows))
        covariance = square[:, index] - mean[:, :, None] * mean[:, None, :]
        scale = jnp.linalg.cholesky(covariance + 1e-6 * jnp.eye(DIMS, dtype=mean.dtype))
    else:
        scale = jnp.sqrt(square - mean**2 + 1e-6)
    return (counts / examples, mean, scale), log_prob / examples


def problem(covariance, dtype):
    x = points().astype(dtype)
    model = em.mixture(em.gaussian, STATES, covariance=covariance)
    batch = {"x": jnp.asarray(x)}
    stacked, state = em.starts(jax.random.key(0), model, batch, "k-means++", 1)
    return x, model, batch, jax.tree.map(lambda leaf: leaf[0], stacked), state


def raw_start(params, state, covariance):
    """The same parameters in whitened coordinates."""
    mean, matrix = params["components"]["mean"] - state["components"].shift, state["components"].matrix
    weights = jnp.exp(params["weights"]["logits"][0])
    if covariance == "full":
        return weights, mean @ matrix.T, matrix @ params["components"]["scale_tril"]
    return weights, mean * matrix, params["components"]["scale"] * matrix


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_an_iteration(covariance, dtype, ratio):
    with jax.enable_x64(dtype == "float64"):
        _, model, batch, params, state = problem(covariance, dtype)
        full = covariance == "full"
        white = jax.jit(whiten)(state["components"], batch["x"])
        features = jax.jit(lambda x: raw_features(x, full))(white)
        theirs = jax.jit(lambda params, features: raw_iteration(params, features, full), donate_argnums=0)
        stored = {**batch, **jax.jit(model.solver.features)(state, batch)}
        step = training.solve(model.objective, "model", chunk=CHUNK)
        run = training.compile(step)
        made = training.start(jax.random.key(0), step, model.objective, batch)
        held = {"ours": made._replace(params=jax.tree.map(jnp.copy, params), state=jax.tree.map(jnp.copy, state))}
        held["raw"] = jax.tree.map(jnp.copy, raw_start(params, state, covariance))

        def ours():
            for _ in range(ITERATIONS):
                held["ours"], held["metrics"] = run(held["ours"], stored)
            held["metrics"]["log_prob"].block_until_ready()

        def raw():
            for _ in range(ITERATIONS):
                held["raw"], held["log_prob"] = theirs(held["raw"], features)
            held["log_prob"].block_until_ready()

        middle = ratio(f"W4 {covariance} {dtype}", ours, raw, blocks=9, per_block=ITERATIONS)
        # Both have made the same iterations: the densities differ by the whitening alone.
        matrix = state["components"].matrix
        diagonal = jnp.diagonal(matrix) if full else matrix
        shift = float(jnp.sum(jnp.log(jnp.abs(diagonal))))
        assert abs(float(held["metrics"]["log_prob"]) - float(held["log_prob"]) - shift) < 2e-3
        assert middle >= 0.85


def scikit(x, covariance, params, iterations):
    """Seconds of iterations of scikit-learn from the same start, and the log-likelihood before the last."""
    scale = np.asarray(params["components"]["scale_tril" if covariance == "full" else "scale"], np.float64)
    precisions = np.linalg.inv(np.einsum("kij,klj->kil", scale, scale)) if covariance == "full" else 1 / scale**2
    mixture = GaussianMixture(
        STATES,
        covariance_type=SCIKIT[covariance],
        weights_init=np.exp(np.asarray(params["weights"]["logits"][0], np.float64)),
        means_init=np.asarray(params["components"]["mean"], np.float64),
        precisions_init=precisions,
        max_iter=iterations,
        tol=0,
        reg_covar=0,
    )
    mixture.weights_init /= mixture.weights_init.sum()
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(x.astype(np.float64))
    return time.perf_counter() - begin, mixture.lower_bound_


@pytest.mark.parametrize(("covariance", "dtype"), LEAST)
def test_against_scikit_learn(covariance, dtype, capsys):
    """Seconds of an iteration, those of initialization taken off: 6 iterations less 1."""
    with jax.enable_x64(dtype == "float64"):
        x, model, _, params, state = problem(covariance, dtype)
        run = lambda steps: em.fit(  # noqa: E731
            jax.random.key(1), model, x, start=(params, state), steps=steps, tolerance=0.0, chunk=CHUNK
        )
        run(2)
        ratios = []
        for _ in range(3):
            fitted = run(20)
            own = float(np.median(fitted.seconds[1:]))
            (one, _), (six, theirs) = (scikit(x, covariance, params, count) for count in (1, 6))
            ratios.append((six - one) / 5 / own)
        error = abs(fitted.history[5] - theirs)
        with capsys.disabled():
            print(
                f"\nW4 {covariance} {dtype}: {1 / own:.1f} iterations a second, {sorted(ratios)[1]:.1f} × "
                f"scikit-learn's ({min(ratios):.1f} to {max(ratios):.1f}), log-likelihood within {error:.1e} nats of it"
            )
        assert error < (1e-3 if dtype == "float32" else 1e-8)
        assert sorted(ratios)[1] >= LEAST[covariance, dtype]

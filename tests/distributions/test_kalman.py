"""The Kalman filter and smoother against the dense normal distribution of all steps, by value and by gradient."""

from __future__ import annotations

import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.distributions import GaussianChain, MultivariateNormal
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
    "shared": (system(), None),
    "by sequence, missing entries": (system((SEQUENCES, LENGTH - 1), (SEQUENCES,)), MISSING),
    "by time": (system((LENGTH - 1,)), MISSING),
}


@pytest.mark.thorough
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

    found = lambda at: own(*at, jnp.asarray(holes), mask, parallel)  # noqa: E731
    values, gradient = run(found)
    peers, peer = run(lambda at: expected(*at, jnp.asarray(x), everything))
    if parallel:  # where there is a derivative, the values are those of a scan
        chex.assert_trees_all_close(jax.jit(found)(at), peers, rtol=1e-10, atol=1e-10)
    chex.assert_trees_all_close(values, peers, rtol=1e-10, atol=1e-10)
    chex.assert_trees_all_close(gradient, peer, rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
def test_one_step_is_factor_analysis(x64):
    """``log N(x; C m + d, C P Cᵀ + R)``; and where nothing is seen the posterior is the prior."""
    chain, emission, x = system(length=1)
    (loc, initial, *rest), (matrix, offset, scale) = chain, emission
    observed = np.array([[[True, True]], [[True, True]], [[False, False]]])
    for parallel in (False, True):
        prior = GaussianChain(*map(jnp.asarray, (loc, initial, *rest)), 1, parallel=parallel)
        total, posterior = smoothed(prior, whitened(emission, jnp.asarray(x), jnp.asarray(observed)))
        covariance = matrix @ initial @ initial.T @ matrix.T + scale @ scale.T
        peer = MultivariateNormal(jnp.asarray(matrix @ loc + offset), jnp.linalg.cholesky(covariance))
        np.testing.assert_allclose(total[:2], peer.log_prob(jnp.asarray(x[:2, 0])), rtol=1e-12)
        assert total[2] == 0
        np.testing.assert_allclose(posterior.covariances[2, 0], initial @ initial.T, rtol=1e-12)
        np.testing.assert_allclose(posterior.means[2, 0], loc, rtol=1e-12)


def in_both_precisions(function, at):
    """What a function returns in single and in double precision, as arrays of NumPy."""
    single = function(*jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), at))
    with jax.enable_x64(True):
        double = function(*jax.tree.map(jnp.asarray, at))
    return ([np.asarray(leaf, np.float64) for leaf in leaves] for leaves in (single, double))


@pytest.mark.thorough
def test_ten_thousand_steps_from_a_diffuse_start_in_single_precision():
    """P_1 = 10⁶, Q = 10⁻⁴, a gap and missing elements: against double precision; an innovation has variance 1."""
    length, size = 10_000, 2
    random = np.random.default_rng(3)
    path = np.cumsum(1e-2 * random.normal(size=(1, length, size)), axis=1) + 700
    observed = random.uniform(size=(1, length, size)) < 0.7
    observed[:, 4000:5000] = False
    values = np.where(observed, path + random.normal(size=path.shape), 0)
    matrix = np.where(observed[..., None], np.eye(size), 0)
    start = (np.zeros(size), 1e3 * np.eye(size), np.eye(size), np.zeros(size), 1e-2 * np.eye(size))

    @jax.jit
    def found(start, matrix, values):
        prior = GaussianChain(*start, length)
        total, posterior = smoothed(prior, LinearEvidence(matrix, values, jnp.zeros(values.shape[:2], values.dtype)))
        means, covariances, pairs = posterior.moments()
        return total, means, covariances, pairs, posterior.scale_trils, posterior.entropy(), posterior.kl(prior)

    single, double = in_both_precisions(found, (start, matrix, values))
    for value, peer in zip(single, double, strict=True):
        np.testing.assert_allclose(value, peer, rtol=1e-3, atol=1e-3 * float(np.abs(peer).max()))
    for index in (0, 5):
        np.testing.assert_allclose(single[index], double[index], rtol=1e-4)
    assert np.diagonal(single[4], axis1=-2, axis2=-1).min() > 0


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_single_precision_keeps_what_squares_would_lose(parallel):
    """A diffuse start, P_1 = 10⁶, seen once with noise 10⁻²: ``I + Lᵀ Cᵀ C L`` has lost I to rounding."""
    size, length = 3, 4
    matrix = np.concatenate([np.ones((1, size)), [[0.0, 1.0, 2.0]], [[1.0, 0.0, 0.5]]]) * 1e2
    seen = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    matrix = np.where(seen[:, :, None], matrix, 0)
    values = seen[None] * np.array([3.0, -2.0, 1.0])
    start = (np.zeros(size), 1e3 * np.eye(size), np.eye(size), np.zeros(size), 1e-2 * np.eye(size))

    @jax.jit
    def found(start, matrix, values):
        prior = GaussianChain(*start, length, parallel=parallel)
        total, posterior = smoothed(prior, LinearEvidence(matrix, values, jnp.zeros(values.shape[:2], values.dtype)))
        return total, posterior.means, posterior.covariances

    single, double = in_both_precisions(found, (start, matrix, values))
    np.testing.assert_allclose(single[0], double[0], rtol=1e-4)
    deviations = np.sqrt(np.diagonal(double[2], axis1=-2, axis2=-1))
    np.testing.assert_allclose(single[1] / deviations, double[1] / deviations, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(single[2], double[2], rtol=1e-2, atol=1e-3 * float(np.abs(double[2]).max()))


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
def test_noise_may_be_singular(x64, parallel):
    """A velocity that is pushed, a position that only integrates it: against the dense normal, with its gradient."""
    chain, emission, x = system()
    push = np.zeros((SIZE, SIZE))
    push[:, 0] = [0.5, 1.0, -0.7]
    at = jax.tree.map(jnp.asarray, ((*chain[:4], push), emission))
    everything = np.ones(x.shape, bool)

    def total(at, function):
        found = function(at)
        return jnp.sum(found["log_prob"]), (found["means"], found["covariances"], found["pairs"])

    run = jax.jit(jax.value_and_grad(total, has_aux=True), static_argnums=1)
    (value, moments), gradient = run(at, lambda at: own(*at, jnp.asarray(x), None, parallel))
    (peer, peers), slope = run(at, lambda at: expected(*at, jnp.asarray(x), everything))
    np.testing.assert_allclose(value, peer, rtol=1e-10)
    chex.assert_trees_all_close(moments, peers, rtol=1e-9, atol=1e-9)
    for index in (0, 2, 3):
        np.testing.assert_allclose(gradient[0][index], slope[0][index], rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
def test_a_state_of_eleven_that_is_seen_in_twenty(x64, parallel):
    """Beyond eight, libraries of linear algebra take over: the density of all observations at once."""
    size, seen, length = 11, 20, 4
    random = np.random.default_rng(5)
    transition, matrix = 0.3 * random.normal(size=(size, size)), random.normal(size=(seen, size))
    x = random.normal(size=(2, length, seen))
    root, wide = np.eye(size), []
    prior = (np.zeros(size), np.eye(size), transition, np.zeros(size), 0.5 * np.eye(size))
    root = np.concatenate([root, np.zeros((size, (length - 1) * size))], axis=1)
    for t in range(length):
        wide.append(root)
        root = transition @ root
        if t < length - 1:
            root[:, (t + 1) * size : (t + 2) * size] = 0.5 * np.eye(size)
    wide = np.kron(np.eye(length), matrix) @ np.concatenate(wide)
    covariance = wide @ wide.T + np.eye(length * seen)
    evidence = LinearEvidence(
        jnp.asarray(matrix), jnp.asarray(x), jnp.full(x.shape[:2], -0.5 * seen * np.log(2 * np.pi))
    )
    total, _ = jax.jit(smoothed)(GaussianChain(*map(jnp.asarray, prior), length, parallel=parallel), evidence)
    zeros = jnp.zeros(length * seen)
    peer = MultivariateNormal(zeros, jnp.linalg.cholesky(covariance)).log_prob(jnp.asarray(x.reshape(2, -1)))
    np.testing.assert_allclose(total, peer, rtol=1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("parallel", [False, True])
def test_against_dynamax(x64, parallel):
    """Two hundred steps; dynamax adds 10⁻⁹ to the diagonals of covariances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own dependencies
        from dynamax.linear_gaussian_ssm import lgssm_smoother
        from dynamax.linear_gaussian_ssm.inference import make_lgssm_params
    (loc, initial, transition, offset, noise), emission, x = system(length=200)
    matrix, shift, sensor = emission
    params = make_lgssm_params(
        *(loc, initial @ initial.T, transition, noise @ noise.T, matrix, sensor @ sensor.T),
        dynamics_bias=offset,
        emissions_bias=shift,
    )
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        peer = jax.jit(jax.vmap(lambda row: lgssm_smoother(params, row)))(jnp.asarray(x))
    prior = GaussianChain(*map(jnp.asarray, (loc, initial, transition, offset, noise)), 200, parallel=parallel)
    evidence = shared(emission, jnp.asarray(x))
    total, posterior = jax.jit(smoothed)(prior, evidence)
    steps = jax.jit(filtered)(prior, evidence)
    means, covariances, pairs = posterior.moments()
    products = jnp.einsum("nti,ntj->ntij", means[:, :-1], means[:, 1:])
    np.testing.assert_allclose(total, peer.marginal_loglik, rtol=1e-8)
    np.testing.assert_allclose(means, peer.smoothed_means, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(covariances, peer.smoothed_covariances, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pairs.mT + products, peer.smoothed_cross_covariances, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(steps.means, peer.filtered_means, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        steps.scale_trils @ steps.scale_trils.mT, peer.filtered_covariances, rtol=1e-6, atol=1e-7
    )


def test_bad_input():
    chain = (jnp.zeros(3), jnp.eye(3), jnp.eye(3), jnp.zeros(3), jnp.eye(3))
    prior = GaussianChain(*chain, 5)
    right = LinearEvidence(jnp.zeros((2, 3)), jnp.zeros((4, 5, 2)), jnp.zeros((4, 5)))
    with pytest.raises(ValueError, match="prior must be a chain that runs forward, got one with reverse=True"):
        smoothed(GaussianChain(*chain, 5, reverse=True), right)
    with pytest.raises(ValueError, match=r"values must have the shape \[sequences, 5, d\] .*got \[4, 6, 2\]; pad"):
        filtered(prior, right._replace(values=jnp.zeros((4, 6, 2))))
    with pytest.raises(ValueError, match=r"\[2, 3\], \[5, 2, 3\] or \[4, 5, 2, 3\] .*got \[4, 2, 3\]"):
        filtered(prior, right._replace(matrix=jnp.zeros((4, 2, 3))))
    with pytest.raises(ValueError, match=r"constants must have the shape \[4, 5\] of the steps, got \[4\]"):
        filtered(prior, right._replace(constants=jnp.zeros(4)))

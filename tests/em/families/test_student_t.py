"""Student-t mixtures: an independent EM, the root of the digamma equation, outliers, fixed and shared ν."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from em.families.trajectories import check_turns, largest, plain_em, started, trajectory

from vifx import em

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(80, 2)) / np.sqrt(RNG.chisquare(3, (80, 1)) / 3)
X = NOISE @ [[1, 0.5], [0, 0.7]] + np.where(np.arange(80)[:, None] % 2, [0, 0], [6, 3])


def shape(own, kind):
    return own["scale"] if kind == "full" else np.diag(own["scale"])


def density(kind):
    return lambda x, own: scipy.stats.multivariate_t.logpdf(x, own["mean"], shape(own, kind), own["df"])


def best(kind, *, estimated):
    """Peel & McLachlan's M step of one component, with a root by scipy."""

    def turn(x, r, own):
        apart = x - own["mean"]
        distance = np.sum(apart @ np.linalg.inv(shape(own, kind)) * apart, axis=1)
        nu, size = own["df"], x.shape[1]
        u = (nu + size) / (nu + distance)
        mean = (r * u) @ x / (r @ u)
        scatter = np.einsum("n,ni,nj->ij", r * u, x - mean, x - mean) / r.sum()
        logs = np.log(u) + scipy.special.digamma((nu + size) / 2) - np.log((nu + size) / 2)
        rest = 1 + r @ (logs - u) / r.sum()
        if estimated:
            nu = scipy.optimize.brentq(
                lambda v: np.log(v / 2) - scipy.special.digamma(v / 2) + rest, 0.01, 1e5, xtol=1e-13, rtol=1e-14
            )
        return {"mean": mean, "scale": scatter if kind == "full" else np.diag(scatter), "df": nu}

    return turn


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "df"), [("full", "each"), ("diagonal", 4.0)])
def test_the_turns_are_those_of_an_independent_em(x64, kind, df):
    family = em.student_t(2, covariance=kind, df=df)
    start = started(family, X, 2)
    _, found, params, _, _ = trajectory(family, X, 2, steps=10, start=start, slope=False)
    own = jax.tree.map(np.asarray, start[0]["components"])
    scale = own["scale_tril"] @ np.swapaxes(own["scale_tril"], 1, 2) if kind == "full" else own["scale"] ** 2
    nus = own["df"] if df == "each" else [4.0, 4.0]
    each = [{"mean": own["mean"][s], "scale": scale[s], "df": nus[s]} for s in range(2)]
    weights = np.exp(np.asarray(start[0]["weights"]["logits"][0]))
    expected, _, each = plain_em(X, weights, each, density(kind), best(kind, estimated=df == "each"), 10)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    own = params["components"]
    np.testing.assert_allclose(own["mean"], [one["mean"] for one in each], rtol=1e-8)
    tril = own["scale_tril"] if kind == "full" else jnp.sqrt(1.0) * own["scale"]
    ours = tril @ np.swapaxes(tril, 1, 2) if kind == "full" else tril**2
    np.testing.assert_allclose(ours, [one["scale"] for one in each], rtol=1e-7)
    if df == "each":
        np.testing.assert_allclose(own["df"], [one["df"] for one in each], rtol=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "df"), [("full", "each"), ("full", "shared"), ("diagonal", "shared"), ("diagonal", 3.0)]
)
def test_the_objective_never_falls_and_ends_at_a_stationary_point(x64, kind, df):
    params, _ = check_turns(em.student_t(2, covariance=kind, df=df), X, 2, steps=1500)
    free = {"each": 2, "shared": 1}.get(df, 0)
    size = 5 if kind == "full" else 4
    assert em.student_t(2, covariance=kind, df=df).degrees(params["components"]) == 2 * size + free


@pytest.mark.first(1)
@pytest.mark.parametrize(("kind", "df"), [("full", "each"), ("diagonal", "shared")])
def test_the_m_step_maximizes_the_expected_density_of_values_and_precisions(x64, kind, df):
    """``Σ r E_u [log N(x; μ, Σ/u) + log Gamma(u; ν/2, ν/2)]``, u at the parameters before."""
    family = em.student_t(2, covariance=kind, df=df)
    x = jnp.asarray(X)
    responsibilities = jnp.asarray(np.random.default_rng(1).dirichlet([1, 1], len(X)) * 1.7)

    def delta(params):
        tril = params["scale_tril"] if kind == "full" else params["scale"][:, :, None] * jnp.eye(2)[None]
        apart = x[:, None] - params["mean"][None]
        white = jnp.einsum("sij,nsj->nsi", jnp.linalg.inv(jnp.tril(tril)), apart)
        return jnp.sum(white**2, axis=-1), jnp.log(jnp.abs(jnp.linalg.det(jnp.tril(tril))))[None]

    @jax.jit
    def run(key):
        start, state = family.init(key, x)
        start = {**start, "df": jnp.asarray([3.0, 8.0]) if df == "each" else jnp.asarray(3.0)}
        statistics = family.statistics(family.prepare(start, state), family.features(state, x), responsibilities)
        best = family.maximize(start, state, statistics)
        nu = jnp.broadcast_to(start["df"], (2,))[None]
        u = (nu + 2) / (nu + delta(start)[0])
        logs = jnp.log(u) + jax.scipy.special.digamma((nu + 2) / 2) - jnp.log((nu + 2) / 2)

        def expected(params):
            distance, log_det = delta(params)
            half = jnp.broadcast_to(params["df"], (2,))[None] / 2
            normal = logs - log_det - 0.5 * u * distance
            gamma = half * jnp.log(half) - jax.scipy.special.gammaln(half) + (half - 1) * logs - half * u
            return jnp.sum(responsibilities * (normal + gamma))

        each = [family.apply(start, state, jnp.full(80, s))[0].log_prob(x) for s in range(2)]
        ours = family.log_probs(family.prepare(start, state), family.features(state, x))
        none = family.statistics(
            family.prepare(start, state), family.features(state, x), responsibilities.at[:, 0].set(0)
        )
        return jax.grad(expected)(best), ours, jnp.stack(each, axis=1), start, family.maximize(start, state, none)

    gradient, ours, theirs, start, empty = run(jax.random.key(0))
    assert largest(gradient) < 1e-8
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    np.testing.assert_array_equal(empty["mean"][0], start["mean"][0])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(empty))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_outliers_move_neither_location_nor_precision(dtype):
    """One example in forty at 1e5: the location stays within the bulk, also in float32."""
    with jax.enable_x64(dtype == "float64"):
        x = np.random.default_rng(2).normal(size=(80, 2))
        x[:2] = [[1e5, -1e5], [2e5, 1e5]]
        values, _, params, _, _ = trajectory(em.student_t(1), x.astype(dtype), 1, steps=200, slope=False)
        own = params["components"]
        assert np.all(np.isfinite(values))
        np.testing.assert_allclose(own["mean"][0], np.median(x[2:], axis=0), atol=0.3)
        assert 0.3 < float(own["scale_tril"][0, 0, 0]) < 1.2


@pytest.mark.thorough
def test_normal_data_have_the_most_degrees_of_freedom_and_light_ones_are_kept_finite(x64):
    """Shorter tails than a normal's: the root is at infinity, and the bound is the maximum."""
    x = np.random.default_rng(3).uniform(-1, 1, (60, 2))
    values, _, params, _, _ = trajectory(em.student_t(1), x, 1, steps=3000, slope=False)
    np.testing.assert_allclose(params["components"]["df"], [1000.0], rtol=1e-6)
    np.testing.assert_allclose(params["components"]["mean"][0], x.mean(0), atol=1e-3)
    assert np.diff(values).min() > -1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "tied"}, "covariance must be one of full, diagonal; got 'tied'"),
        ({"df": "free"}, "df must be a number above 0, 'each' or 'shared', got 'free'"),
        ({"df": -1.0}, "df must be a finite number ≥ 0.001, got -1.0"),
        ({"floor": -1.0}, "floor must be a finite number ≥ 0, got -1.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        em.student_t(2, **options)

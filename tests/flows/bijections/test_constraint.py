"""Supports: NumPyro's transforms, Jacobians of the free coordinates, densities of SciPy, and what lies outside."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from flows.oracle import check
from numpyro.distributions import biject_to, constraints
from scipy import stats

import vifx
from vifx import data, flows, training
from vifx.distributions import standard_normal

ROWS, COLUMNS = np.tril_indices(3)
BELOW = np.tril_indices(3, -1)

# A constraint, the shape of z, and the free coordinates of x as it says: which elements of an event they are.
SETS = {
    "real": (constraints.real, (3,), ...),
    "positive": (constraints.positive, (3,), ...),
    "unit_interval": (constraints.unit_interval, (3,), ...),
    "interval": (constraints.interval(-1.0, 3.0), (2, 3), ...),
    "greater_than": (constraints.greater_than(2.0), (3,), ...),
    "less_than": (constraints.less_than(-2.0), (3,), ...),
    "softplus_positive": (constraints.softplus_positive, (3,), ...),
    "simplex": (constraints.simplex, (3,), (..., slice(0, -1))),
    "ordered_vector": (constraints.ordered_vector, (4,), ...),
    "positive_ordered_vector": (constraints.positive_ordered_vector, (4,), ...),
    "lower_cholesky": (constraints.lower_cholesky, (6,), (..., ROWS, COLUMNS)),
    "corr_cholesky": (constraints.corr_cholesky, (3,), (..., *BELOW)),
    "corr_matrix": (constraints.corr_matrix, (3,), (..., *BELOW)),
    "positive_definite": (constraints.positive_definite, (6,), (..., ROWS, COLUMNS)),
    "several simplices": (constraints.independent(constraints.simplex, 1), (2, 3), (..., slice(0, -1))),
    "l1_ball": (constraints.l1_ball, (3,), ...),
    "zero_sum": (constraints.zero_sum(1), (3,), None),  # an isometry: its log-determinant is of the surface itself
}


def codes(shape, scale=1.0):
    return scale * np.random.default_rng(0).standard_normal((5, *shape))


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ["simplex", "positive", *(n for n in SETS if n not in ("simplex", "positive"))])
def test_it_is_the_transform_of_numpyro_both_ways(x64, name):
    constraint, shape, free = SETS[name]
    z, bijection, transform = jnp.asarray(codes(shape)), flows.support(constraint), biject_to(constraint)

    @jax.jit
    def everything(z):
        x = transform(z)
        expected = transform.log_abs_det_jacobian(z, x).reshape(5, -1).sum(1)
        element = jax.vmap(jax.jacfwd(lambda row: transform(row).reshape(-1)))(z)
        params, state = bijection.init(jax.random.key(0), x)
        return x, expected, element, bijection.forward(params, state, x), bijection.inverse(params, state, z)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        x, expected, element, (found, log_det), (back, log_det_back) = everything(z)
    np.testing.assert_allclose(found, z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_det, -expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back, x, rtol=1e-12)
    np.testing.assert_allclose(log_det_back, expected, rtol=1e-12, atol=1e-14)
    jacobian = np.asarray(element).reshape(5, -1, z[0].size)
    if free is None:
        gram = np.linalg.slogdet(np.swapaxes(jacobian, 1, 2) @ jacobian)[1] / 2
    else:
        kept = np.arange(x[0].size).reshape(x.shape[1:])[free].reshape(-1)
        gram = np.linalg.slogdet(jacobian[:, kept])[1]
    np.testing.assert_allclose(log_det_back, gram, rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [n for n in SETS if SETS[n][2] is ...])
def test_the_contract(x64, name):
    """Where nothing is lost, `check`: round trips, and both log-determinants against the automatic Jacobian."""
    constraint, shape, _ = SETS[name]
    check(flows.support(constraint), biject_to(constraint)(jnp.asarray(codes(shape))))


@pytest.mark.thorough
@pytest.mark.parametrize("traced", [False, True])
def test_the_density_of_shares(x64, traced):
    """A base pushed onto the simplex by stick breaking: a Dirichlet distribution pulled back gives itself."""
    concentration = np.array([2.0, 3.0, 1.5])
    shares = np.random.default_rng(1).dirichlet(concentration, 6)
    inverted = flows.Flow(dist.Dirichlet(jnp.asarray(concentration)), flows.invert(flows.support(constraints.simplex)))
    z, log_det = flows.support(constraints.simplex).forward({}, {}, jnp.asarray(shares))
    log_prob = jax.jit(inverted.log_prob) if traced else inverted.log_prob
    expected = [stats.dirichlet.logpdf(row, concentration) for row in shares] - np.asarray(log_det)
    with jax.numpy_rank_promotion("allow"):  # of NumPyro's Dirichlet distribution
        found = log_prob({}, inverted.init(jax.random.key(0), z)[1], z)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["positive", "simplex", "positive_definite", "corr_cholesky", "ordered_vector"])
def test_a_flow_of_the_set(x64, name):
    """As a factor: samples lie in the set, their log-density is that of the base and the map, and gradients agree."""
    constraint, shape, _ = SETS[name]
    size = int(np.prod(shape))
    bijection = flows.chain(flows.support(constraint), flows.scale(shift=True))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        x = biject_to(constraint)(jnp.asarray(codes(shape, 0.7)))
        base = biject_to(constraint).log_abs_det_jacobian(codes(shape, 0.7), x).reshape(5, -1).sum(1)
    generative = vifx.Joint(vifx.transformed("x", standard_normal(size), bijection, name="flow"))
    objective = vifx.kl(vifx.Joint(vifx.evidence("x")), generative)
    params, state = objective.init(jax.random.key(0), {"x": x})
    loss = lambda params: objective.players["model"].loss(jax.random.key(1), params, state, {"x": x})[0]  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    z = codes(shape, 0.7)
    expected = -stats.norm.logpdf(z).sum(1).mean() + np.asarray(base).mean()
    assert float(value) == pytest.approx(expected, rel=1e-9)
    # ∂/∂s of ½(z eˢ)² − s at s = 0, averaged over the examples; and of the shift.
    np.testing.assert_allclose(gradient["flow"][1]["log_scale"], (z**2 - 1).mean(0), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(gradient["flow"][1]["shift"], z.mean(0), rtol=1e-7, atol=1e-9)
    drawn = generative.sample(jax.random.key(2), params, state, examples=50).values["x"]
    assert drawn.shape == (50, *x.shape[1:])
    again = generative.log_prob(params, state, {"x": drawn})
    assert np.isfinite(np.asarray(sum(again.values()))).all()


@pytest.mark.thorough
def test_a_latent_that_is_a_vector_of_shares():
    """Its flow is initialized on shares, with one free coordinate less, and finds the Dirichlet distribution."""
    concentration = np.array([2.0, 3.0, 4.0], np.float32)

    def log_density(z):
        return jnp.log(z) @ jnp.asarray(concentration - 1) + jax.scipy.special.gammaln(9.0) - np.log(1 * 2 * 6)

    layers = flows.chain(flows.support(constraints.simplex), flows.actnorm(), flows.realnvp(2, hidden=(8,)))
    z = jnp.asarray(codes((2,)), jnp.float32)
    shares = flows.support(constraints.simplex).inverse({}, {}, z)[0]
    for bijection in (layers, flows.conditioned(layers, flows.dense((3,)))):
        np.testing.assert_array_equal(bijection.stand_in(z), shares)
    assert flows.chain(flows.exp(), flows.actnorm()).stand_in is None
    inference = vifx.Joint(vifx.transformed("z", standard_normal(2), layers, name="flow"))
    objective = vifx.kl(inference, vifx.Joint(vifx.target("z", log_density)), samples=64)
    step = training.optimize(objective, optax.adam(1e-2))
    run = training.fit(jax.random.key(0), step, objective, data.Unobserved(), steps=400, log_every=400)
    progress = run.train_state.progress
    drawn = inference.sample(jax.random.key(1), progress.params, progress.state, {}, examples=4000).values["z"]
    np.testing.assert_allclose(np.sum(drawn, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.mean(drawn, axis=0), concentration / 9, atol=0.03)
    np.testing.assert_allclose(np.std(drawn, axis=0), np.sqrt(np.array([14, 18, 20]) / 810), atol=0.03)
    assert abs(np.mean([row["kl/z_sampled"] for row in run.history])) < 0.1  # the density has its constant


# A point of each set, and points outside or on its boundary.
OUTSIDE = {
    "positive": ([1.0, 2.0, 3.0], [[-1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [np.nan, 1.0, 1.0]]),
    "unit_interval": ([0.5, 0.1, 0.9], [[0.5, 0.5, 1.0], [0.5, 0.5, 1.5]]),
    "simplex": ([0.5, 0.3, 0.2], [[0.5, 0.3, 0.3], [1.2, -0.1, -0.1], [0.5, 0.5, 0.0], [0.2, 0.2, 0.2]]),
    "ordered_vector": ([1.0, 2.0, 4.0], [[1.0, 0.5, 2.0], [1.0, 1.0, 2.0]]),
    "corr_cholesky": (np.eye(3), [np.eye(3) * 1.1, np.ones((3, 3))]),
    "positive_definite": (np.eye(3), [-np.eye(3), np.ones((3, 3)), np.eye(3) + np.eye(3, k=1)]),
    "zero_sum": ([1.0, 2.0, -3.0], [[1.0, 1.0, 1.0]]),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_is_refused_or_has_density_zero(name):
    """Where it can be seen by an error that names it; compiled by −∞, and no gradient is lost."""
    bijection, (inside, rows) = flows.support(SETS[name][0]), OUTSIDE[name]

    def total(shift, x):
        _, log_det = bijection.forward({}, {}, shift + x)
        return log_det[0], log_det

    compiled = jax.jit(jax.grad(total, has_aux=True))
    for row in rows:
        x = jnp.asarray(np.stack([inside, row]), jnp.float32)
        with pytest.raises(
            ValueError, match=r"forward needs data inside of .*, off its boundary, and example 1 is not"
        ):
            bijection.forward({}, {}, x)
        gradient, log_det = compiled(jnp.zeros_like(x), x)
        assert np.isfinite(log_det[0])
        assert np.isfinite(gradient).all()
        assert log_det[1] == -np.inf


@pytest.mark.thorough
def test_single_precision_is_inside_of_its_own_samples():
    """Rounding moves data off a surface: what the inverse returns, forward takes."""
    for name, (constraint, shape, _) in SETS.items():
        bijection = flows.support(constraint)
        z = jnp.asarray(np.random.default_rng(2).standard_normal((200, *shape)), jnp.float32)
        x, _ = bijection.inverse({}, {}, z)
        found, _ = bijection.forward({}, {}, x)
        np.testing.assert_allclose(found, z, rtol=5e-3, atol=5e-3, err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["simplex", "corr_cholesky", "ordered_vector", "lower_cholesky"])
def test_single_precision_is_double_precision_rounded(name):
    """Near the boundary too, where NumPyro's own differences lose every digit (0.2 nats and more)."""
    constraint, shape, _ = SETS[name]
    bijection = flows.support(constraint)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        x = biject_to(constraint)(jnp.asarray(2 * np.random.default_rng(3).standard_normal((300, *shape))))
    single = np.asarray(x, np.float32)
    z, log_det = jax.jit(bijection.forward)({}, {}, jnp.asarray(single))
    with jax.enable_x64(True):
        exact, exact_log_det = jax.jit(bijection.forward)({}, {}, jnp.asarray(single, jnp.float64))
    np.testing.assert_allclose(z, exact, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(log_det, exact_log_det, rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flows.support("positive"), TypeError, "must be a constraint of numpyro.distributions.constraints"),
        (lambda: flows.support(constraints.interval), TypeError, "got the class _Interval"),
        (lambda: flows.support(constraints.boolean), ValueError, r"Boolean\(\) has no bijection .*dequantize"),
        (lambda: flows.support(constraints.integer_interval(0, 3)), ValueError, "has no bijection"),
        (lambda: flows.support(constraints.complex), ValueError, r"Complex\(\) has no bijection"),
        (lambda: flows.support(constraints.sphere), ValueError, r"no map from unconstrained numbers onto Sphere\(\)"),
        (
            lambda: flows.support(constraints.simplex).forward({}, {}, jnp.ones(3)),
            ValueError,
            r"needs events of at least 1 axes, got \[3\]",
        ),
        (
            lambda: flows.check(flows.support(constraints.simplex), jnp.full((2, 4), 0.25)),
            ValueError,
            r"maps \[2, 4\] to \[2, 3\], fewer elements: its log-determinant is one of the free coordinates",
        ),
        (
            lambda: flows.support(constraints.corr_cholesky).inverse({}, {}, jnp.ones((2, 4))),
            ValueError,
            r"inverse for CorrCholesky\(\) cannot take events \[4\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Composition of bijections: chains, stacks, inverses, conditioning, and the checks around them."""

from __future__ import annotations

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flows.oracle import check, perturbed

import vifx
from vifx import flows, nets, networks
from vifx.distributions import standard_normal

X = np.random.default_rng(0).standard_normal((5, 3))


def rotation():
    """A conditional dense map with a data-dependent initialization: every part of the contract at once."""

    def matrix(params):
        lower = jnp.tril(params["lower"], -1) + jnp.eye(3, dtype=params["lower"].dtype)
        return lower, params["log_scale"]

    def shift(params, given, x):
        return jnp.zeros_like(x) if given is None else given @ params["given"]

    def init(key, x, given):
        params = {"lower": 0.3 * jax.random.normal(key, (3, 3), x.dtype), "log_scale": -jnp.log(jnp.std(x, axis=0))}
        return params | ({} if given is None else {"given": jnp.ones((given.shape[1], 3), x.dtype)}), {}

    def forward(params, state, x, given, key):
        lower, log_scale = matrix(params)
        z = (x @ lower.T) * jnp.exp(log_scale)[None] + shift(params, given, x)
        return jnp.roll(z, 1, axis=1), jnp.broadcast_to(jnp.sum(log_scale), x.shape[:1])

    def inverse(params, state, z, given, key):
        lower, log_scale = matrix(params)
        z = (jnp.roll(z, -1, axis=1) - shift(params, given, z)) * jnp.exp(-log_scale)[None]
        x = jax.scipy.linalg.solve_triangular(lower, z.T, lower=True).T
        return x, jnp.broadcast_to(-jnp.sum(log_scale), z.shape[:1])

    return flows.checked("rotation", init, forward, inverse)


@pytest.mark.first(3)
@pytest.mark.parametrize(("dtype", "conditional"), [("float32", False), ("float64", True)])
@pytest.mark.parametrize(
    "build",
    [
        flows.identity,
        lambda: flows.chain(rotation(), rotation(), flows.identity()),
        lambda: flows.stack(rotation(), 4),
        lambda: flows.stack(rotation(), 5, unroll=2),
        lambda: flows.invert(rotation()),
        lambda: flows.chain(flows.stack(flows.chain(rotation(), flows.invert(rotation())), 3), rotation()),
    ],
    ids=["identity", "chain", "stack", "unrolled", "invert", "nested"],
)
def test_both_directions_and_the_jacobian_agree(build, conditional, dtype):
    with jax.enable_x64(dtype == "float64"):
        given = jnp.asarray(np.cos(X[:, :2]), dtype) if conditional else None
        check(build(), jnp.asarray(X, dtype), given)


@pytest.mark.parametrize("unroll", [1, 2])
def test_a_stack_is_the_unrolled_chain(x64, unroll):
    """The same parameters, laid out block by block: value, log-determinant, gradient and initialization."""
    x, depth = jnp.asarray(X), 3
    stacked, chained = flows.stack(rotation(), depth, unroll=unroll), flows.chain(*[rotation()] * depth)
    params, state = stacked.init(jax.random.key(0), x)

    def split(params):
        return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(depth))

    def nll(params, bijection, arrange):
        z, log_det = bijection.forward(arrange(params), arrange(state), x)
        return jnp.sum(z**3) - jnp.sum(log_det)

    one = jax.jit(lambda p: jax.value_and_grad(nll)(p, stacked, lambda p: p))(params)
    other = jax.jit(lambda p: jax.value_and_grad(nll)(p, chained, split))(params)
    chex.assert_trees_all_close(one, other, rtol=1e-13, atol=1e-13)
    z, log_det = jax.jit(stacked.inverse)(params, state, x)
    expected = jax.jit(chained.inverse)(split(params), split(state), x)
    np.testing.assert_allclose(z, expected[0], rtol=1e-12)
    np.testing.assert_allclose(log_det, expected[1], rtol=1e-12)
    # Every copy is initialized on what those before it make of the batch: all of them see unit scales but the first.
    seen = x
    for index in range(depth):
        own = split(params)[index]
        np.testing.assert_allclose(own["log_scale"], -np.log(np.std(seen, axis=0)), rtol=1e-12)
        seen, _ = rotation().forward(own, {}, seen)


@pytest.mark.parametrize("body", [nn.Conv(4, (3, 3)), networks.ConvConditioner(4)], ids=["of XLA", "ours"])
def test_a_stack_of_convolutions_of_xla_has_no_loop_on_a_cpu(body):
    """There their weight gradients are slow in loops; ours have another form. The values are those of the chain."""
    images = jnp.asarray(np.resize(X, (2, 4, 4, 2)), jnp.float32)
    block, depth = flows.coupling(body, flows.affine(bound=1.0), mask=flows.channels()), 3
    stacked, chained = flows.stack(block, depth), flows.chain(*[block] * depth)
    params, state = stacked.init(jax.random.key(0), images)
    params = perturbed(jax.random.key(1), params, 0.1)
    traced = jax.jit(stacked.forward).trace(params, state, images)
    assert ("scan[" in str(traced.jaxpr)) == (not isinstance(body, nn.Conv))
    split = [tuple(jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(depth)) for tree in (params, state)]
    chex.assert_trees_all_close(
        traced.lower().compile()(params, state, images), jax.jit(chained.forward)(*split, images), rtol=1e-4, atol=1e-5
    )


def test_chains_initialize_on_what_comes_before(x64):
    x = jnp.asarray(5 * X)
    params, _ = flows.chain(rotation(), rotation()).init(jax.random.key(0), x)
    middle, _ = rotation().forward(params[0], {}, x)
    np.testing.assert_allclose(params[1]["log_scale"], -np.log(np.std(middle, axis=0)), rtol=1e-12)


@pytest.mark.thorough
def test_noise_reaches_every_part_and_differs(x64):
    """A log-determinant that is estimated gets a key of its own in each part of a chain and in each copy."""

    def noisy(params, state, x, given, key):
        return x, jnp.zeros(x.shape[0]) if key is None else jax.random.normal(jax.random.fold_in(key, 7), x.shape[:1])

    bijection = flows.checked("noisy", lambda key, x, given: ({}, {}), noisy, noisy)
    x = jnp.asarray(X)
    for build in (lambda: flows.chain(bijection, bijection), lambda: flows.stack(bijection, 2)):
        composed = build()
        for direction in (composed.forward, composed.inverse):
            params, state = composed.init(jax.random.key(0), x)
            keys = jax.random.split(jax.random.key(0), 500)
            draws = np.asarray(jax.jit(jax.vmap(lambda key: direction(params, state, x, key=key)[1]))(keys))  # noqa: B023
            # Two independent standard normals add up to variance 2; one draw used twice would give 4.
            assert abs(draws.var() - 2) < 4.26 * 2 * np.sqrt(2 / draws.size)
            np.testing.assert_array_equal(direction(params, state, x)[1], np.zeros(5))


def test_conditioned_is_the_bijection_at_the_features(x64):
    net = nets.from_functions(
        lambda key, y: {"w": jax.random.normal(key, (y.shape[1], 2), y.dtype)}, lambda p, y: jnp.tanh(y @ p["w"])
    )
    x, given = jnp.asarray(X), jnp.asarray(X[:, ::-1] ** 2)
    bijection = flows.conditioned(rotation(), net)
    params, state = check(bijection, x, given)
    features = jnp.tanh(given @ params["network"]["w"])
    for direction in ("forward", "inverse"):
        found = getattr(bijection, direction)(params, state, x, given)
        expected = getattr(rotation(), direction)(params["bijection"], {}, x, features)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(ValueError, match="given is missing"):
        bijection.forward(params, state, x)


@pytest.mark.thorough
def test_flow_is_the_density_of_its_samples(x64):
    """A dense map of a normal is a normal with a known covariance."""
    flow = flows.Flow(standard_normal(3), flows.chain(rotation(), rotation()))
    x = jnp.asarray(X)
    params, state = flow.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    jacobian = jax.jacobian(lambda z: flow.decode(params, state, z[None])[0])(jnp.zeros(3))
    law = scipy.stats.multivariate_normal(np.zeros(3), np.asarray(jacobian @ jacobian.T))
    np.testing.assert_allclose(flow.log_prob(params, state, x), law.logpdf(X), rtol=1e-10)
    np.testing.assert_allclose(flow.decode(params, state, flow.encode(params, state, x)), X, rtol=1e-10)
    for temperature in (1.0, 0.5):
        drawn = flow.sample(jax.random.key(2), params, state, 20_000, temperature=temperature)
        np.testing.assert_allclose(np.cov(drawn.T), temperature**2 * law.cov, atol=0.05 * np.max(np.abs(law.cov)))
    line = flow.interpolate(params, state, x[:2], x[2:4], points=5)
    assert line.shape == (2, 5, 3)
    np.testing.assert_allclose(line[:, 0], X[:2], rtol=1e-10)
    np.testing.assert_allclose(line[:, -1], X[2:4], rtol=1e-10)
    codes = np.asarray(flow.encode(params, state, line.reshape(10, 3))).reshape(2, 5, 3)
    np.testing.assert_allclose(codes[:, 2], (codes[:, 0] + codes[:, 4]) / 2, rtol=1e-9)


@pytest.mark.thorough
def test_flow_gives_its_key_to_an_estimate(x64):
    flow = flows.Flow(standard_normal(3), flows.residual_block((4,), log_det="series", terms=2))
    params, state = flow.init(jax.random.key(0), jnp.asarray(X))
    params = perturbed(jax.random.key(1), params)
    exact = flows.Flow(standard_normal(3), flows.residual_block((4,)))
    codes = exact.encode(params, state, jnp.asarray(X))
    np.testing.assert_allclose(flow.encode(params, state, jnp.asarray(X), key=jax.random.key(2)), codes, rtol=1e-12)
    np.testing.assert_allclose(flow.decode(params, state, codes, key=jax.random.key(2)), X, rtol=1e-9)
    line = flow.interpolate(params, state, jnp.asarray(X[:1]), jnp.asarray(X[1:2]), points=2, key=jax.random.key(2))
    np.testing.assert_allclose(line[0], X[:2], rtol=1e-9)
    drawn = flow.sample(jax.random.key(2), params, state, 4)
    np.testing.assert_allclose(drawn, exact.sample(jax.random.key(2), params, state, 4), rtol=1e-12)
    with pytest.raises(ValueError, match="needs key="):
        flow.encode(params, state, jnp.asarray(X))


def test_flow_as_a_factor_is_the_flow(x64):
    bijection = flows.stack(rotation(), 2)
    x = jnp.asarray(X)
    flow = flows.Flow(standard_normal(3), bijection)
    objective = vifx.kl(
        vifx.Joint(vifx.evidence("x")),
        vifx.Joint(vifx.transformed("x", standard_normal(3), bijection, name="flow")),
    )
    params, state = jax.jit(objective.init)(jax.random.key(0), {"x": x})

    def loss(params):
        return objective.players["model"].loss(jax.random.key(1), params, state, {"x": x})[0]

    def nll(params):
        return -jnp.mean(flow.log_prob(params["flow"], state["flow"], x))

    one, other = jax.jit(lambda at: [jax.value_and_grad(each)(at) for each in (loss, nll)])(params)
    chex.assert_trees_all_close(one, other, rtol=1e-12)


def wrong(what):
    def init(key, x, given):
        return {}, {}

    def same(params, state, x, given, key):
        return x, jnp.zeros(x.shape[0], x.dtype)

    outputs = {
        "size": lambda params, state, x, given, key: (x[:, :1], jnp.zeros(x.shape[0], x.dtype)),
        "log_det": lambda params, state, x, given, key: (x, jnp.zeros(x.shape, x.dtype)),
        "dtype": lambda params, state, x, given, key: (x.astype(jnp.bfloat16), jnp.zeros(x.shape[0], x.dtype)),
        "log_det dtype": lambda params, state, x, given, key: (x, jnp.zeros(x.shape[0], jnp.bfloat16)),
    }
    return flows.checked("wrong", init, outputs.get(what, same), same)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: wrong("").forward({}, {}, x[0]), ValueError, r"wrong: forward needs \[examples, \*event\]"),
        (lambda x: wrong("").init(jax.random.key(0), x.astype(int)), TypeError, "needs a real array, got int32"),
        (lambda x: wrong("").inverse({}, {}, [1.0]), TypeError, "got list"),
        (lambda x: wrong("").inverse({}, {}, x, x[:2]), ValueError, r"given \[2, 3\] for \[5, 3\]"),
        (lambda x: wrong("size").forward({}, {}, x), ValueError, r"maps \[5, 3\] to \[5, 1\]"),
        (lambda x: wrong("log_det").forward({}, {}, x), ValueError, r"log_det of shape \[5, 3\], expected \[5\]"),
        (lambda x: wrong("dtype").forward({}, {}, x), TypeError, "returned a value of bfloat16"),
        (lambda x: wrong("log_det dtype").forward({}, {}, x), TypeError, "returned log_det of bfloat16"),
        (lambda x: flows.chain(), ValueError, "bijections is empty"),
        (lambda x: flows.chain(flows.identity), TypeError, "must be a Bijection, got a function"),
        (lambda x: flows.stack(flows.identity, 2), TypeError, "must be a Bijection, got a function"),
        (lambda x: flows.stack(flows.identity(), 0), ValueError, "depth must be an integer ≥ 1, got 0"),
        (lambda x: flows.stack(flows.identity(), 2, unroll=0), ValueError, "unroll must be an integer ≥ 1, got 0"),
        (lambda x: flows.invert(3), TypeError, "must be a Bijection, got 3"),
        (lambda x: flows.conditioned(3, wrong("")), TypeError, "must be a Bijection, got 3"),
        (
            lambda x: flows.Flow(standard_normal(3), flows.identity()).sample(
                jax.random.key(0), {}, {}, 2, temperature=0.0
            ),
            ValueError,
            "temperature must be a finite number > 0, got 0",
        ),
        (
            lambda x: flows.Flow(standard_normal(3), flows.identity()).sample(jax.random.key(0), {}, {}, 0),
            ValueError,
            "examples must be an integer ≥ 1, got 0",
        ),
        (
            lambda x: flows.Flow(standard_normal(3), flows.identity()).interpolate({}, {}, x, x[:2]),
            ValueError,
            r"start has shape \[5, 3\] and end \[2, 3\]",
        ),
        (
            lambda x: flows.Flow(standard_normal(3), flows.identity()).interpolate({}, {}, x, x, points=1),
            ValueError,
            "points must be an integer ≥ 2, got 1",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(X, jnp.float32))


def test_a_stack_keeps_the_shape():
    flatten = flows.checked(
        "flatten",
        lambda key, x, given: ({}, {}),
        lambda p, s, x, given, key: (x.reshape(len(x), -1, 1), jnp.zeros(len(x))),
        lambda p, s, z, given, key: (z[..., 0], jnp.zeros(len(z))),
    )
    with pytest.raises(ValueError, match=r"maps \[5, 3\] to \[5, 3, 1\]; copies of one block must keep the shape"):
        flows.stack(flatten, 2).init(jax.random.key(0), jnp.asarray(X, jnp.float32))

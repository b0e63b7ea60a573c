"""Couplings: every mask with every map, what stays and what is read, and the checks around them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, jacobians, perturbed

from vifx import flows, nets, networks

X = np.random.default_rng(0).standard_normal((4, 5))
IMAGES = np.random.default_rng(1).standard_normal((3, 2, 3, 2))
BODY = flows.dense((6,), activation=jnp.tanh)
PIXELWISE = nets.from_functions(
    lambda key, x, *given: {"w": jax.random.normal(key, (x.shape[-1], 4), x.dtype)},
    lambda p, x, *given: (
        jnp.tanh(jnp.roll(x, 1, axis=2) @ p["w"]) * (1 + (given[0][:, :1, None, None] if given else 0))
    ),
)


def vectors(elementwise, **mask):
    return flows.coupling(BODY, elementwise, **(mask or {"mask": flows.halves()}))


@pytest.mark.first(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("build", "data"),
    [
        (lambda: vectors(flows.additive()), X),
        (lambda: vectors(flows.affine(), mask=flows.halves(swapped=True)), X),
        (lambda: vectors(flows.affine(), mask=flows.mask([True, False, True, True, False])), X),
        (lambda: flows.coupling(PIXELWISE, flows.affine(bound=1.0), mask=flows.checkerboard()), IMAGES),
        (lambda: flows.coupling(PIXELWISE, flows.affine(form="sigmoid"), mask=flows.channels(swapped=True)), IMAGES),
        (lambda: flows.stack(vectors(flows.rational_quadratic(bins=3, bound=1.5)), 2), X),
        (
            lambda: flows.coupling(PIXELWISE, flows.rational_quadratic(bins=3), mask=flows.checkerboard(swapped=True)),
            IMAGES,
        ),
    ],
    ids=["additive", "affine", "mask", "checkerboard", "channels", "spline", "spline on pixels"],
)
def test_both_directions_and_the_jacobian_agree(build, data, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(build(), jnp.asarray(data, dtype))


@pytest.mark.parametrize("swapped", [False, True])
def test_unchanged_elements_are_bitwise_the_same_and_read_alone(x64, swapped):
    """The Jacobian has the unit rows of what stays, and a diagonal block of what changes: exact zeros elsewhere."""
    stays = (np.indices((2, 3)).sum(0) % 2 == 0)[..., None].repeat(2, -1).reshape(-1) != swapped
    bijection = flows.coupling(PIXELWISE, flows.affine(), mask=flows.checkerboard(swapped=swapped))
    x = jnp.asarray(IMAGES)
    params, state = bijection.init(jax.random.key(0), x)
    params = perturbed(jax.random.key(1), params)
    z, _ = bijection.forward(params, state, x)
    np.testing.assert_array_equal(z.reshape(3, -1)[:, stays], x.reshape(3, -1)[:, stays])
    jacobian = jacobians(bijection, params, state, x)
    np.testing.assert_array_equal(jacobian[:, stays], np.broadcast_to(np.eye(12)[stays], (3, 6, 12)))
    block = jacobian[:, ~stays][:, :, ~stays]
    np.testing.assert_array_equal(block, block * np.eye(6))
    assert np.all(np.abs(jacobian[:, ~stays][:, :, stays]).max(axis=(1, 2)) > 0.01)


def test_it_starts_as_the_identity_and_every_weight_learns(x64):
    """The closed form of one affine coupling by hand, at the start and at random parameters, with its gradient."""
    bijection, x, given = vectors(flows.affine()), jnp.asarray(X), jnp.asarray(np.cos(X[:, :2]))
    params, state = bijection.init(jax.random.key(0), x, given)
    z, log_det = bijection.forward(params, state, x, given)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(4))
    params = perturbed(jax.random.key(1), params)

    def by_hand(params):
        (layer,) = params["body"]
        hidden = jnp.tanh(jnp.concatenate((x[:, :2], given), axis=1) @ layer["weight"] + layer["bias"][None])
        out = hidden @ params["head"]["weight"] + params["head"]["bias"][None]
        return jnp.concatenate((x[:, :2], x[:, 2:] * jnp.exp(out[:, :3]) + out[:, 3:]), axis=1), jnp.sum(out[:, :3], 1)

    def objective(params, forward):
        z, log_det = forward(params)
        return jnp.sum(z**3) - jnp.sum(log_det)

    one = jax.jit(jax.value_and_grad(lambda p: objective(p, lambda p: bijection.forward(p, state, x, given))))(params)
    other = jax.jit(jax.value_and_grad(lambda p: objective(p, by_hand)))(params)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        assert np.all(np.any(np.atleast_1d(a) != 0))


def test_a_head_of_ones_own_and_two_arrays_given(x64):
    """A head that ends in a constant makes a coupling whose scale is that constant; the body reads both arrays."""
    seen = []

    def head(outputs):
        seen.append(outputs)
        return nets.from_functions(
            lambda key, features: {"t": jnp.full(outputs, 0.5)},
            lambda p, features: (
                jnp.broadcast_to(p["t"][None], (len(features), outputs)) * jnp.sum(features, 1)[:, None]
            ),
        )

    body = nets.from_functions(lambda key, x, a, b: {}, lambda p, x, a, b: a * b)
    bijection = flows.coupling(body, flows.affine(), mask=flows.halves(), head=head)
    x, given = jnp.asarray(X), (jnp.asarray(X[:, :1]), jnp.asarray(X[:, 1:2] + 2))
    params, state = bijection.init(jax.random.key(0), x, given)
    z, log_det = bijection.forward(params, state, x, given)
    s = 0.5 * X[:, :1] * (X[:, 1:2] + 2)
    assert seen[0] == 6
    np.testing.assert_allclose(z[:, 2:], X[:, 2:] * np.exp(s) + s, rtol=1e-13)
    np.testing.assert_allclose(log_det, 3 * s[:, 0], rtol=1e-13)


def test_linen_bodies_are_bodies():
    x = jnp.asarray(X, jnp.float32)
    check(flows.coupling(networks.MLP((8,)), flows.affine(), mask=flows.halves()), x, jnp.cos(x[:, :2]))


def test_an_overflow_where_nothing_changes_leaves_the_gradient_alone(x64):
    """The scale that the network names for unchanged elements may be anything: it is not used."""
    body = nets.from_functions(lambda key, x: {"w": jnp.ones(2)}, lambda p, x: x * p["w"][None])
    head = lambda outputs: nets.from_functions(  # noqa: E731
        lambda key, h: {"w": jnp.array([1e4, 0.1, 1.0, 1.0])}, lambda p, h: jnp.concatenate((h, h), 1) * p["w"][None]
    )
    bijection = flows.coupling(body, flows.affine(), mask=flows.mask([True, False]), head=head)
    x = jnp.array([[1.0, 2.0]])
    params, state = bijection.init(jax.random.key(0), x)
    gradient = jax.grad(lambda p: jnp.sum(bijection.forward(p, state, x)[0]))(params)
    for leaf in jax.tree.leaves(gradient):
        assert bool(jnp.all(jnp.isfinite(leaf)))


def run(call, x):
    bijection = call(x)
    params, state = bijection.init(jax.random.key(0), x)
    return bijection.forward(params, state, x)


def constant(output):
    return nets.from_functions(lambda key, x: {}, lambda p, x: output(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: flows.coupling(3, flows.affine(), mask=flows.halves()), TypeError, "must be a Net"),
        (lambda x: flows.coupling(BODY, flows.affine, mask=flows.halves()), TypeError, "elementwise must be an Elem"),
        (lambda x: flows.coupling(BODY, flows.affine(), mask=flows.halves), TypeError, "mask must be a Mask"),
        (lambda x: vectors(flows.affine(), mask=flows.halves(), head=3), TypeError, "head must be a function"),
        (lambda x: vectors(flows.affine()).init(jax.random.key(0), x[:, :1]), ValueError, "at least two elements"),
        (
            lambda x: flows.coupling(constant(lambda x: x[:, None]), flows.affine(), mask=flows.halves()),
            ValueError,
            r"body returned features of shape \[4, 1, 2\] for an unchanged part \[4, 2\], expected \[4, 'width'\]",
        ),
        (
            lambda x: flows.coupling(constant(lambda x: x[:2]), flows.affine(), mask=flows.halves()),
            ValueError,
            r"features of shape \[2, 2\]",
        ),
        (
            lambda x: flows.coupling(constant(lambda x: x.astype(jnp.bfloat16)), flows.affine(), mask=flows.halves()),
            TypeError,
            "body returned bfloat16 for data of float32",
        ),
        (
            lambda x: flows.coupling(constant(lambda x: (x, x)), flows.affine(), mask=flows.halves()),
            TypeError,
            "one array of features, got tuple",
        ),
        (
            lambda x: vectors(flows.affine(), mask=flows.halves(), head=lambda outputs: flows.dense((outputs + 1,))),
            ValueError,
            r"head returned shape \[4, 7\], expected \[4, 6\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    x = jnp.asarray(X, jnp.float32)
    with pytest.raises(error, match=message):
        run(call, x)


def test_the_default_conditioner_is_a_dense_network(x64):
    """Values by hand on two inputs of different shapes, and initial weights of variance ⅓ over the inputs."""
    net, x, y = flows.dense((300, 5)), jnp.asarray(X), jnp.asarray(IMAGES[:, :1, :1]).repeat(2, 0)[:4]
    params, _ = net.init(jax.random.key(0), x, y)
    params = perturbed(jax.random.key(1), params, 0.1)
    h = np.concatenate((X, np.asarray(y).reshape(4, -1)), axis=1)
    for layer in params:
        h = np.maximum(h @ np.asarray(layer["weight"]) + np.asarray(layer["bias"]), 0)
    np.testing.assert_allclose(net.apply(params, {}, x, y)[0], h, rtol=1e-12)
    wide, _ = flows.dense((100,)).init(jax.random.key(0), jnp.ones((1, 400)))
    # The variance of a sample variance of n normals is 2/n of its square.
    assert abs(3 * 400 * np.var(wide[0]["weight"]) - 1) < 4.26 * np.sqrt(2 / 40_000)
    np.testing.assert_array_equal(wide[0]["bias"], np.zeros(100))
    for bad in ((), (0,), (2.0,)):
        with pytest.raises((TypeError, ValueError), match="integer ≥ 1, got"):
            flows.dense(bad)
    with pytest.raises(TypeError, match="input 1 has dtype int"):
        net.init(jax.random.key(0), x, jnp.arange(4))

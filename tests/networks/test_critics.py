"""Critics of any variables: one logit per example, by the formulas of their docstrings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import MLP, ConvEncoder, Critic, OneHot, PairCritic, Pixels, ProjectionCritic


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(net, *parents):
    """Variables with no zero among them, and the same as NumPy arrays."""
    params = jax.jit(net.init)(jax.random.key(0), *parents)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params)
    return {"params": params}, jax.tree.map(np.asarray, params)


def dense(layer, h):
    return h @ layer["kernel"] + layer.get("bias", np.float32(0))


def assert_every_slope(net, variables, *parents):
    slopes = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(net.apply(v, *parents)))))(variables)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.all(np.isfinite(slope)), path
        assert np.any(np.asarray(slope) != 0), path


@pytest.mark.first(1)
@pytest.mark.parametrize("shapes", [[(2,)], [(4, 4, 1)], [(4, 4, 1), (3,)]], ids=["z", "x", "x and z"])
def test_critic_is_an_affine_map_of_the_body(shapes):
    parents = [noise(5, *shape, seed=i) for i, shape in enumerate(shapes)]
    net = Critic(MLP((7, 6), activation=jnp.tanh))
    variables, params = filled(net, *parents)
    h = np.concatenate([x.reshape(5, -1) for x in parents], axis=1)
    for name in ("Dense_0", "Dense_1"):
        h = np.tanh(dense(params["body"][name], h))
    logits = net.apply(variables, *parents)
    assert logits.shape == (5,)
    np.testing.assert_allclose(logits, dense(params["Dense_0"], h)[:, 0], rtol=1e-4, atol=1e-5)
    assert_every_slope(net, variables, *parents)


def test_input_layers_see_their_parents():
    x, y = jnp.asarray(np.random.default_rng(0).integers(0, 256, (5, 2, 2, 1)), jnp.uint8), jnp.array([2, 0, 1, 1, 0])
    net = Critic(MLP((7,)), inputs=(Pixels(), OneHot(3)))
    variables, _ = filled(net, x, y)
    plain = net.clone(inputs=())
    floats = (np.asarray(x) / 127.5 - 1).astype(np.float32), np.eye(3, dtype=np.float32)[np.asarray(y)]
    np.testing.assert_allclose(net.apply(variables, x, y), plain.apply(variables, *floats), rtol=1e-4, atol=1e-5)


def test_a_map_of_features_is_flattened_to_one_logit_per_example():
    x = noise(3, 4, 4, 2)
    net = Critic(lambda x, *, train: x)
    variables, params = filled(net, x)
    expected = dense(params["Dense_0"], x.reshape(3, -1))[:, 0]
    np.testing.assert_allclose(net.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_mode_and_batch_statistics_reach_the_body():
    x = 3 + 2 * noise(64, 3)
    net = Critic(MLP((4,), norm="batch", activation=lambda h: h))
    variables = net.init(jax.random.key(0), x)
    params = jax.tree.map(np.asarray, variables["params"])
    pre = dense(params["body"]["Dense_0"], x)
    trained, written = net.apply(variables, x, train=True, mutable=["batch_stats"])
    normal = (pre - pre.mean(0)) / np.sqrt(pre.var(0) + 1e-5)
    np.testing.assert_allclose(trained, dense(params["Dense_0"], normal)[:, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(written["batch_stats"]["body"]["BatchNorm_0"]["mean"], 0.1 * pre.mean(0), rtol=1e-3)
    evaluated = net.apply(variables, x)
    np.testing.assert_allclose(evaluated, dense(params["Dense_0"], pre)[:, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_pair_critic_joins_the_features_of_both():
    x, z = noise(5, 4, 4, 1), noise(5, 3, seed=1)
    net = PairCritic(ConvEncoder((2,)), MLP((4,), activation=jnp.tanh), features=(6, 5), leak=0.1)
    variables, params = filled(net, x, z)
    image = ConvEncoder((2,)).apply({"params": variables["params"]["first"]}, x)
    h = np.concatenate([image, np.tanh(dense(params["second"]["Dense_0"], z))], axis=1)
    for name in ("Dense_0", "Dense_1"):
        h = dense(params[name], h)
        h = np.where(h > 0, h, np.float32(0.1) * h)
    np.testing.assert_allclose(net.apply(variables, x, z), dense(params["Dense_2"], h)[:, 0], rtol=1e-4, atol=1e-5)
    assert_every_slope(net, variables, x, z)


def test_pair_critic_gives_the_second_body_all_other_parents():
    x, z, y = noise(5, 4), noise(5, 3, seed=1), jnp.array([1, 0, 2, 2, 1])
    net = PairCritic(MLP((4,)), MLP((4,)), features=(6,), inputs=(None, None, OneHot(3)))
    variables, _ = filled(net, x, z, y)
    both = np.concatenate([z, np.eye(3, dtype=np.float32)[np.asarray(y)]], axis=1)
    expected = net.clone(inputs=()).apply(variables, x, both)
    np.testing.assert_allclose(net.apply(variables, x, z, y), expected, rtol=1e-4, atol=1e-5)


def test_projection_critic_is_its_formula():
    x, y = noise(6, 4), jnp.array([0, 1, 2, 2, 1, 0])
    net = ProjectionCritic(MLP((5,), activation=jnp.tanh), classes=3)
    variables, params = filled(net, x, y)
    phi = np.tanh(dense(params["body"]["Dense_0"], x))
    rows = params["embedding"]["kernel"]
    assert rows.shape == (3, 5)
    marginal = dense(params["Dense_0"], phi)[:, 0]
    expected = [marginal[i] + phi[i] @ rows[int(y[i])] for i in range(6)]
    np.testing.assert_allclose(net.apply(variables, x, y), expected, rtol=1e-4, atol=1e-5)
    assert_every_slope(net, variables, x, y)

    # Mixed labels mix the logits, since the formula is affine in y.
    weights = np.random.default_rng(2).dirichlet(np.ones(3), 6).astype(np.float32)
    each = np.stack([net.apply(variables, x, jnp.full(6, c)) for c in range(3)], axis=1)
    np.testing.assert_allclose(net.apply(variables, x, weights), (weights * each).sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_double_precision_stays_double(x64):
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3))), jnp.array([0, 1, 1, 0])
    for net in [
        Critic(MLP((4,)), (None, OneHot(2))),
        ProjectionCritic(MLP((4,)), 2),
        PairCritic(MLP((4,)), MLP((4,)), (4,), inputs=(None, OneHot(2))),
    ]:
        with jax.numpy_dtype_promotion("standard"):  # initial parameters are single
            variables = net.init(jax.random.key(0), x, y)
            single = net.apply(variables, x.astype(jnp.float32), y)
        variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)
        logits = net.apply(variables, x, y)
        assert logits.dtype == jnp.float64
        np.testing.assert_allclose(logits, np.asarray(single, np.float64), rtol=1e-4, atol=1e-5)


def test_misfits_are_named():
    key, x = jax.random.key(0), noise(4, 3)
    with pytest.raises(ValueError, match=r"PairCritic needs at least two parents .* but got 1;.*on=\(\"x\", \"z\"\)"):
        PairCritic(MLP((4,)), MLP((4,))).init(key, x)
    with pytest.raises(ValueError, match=r"ProjectionCritic needs at least two parents .* but got 1"):
        ProjectionCritic(MLP((4,)), 3).init(key, x)
    with pytest.raises(ValueError, match=r"label must be integers \[examples\] or .* but has shape \(4, 1\)"):
        ProjectionCritic(MLP((4,)), 3).init(key, x, jnp.zeros((4, 1), jnp.int32))
    with pytest.raises(ValueError, match=r"weights over 2 classes, but got dtype float32 and shape \(4, 3\)"):
        ProjectionCritic(MLP((4,)), 2).init(key, x, x)
    with pytest.raises(ValueError, match="inputs must have one entry per parent, but has 1 for 2 parents"):
        Critic(MLP((4,)), inputs=(None,)).init(key, x, x)
    with pytest.raises(ValueError, match=r"leak must be a number in \[0, 1\], got 2"):
        PairCritic(MLP((4,)), MLP((4,)), leak=2)
    with pytest.raises(TypeError, match=r"parent 0 has dtype int32.*inputs="):
        Critic(MLP((4,))).init(key, jnp.zeros((2, 3), jnp.int32))

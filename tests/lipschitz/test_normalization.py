"""Spectral normalization: what the wrapped network computes, keeps and differentiates."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from lipschitz.oracles import as_matrix, normal, svd_norm

from vifx import networks, training
from vifx.core.nets import as_net, from_functions, in_precision
from vifx.core.objective import Objective, Player
from vifx.core.types import Aux
from vifx.lipschitz import Convolution, normalized_params, spectral_normalization


def trained(net, params, state, x, times):
    apply = jax.jit(net.apply, static_argnames="train")
    for _ in range(times):
        _, state = apply(params, state, x, train=True)
    return state


class Critic(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        h = networks.Conv(3, 4, stride=2)(x)
        h = linen.BatchNorm(use_running_average=not train, momentum=0.9)(jax.nn.leaky_relu(h, 0.2))
        return linen.Dense(1)(h.reshape(h.shape[0], -1))[:, 0]


X = normal(0, 5, 6, 6, 2, dtype=np.float32)


@pytest.mark.thorough
def test_parameters_are_the_networks_own_and_state_is_as_documented():
    net, plain = spectral_normalization(Critic()), as_net(Critic())
    params, state = net.init(jax.random.key(0), X)
    own, inner = plain.init(jax.random.key(0), X)
    chex.assert_trees_all_equal(params, own)
    chex.assert_trees_all_equal(state["network"], inner)
    assert set(state) == {"network", "vectors"}
    assert set(state["vectors"]) == {"Conv_0/kernel", "Dense_0/kernel"}
    other = net.init(jax.random.key(1), X)[1]["vectors"]
    for path, vector in state["vectors"].items():
        assert float(jnp.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-6)
        if vector.size > 1:
            assert not np.allclose(np.abs(vector), np.abs(other[path]), atol=1e-3)


def test_evaluation_is_the_network_with_normalized_kernels_and_writes_nothing(x64):
    x, plain = X.astype(jnp.float64), linen.Dense(4, param_dtype=jnp.float64)
    net = spectral_normalization(plain, coefficient=1.5)
    params, state = net.init(jax.random.key(0), x[:, 0, 0])
    params = {"kernel": 7 * params["kernel"], "bias": jnp.arange(4.0)}
    state = trained(net, params, state, x[:, 0, 0], 300)
    output, after = net.apply(params, state, x[:, 0, 0])
    kernel = np.asarray(params["kernel"])
    expected = x[:, 0, 0] @ (1.5 * kernel / svd_norm(kernel)) + np.arange(4.0)[None]
    np.testing.assert_allclose(output, expected, rtol=1e-9)
    chex.assert_trees_all_equal(after, state)
    seen = normalized_params(params, state, coefficient=1.5)
    np.testing.assert_allclose(seen["kernel"], 1.5 * kernel / svd_norm(kernel), rtol=1e-9)
    np.testing.assert_array_equal(seen["bias"], params["bias"])


@pytest.mark.parametrize("iterations", [1, 3])
def test_training_moves_the_vectors_by_the_iterations(x64, iterations):
    x = normal(1, 4, 6)
    net = spectral_normalization(linen.Dense(5, param_dtype=jnp.float64, use_bias=False), iterations=iterations)
    params, state = net.init(jax.random.key(0), x)
    u, w = np.asarray(state["vectors"]["kernel"]), np.asarray(params["kernel"])
    for _ in range(iterations):
        v = w @ u / np.linalg.norm(w @ u)
        u = v @ w / np.linalg.norm(v @ w)
    output, new = net.apply(params, state, x, train=True)
    np.testing.assert_allclose(new["vectors"]["kernel"], u, atol=1e-12)
    # The estimate of the new vector, in training as in evaluation.
    np.testing.assert_allclose(output, x @ w / np.linalg.norm(w @ u), atol=1e-12)
    np.testing.assert_allclose(net.apply(params, new, x)[0], output, atol=1e-12)


def test_gradient_flows_through_the_quotient_with_fixed_vectors(x64):
    x, target = normal(2, 9, 6), normal(3, 9, 5)
    net = spectral_normalization(linen.Dense(5, param_dtype=jnp.float64, use_bias=False))
    params, state = net.init(jax.random.key(0), x)

    def loss(params, state):
        return jnp.mean((net.apply(params, state, x)[0] - target) ** 2)

    # In closed form: dL/dW = (G − ⟨G, W/σ⟩ u vᵀ) / σ with G the gradient for the normalized kernel.
    w, u = np.asarray(params["kernel"]), np.asarray(state["vectors"]["kernel"])
    v = w @ u / np.linalg.norm(w @ u)
    sigma = v @ w @ u
    inner = np.asarray(jax.grad(lambda k: jnp.mean((x @ k - target) ** 2))(jnp.asarray(w / sigma)))
    expected = (inner - np.sum(inner * w / sigma) * np.outer(v, u)) / sigma
    np.testing.assert_allclose(jax.grad(loss)(params, state)["kernel"], expected, atol=1e-12)

    # Once converged, that is the gradient through the exact norm.
    state = trained(net, params, state, x, 500)
    exact = jax.grad(lambda k: jnp.mean((x @ (k / jnp.linalg.norm(k, 2)) - target) ** 2))(params["kernel"])
    np.testing.assert_allclose(jax.grad(loss)(params, state)["kernel"], exact, atol=1e-9)
    # A quotient does not feel the length of W: the gradient is orthogonal to it.
    assert float(jnp.sum(exact * params["kernel"])) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.thorough
def test_operator_norm_makes_the_convolution_itself_of_norm_one():
    maps = {"Conv_0": Convolution((6, 6), stride=2)}
    net = spectral_normalization(Critic(), norm="operator", maps=maps)
    params, state = net.init(jax.random.key(0), X)
    state = trained(net, params, state, X, 200)
    seen = normalized_params(params, state, norm="operator", maps=maps)
    assert svd_norm(as_matrix(seen["Conv_0"]["kernel"], maps["Conv_0"])) == pytest.approx(1.0, rel=1e-5)
    assert svd_norm(seen["Dense_0"]["kernel"]) == pytest.approx(1.0, rel=1e-5)
    assert state["vectors"]["Conv_0/kernel"].shape == (3, 3, 3)
    by_leaf = normalized_params(params, state, norm="operator", maps={"Conv_0/kernel": maps["Conv_0"]})
    chex.assert_trees_all_equal(seen, by_leaf)


@pytest.mark.thorough
def test_reshaped_norm_normalizes_the_published_matrix():
    net = spectral_normalization(Critic())
    params, state = net.init(jax.random.key(0), X)
    seen = normalized_params(params, trained(net, params, state, X, 200))
    assert svd_norm(seen["Conv_0"]["kernel"].reshape(-1, 3)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.thorough
def test_the_networks_own_state_and_mode_pass_through():
    net = spectral_normalization(Critic())
    params, state = net.init(jax.random.key(0), X)
    output, new = net.apply(params, state, X, key=jax.random.key(1), train=True)
    seen = normalized_params(params, new)
    expected, inner = as_net(Critic()).apply(seen, state["network"], X, key=jax.random.key(1), train=True)
    np.testing.assert_allclose(output, expected, rtol=1e-6, atol=1e-6)
    chex.assert_trees_all_close(new["network"], inner, rtol=1e-6, atol=1e-6)
    assert not np.allclose(new["network"]["batch_stats"]["BatchNorm_0"]["mean"], 0.0)


def test_first_estimate_is_close_already():
    net = spectral_normalization(linen.Dense(64))
    params, state = net.init(jax.random.key(0), jnp.zeros((1, 64)))
    norm = svd_norm(normalized_params(params, state)["kernel"])
    assert 1.0 - 1e-6 < norm < 1.1


def test_embeddings_and_nnx_modules_are_covered():
    table = spectral_normalization(linen.Embed(6, 3))
    labels = jnp.arange(6)
    params, state = table.init(jax.random.key(0), labels)
    state = trained(table, params, state, labels, 300)
    embedding = np.asarray(params["embedding"])
    np.testing.assert_allclose(table.apply(params, state, labels)[0], embedding / svd_norm(embedding), rtol=1e-4)

    net = spectral_normalization(nnx.Linear(3, 4, rngs=nnx.Rngs(jax.random.key(0))))
    x = normal(4, 5, 3, dtype=np.float32)
    params, state = net.init(jax.random.key(1), x)
    state = trained(net, params, state, x, 300)
    np.testing.assert_allclose(
        net.apply(params, state, x)[0], x @ params["kernel"] / svd_norm(params["kernel"]), rtol=1e-4, atol=1e-6
    )


def test_where_chooses_parameters():
    net = spectral_normalization(Critic(), where=lambda path: path.startswith("Dense"))
    params, state = net.init(jax.random.key(0), X)
    assert set(state["vectors"]) == {"Dense_0/kernel"}
    seen = normalized_params(params, state, where=lambda path: path.startswith("Dense"))
    np.testing.assert_array_equal(seen["Conv_0"]["kernel"], params["Conv_0"]["kernel"])
    plain = from_functions(lambda key, x: {"w": jnp.eye(3) * 4}, lambda params, x: x @ params["w"])
    net = spectral_normalization(plain, where=lambda path: path == "w")
    params, state = net.init(jax.random.key(0), X)
    np.testing.assert_allclose(net.apply(params, state, jnp.ones((2, 3)))[0], 1.0, rtol=1e-5)


def test_a_zero_kernel_stays_zero_with_a_finite_gradient():
    net = spectral_normalization(linen.Dense(3, kernel_init=linen.initializers.zeros_init()))
    x = normal(5, 4, 2, dtype=np.float32)
    params, state = net.init(jax.random.key(0), x)
    _, new = net.apply(params, state, x, train=True)
    np.testing.assert_array_equal(new["vectors"]["kernel"], state["vectors"]["kernel"])
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, new, x, train=True)[0]))(params)["kernel"]
    np.testing.assert_allclose(gradient, jnp.broadcast_to(x.sum(0)[:, None], (2, 3)), rtol=1e-5)


@pytest.mark.thorough
def test_it_composes_with_lower_precision_on_either_side():
    x = normal(6, 4, 8, dtype=np.float32)
    exact = spectral_normalization(networks.MLP((16,), outputs=1))
    params, state = exact.init(jax.random.key(0), x)
    expected, _ = exact.apply(params, state, x, train=True)
    for low in (
        spectral_normalization(in_precision(networks.MLP((16,), outputs=1), "bfloat16")),
        in_precision(spectral_normalization(networks.MLP((16,), outputs=1)), "bfloat16"),
    ):
        output, new = low.apply(params, state, x, train=True)
        np.testing.assert_allclose(output, expected, atol=0.03)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))


def regression():
    """Least squares with a normalized network; the loss returns the state that its network wrote."""
    net = spectral_normalization(networks.MLP((8,), outputs=1))

    def init(key, batch):
        params, state = net.init(key, batch["x"])
        return {"f": params}, {"f": state}

    def loss(key, params, state, batch, *, train=True):
        output, new = net.apply(params["f"], state["f"], batch["x"], key=key, train=train)
        value = jnp.mean((output[:, 0] - batch["y"]) ** 2)
        return value, Aux({"nll/y": value}, {"f": new})

    return Objective(init, {"model": Player(("f",), loss)}, ())


@pytest.mark.thorough
def test_training_keeps_the_vectors_converged_and_checkpoints_carry_them(tmp_path):
    objective = regression()
    batch = {"x": normal(7, 32, 4, dtype=np.float32), "y": normal(8, 32, dtype=np.float32)}
    step = training.optimize(objective, optax.adam(3e-3))
    update = training.compile(step)
    start = training.start(jax.random.key(0), step, objective, batch)
    train_state = training.start(jax.random.key(0), step, objective, batch)
    for _ in range(100):
        train_state, metrics = update(train_state, batch)
    assert np.isfinite(metrics["nll/y"])
    vectors = train_state.state["f"]["vectors"]
    assert not np.allclose(vectors["Dense_0/kernel"], start.state["f"]["vectors"]["Dense_0/kernel"], atol=1e-3)
    seen = normalized_params(train_state.params["f"], train_state.state["f"])
    assert [svd_norm(seen[name]["kernel"]) for name in seen] == pytest.approx([1.0, 1.0], rel=2e-3)
    with training.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(100, train_state)
        chex.assert_trees_all_equal(checkpoints.restore(start).state, train_state.state)


def test_bad_arguments_are_named():
    x = X
    for settings, message in (
        ({"iterations": 0}, "iterations must be an integer ≥ 1, got 0"),
        ({"coefficient": 0.0}, "coefficient must be a finite number > 0, got 0.0"),
        ({"norm": "frobenius"}, "norm must be one of reshaped, operator; got 'frobenius'"),
        ({"maps": {"Conv_0": Convolution((6, 6))}}, "maps= is for norm='operator'"),
    ):
        with pytest.raises(ValueError, match=message):
            spectral_normalization(Critic(), **settings)
    with pytest.raises(ValueError, match=r"maps= must have \['Conv_0/kernel'\].*'Conv_0': Convolution"):
        spectral_normalization(Critic(), norm="operator").init(jax.random.key(0), x)
    net = spectral_normalization(Critic(), norm="operator", maps={"Conv_1": Convolution((6, 6))})
    with pytest.raises(ValueError, match="maps= names 'Conv_1', which is not a convolution; there are: 'Conv_0'"):
        net.init(jax.random.key(0), x)
    plain = from_functions(lambda key, x: {"w": jnp.eye(3)}, lambda params, x: x @ params["w"])
    with pytest.raises(ValueError, match=r"must have a kernel.*its parameters are \['w'\]"):
        spectral_normalization(plain).init(jax.random.key(0), x)
    params, state = as_net(Critic()).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="give the state of a network made by spectral_normalization"):
        normalized_params(params, state)

"""The certificate: never below what a network does, exact where it can be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from lipschitz.oracles import CONVOLUTIONS, as_matrix, lax_convolution, normal, svd_norm

from vifx import networks
from vifx.core.nets import as_net
from vifx.lipschitz import Convolution, lipschitz_bound, normalized_params, spectral_normalization


class Convolutional(linen.Module):
    """Strided, plain and dilated convolutions, an average, and a dense layer."""

    @linen.compact
    def __call__(self, x):
        h = linen.leaky_relu(networks.Conv(4, 4, stride=2)(x), 0.2)
        h = jnp.tanh(networks.Conv(5, 3)(h))
        h = linen.relu(networks.Conv(3, 3, dilation=2)(h)).reshape(-1, 2, 2, 2, 2, 3).mean((2, 4))
        return linen.Dense(2)(h.reshape(h.shape[0], -1))


class Growing(linen.Module):
    @linen.compact
    def __call__(self, x):
        h = linen.Dense(2 * 2 * 4)(x).reshape(-1, 2, 2, 4)
        return linen.elu(networks.ConvTranspose(3)(h))


NETWORKS = {
    "dense": (networks.MLP((16, 16), outputs=2), (6,), None),
    "convolutional": (Convolutional(), (8, 8, 2), {"Conv_0": Convolution((8, 8), stride=2)}),
    "transposed": (Growing(), (3,), {"ConvTranspose_0": Convolution((2, 2), stride=2, transpose=True)}),
}


def steepest(net, params, state, x):
    """The largest ‖f(x₁) − f(x₂)‖ / ‖x₁ − x₂‖ of random pairs, and of those after ascent."""

    def quotients(pair):
        outputs = [net.apply(params, state, x)[0].reshape(x.shape[0], -1) for x in pair]
        distance = jnp.linalg.norm((pair[0] - pair[1]).reshape(x.shape[0], -1), axis=1)
        return jnp.linalg.norm(outputs[0] - outputs[1], axis=1) / distance

    @jax.jit
    def ascend(pair):
        def once(_, pair):
            slope = jax.grad(lambda pair: jnp.sum(jnp.log(quotients(pair))))(pair)
            return jax.tree.map(lambda x, g: x + 0.1 * g, pair, slope)

        return quotients(pair), quotients(jax.lax.fori_loop(0, 150, once, pair))

    pair = (x, x + 0.1 * normal(99, *x.shape))
    random, ascended = ascend(pair)
    return float(jnp.max(random)), float(jnp.maximum(jnp.max(random), jnp.max(ascended)))


@pytest.mark.thorough
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_never_below_a_difference_quotient(x64, name):
    module, shape, maps = NETWORKS[name]
    net, x = as_net(module), normal(1, 8, *shape)
    for seed in range(2):
        with jax.numpy_dtype_promotion("standard"):  # modules differ in the precision that they start with
            params, state = net.init(jax.random.key(seed), x)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        bound, plain = lipschitz_bound(params, maps=maps), lipschitz_bound(params)
        measured, found = steepest(net, params, state, x)
        assert found <= bound <= plain * (1 + 1e-6)
        assert found > measured  # the ascent climbs, so that it would find a bound that is too low
        assert bound < 100 * found


@pytest.mark.first(1)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_bounded_whatever_the_map_and_tightly(x64, name):
    shape, how = CONVOLUTIONS[name]
    kernel = normal(2, *shape)
    params = {"Conv_0": {"kernel": kernel}}
    bound = lipschitz_bound(params, maps={"Conv_0": how})
    assert svd_norm(as_matrix(kernel, how)) <= bound
    assert svd_norm(as_matrix(kernel, how)) <= lipschitz_bound(params) * (1 + 1e-9)
    large = how._replace(size=(10, 10))
    assert svd_norm(as_matrix(kernel, large)) <= bound < 1.25 * svd_norm(as_matrix(kernel, large))


def circular_norm(kernel, size):
    """The exact norm of a circular convolution: the largest singular value over its frequencies."""
    symbol = np.fft.fft2(np.asarray(kernel), size, axes=(0, 1))
    return float(np.linalg.svd(symbol, compute_uv=False).max())


def test_circular_convolutions_reach_the_bound(x64):
    kernel = normal(3, 3, 3, 4, 5)
    bound = lipschitz_bound({"kernel": kernel})
    for size in ((4, 4), (7, 9), (64, 64)):
        assert circular_norm(kernel, size) <= bound
    assert bound < 1.025 * circular_norm(kernel, (256, 256))
    # The oracle is the norm of the map itself.
    pad = lambda x: jnp.pad(x, ((0, 2), (0, 2), (0, 0)), mode="wrap")[None]  # noqa: E731
    how = Convolution((6, 6), padding="VALID")
    jacobian = jax.jacobian(lambda x: lax_convolution(kernel, pad(x), how).reshape(-1))(jnp.zeros((4, 4, 4)))
    assert svd_norm(jacobian.reshape(80, 64)) == pytest.approx(circular_norm(kernel, (4, 4)), rel=1e-10)


def test_grouped_convolutions_are_bounded(x64):
    kernel = normal(4, 3, 3, 1, 6)

    def grouped(x):
        return jax.lax.conv_general_dilated(
            x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
        ).reshape(-1)

    jacobian = jax.jacobian(grouped)(jnp.zeros((5, 5, 2)))
    assert svd_norm(jacobian.reshape(jacobian.shape[0], -1)) <= lipschitz_bound({"kernel": kernel})


def test_dense_chains_are_products_of_singular_values_rounded_up(x64):
    first, second = normal(5, 6, 7), normal(6, 7, 3)
    params = {"a": {"kernel": first, "bias": jnp.ones(7)}, "b": {"kernel": second}}
    product = svd_norm(first) * svd_norm(second)
    assert product < lipschitz_bound(params) < product * (1 + 1e-8)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    assert lipschitz_bound(single) == pytest.approx(product, rel=1e-6)


@pytest.mark.thorough
def test_a_spectrally_normalized_network_has_a_bound_near_one():
    net = spectral_normalization(networks.MLP((16, 16), outputs=1))
    x = normal(7, 4, 8, dtype=np.float32)
    params, state = net.init(jax.random.key(0), x)
    apply = jax.jit(net.apply, static_argnames="train")
    for _ in range(100):
        _, state = apply(params, state, x, train=True)
    assert 1 - 1e-6 < lipschitz_bound(normalized_params(params, state)) < 1.01  # rounding, in float32


def test_what_the_parameters_cannot_certify_is_refused():
    chain = {"Dense_0": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    for extra, name in (
        ({"BatchNorm_0": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}, "BatchNorm_0/scale"),
        ({"Embed_0": {"embedding": jnp.ones((3, 2))}}, "Embed_0/embedding"),
        ({"query": {"kernel": jnp.ones((2, 2, 2))}}, "query/kernel"),
        ({"ResidualBlock_0": {"Conv_0": {"kernel": jnp.ones((1, 1, 2, 2))}}}, "ResidualBlock_0/Conv_0/kernel"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*ignore="):
            lipschitz_bound({**chain, **extra})
        allowed = lipschitz_bound({**chain, **extra}, ignore=lambda path, name=name: path == name)
        assert allowed == pytest.approx(1.0, rel=1e-8)
    with pytest.raises(ValueError, match="'kernel' must be finite"):
        lipschitz_bound({"kernel": jnp.array([[jnp.nan]])})
    with pytest.raises(ValueError, match="must have a kernel"):
        lipschitz_bound({"bias": jnp.ones(2)})
    with pytest.raises(ValueError, match="maps= names 'Conv_3'"):
        lipschitz_bound(chain, maps={"Conv_3": Convolution((4, 4))})


def test_residual_parts_are_multiplied_by_hand(x64):
    """x + g(x) with g(x) = tanh(x A) B has at most 1 + ‖A‖‖B‖."""
    params = {"a": {"kernel": normal(8, 4, 5)}, "b": {"kernel": normal(9, 5, 4)}}

    def block(x):
        return x + jnp.tanh(x @ params["a"]["kernel"]) @ params["b"]["kernel"]

    slopes = jax.vmap(jax.jacobian(block))(0.1 * normal(10, 50, 4))
    assert max(svd_norm(slope) for slope in slopes) <= 1 + lipschitz_bound(params)

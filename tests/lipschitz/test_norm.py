"""The power iteration against singular value decompositions, of matrices and of whole convolutions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from lipschitz.oracles import CONVOLUTIONS, as_matrix, lax_convolution, normal, svd_norm

from vifx.lipschitz import Convolution, spectral_norm
from vifx.lipschitz.linear_maps import convolution, reshaped
from vifx.lipschitz.norm import advance, estimate

KEY = 0


def key(n=KEY):
    return jax.random.key(n)


@pytest.mark.first(1)
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (3, 3, 2, 5), (1, 4), (6, 1)])
def test_value_vectors_and_gradient_are_those_of_the_decomposition(x64, shape):
    kernel = normal(1, *shape)
    matrix = np.asarray(kernel).reshape(-1, shape[-1])
    found = spectral_norm(key(), kernel, iterations=400)
    left, values, right = np.linalg.svd(matrix)
    assert float(found.value) == pytest.approx(values[0], rel=1e-12)
    np.testing.assert_allclose(np.abs(found.input.reshape(-1)), np.abs(left[:, 0]), atol=1e-9)
    np.testing.assert_allclose(np.abs(found.output), np.abs(right[0]), atol=1e-9)
    gradient = jax.grad(lambda w: spectral_norm(key(), w, iterations=400).value)(kernel)
    np.testing.assert_allclose(gradient.reshape(matrix.shape), np.outer(left[:, 0], right[0]), atol=1e-9)


def test_errors_fall_as_stated(x64):
    """Of diag(1, 0.9): five more rounds divide the value's error by 0.9^20 and the vectors' by 0.9^10."""
    kernel = jnp.diag(jnp.array([1.0, 0.9]))
    early, late = (spectral_norm(key(), kernel, iterations=rounds) for rounds in (20, 25))
    assert (1 - late.value) / (1 - early.value) == pytest.approx(0.9**20, rel=0.02)
    assert abs(late.output[1] / early.output[1]) == pytest.approx(0.9**10, rel=0.02)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("channels", "features", "least", "most"), [(1, 64, 2.3, 2.9), (16, 16, 1.4, 2.0), (64, 8, 1.05, 1.4)]
)
def test_the_ratio_to_the_reshaped_norm_depends_on_the_shape(x64, channels, features, least, most):
    """The numbers of docs/lipschitz.md, for random 3×3 kernels on a large map; the cap is √9."""
    for seed in range(3):
        kernel = np.random.default_rng(seed).normal(size=(3, 3, channels, features))
        spectrum = np.fft.fft2(kernel, (32, 32), axes=(0, 1)).reshape(-1, channels, features)
        whole = np.linalg.norm(kernel.reshape(-1, features), 2)
        ratio = np.linalg.norm(spectrum, 2, axis=(1, 2)).max() / whole
        assert least < ratio < most < 3
        found = spectral_norm(key(), jnp.asarray(kernel), iterations=30, convolution=Convolution((16, 16)))
        assert 0.8 * ratio < float(found.value) / whole <= ratio * (1 + 1e-9)


def test_single_precision_converges_to_1e_6():
    for seed in range(5):
        kernel = normal(seed, 40, 30, dtype=np.float32)
        found = spectral_norm(key(seed), kernel, iterations=1000)
        assert float(found.value) == pytest.approx(svd_norm(kernel), rel=1e-6)
        assert found.value.dtype == jnp.float32


def test_estimate_is_a_lower_bound_that_grows(x64):
    kernel = normal(2, 30, 20)
    values = [float(spectral_norm(key(), kernel, iterations=n).value) for n in (1, 2, 3, 5, 9, 40, 300)]
    assert values == sorted(values)
    assert values[0] < values[-1] <= svd_norm(kernel) * (1 + 1e-12)
    assert values[-1] <= np.linalg.norm(np.asarray(kernel))


def test_a_start_of_ones_can_be_blind_and_a_random_one_is_not(x64):
    kernel = jnp.array([[3.0, -3.0], [1.0, 1.0]])  # the top direction is (1, -1)
    blind = estimate(kernel, reshaped((2, 2)), advance(kernel, reshaped((2, 2)), jnp.ones(2), 100))
    assert float(blind.value) == pytest.approx(np.sqrt(2), rel=1e-12)
    for seed in range(10):
        found = spectral_norm(key(seed), kernel, iterations=100)
        assert float(found.value) == pytest.approx(3 * np.sqrt(2), rel=1e-12)


def test_the_norm_is_no_eigenvalue(x64):
    nilpotent = jnp.array([[0.0, 1.0], [0.0, 0.0]])
    assert float(spectral_norm(key(), nilpotent, iterations=5).value) == pytest.approx(1.0, rel=1e-12)
    assert np.max(np.abs(np.linalg.eigvals(np.asarray(nilpotent)))) == 0.0


def test_a_zero_kernel_has_norm_zero_and_keeps_its_vector():
    linear, u = reshaped((3, 2)), jnp.array([0.6, 0.8])
    np.testing.assert_array_equal(advance(jnp.zeros((3, 2)), linear, u, 3), u)
    value, gradient = jax.value_and_grad(lambda w: spectral_norm(key(), w, iterations=3).value)(jnp.zeros((3, 2)))
    assert float(value) == 0.0
    assert np.isfinite(gradient).all()


def test_bfloat16_kernels_are_iterated_in_single_precision():
    kernel = normal(3, 12, 8, dtype=np.float32).astype(jnp.bfloat16)
    found = spectral_norm(key(), kernel, iterations=300)
    assert float(found.value) == pytest.approx(svd_norm(kernel.astype(jnp.float32)), rel=1e-5)


@pytest.mark.first(2)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_maps_are_the_convolutions_of_jax_and_their_adjoints(x64, name):
    shape, how = CONVOLUTIONS[name]
    kernel, linear = normal(4, *shape), convolution(shape, how)
    x, y = normal(5, *linear.input_shape), normal(6, *linear.output_shape)
    expected = lax_convolution(kernel, x[None], how)[0]
    np.testing.assert_allclose(linear.forward(kernel, x), expected, atol=1e-12)
    back, outer = jax.vjp(lambda x, w: lax_convolution(w, x[None], how)[0], x, kernel)[1](y)
    np.testing.assert_allclose(linear.adjoint(kernel, y), back, atol=1e-12)
    np.testing.assert_allclose(linear.outer(kernel, x, y), outer, atol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize("name", ["same", "dilated and strided", "padded", "transposed"])
def test_operator_norm_and_gradient_are_those_of_the_matrix(x64, name):
    shape, how = CONVOLUTIONS[name]
    kernel = normal(7, *shape)

    def exact(kernel):
        return jnp.linalg.svd(as_matrix(kernel, how), compute_uv=False)[0]

    def iterated(kernel):
        return spectral_norm(key(), kernel, iterations=2000, convolution=how).value

    value, gradient = jax.jit(jax.value_and_grad(iterated))(kernel)
    expected, slope = jax.jit(jax.value_and_grad(exact))(kernel)
    assert float(value) == pytest.approx(float(expected), rel=1e-8)
    np.testing.assert_allclose(gradient, slope, atol=1e-4)


def test_the_reshaped_norm_is_not_that_of_the_convolution(x64):
    ratios = []
    norm = jax.jit(lambda w: spectral_norm(key(), w, iterations=150, convolution=Convolution((12, 12))).value)
    for seed in range(4):
        kernel = normal(seed, 3, 3, 8, 8)
        ratios.append(float(norm(kernel)) / svd_norm(kernel.reshape(-1, 8)))
    assert 1.4 < min(ratios) <= max(ratios) < 2.2


@pytest.mark.thorough
def test_vectors_are_feature_maps_of_the_layer(x64):
    shape, how = CONVOLUTIONS["strided"]
    kernel = normal(8, *shape)
    found = spectral_norm(key(), kernel, iterations=500, convolution=how)
    mapped = lax.conv_general_dilated(
        found.input[None], kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]
    np.testing.assert_allclose(mapped, found.value * found.output, atol=1e-4)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"iterations must be an integer ≥ 1, got 0"):
        spectral_norm(key(), jnp.ones((2, 2)), iterations=0)
    with pytest.raises(ValueError, match=r"two or more axes, but its shape is \(2,\)"):
        spectral_norm(key(), jnp.ones(2), iterations=1)
    for how, message in (
        (Convolution((4, 4), padding="same"), "padding must be 'SAME'"),  # pyright: ignore[reportArgumentType]
        (Convolution((4, 4), dilation=2, transpose=True), "must have dilation 1"),
        (Convolution((2, 2), padding="VALID"), "has no output"),
        (Convolution((4, 4), stride=0), "stride must be a positive integer"),
    ):
        with pytest.raises(ValueError, match=message):
            spectral_norm(key(), jnp.ones((3, 3, 1, 1)), iterations=1, convolution=how)
    with pytest.raises(ValueError, match=r"needs a kernel \[height, width, channels, features\]"):
        spectral_norm(key(), jnp.ones((3, 3)), iterations=1, convolution=Convolution((4, 4)))

"""The convolution primitive against XLA's own, in value and in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vifx.networks import Conv, ConvTranspose
from vifx.networks.convolution import convolve, convolve_transpose

LAYOUT = ("NHWC", "HWIO", "NHWC")

FORWARD = [
    # (height, width, channels), (kernel height, width, features), stride, padding, dilation
    ((7, 5, 3), (3, 3, 4), (1, 1), "SAME", (1, 1)),
    ((8, 8, 2), (4, 4, 3), (2, 2), "SAME", (1, 1)),
    ((9, 7, 2), (3, 2, 3), (2, 3), "VALID", (1, 1)),
    ((9, 8, 1), (3, 3, 2), (1, 1), "SAME", (2, 3)),
    ((9, 8, 2), (2, 3, 2), (2, 1), "VALID", (2, 1)),
    ((6, 6, 2), (3, 3, 2), (2, 2), ((1, 0), (0, 2)), (1, 1)),
    ((6, 5, 16), (3, 3, 2), (1, 1), "SAME", (1, 1)),
    ((6, 5, 9), (3, 2, 1), (1, 1), "VALID", (2, 2)),
    ((5, 5, 3), (1, 1, 4), (1, 1), "SAME", (1, 1)),
]
UPWARD = [
    ((4, 5, 3), (4, 4, 2), (2, 2), "SAME"),
    ((4, 5, 3), (4, 4, 2), (2, 2), "VALID"),
    ((4, 4, 16), (4, 4, 1), (2, 2), "SAME"),
    ((3, 4, 2), (3, 5, 2), (2, 3), "SAME"),
    ((3, 4, 2), (3, 5, 2), (2, 3), "VALID"),
    ((3, 4, 2), (2, 1, 2), (3, 2), "SAME"),
    ((3, 4, 2), (2, 1, 2), (3, 2), "VALID"),
    ((5, 4, 2), (3, 3, 2), (1, 1), "SAME"),
    ((4, 4, 2), (4, 4, 2), (2, 2), ((2, 1), (0, 3))),
]


def images_and_kernel(images, kernel):
    rng = np.random.default_rng(0)
    *taps, features = kernel
    return jnp.asarray(rng.normal(size=(2, *images))), jnp.asarray(rng.normal(size=(*taps, images[-1], features)))


def derivatives(f, cotangent, x, kernel):
    """The value, both gradients, a tangent, and a gradient of a gradient."""

    def bend(x, kernel):
        return jnp.sum(cotangent * jnp.sin(f(x, kernel)))

    def penalty(kernel):
        return jnp.sum(jax.grad(bend)(x, kernel) ** 2)

    return {
        "value": f(x, kernel),
        "gradient": jax.grad(bend, (0, 1))(x, kernel),
        "tangent": jax.jvp(f, (x, kernel), (x[::-1], jnp.cos(kernel)))[1],
        "second": jax.grad(penalty)(kernel),
    }


def assert_same_map(ours, theirs, x, kernel):
    shape = jax.eval_shape(theirs, x, kernel).shape
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=shape))
    mine, expected = (
        jax.jit(lambda *arrays, f=f: derivatives(f, *arrays))(cotangent, x, kernel) for f in (ours, theirs)
    )
    for name, leaf in expected.items():
        for first, second in zip(jax.tree.leaves(mine[name]), jax.tree.leaves(leaf), strict=True):
            np.testing.assert_allclose(first, second, rtol=0, atol=1e-12 * max(1, np.abs(second).max()), err_msg=name)


@pytest.mark.first(5)
@pytest.mark.parametrize("form", ["matmul", "xla", None])
@pytest.mark.parametrize(("images", "kernel", "stride", "padding", "dilation"), FORWARD)
def test_convolve_is_lax_conv(x64, images, kernel, stride, padding, dilation, form):
    x, weights = images_and_kernel(images, kernel)

    @jax.jit
    def ours(x, weights):
        return convolve(x, weights, stride=stride, padding=padding, dilation=dilation, form=form)

    @jax.jit
    def theirs(x, weights):
        return lax.conv_general_dilated(x, weights, stride, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT)

    if form == "matmul":
        assert_same_map(ours, theirs, x, weights)
    else:
        np.testing.assert_allclose(ours(x, weights), theirs(x, weights), rtol=0, atol=1e-12)


@pytest.mark.first(6)
@pytest.mark.parametrize("form", ["matmul", "xla", None])
@pytest.mark.parametrize(("images", "kernel", "stride", "padding"), UPWARD)
def test_convolve_transpose_is_lax_conv_transpose(x64, images, kernel, stride, padding, form):
    x, weights = images_and_kernel(images, kernel)

    @jax.jit
    def ours(x, weights):
        return convolve_transpose(x, weights, stride=stride, padding=padding, form=form)

    @jax.jit
    def theirs(x, weights):
        return lax.conv_transpose(x, weights, stride, padding, dimension_numbers=LAYOUT)

    if form == "matmul":
        assert_same_map(ours, theirs, x, weights)
    else:
        np.testing.assert_allclose(ours(x, weights), theirs(x, weights), rtol=0, atol=1e-12)


@pytest.mark.thorough
def test_transposed_is_the_adjoint_of_the_flipped_convolution(x64):
    small, kernel = images_and_kernel((4, 4, 3), (4, 4, 2))
    large = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 8, 2)))
    upward = jnp.vdot(convolve_transpose(small, kernel, stride=2), large)
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    downward = jnp.vdot(small, convolve(large, flipped, stride=2))
    np.testing.assert_allclose(upward, downward, rtol=1e-12)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_form_follows_the_default_device(monkeypatch, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x, kernel = images_and_kernel((4, 4, 1), (3, 3, 2))
    for f in (convolve, convolve_transpose):
        program = str(jax.make_jaxpr(lambda x, k, f=f: f(x, k))(x, kernel))
        assert ("conv_general_dilated" in program) == (platform != "cpu")
    with jax.default_device(jax.devices("cpu")[0]):
        assert "conv_general_dilated" not in str(jax.make_jaxpr(lambda x, k: convolve(x, k))(x, kernel))


@pytest.mark.parametrize("module", [Conv(5, stride=2), ConvTranspose(5)])
def test_modules_apply_kernel_and_bias(module):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    params = module.init(jax.random.key(1), x)["params"]
    assert set(params) == {"kernel", "bias"}
    bias = jnp.arange(5.0)
    y = module.apply({"params": {**params, "bias": bias}}, x)
    if isinstance(module, Conv):
        expected = lax.conv_general_dilated(x, params["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
    else:
        expected = lax.conv_transpose(x, params["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT)
    np.testing.assert_allclose(y, expected + bias[None, None, None], rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("module", [Conv, ConvTranspose])
def test_kernel_has_lecun_variance_and_bias_starts_at_zero(module):
    params = module(256, kernel_size=3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    np.testing.assert_allclose(np.std(params["kernel"]), np.sqrt(1 / (9 * 64)), rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0.0)
    assert "bias" not in module(4, use_bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))["params"]


@pytest.mark.thorough
@pytest.mark.parametrize("module", [Conv(8), ConvTranspose(8)])
def test_modules_compute_in_bfloat16(module):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    params = module.init(jax.random.key(1), x)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
    y = module.apply(*half)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), module.apply(params, x), atol=0.06)


@pytest.mark.parametrize("f", [convolve, convolve_transpose])
def test_misfits_are_named(f):
    x, kernel = jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 3, 4))
    with pytest.raises(ValueError, match=r"x must be \[examples, height, width, channels\].*\(2, 5, 5, 3\)"):
        f(x, kernel[:, :, :2])
    with pytest.raises(ValueError, match="stride must be a positive integer or two of them, got 0"):
        f(x, kernel, stride=0)
    with pytest.raises(ValueError, match=r"padding must be 'SAME', 'VALID' or .* got 'same'"):
        f(x, kernel, padding="same")


def test_kernel_larger_than_the_images_is_named():
    with pytest.raises(ValueError, match=r"smaller than the kernel's extent \(3, 3\)"):
        convolve(jnp.zeros((1, 2, 2, 1)), jnp.zeros((3, 3, 1, 1)), padding="VALID")

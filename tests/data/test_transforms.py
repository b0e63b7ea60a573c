"""Evidence transforms against their distributions, exactly where they are exact.

Statistics are |z| < 4.26 (two-sided 2e-5) at fixed seeds.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.data import (
    binarize,
    compose,
    dequantize,
    fixed_binarization,
    flatten,
    mixup,
    normalize,
    one_hot,
    sample_pairing,
    shades_of,
)

LEVELS = np.arange(256, dtype=np.uint8)
Z = 4.26


def ramp(rows):
    """Every level once in each of `rows` examples."""
    return {"x": jnp.broadcast_to(jnp.asarray(LEVELS), (rows, 256))}


def z_score(values, mean, variance):
    return (np.mean(values) - mean) / np.sqrt(variance / np.size(values))


def z_of_bits(bits):
    """One z-score for each level of ramps of Bernoulli(level / 255)."""
    p = LEVELS[1:-1] / 255
    return (bits[:, 1:-1].mean(axis=0) - p) / np.sqrt(p * (1 - p) / len(bits))


@pytest.fixture(scope="module")
def bits():
    return np.asarray(jax.jit(binarize())(jax.random.key(1), ramp(4000))["x"])


def test_binarize_is_bernoulli_of_each_level(bits):
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert bits[:, 0].max() == 0  # level 0 never, 255 always
    assert bits[:, 255].min() == 1
    assert np.abs(z_of_bits(bits)).max() < 5.4  # 254 levels: Bonferroni of 2e-5
    total = z_of_bits(bits)
    assert abs(np.sum(total**2) - 254) / np.sqrt(2 * 254) < Z
    # negative control: pixel / 256 is noticed
    wrong = bits[:, 1:-1].mean() - (LEVELS[1:-1] / 256).mean()
    assert abs(wrong) / np.sqrt((LEVELS / 255 * (1 - LEVELS / 255)).mean() / bits[:, 1:-1].size) > Z


@pytest.mark.parametrize("bits", [0, 2**32 - 1])
def test_the_ends_are_certain_whatever_the_random_bits(monkeypatch, bits):
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, bits, jnp.uint32).astype(dtype))
    x = np.asarray(binarize()(jax.random.key(0), ramp(1))["x"])[0]
    assert (x[0], x[255]) == (0.0, 1.0)
    u = np.asarray(dequantize()(jax.random.key(0), ramp(1))["x"])[0]
    assert 0 < u[0] < u[255] < 1


def test_binarize_pixels_are_independent(bits):
    centred = (bits[:, 1:-1] - LEVELS[1:-1] / 255) / np.sqrt(LEVELS[1:-1] / 255 * (1 - LEVELS[1:-1] / 255))
    assert abs(z_score(centred[:, 1:] * centred[:, :-1], 0, 1)) < Z
    assert abs(z_score(centred[1:] * centred[:-1], 0, 1)) < Z


def test_binarize_is_fresh_for_each_key_and_keeps_other_variables():
    batch = {**ramp(10), "y": jnp.arange(10)}
    one, other = (binarize()(jax.random.key(seed), batch) for seed in (0, 1))
    assert not np.array_equal(one["x"], other["x"])
    np.testing.assert_array_equal(one["y"], np.arange(10))


def test_fixed_binarization_is_bernoulli():
    bits = fixed_binarization({"x": np.asarray(ramp(3000)["x"])}, 4)["x"]
    assert bits[:, 0].max() == 0
    assert bits[:, 255].min() == 1
    assert np.abs(z_of_bits(bits)).max() < 5.4
    assert abs(np.sum(z_of_bits(bits) ** 2) - 254) / np.sqrt(2 * 254) < Z


def test_fixed_binarization_depends_on_seed_position_and_pixels_only():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 4, 4, 1)).astype(np.uint8)
    labels = np.arange(1500, dtype=np.int32)
    whole = fixed_binarization({"x": pixels, "y": labels}, 4)
    np.testing.assert_array_equal(fixed_binarization({"x": pixels[:7]}, 4)["x"], whole["x"][:7])
    assert (fixed_binarization({"x": pixels}, 5)["x"] != whole["x"]).any()
    np.testing.assert_array_equal(whole["y"], labels)
    i = 1203
    expected = jax.random.bernoulli(
        jax.random.fold_in(jax.random.key(4), i), pixels[i].astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(whole["x"][i], np.asarray(expected, np.float32))


def test_dequantize_is_exact_and_stays_inside_the_open_interval():
    x = np.asarray(jax.jit(dequantize())(jax.random.key(2), ramp(20_000))["x"])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(np.floor(x * np.float32(256)).astype(np.uint8), np.asarray(ramp(20_000)["x"]))
    assert x.min() > 0
    assert x.max() < 1
    u = x.astype(np.float64) * 256 - LEVELS  # exact: a power of two and a difference without rounding
    assert u.min() == 2.0**-16
    assert u.max() == 1 - 2.0**-16
    assert abs(z_score(u, 1 / 2, 1 / 12)) < Z
    assert abs(z_score((u - 0.5) ** 2, 1 / 12, 1 / 180)) < Z
    counts, _ = np.histogram(u, bins=64, range=(0, 1))
    expected = u.size / 64
    assert abs(((counts - expected) ** 2 / expected).sum() - 63) / np.sqrt(126) < Z


@pytest.mark.parametrize("shades", [2, 17, 255])
def test_dequantize_undoes_the_spread_of_fewer_shades(shades):
    shade = np.tile(np.arange(shades), (400, 1))
    pixels = np.round(255 * shade / (shades - 1)).astype(np.uint8)
    x = np.asarray(dequantize(shades=shades)(jax.random.key(3), {"x": jnp.asarray(pixels)})["x"])
    assert x.dtype == np.float32
    assert (x.min() > 0) & (x.max() < 1)
    u = x.astype(np.float64) * shades - shade
    assert (u.min() > -1e-5) & (u.max() < 1 + 1e-5)
    assert abs(z_score(u, 1 / 2, 1 / 12)) < Z
    assert abs(z_score((u - 0.5) ** 2, 1 / 12, 1 / 180)) < Z


@pytest.mark.parametrize("shades", [2, 17, 255, 256])
def test_the_shades_of_images_are_counted(shades):
    pixels = np.round(255 * np.arange(shades) / (shades - 1)).astype(np.uint8)
    x = np.resize(pixels, (2500, 7))  # several parts, of which the last one alone is short
    assert shades_of({"x": x}) == shades
    if shades == 17:
        assert shades_of({"x": x[x[:, 0] != 255]}) == 17  # in other pixels, white is there still
        assert shades_of({"x": np.where(x == 16, 17, x)}) == 256  # no longer equally spread
        assert shades_of({"x": np.zeros_like(x)}) == 256
    with pytest.raises(TypeError, match="8-bit images, uint8, to have shades of grey; got float32"):
        shades_of({"x": x.astype(np.float32)})


@pytest.mark.parametrize("shades", [1, 257, 17.0, True])
def test_dequantize_refuses_other_numbers_of_shades(shades):
    with pytest.raises((TypeError, ValueError), match="from 2 to 256, got"):
        dequantize(shades=shades)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.1, 0.7), (-3.0, 11.0)])
def test_normalize_is_affine_with_exact_endpoints(low, high):
    for transform in (normalize(low=low, high=high), jax.jit(normalize(low=low, high=high))):
        x = np.asarray(transform(jax.random.key(0), ramp(1))["x"])[0]
        assert x.dtype == np.float32
        assert x[0] == np.float32(low)
        assert x[-1] == np.float32(high)
        np.testing.assert_array_equal(x, np.linspace(low, high, 256).astype(np.float32))


def test_compose_gives_each_its_own_key_in_order():
    batch, key = {"x": jnp.zeros(3)}, jax.random.key(5)

    def noisy(key, batch):
        return {"x": 2 * batch["x"] + jax.random.normal(key, (3,))}

    found = compose(noisy, noisy, flatten())(key, batch)["x"]
    first, second = (jax.random.normal(jax.random.fold_in(key, k), (3,)) for k in (0, 1))
    np.testing.assert_allclose(found[:, 0], 2 * first + second, rtol=1e-6)


def test_flatten_and_one_hot_keep_the_order():
    batch = {"x": jnp.arange(24).reshape(2, 3, 4), "y": jnp.array([2, 0])}
    found = compose(flatten(), one_hot(3))(jax.random.key(0), batch)
    np.testing.assert_array_equal(found["x"], np.arange(24).reshape(2, 12))
    np.testing.assert_array_equal(found["y"], [[0, 0, 1], [1, 0, 0]])
    assert found["y"].dtype == np.float32


def test_mixup_mixes_all_variables_of_one_pair_with_one_ratio():
    """With x an indicator of each example, the mixture shows its ratio and its partner."""
    size = 64
    y = jax.nn.softmax(jax.random.normal(jax.random.key(0), (size, 5)))
    found = jax.jit(mixup())(jax.random.key(3), {"x": jnp.eye(size), "y": y})
    x, rows = np.asarray(found["x"], np.float64), np.arange(size)
    ratio = x[rows, rows]
    rest = np.where(np.eye(size, dtype=bool), 0, x)
    partner = np.where(rest.max(axis=1) > 0, rest.argmax(axis=1), rows)
    assert sorted(partner) == list(range(size))  # a permutation
    assert len(set(ratio)) > size // 2
    y = np.asarray(y)
    own = np.where(partner == rows, 1, ratio)[:, None]
    np.testing.assert_allclose(found["y"], own * y + (1 - own) * y[partner], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["y"].sum(axis=1), 1, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_mixup_ratio_is_beta(alpha):
    """Mixing an indicator of each example: ε stands on the diagonal unless an example meets itself."""
    size, draws = 64, 100
    batch = {"x": jnp.eye(size), "y": jnp.eye(size)}
    keys = jax.random.split(jax.random.key(6), draws)
    x = np.asarray(jax.vmap(lambda key: mixup(alpha=alpha)(key, batch)["x"])(keys))
    diagonal = np.einsum("dii->di", x)
    alone = (x != 0).sum(axis=2) == 1
    ratio = diagonal[~alone]
    np.testing.assert_allclose(x.sum(axis=2), 1, atol=1e-6)
    variance = 1 / (4 * (2 * alpha + 1))
    kurtosis = 3 / ((2 * alpha + 1) * (2 * alpha + 3)) / 16  # fourth central moment of Beta(α, α)
    assert abs(z_score(ratio, 0.5, variance)) < Z
    assert abs(z_score((ratio - 0.5) ** 2, variance, kurtosis - variance**2)) < Z
    assert abs(alone.sum() - draws) / np.sqrt(draws) < Z  # a uniform permutation has one fixed point on average


def test_mixup_per_batch_has_one_ratio():
    x = np.asarray(mixup(per="batch")(jax.random.key(7), {"x": jnp.eye(32), "y": jnp.eye(32)})["x"])
    diagonal = np.diag(x)[(x != 0).sum(axis=1) == 2]
    assert diagonal.size > 20
    assert len(set(diagonal)) == 1


def test_mixup_of_an_affine_function_is_the_function_of_the_mixture():
    """The penalty vanishes on affine models, so f(mixed x) = mixed f(x) for f affine, not only linear."""
    weight = jax.random.normal(jax.random.key(0), (2, 4))
    x = jax.random.normal(jax.random.key(2), (64, 2))
    batch = {"x": x, "y": x @ weight + 3.0}
    mixed = mixup()(jax.random.key(1), batch)
    np.testing.assert_allclose(mixed["x"] @ weight + 3.0, mixed["y"], rtol=1e-4, atol=1e-3)
    curved = mixup()(jax.random.key(1), {"x": x, "y": (x @ weight) ** 2})
    assert np.abs((curved["x"] @ weight) ** 2 - curved["y"]).max() > 0.5


def test_sample_pairing_is_the_midpoint_with_the_first_label():
    size = 64
    batch = {"x": jnp.eye(size), "y": jnp.arange(size)}
    found = jax.jit(sample_pairing())(jax.random.key(9), batch)
    np.testing.assert_array_equal(found["y"], np.arange(size))
    partner = 2 * np.asarray(found["x"]) - np.eye(size)
    assert set(np.unique(partner)) == {0.0, 1.0}
    np.testing.assert_array_equal(partner.sum(axis=0), np.ones(size))  # a permutation matrix
    np.testing.assert_array_equal(partner.sum(axis=1), np.ones(size))


@pytest.mark.parametrize(
    ("transform", "batch", "message"),
    [
        (binarize(), {"x": jnp.zeros(3)}, "binarize needs 'x' as uint8 pixels .*, got float32"),
        (dequantize(), {"x": jnp.zeros(3)}, "dequantize needs 'x' as uint8"),
        (normalize(), {"x": jnp.zeros(3, jnp.int32)}, "normalize needs 'x' as uint8 pixels .*, got int32"),
        (one_hot(3), {"y": jnp.zeros((2, 3))}, "one_hot needs integer labels"),
        (
            mixup(),
            {"x": jnp.zeros((2, 1)), "y": jnp.zeros(2, jnp.int32)},
            "mixup needs floating-point 'y', got int32",
        ),
        (sample_pairing(), {"x": jnp.zeros((2, 1), jnp.uint8)}, "sample_pairing needs floating-point 'x'"),
    ],
)
def test_wrong_types(transform, batch, message):
    with pytest.raises(TypeError, match=message):
        transform(jax.random.key(0), batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixup(alpha=0.0), "alpha must be a finite number > 0"),
        (lambda: mixup(alpha=float("nan")), "alpha must be a finite number > 0"),
        (lambda: mixup(per="pixel"), "per must be one of example, batch; got 'pixel'"),
        (lambda: normalize(low=1.0), "low must be below high"),
        (lambda: normalize(high=float("inf")), "high must be a finite number"),
        (lambda: sample_pairing(share=1.5), r"share must be a number in \[0, 1\], got 1.5"),
        (lambda: one_hot(0), "classes must be an integer ≥ 1"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()

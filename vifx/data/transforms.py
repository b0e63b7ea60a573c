"""Transforms of the evidence: pure functions `(key, batch) -> batch` that replace p̃ by another distribution."""

from __future__ import annotations

__all__ = [
    "Transform",
    "binarize",
    "compose",
    "dequantize",
    "fixed_binarization",
    "flatten",
    "mixup",
    "normalize",
    "one_hot",
    "sample_pairing",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require, require_batch, require_choice, require_function, require_integer, require_number
from vifx.core.types import Array, Batch, Key
from vifx.grey import shade_of

Transform: TypeAlias = Callable[[Key, Batch], Batch]
"""Replaces some variables of a minibatch; deterministic ones ignore the key."""


def compose(*transforms: Transform) -> Transform:
    """Apply `transforms` from first to last, each with a key of its own.

    The k-th key is `fold_in(key, k)`, so that a further transform at the end leaves the others' noise as
    it is.

    Raises:
      TypeError: if one is not a function.
    """
    for each in transforms:
        require_function(each, "compose: a transform", "(key, batch) -> batch, such as data.binarize()")

    def transform(key: Key, batch: Batch) -> Batch:
        for position, each in enumerate(transforms):
            batch = each(jax.random.fold_in(key, position), batch)
        return batch

    return transform


def binarize(*, variable: str = "x") -> Transform:
    """Draw x ~ Bernoulli(pixel / 255) anew for every minibatch: float32 zeros and ones.

    Raises:
      TypeError: if the variable is not uint8.
    """
    _named(variable)

    def transform(key: Key, batch: Batch) -> Batch:
        pixels = _pixels(batch, variable, "binarize")
        return {**batch, variable: _bernoulli(key, pixels)}

    return transform


def fixed_binarization(split: Mapping[str, np.ndarray], seed: int, *, variable: str = "x") -> dict[str, np.ndarray]:
    """Binarize a whole evaluation split once: x ~ Bernoulli(pixel / 255), float32 zeros and ones.

    Example i has the key `fold_in(key(seed), i)`, so that its bits depend on nothing but the seed, its
    position and its pixels.

    Raises:
      TypeError: if the variable is not uint8.

    >>> black_and_white = {"x": np.array([[0, 255], [255, 0]], np.uint8)}
    >>> fixed_binarization(black_and_white, 1)["x"].tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    require_integer(seed, "seed", least=0)
    pixels = np.asarray(_pixels(split, variable, "fixed_binarization"))
    key = jax.random.key(seed, impl="threefry2x32")
    rows, out = 1024, np.empty(pixels.shape, np.float32)
    for start in range(0, len(pixels), rows):
        positions = np.arange(start, start + rows, dtype=np.uint32)
        chunk = np.zeros((rows, *pixels.shape[1:]), np.uint8)  # one shape, so one compilation
        here = min(rows, len(pixels) - start)
        chunk[:here] = pixels[start : start + here]
        out[start : start + here] = _bernoulli_by_position(key, positions, chunk)[:here]
    return {**split, variable: out}


def dequantize(*, shades: int = 256, variable: str = "x") -> Transform:
    """Uniform dequantization (k + u) / shades of 8-bit images: float32 in the open interval (0, 1).

    k is the pixel itself. For images with fewer shades of grey, which are spread over 0 .. 255, it is the number of the
    shade: the integer nearest to (shades − 1)·pixel / 255. scikit-learn's digits have 17 shades.

    u is uniform on the 2¹⁵ midpoints (2b + 1) / 2¹⁶, which makes the sum exact in float32. With a full
    float32 uniform, pixel 255 is rounded up to 1 now and then, and pixel 0 can be 0: infinite logits.
    The density of the images is bounded by `log P(pixels) ≥ E_u log p(x) − D log shades` (nats).

    Args:
      shades: how many shades of grey the images have, from 2 to 256.
      variable: the images.

    Raises:
      TypeError: if the variable is not uint8.
      ValueError: if `shades` is out of range.
    """
    _named(variable)
    require_integer(shades, "shades", least=2, most=256)

    return _Dequantize(shades, variable)


@dataclass(frozen=True)
class _Dequantize:
    """A transform that says how many shades it takes, of which the likelihood in bits depends."""

    shades: int
    variable: str

    def __call__(self, key: Key, batch: Batch) -> Batch:
        shades = self.shades
        pixels = _pixels(batch, self.variable, "dequantize").astype(jnp.int32)
        shade = shade_of(pixels, shades)
        half = (jax.random.bits(key, pixels.shape, jnp.uint16) >> 1).astype(jnp.int32)
        x = (65536 * shade + 2 * half + 1).astype(jnp.float32) * jnp.float32(1 / (65536 * shades))
        return {**batch, self.variable: jnp.minimum(x, jnp.float32(1 - 2.0**-24))}


def normalize(*, low: float = -1.0, high: float = 1.0, variable: str = "x") -> Transform:
    """Map 8-bit pixels onto [low, high]: low + (high − low)·pixel / 255, float32.

    Every level is correctly rounded: 0 becomes `low` and 255 becomes `high`. `normalize(low=0.0)` is the
    scale to [0, 1].

    Raises:
      TypeError: if the variable is not uint8.
      ValueError: if not `low < high`, both finite.
    """
    _named(variable)
    low, high = require_number(low, "low"), require_number(high, "high")
    if not low < high:
        raise ValueError(f"low must be below high, got low={low}, high={high}")

    # A table, since the compiler may contract the formula so that 255 misses `high`.
    levels = np.linspace(low, high, 256).astype(np.float32)

    def transform(_key: Key, batch: Batch) -> Batch:
        pixels = _pixels(batch, variable, "normalize")
        return {**batch, variable: jnp.asarray(levels).at[pixels].get(mode="promise_in_bounds")}

    return transform


def flatten(*, variable: str = "x") -> Transform:
    """Reshape a variable from `[examples, ...]` to `[examples, dimensions]`.

    Raises:
      TypeError: if `variable` is not a name.
    """
    _named(variable)

    def transform(_key: Key, batch: Batch) -> Batch:
        value = _value(batch, variable, "flatten")
        return {**batch, variable: value.reshape(value.shape[0], -1)}

    return transform


def one_hot(classes: int, *, variable: str = "y") -> Transform:
    """Replace integer labels `[examples]` by float32 indicators `[examples, classes]`.

    Args:
      classes: the number of classes.
      variable: which variable holds the labels.

    Raises:
      TypeError: if the labels are not integers.
      ValueError: if there is no class.
    """
    _named(variable)
    require_integer(classes, "classes")

    def transform(_key: Key, batch: Batch) -> Batch:
        labels = _value(batch, variable, "one_hot")
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise TypeError(f"one_hot needs integer labels {variable!r}, got {labels.dtype}; they are encoded already")
        return {**batch, variable: jax.nn.one_hot(labels, classes, dtype=jnp.float32)}

    return transform


def mixup(
    *, alpha: float = 1.0, per: Literal["example", "batch"] = "example", variables: Sequence[str] = ("x", "y")
) -> Transform:
    """Replace p̃(x, y) by mixtures of pairs: (εx_a + (1−ε)x_b, εy_a + (1−ε)y_b).

    ε ~ Beta(α, α), uniform for α = 1, one for each example or for the batch; b is a uniform permutation of
    the minibatch. Labels must be one-hot, and become soft evidence `[examples, classes]` with rows that
    sum to 1. The evidence keeps its mean. For a loss that is linear in the label, such as its negative log-likelihood,
    this is the same in expectation as the label of a alone with ε ~ Beta(α + 1, α).
    Reference: Zhang et al., mixup, 2018.

    Args:
      alpha: α; the smaller, the closer to the examples themselves. Small networks are advised to take 0.2 to 0.4.
      per: whether each example or the whole batch has one ε.
      variables: what is mixed.

    Raises:
      TypeError: if a variable is not floating point.
      ValueError: if α is not positive and finite, or `per` is unknown.
    """
    for variable in require(variables, Sequence, "variables", "a sequence of names", "write ('x', 'y')"):
        _named(variable)
    require_number(alpha, "alpha", above=0)
    require_choice(per, ("example", "batch"), "per")

    def transform(key: Key, batch: Batch) -> Batch:
        key_ratio, key_pair = jax.random.split(key)
        other = _pairing(key_pair, batch, variables, "mixup")
        size = other.shape[0]
        shape = (size,) if per == "example" else (1,)
        if alpha == 1:  # uniform, without the rejection sampler of the general case
            drawn = jax.random.uniform(key_ratio, shape, jnp.float32)
        else:
            drawn = jax.random.beta(key_ratio, alpha, alpha, shape, jnp.float32)
        ratio = jnp.broadcast_to(drawn, (size,))

        def mixed(value: Array) -> Array:
            weight = ratio.astype(value.dtype).reshape(-1, *(1,) * (value.ndim - 1))
            return weight * value + (1 - weight) * value[other]

        return {**batch, **{name: mixed(batch[name]) for name in variables}}

    return transform


def sample_pairing(*, share: float = 1.0, variable: str = "x") -> Transform:
    """Replace p̃(x, y) by ((x_a + x_b) / 2, y_a), b a uniform permutation of the minibatch.

    The evidence keeps its mean, exactly where every example is paired, else in expectation. Training usually ends on
    the evidence itself, so that the classifier has seen what it will be asked.
    Reference: Inoue, Data augmentation by pairing samples, 2018.

    Args:
      share: the probability with which each example is paired, from 0 to 1; the others stay.
      variable: what is averaged.

    Raises:
      TypeError: if the variable is not floating point.
      ValueError: if `share` is not a probability.
    """
    _named(variable)
    require_number(share, "share", least=0, most=1, hint="it is a probability")

    def transform(key: Key, batch: Batch) -> Batch:
        key_pair, key_share = jax.random.split(key)
        other = _pairing(key_pair, batch, (variable,), "sample_pairing")
        value = batch[variable]
        paired = (value + value[other]) / 2
        if share < 1:
            chosen = jax.random.bernoulli(key_share, share, other.shape).reshape(-1, *(1,) * (value.ndim - 1))
            paired = jnp.where(chosen, paired, value)
        return {**batch, variable: paired}

    return transform


def _named(variable: str) -> None:
    require(variable, str, "variable", "the name of a variable", "such as 'x'")


def _value(batch: Mapping[str, Any], variable: str, transform: str) -> Any:
    if variable not in require_batch(batch):
        raise ValueError(
            f"{transform} needs the variable {variable!r}, and the batch has {sorted(batch)}; name another"
        )
    return batch[variable]


def _pairing(key: Key, batch: Batch, variables: Sequence[str], transform: str) -> Array:
    for name in variables:
        value = _value(batch, name, transform)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(
                f"{transform} needs floating-point {name!r}, got {value.dtype}; "
                "apply normalize or dequantize to images and one_hot to labels before it"
            )
    return jax.random.permutation(key, jnp.arange(batch[variables[0]].shape[0], dtype=jnp.int32))


def _pixels(batch: Mapping[str, chex.Array], variable: str, transform: str) -> Array:
    pixels = _value(batch, variable, transform)
    if pixels.dtype != jnp.uint8:
        raise TypeError(
            f"{transform} needs {variable!r} as uint8 pixels 0 .. 255, got {pixels.dtype}; "
            "give the images as they are stored, neither scaled nor transformed"
        )
    return jnp.asarray(pixels)


def _bernoulli(key: Key, pixels: Array) -> Array:
    # u < pixel / 255 with u = bits / 2²³, in integers: no rounding, and the same on every device.
    bits = jax.random.bits(key, pixels.shape, jnp.uint32) >> 9
    return (bits * 255 < pixels.astype(jnp.uint32) << 23).astype(jnp.float32)


@jax.jit
def _bernoulli_by_position(key: Key, positions: Array, pixels: Array) -> Array:
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
    return jax.vmap(_bernoulli)(keys, pixels)

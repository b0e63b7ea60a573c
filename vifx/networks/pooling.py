"""Attention pooling: sequences of several lengths as one vector each."""

from __future__ import annotations

__all__ = ["AttentionPooling"]

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.typing import ArrayLike

from vifx.core.types import Array
from vifx.networks.gated import check_sequences, masked
from vifx.networks.layers import LECUN, Activation

_GROUP = 16


class AttentionPooling(nn.Module):
    """``Σ_t λ_t x_t`` with ``λ = softmax_t(αᵀ act(W x_t))``: a mean of the positions whose weights are learned.

    Positions outside of the mask have weight 0; a sequence without any is mapped to 0. The order of the sums does not
    depend on the length, so that what is said of padding in `GatedStack` holds here, too.

    Attributes:
      features: rows of W, the length of α; None for as many as the input has channels.
      activation: the nonlinearity.
    """

    features: int | None = None
    activation: Activation = nn.tanh

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """Map ``[examples, length, channels]`` to ``[examples, channels]``.

        Args:
          x: the sequences.
          mask: which positions exist, booleans ``[examples, length]``; None for all.
        """
        check_sequences(x, mask)
        x = masked(x, mask)
        width = x.shape[-1] if self.features is None else self.features
        hidden = self.activation(nn.Dense(width, use_bias=False, name="hidden")(x))
        hidden, alpha = promote_dtype(hidden, self.param("score", LECUN, (hidden.shape[-1], 1)))
        # A second column, of zeros: CPUs multiply by a single one in an order that depends on the number of rows.
        scores = (hidden @ jnp.concatenate([alpha, jnp.zeros_like(alpha)], axis=1))[..., :1]
        lowest = jnp.finfo(scores.dtype).min
        if mask is not None:
            scores = jnp.where(mask[..., None], scores, lowest)
        largest = lax.stop_gradient(_in_pairs(jnp.maximum, scores, lowest))
        weights = masked(jnp.exp(scores - largest[:, None]), mask)
        total = _in_pairs(jnp.add, weights)
        return _weighted_sum(weights, x) / jnp.where(total > 0, total, 1)


def _in_pairs(combine: Callable[[Array, Array], Array], x: Array, neutral: ArrayLike = 0) -> Array:
    """Reduce over the positions, neighbours first: neutral values behind a sequence change nothing, not a bit.

    What compilers make of a reduction, by itself or with what follows, depends on how long it is.
    """
    while x.shape[1] > 1:
        x = _lengthened(x, 2, neutral)
        left, right = jnp.split(x.reshape(x.shape[0], x.shape[1] // 2, -1), 2, axis=-1)
        x = combine(left, right)
    return x[:, 0]


def _weighted_sum(weights: Array, x: Array) -> Array:
    """Return ``Σ_t w_t x_t``, by groups of positions.

    A product with an addition behind it may be rounded once or twice, and the compiler decides that anew for each
    length; in a product of matrices it has no choice.
    """
    weights, x = _lengthened(weights, _GROUP), _lengthened(x, _GROUP)
    groups = (x.shape[0], x.shape[1] // _GROUP, _GROUP)
    contracted = (((2,), (2,)), ((0, 1), (0, 1)))
    return _in_pairs(jnp.add, lax.dot_general(weights.reshape(groups), x.reshape(*groups, -1), contracted))


def _lengthened(x: Array, multiple: int, value: ArrayLike = 0) -> Array:
    """Pad sequences at the end to a multiple of some length."""
    lacking = -x.shape[1] % multiple
    return lax.pad(x, jnp.asarray(value, x.dtype), ((0, 0, 0), (0, lacking, 0), (0, 0, 0))) if lacking else x

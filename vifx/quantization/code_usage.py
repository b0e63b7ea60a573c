"""How many of the codes are used, and how evenly."""

from __future__ import annotations

__all__ = ["Usage", "codes_of", "conditional_of", "measure_usage", "usage"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from vifx.checks import require_array, require_integer
from vifx.core.examples import stand_ins
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.quantization.quantized import Quantized
from vifx.quantization.quantizer import quantized_by


class Usage(NamedTuple):
    """How often each code is used.

    Attributes:
      counts: how often, ``[K]``, or the sum of the examples' weights.
      perplexity: ``exp(−Σ_k π_k log π_k)`` of their shares π, from 1 for one code to K for all alike.
      used: how many codes are used at all.
      dead: how many are not.
    """

    counts: Array
    perplexity: Array
    used: Array
    dead: Array


def usage(codes: ArrayLike, total: int, *, weights: ArrayLike | None = None) -> Usage:
    """Count codes.

    Args:
      codes: their numbers, integers of any shape.
      total: K, how many there are.
      weights: how much each counts, of the same shape; 1 by default.

    Raises:
      TypeError: `codes` is not an array, or `total` not an integer.
      ValueError: `total` is not positive.

    >>> import numpy as np
    >>> found = usage(np.array([0, 0, 3, 3]), 5)
    >>> float(found.perplexity), int(found.dead)
    (2.0, 3)
    """
    flat = jnp.asarray(require_array(codes, "usage: codes")).reshape(-1)
    require_integer(total, "usage: total")
    each = (
        jnp.ones(flat.shape, jnp.result_type(float))
        if weights is None
        else jnp.asarray(require_array(weights, "usage: weights")).reshape(-1)
    )
    counts = jax.ops.segment_sum(each, flat, total)
    whole = jnp.sum(counts)
    share = counts / jnp.where(whole > 0, whole, 1)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0))
    used = jnp.sum(counts > 0).astype(jnp.int32)
    return Usage(counts, jnp.exp(entropy), used, total - used)


def conditional_of(
    key: Key, inference: Joint, params: Params, state: State, batch: Batch, *, latent: str, train: bool
) -> tuple[Quantized, State]:
    """Return what a joint says of a quantized latent given a batch, and the new state."""
    own = inference.ancestral([latent])
    drawn = own.sample(key, params, state, stand_ins(batch, batch), train=train)
    return drawn.conditionals[latent], drawn.state


def codes_of(
    key: Key, inference: Joint, params: Params, state: State, split: Mapping[str, ArrayLike], *, latent: str = "z"
) -> NDArray[Any]:
    """Return the numbers of the codes of every example, integers ``[examples, places]``, ``[examples]`` of one latent.

    They are what a prior of the codes is fitted to, ``evidence("k")``, when the encoder stays as it is.

    Args:
      inference: evidence, and ``z | x`` of a quantizer.
      params: one entry per network.
      state: one entry per network.
      split: the evidence, ``[examples, ...]`` each.
      latent: the quantized variable.

    Raises:
      TypeError: `inference` is not a joint.
      ValueError: the latent has no quantizer.
    """
    quantized_by(inference, latent, "codes_of")
    return np.asarray(_numbers(key, params, state, dict(split), inference=inference, latent=latent))


@partial(jax.jit, static_argnames=("inference", "latent"))
def _numbers(
    key: Key, params: Params, state: State, split: Mapping[str, Any], *, inference: Joint, latent: str
) -> Array:
    def one(example: Batch) -> Array:
        batch = {name: value[None] for name, value in example.items()}
        return conditional_of(key, inference, params, state, batch, latent=latent, train=False)[0].codes[0]

    return jax.lax.map(one, jax.tree.map(jnp.asarray, dict(split)), batch_size=256)


def measure_usage(
    inference: Joint, split: Mapping[str, ArrayLike], *, latent: str = "z"
) -> Callable[[Key, Params, State], dict[str, float]]:
    """Return what measures the codes of a split: ``codes/perplexity`` and ``codes/dead``.

    Args:
      inference: evidence, and ``z | x`` of a quantizer.
      split: the evidence, ``[examples, ...]`` each.
      latent: the quantized variable.

    Raises:
      TypeError: `inference` is not a joint.
      ValueError: the latent has no quantizer.
    """
    total = quantized_by(inference, latent, "measure_usage")[1].total

    def measure(key: Key, params: Params, state: State) -> dict[str, float]:
        found = usage(codes_of(key, inference, params, state, split, latent=latent), total)
        return {"codes/perplexity": float(found.perplexity), "codes/dead": float(found.dead)}

    return measure

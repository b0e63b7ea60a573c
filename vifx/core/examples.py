"""How much each example of a batch counts, and the entries of a batch that are not variables.

``batch["@weights"]``, ``[examples]``, makes the evidence ``p̃ = Σ_n w_n δ(x_n) / Σ_n w_n``: integers are counts, so
that losses, gradients and claims are those of the rows repeated as often. An example of weight zero stands for nothing
and may hold anything: wherever a batch is read, a copy of the heaviest example stands in its place.
"""

from __future__ import annotations

__all__ = [
    "RESPONSIBILITIES",
    "WEIGHTS",
    "check_entries",
    "check_weights",
    "example_mean",
    "example_shares",
    "stand_ins",
]

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.checks import nearest
from vifx.core.types import Array, Batch

WEIGHTS = "@weights"
"""The entry of a batch that says how much each example counts, ``[examples]``."""
RESPONSIBILITIES = "@responsibilities"
"""The entry that takes the place of an exact posterior in `training.solve`, ``[examples, states]``."""
_FEATURES = "@features"


def check_entries(batch: Batch) -> None:
    """Refuse entries with an ``@`` that nothing reads.

    Raises:
      ValueError: there is one that is not ``"@weights"``, ``"@responsibilities"`` or the features of another entry.
    """
    for name in batch:
        if "@" not in name or name in (WEIGHTS, RESPONSIBILITIES):
            continue
        entry, _, kind = name.partition("@")
        if f"@{kind}" == _FEATURES and entry in batch:
            continue
        known = (WEIGHTS, RESPONSIBILITIES, *(f"{other}{_FEATURES}" for other in batch if "@" not in other))
        raise ValueError(
            f"batch[{name!r}] is read by nothing{nearest(name, known)}; the entries that are not variables are "
            f"{', '.join(known)}."
        )


def example_shares(batch: Batch) -> Array | None:
    """Return ``w_n / Σ w``, ``[examples]`` floats, zero where all weights are; None if the examples count alike.

    Raises:
      ValueError: the weights are not one number for each example.
    """
    if WEIGHTS not in batch:
        return None
    weights = _weights(batch)
    weights = weights.astype(jnp.result_type(float)) if not jnp.issubdtype(weights.dtype, jnp.floating) else weights
    total = jnp.sum(weights)
    return weights / jnp.where(total > 0, total, 1)


def example_mean(shares: Array | None, values: Array) -> Array:
    """Return the mean over the examples of ``[examples, ...]`` values; those of share zero may be anything.

    Args:
      shares: as `example_shares` returns them.
      values: one, or an array of them, for each example; a scalar is returned as it is.
    """
    if values.ndim == 0:
        return values
    if shares is None:
        return jnp.mean(values, axis=0)
    each = shares.astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
    each = jnp.broadcast_to(each, values.shape)
    return jnp.sum(jnp.where(each > 0, each * jnp.where(each > 0, values, 0), 0), axis=0)


def stand_ins(batch: Batch, names: Iterable[str]) -> dict[str, Array]:
    """Return some entries of a batch, the heaviest example in the place of those of weight zero.

    Where no example has a weight, zeros stand in the place of all.

    Args:
      names: the entries; each may be a tree of arrays ``[examples, ...]``.

    Raises:
      ValueError: the weights are not one number for each example.
    """
    if WEIGHTS not in batch:
        return {name: batch[name] for name in names}
    weights = _weights(batch)
    place = jnp.where(weights > 0, jnp.arange(weights.shape[0]), jnp.argmax(weights))

    def stand_in(leaf: Array) -> Array:
        return jnp.where(jnp.any(weights > 0), leaf[place], jnp.zeros((), leaf.dtype))

    return {name: batch[name] if name == WEIGHTS else jax.tree.map(stand_in, batch[name]) for name in names}


def check_weights(weights: np.ndarray, name: str, *, examples: int, whole: bool = True) -> None:
    """Refuse weights of examples that are not one for each, negative or not finite, on the host.

    Args:
      weights: ``[examples]``.
      whole: whether these are all examples, of which some must count.

    Raises:
      ValueError: they are; the message says which.
    """
    if weights.shape != (examples,):
        raise ValueError(f"{name} must have shape [{examples}], one for each example, got {list(weights.shape)}.")
    bad = ~(np.isfinite(np.asarray(weights, np.float64)) & (weights >= 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(f"{name} must be finite and not negative; example {at} has {weights[at]}.")
    if whole and not (weights > 0).any():
        raise ValueError(f"{name} are all zero, so that no example counts; give some a positive weight.")


def _weights(batch: Batch) -> Array:
    weights = jnp.asarray(batch[WEIGHTS])
    examples = {leaf.shape[0] for name, value in batch.items() if "@" not in name for leaf in jax.tree.leaves(value)}
    if weights.ndim != 1 or examples - {weights.shape[0]}:
        raise ValueError(
            f"batch['@weights'] has shape {list(weights.shape)}; it must have one weight for each example, "
            f"{' or '.join(f'[{count}]' for count in sorted(examples)) or '[examples]'}."
        )
    if not isinstance(weights, Tracer):
        check_weights(np.asarray(weights), "batch['@weights']", examples=weights.shape[0], whole=False)
    return weights

"""A recurrent network that reads a whole sequence: the body of an encoder."""

from __future__ import annotations

__all__ = ["SequenceReader"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require, require_choice
from vifx.core.types import Array
from vifx.distributions.lengths import inside
from vifx.networks.layers import join


class SequenceReader(nn.Module):
    """The memory of a recurrent cell after it has read a sequence: ``Conditional(SequenceReader(gru(64)), head)``.

    It is backward by default, so that what it read last is the beginning, which is what a latent at the first time
    depends on most. With times, it reads beside each value its time, and the gap to the value that it has read before,
    which is 0 at first.

    Attributes:
      cell: a cell of Flax, such as `vanilla`, `gru` or `lstm` make.
      backward: whether it reads from the end to the beginning.
      parents: what each parent is, in their order. ``"step"``: a sequence, ``[examples, steps, ...]``; ``"times"``: the
        times of the steps, floating ``[examples, steps]``; ``"lengths"``: how many steps each sequence has, integers
        ``[examples]``, of which later ones are not read; ``"example"``: one value for each, ``[examples, ...]``, which
        is read at every step.

    Raises:
      TypeError: `cell` is not a cell of Flax.
      ValueError: an unknown role, or no sequence among the parents.
    """

    cell: nn.RNNCellBase
    backward: bool = True
    parents: Sequence[str] = ("step",)

    def __post_init__(self) -> None:
        """Check the cell and the roles."""
        require(self.cell, nn.RNNCellBase, "SequenceReader: cell", "a cell of Flax", "dynamics.gru(64) is one")
        for place, role in enumerate(self.parents):
            require_choice(role, ("example", "step", "times", "lengths"), f"SequenceReader: parents[{place}]")
        if "step" not in self.parents:
            raise ValueError(f"SequenceReader: parents must have a 'step', a sequence to read, got {self.parents}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, *parents: Array) -> Array:
        """Read sequences; return ``[examples, features]``.

        Raises:
          ValueError: another number of parents, or sequences of several lengths without `lengths`.
        """
        if len(parents) != len(self.parents):
            raise ValueError(
                f"SequenceReader: parents={tuple(self.parents)} says what {len(self.parents)} of them are, but "
                f"{len(parents)} were given; give one role for each parent"
            )
        by_role = dict(zip(self.parents, parents, strict=True))
        steps = by_role["step"].shape[1]
        lengths = by_role.get("lengths")
        if lengths is not None:
            inside("SequenceReader", lengths, by_role["step"].shape[0], steps)
        read = [self._along(value, role, steps, lengths) for value, role in zip(parents, self.parents, strict=True)]
        values = [value for value in read if value is not None]
        together = jax.vmap(join, in_axes=1, out_axes=1)(*values)
        memory, _ = nn.RNN(self.cell, return_carry=True, reverse=self.backward)(together, seq_lengths=lengths)
        return join(*jax.tree.leaves(memory))

    def _along(self, value: Array, role: str, steps: int, lengths: Array | None) -> Any:
        """Return what is read of a parent at every step, ``[examples, steps, ...]``."""
        if role == "lengths":
            return None
        if role == "example":
            return jnp.broadcast_to(value[:, None], (value.shape[0], steps, *value.shape[1:]))
        if value.ndim < 2 or value.shape[1] != steps:
            raise ValueError(
                f"SequenceReader: a parent with the role {role!r} has shape {list(value.shape)}, expected [examples, "
                f"{steps}, ...], one value for each step"
            )
        if role == "step":
            return value
        first, gaps = jnp.zeros_like(value[:, :1]), jnp.diff(value, axis=1)
        if not self.backward:
            return jnp.stack([value, jnp.concatenate([first, gaps], axis=1)], axis=-1)
        if lengths is not None:  # the last value that there is comes first
            after = jnp.arange(1, steps, dtype=lengths.dtype)
            gaps = jnp.where(after[None] < lengths[:, None], gaps, 0)
        return jnp.stack([value, jnp.concatenate([gaps, first], axis=1)], axis=-1)

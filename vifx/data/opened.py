"""Splits whose examples are read when they are used, and are not in memory."""

from __future__ import annotations

__all__ = ["Opened", "part"]

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from vifx.checks import ArgumentError

if TYPE_CHECKING:
    from vifx.data.rows import Examples


class Opened(Mapping[str, np.ndarray]):
    """A split in which examples can be read, in place of arrays: `source`, `batches` and `hold_out` take it.

    It has the variables of its examples. Their arrays would be the whole split in memory: who asks for one is told to
    leave the option `streaming` out.

    Attributes:
      examples: random access to them.

    Args:
      examples: see above; the first one is read.
      name: of the data set, for messages.
    """

    def __init__(self, examples: Examples, name: str) -> None:
        self.examples: Examples = examples
        self._name = name
        self._variables = tuple(examples[0])

    def __repr__(self) -> str:
        return f"Opened({self._name}: {len(self.examples):,} examples of {', '.join(self._variables)})"

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __getitem__(self, name: str) -> NoReturn:
        if name not in self._variables:
            raise KeyError(name)
        raise ArgumentError(
            "streaming",
            f"must be left out here: the {len(self.examples):,} training examples of {self._name} are read as they are "
            f"needed, and all of their {name!r} were asked for at once",
            value=True,
        )

    def at(self, rows: np.ndarray) -> Opened:
        """Return the split of some of the examples, in the order of `rows`."""
        split = copy.copy(self)
        split.examples = _Part(self.examples, rows)
        return split


class _Part:
    """Some of the examples of a sequence, in a given order."""

    def __init__(self, examples: Examples, rows: np.ndarray) -> None:
        self._examples, self._rows = examples, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._examples[int(self._rows[index])]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        rows = self._rows[list(indices)].tolist()
        many = getattr(self._examples, "__getitems__", None)
        return [self._examples[row] for row in rows] if many is None else many(rows)


def part(split: Mapping[str, np.ndarray], rows: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return some of the examples of a split, in the order of `rows`: as arrays, or `Opened` like the split."""
    return split.at(rows) if isinstance(split, Opened) else {name: array[rows] for name, array in split.items()}

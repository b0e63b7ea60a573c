"""Reading chosen examples from anything with random access."""

from __future__ import annotations

__all__ = ["Examples", "Source", "batches", "checked_examples", "length", "read", "read_all", "stacked"]

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from vifx.checks import described, require_integer, require_unmasked
from vifx.data.arrays import checked_arrays
from vifx.data.opened import Opened


class Examples(Protocol):
    """A random-access sequence of examples; each is a mapping from variables to arrays.

    A `__getitems__(indices)` that returns several examples at once is used where there is one: as a list of them, or
    stacked, as one mapping from variables to arrays ``[len(indices), ...]``.
    """

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Return one example."""
        ...


Source: TypeAlias = Mapping[str, np.ndarray] | Examples
"""Arrays by variable (memory-mapped ones too), or a random-access sequence of examples, or a split of them."""


def length(source: Source) -> int:
    """Return the number of examples of a source.

    Raises:
      TypeError: if it is neither a mapping of arrays nor a sequence of examples.
      ValueError: if the arrays of a mapping disagree in length, or there are none.
    """
    source = source.examples if isinstance(source, Opened) else source
    if not isinstance(source, Mapping):
        if isinstance(source, type | str) or hasattr(source, "dtype") or not hasattr(source, "__getitem__"):
            raise TypeError(
                "source must be arrays by variable, or a random-access sequence of examples, got "
                f'{described(source)}; give {{"x": x}}, or one split of a dataset, such as dataset.train'
            )
        return len(source)
    for name, array in source.items():
        if not getattr(array, "shape", ()):
            raise TypeError(f"source[{name!r}] must be an array [examples, ...], got {described(array)}")
    lengths = {name: len(array) for name, array in source.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the arrays of a source must have one row per example, got lengths {lengths}")
    return next(iter(lengths.values()))


def read(source: Source, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Return the examples at `indices`, stacked: arrays `[len(indices), ...]` as `checked_arrays` makes them.

    Raises:
      TypeError: if a variable is not an array of numbers, or is masked.
      ValueError: if examples differ in their variables or shapes, or a number is not finite.
    """
    return checked_examples(stacked(source, indices), indices)


def checked_examples(examples: Mapping[str, np.ndarray], indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Return stacked examples as `checked_arrays` makes them; an error has a note that says which they were.

    Raises:
      TypeError: if a variable is not an array of numbers, or is masked.
      ValueError: if a number is not finite.
    """
    try:
        return checked_arrays(examples, "examples", whole=False)
    except (TypeError, ValueError) as error:
        error.add_note(f"while reading the examples {np.asarray(indices).tolist()}")
        raise


def stacked(source: Source, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Return the examples at `indices`, stacked and not checked.

    Raises:
      TypeError: if an example has a masked array.
      ValueError: if examples differ in their variables or shapes.
    """
    source = source.examples if isinstance(source, Opened) else source
    if isinstance(source, Mapping):
        # Not converted, so that a masked array stays one and is refused.
        return {name: array[np.asarray(indices)] for name, array in source.items()}
    rows = [int(i) for i in indices]
    many = getattr(source, "__getitems__", None)
    examples = many(rows) if many is not None else [source[i] for i in rows]
    if isinstance(examples, Mapping):
        lengths = {name: len(array) for name, array in examples.items()}
        if set(lengths.values()) != {len(rows)}:
            raise ValueError(
                f"__getitems__ must return {len(rows)} examples where it is asked for as many, got {lengths}"
            )
        return {name: np.asarray(require_unmasked(array, f"examples[{name!r}]")) for name, array in examples.items()}
    found = {}
    for name in examples[0]:
        if any(name not in example for example in examples):
            raise ValueError(f"all examples must have the variables {sorted(examples[0])}; one lacks {name!r}")
        arrays = [np.asarray(require_unmasked(example[name], f"examples[{name!r}]")) for example in examples]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise ValueError(f"{name!r} must have one shape in all examples, got {shapes}; resize them first")
        found[name] = np.stack(arrays)
    return found


def read_all(source: Source, *, rows: int = 1024) -> dict[str, np.ndarray]:
    """Return all examples, read some `rows` at a time; integer labels `"y"` are int32.

    Raises:
      TypeError: as `read`.
      ValueError: as `read`; and if there are no examples.
    """
    total = length(source)
    arrays: dict[str, np.ndarray] = {}
    for start in range(0, total, rows):
        for name, array in read(source, range(start, min(start + rows, total))).items():
            dtype = np.int32 if name == "y" and array.dtype.kind in "iu" else array.dtype
            out = arrays.setdefault(name, np.empty((total, *array.shape[1:]), dtype))
            out[start : start + len(array)] = array
    return arrays


def batches(source: Source, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield all examples in order, `size` at a time; the last batch has the remainder.

    Raises:
      TypeError: if `source` holds no examples, or `size` is not an integer.
      ValueError: if `size` is not positive or there are no examples.

    >>> [len(batch["x"]) for batch in batches({"x": np.zeros((10, 2))}, 4)]
    [4, 4, 2]
    """
    require_integer(size, "size")
    total = length(source)
    if total == 0:
        raise ValueError("the split has no examples; evaluate on another one, or hold some out")
    return (read(source, np.arange(start, min(start + size, total))) for start in range(0, total, size))

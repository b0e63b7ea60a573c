"""A dataset in memory: three splits of arrays and what is known about them."""

from __future__ import annotations

__all__ = ["Dataset", "Info", "Split", "from_arrays", "hold_out"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import chex
import numpy as np

from vifx.checks import ArgumentError, require, require_integer
from vifx.data.arrays import checked_arrays
from vifx.data.data_config import check_validation
from vifx.data.opened import Opened, part
from vifx.data.rows import length, read_all
from vifx.data.standardization import Standardization

Split: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by variable, each `[examples, ...]`: images `"x"`, and labels `"y"` where there are any. The training split of
data that is streamed has no arrays (see `vifx.data.opened.Opened`)."""


@dataclass(frozen=True)
class Info:
    """What is known about a dataset before looking at its examples.

    Attributes:
      name: the dataset's name.
      shape: the shape of one `"x"`; `(height, width, channels)` for images.
      classes: the number of classes of `"y"`, or None when there are no labels.
      low: the smallest value that `"x"` may take.
      high: the largest value that `"x"` may take.
      label_names: the classes by name, empty when they have none.
      notes: decisions that were made when it was read, as sentences: features left out, splits made.
      standardization: the map of the columns of a table to those of `"x"`, if they are standardized.
    """

    name: str
    shape: tuple[int, ...]
    classes: int | None
    low: float
    high: float
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    standardization: Standardization | None = None


@dataclass(frozen=True, repr=False)
class Dataset:
    """The splits of a dataset, as arrays.

    Attributes:
      train: what is trained on; of prepared data that is streamed, examples that are read when they are used.
      validation: examples held out of the training split; no rows when nothing was held out.
      test: what is reported on, never used to choose anything.
      info: name, shape, classes and value range.
    """

    train: Split
    validation: Split
    test: Split
    info: Info

    def __repr__(self) -> str:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{name} {length(split) if split else 0:,}" for name, split in parts.items())
        shown = self.test if isinstance(self.train, Opened) else self.train
        variables = ", ".join(f"{name} {array.dtype}{list(array.shape[1:])}" for name, array in shown.items())
        return f"Dataset({self.info.name}: {sizes}; {variables})"


def from_arrays(
    *,
    train: Mapping[str, chex.Array],
    test: Mapping[str, chex.Array],
    validation: Mapping[str, chex.Array] | int | float = 0.1,
    split_seed: int = 0,
    name: str = "arrays",
) -> Dataset:
    """Make a dataset of your own arrays.

    Args:
      train: arrays by variable, each `[examples, ...]`; at least `"x"`. Integer labels are called `"y"`.
      test: the same variables, with other examples.
      validation: a split of its own, or how much of `train` to hold out (see `hold_out`).
      split_seed: chooses which examples are held out.
      name: the name in `info`.

    Raises:
      TypeError: if something is not an array of numbers.
      ValueError: if a split is empty, arrays of a split disagree in length, splits disagree in variables,
        shapes or types, a number is not finite, labels are negative, or two splits hold the same examples.

    >>> x = np.arange(20, dtype=np.uint8).reshape(20, 1)
    >>> dataset = from_arrays(train={"x": x[:16]}, test={"x": x[16:]}, validation=4)
    >>> len(dataset.train["x"]), len(dataset.validation["x"]), dataset.info.shape
    (12, 4, (1,))
    """
    require(name, str, "name", "a text", "it is the name of the data in info")
    splits: dict[str, Split] = {"train": checked_arrays(train, "train"), "test": checked_arrays(test, "test")}
    if isinstance(validation, Mapping):
        splits["validation"] = checked_arrays(validation, "validation")
        _check_agreement(splits)
    else:
        _check_agreement(splits)
        splits["train"], splits["validation"] = hold_out(splits["train"], validation, split_seed)
    x = splits["train"]["x"]
    low, high = (0.0, 255.0) if x.dtype == np.uint8 else (float(x.min()), float(x.max()))
    return Dataset(**splits, info=Info(name, x.shape[1:], _classes(splits), low, high))


def hold_out(
    split: Split, validation: int | float, split_seed: int, *, name: str = "validation"
) -> tuple[Split, Split]:
    """Divide a split into what is kept for training and what is held out for validation.

    A fraction v of N examples holds out ⌊v·N + ½⌋ of them. Which ones is a fixed function of the seed
    and N; both parts keep the original order. What is held out is read into memory, and what is kept stays as it is.

    Args:
      split: arrays by variable, or examples that are opened and not read.
      validation: how much to hold out, a fraction or a number of examples.
      split_seed: seed of the choice of examples.
      name: the name of the part that is held out, for messages.

    Raises:
      TypeError: if `split` is not a mapping of arrays, or a number is of another kind.
      ValueError: if `validation` is out of range or leaves nothing to train on.
    """
    check_validation(validation, name=name)
    require_integer(split_seed, "split_seed", least=0)
    size = length(split if isinstance(split, Opened) else checked_arrays(split, "split"))
    count = int(validation * size + 0.5) if isinstance(validation, float) else validation
    if count >= size:
        sentence = f"must leave examples to train on, got {validation} of {size}; lower it"
        raise ArgumentError(name, sentence, value=validation)
    # RandomState because NumPy promises that its stream never changes; Generator's may.
    held = np.zeros(size, bool)
    held[np.random.RandomState(split_seed).permutation(size)[:count]] = True
    kept = part(split, np.flatnonzero(~held))
    if not isinstance(split, Opened):
        return kept, part(split, np.flatnonzero(held))
    # One example at least, of which the arrays get their shapes.
    found = read_all(split.at(np.flatnonzero(held) if count else np.zeros(1, int)))
    return kept, {name: array[:count] for name, array in found.items()}


def _check_agreement(splits: Mapping[str, Split]) -> None:
    train = splits["train"]
    if "x" not in train:
        raise ValueError(f"train must have the observed variable 'x', got {sorted(train)}")
    for name, split in splits.items():
        if split.keys() != train.keys():
            raise ValueError(f"{name} must have the variables of train, {sorted(train)}, got {sorted(split)}")
        for variable, array in split.items():
            kind, expected = (
                (array.dtype, array.shape[1:]),
                (train[variable].dtype, train[variable].shape[1:]),
            )
            if kind != expected:
                raise ValueError(
                    f"{name}[{variable!r}] must be like train's, {expected[0]} {expected[1]} an example, "
                    f"got {kind[0]} {kind[1]}"
                )
    names = list(splits)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if np.array_equal(splits[one]["x"], splits[other]["x"]):
                raise ValueError(f"{one} and {other} must be different examples, got the same array for both")


def _classes(splits: Mapping[str, Split]) -> int | None:
    labels = [split["y"] for split in splits.values() if "y" in split and split["y"].size]
    if not labels or labels[0].dtype.kind not in "iu" or labels[0].ndim != 1:
        return None
    if min(int(y.min()) for y in labels) < 0:
        raise ValueError("labels 'y' must be 0 .. classes - 1, got a negative one")
    return max(int(y.max()) for y in labels) + 1

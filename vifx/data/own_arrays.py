"""Arrays of one's own: what `.npy` and `.npz` files hold, as examples or as splits of them."""

from __future__ import annotations

__all__ = ["integer_labels", "named_splits", "one_array", "pixels", "read_arrays"]

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vifx.checks import nearest
from vifx.data.data_config import Config
from vifx.data.image_folder import eight_bit, fitted

_SPLITS = ("train", "validation", "test")
_IMAGE_CHANNELS = (1, 3)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; of `.npy` the one is called "x". Pickled objects are refused.

    Raises:
      ValueError: if it is damaged, or holds anything but numbers.
    """
    try:
        with path.open("rb") as stream:  # NumPy itself leaves a damaged file open
            found = np.load(stream, allow_pickle=False)
            arrays = (
                {name: found[name] for name in found.files} if isinstance(found, np.lib.npyio.NpzFile) else {"x": found}
            )
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: expected arrays of numbers, found a file that cannot be read so ({error})"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise ValueError(
                f"{path}: expected arrays of numbers with an axis of examples, found {array.dtype}{list(array.shape)} "
                f"in {name!r}; leave it out of the file"
            )
    return arrays


def named_splits(arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, dict[str, NDArray[Any]]] | None:
    """Return the arrays by split and variable where they are called "x_train" and "x_test"; otherwise None.

    Raises:
      ValueError: if others are between them.
    """
    if not {"x_train", "x_test"} <= set(arrays):
        return None
    splits: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        variable, _, split = name.partition("_")
        if variable not in ("x", "y") or split not in _SPLITS:
            raise ValueError(f"{path}: expected x and y of {', '.join(_SPLITS)}, such as y_test, found {name!r}")
        splits.setdefault(split, {})[variable] = array
    return splits


def one_array(
    config: Config, path: Path, arrays: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the array of examples, and that of their labels where there is one.

    Raises:
      ValueError: if it is not clear which they are, or their lengths differ.
    """
    label = config.label
    if label is None and "y" in arrays and "x" in arrays:
        label = "y"
    named = {name: array for name, array in arrays.items() if name != label}
    if path.suffix.lower() == ".npz" and label is not None and label not in arrays:
        known = ", ".join(arrays)
        raise config.refused(
            "label", f"must be an array of {path.name}, {known}; got {label!r}{nearest(label, arrays)}"
        )
    if "x" not in named and len(named) != 1:
        raise ValueError(f"{path}: expected one array of examples, or one that is called x, found {', '.join(named)}")
    x = named["x"] if "x" in named else next(iter(named.values()))
    y = arrays.get(label) if label is not None else None
    if y is not None and len(y) != len(x):
        raise ValueError(f"{path}: expected one label for each example, found {len(y):,} for {len(x):,}")
    return x, y


def pixels(config: Config, path: Path, split: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return images as uint8 ``[examples, height, width, channels]``, with their labels as int32.

    Raises:
      ValueError: if they are not images, or labels not integers from 0 on.
    """
    x = split["x"]
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in _IMAGE_CHANNELS or not x.size:
        raise ValueError(
            f"{path}: expected rows [examples, columns] or images [examples, height, width] or "
            f"[examples, height, width, 1 or 3], found {list(split['x'].shape)}"
        )
    x = eight_bit(x, str(path))
    if config.size is not None:
        squeezed = (image[..., 0] if x.shape[-1] == 1 else image for image in x)
        scaled = [np.asarray(fitted(Image.fromarray(image), config.size)) for image in squeezed]
        x = np.stack(scaled).reshape(len(x), config.size, config.size, x.shape[-1])
    if "y" not in split:
        return {"x": x}
    return {"x": x, "y": integer_labels(split["y"], path)}


def integer_labels(y: NDArray[Any], path: Path) -> NDArray[np.int32]:
    """Return labels as int32.

    Raises:
      ValueError: if they are not integers from 0 on, one an example.
    """
    if y.ndim != 1 or y.dtype.kind not in "iu" or y.min() < 0:
        found = f"{y.dtype}{list(y.shape)}" if y.ndim != 1 or y.dtype.kind not in "iu" else str(y.min())
        raise ValueError(f"{path}: expected labels 0, 1, …, one integer an example, found {found}")
    return y.astype(np.int32)

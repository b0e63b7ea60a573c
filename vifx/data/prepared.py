"""Reading prepared datasets with TFDS: array_record files, without TensorFlow and without network.

TFDS takes about a second to import, so this module is imported only inside functions.
"""

from __future__ import annotations

__all__ = ["Prepared", "PreparedSplit", "open_prepared"]

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from vifx.data.dataset import Info


class PreparedSplit:
    """Random access to one prepared split: each example has an image `"x"` and perhaps a label `"y"`.

    Reading an example that is damaged raises a ValueError that names the folder.
    """

    def __init__(self, examples: Any, features: Mapping[str, str], folder: Path) -> None:
        self._examples = examples
        self._features = features
        self._folder = folder

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        try:
            examples = self._examples.__getitems__(list(indices))
        except Exception as error:
            raise _damaged(self._folder, f"records that cannot be read ({_first_line(error)})") from error
        return [{variable: example[name] for variable, name in self._features.items()} for example in examples]


class Prepared(NamedTuple):
    """A prepared dataset, opened but not read.

    Attributes:
      splits: random access by split name.
      info: name, shape, classes and value range.
    """

    splits: Mapping[str, PreparedSplit]
    info: Info


def open_prepared(folder: Path, name: str) -> Prepared:
    """Open the prepared dataset in `folder` for random access, without reading examples.

    The image is the input of the dataset's supervised keys, or its feature `image`; the label is the
    target if that is a class label. Datasets without class labels have `"x"` alone.

    Raises:
      ValueError: if the dataset is damaged or incomplete, has no images of one shape, or has a file format
        without random access.
    """
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:
        raise _damaged(folder, f"a description that cannot be read ({_first_line(error)})") from error
    info = builder.info
    file_format = info.file_format.value if info.file_format else "unknown"
    if file_format != "array_record":
        raise ValueError(
            f"{folder}: expected array_record files, which allow random access, found {file_format}; "
            "prepare the dataset again with file_format='array_record'"
        )
    features = _features(info, folder)
    variables = {variable: name for variable, (name, _) in features.items()}
    splits = {split: PreparedSplit(_examples(builder, split, folder), variables, folder) for split in info.splits}
    image = features["x"][1]
    label = features["y"][1] if "y" in features else None
    integer = np.issubdtype(image.np_dtype, np.integer)
    low, high = (0.0, float(np.iinfo(image.np_dtype).max)) if integer else (-np.inf, np.inf)
    classes, names = (label.num_classes, tuple(label.names)) if label is not None else (None, ())
    return Prepared(splits, Info(name, tuple(image.shape), classes, low, high, names))


def _examples(builder: Any, split: str, folder: Path) -> Any:
    for path in builder.info.splits[split].filepaths:
        if not os.path.isfile(path) or os.path.getsize(path) == 0:
            raise _damaged(folder, f"no {os.path.basename(path)}")
    try:
        return builder.as_data_source(split=split)
    except Exception as error:
        raise _damaged(folder, f"a split {split} that cannot be opened ({_first_line(error)})") from error


def _features(info: tfds.core.DatasetInfo, folder: Path) -> dict[str, tuple[str, Any]]:
    """Return by variable the name of a feature and the feature."""
    features: Any = info.features
    keys: Any = info.supervised_keys
    pair = isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    image, label = keys if pair else ("image", None)
    if image not in features:
        raise ValueError(f"{folder}: expected a feature 'image', found {sorted(features)}; read it with TFDS")
    shape = features[image].shape
    if len(shape) != 3 or None in shape:
        raise ValueError(f"{folder}: expected images of one shape, found {shape}; resize them with TFDS first")
    chosen = {"x": (image, features[image])}
    if label in features and isinstance(features[label], tfds.features.ClassLabel):
        chosen["y"] = label, features[label]
    return chosen


def _damaged(folder: Path, found: str) -> ValueError:
    return ValueError(f"{folder}: expected a complete prepared dataset, found {found}; delete it and prepare it again")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

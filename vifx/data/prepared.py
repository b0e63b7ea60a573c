"""Reading prepared datasets with TFDS: array_record files, without TensorFlow and without network.

TFDS takes about a second to import, so this module is imported only inside functions.
"""

from __future__ import annotations

__all__ = ["Prepared", "PreparedSplit", "open_examples", "open_prepared"]

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow_datasets as tfds

from vifx.checks import nearest
from vifx.data.dataset import Info

_IMAGES, _LABELS = ("image", "images", "img"), ("label", "labels", "class", "target")


class PreparedSplit:
    """Random access to one prepared split: each example has an `"x"`, perhaps a label `"y"`, and what else was chosen.

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


def open_prepared(folder: Path, name: str, chosen: Mapping[str, str] = MappingProxyType({})) -> Prepared:
    """Open the prepared dataset in `folder` for random access, without reading examples.

    Unless features are chosen, `"x"` is the image and `"y"` the class label: those of the dataset's supervised keys,
    else the only features of their types, else those of the usual names. Where the first of the supervised keys is a
    vector of real numbers, that is `"x"`. Datasets without class labels have `"x"` alone. `info.notes` says what is
    left out.

    Raises:
      ValueError: if the dataset is damaged or incomplete, has no images of one shape or several to choose from, has no
        feature that was chosen, or has a file format without random access.
    """
    builder = _builder(folder)
    info = builder.info
    features = _chosen(info, folder, chosen) if chosen else _found(info, folder)
    variables = {variable: name for variable, (name, _) in features.items()}
    splits = {split: PreparedSplit(_examples(builder, split, folder), variables, folder) for split in info.splits}
    image = features["x"][1]
    label = features["y"][1] if "y" in features else None
    label = label if isinstance(label, tfds.features.ClassLabel) else None
    integer = np.issubdtype(image.np_dtype, np.integer)
    low, high = (0.0, float(np.iinfo(image.np_dtype).max)) if integer else (-np.inf, np.inf)
    classes, names = (label.num_classes, tuple(label.names)) if label is not None else (None, ())
    left_out = sorted(set(cast(Any, info.features)) - set(variables.values()))
    read = ", ".join(f"{variable}={feature}" for variable, feature in variables.items())
    notes = (f"reads {read} and leaves out {', '.join(left_out)} (choose with features)",) if left_out else ()
    return Prepared(splits, Info(name, tuple(image.shape), classes, low, high, names, notes))


def open_examples(folder: Path) -> dict[str, Any]:
    """Open the prepared dataset in `folder` for random access to its examples as they are, by split.

    Raises:
      ValueError: if the dataset is damaged or incomplete, or has a file format without random access.
    """
    builder = _builder(folder)
    return {split: _examples(builder, split, folder) for split in builder.info.splits}


def _builder(folder: Path) -> Any:
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:
        raise _damaged(folder, f"a description that cannot be read ({_first_line(error)})") from error
    file_format = builder.info.file_format.value if builder.info.file_format else "unknown"
    if file_format != "array_record":
        raise ValueError(
            f"{folder}: expected array_record files, which allow random access, found {file_format}; "
            "prepare the dataset again with file_format='array_record'"
        )
    return builder


def _examples(builder: Any, split: str, folder: Path) -> Any:
    for path in builder.info.splits[split].filepaths:
        if not os.path.isfile(path) or os.path.getsize(path) == 0:
            raise _damaged(folder, f"no {os.path.basename(path)}")
    try:
        return builder.as_data_source(split=split)
    except Exception as error:
        raise _damaged(folder, f"a split {split} that cannot be opened ({_first_line(error)})") from error


def _chosen(info: tfds.core.DatasetInfo, folder: Path, chosen: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return by variable the name of a feature that was chosen, and the feature."""
    features: dict[str, Any] = dict(cast(Any, info.features).items())
    for variable, name in chosen.items():
        feature = features.get(name)
        if feature is None:
            raise ValueError(
                f"{folder}: expected the feature {name!r} for {variable}, found {sorted(features)}"
                f"{nearest(name, features)}"
            )
        numbers = isinstance(feature.np_dtype, type | np.dtype) and np.dtype(feature.np_dtype).kind in "biuf"
        if not numbers or None in feature.shape:
            raise ValueError(
                f"{folder}: expected numbers of one shape in the feature {name!r} for {variable}, found {feature}; "
                "convert it with TFDS first"
            )
    return {variable: (name, features[name]) for variable, name in chosen.items()}


def _found(info: tfds.core.DatasetInfo, folder: Path) -> dict[str, tuple[str, Any]]:
    """Return by variable the name of the image or the label, and the feature."""
    # TFDS reads them back in no fixed order.
    features: dict[str, Any] = dict(sorted(cast(Any, info.features).items()))
    keys: Any = info.supervised_keys
    pair = isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    images = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    images = [keys[0]] if pair and _is_row(features.get(keys[0])) else images
    images = images or [name for name, feature in features.items() if _is_image(feature)]
    labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    image = _one(keys[0] if pair else None, images, _IMAGES)
    if image is None:
        found = f"several, {', '.join(images)}" if images else f"none in {sorted(features)}"
        raise ValueError(
            f"{folder}: expected one feature that is an image, found {found}; choose with features='x=NAME', and "
            "y=NAME for labels"
        )
    shape = features[image].shape
    if (len(shape) != 3 and not _is_row(features[image])) or None in shape:
        raise ValueError(f"{folder}: expected images of one shape, found {shape}; resize them with TFDS first")
    label = _one(keys[1] if pair else None, labels, _LABELS)
    chosen = {"x": (image, features[image])}
    return chosen if label is None else {**chosen, "y": (label, features[label])}


def _one(key: str | None, candidates: Sequence[str], usual: Sequence[str]) -> str | None:
    """Return the supervised key if it is a candidate, else the only candidate, else the first usual name of them."""
    if key in candidates or len(candidates) == 1:
        return key if key in candidates else candidates[0]
    return next((name for name in usual if name in candidates), None)


def _is_image(feature: Any) -> bool:
    if not isinstance(feature, tfds.features.Tensor):
        return False
    shape: Any = feature.shape
    return len(shape) == 3 and feature.np_dtype == np.uint8


def _is_row(feature: Any) -> bool:
    if not isinstance(feature, tfds.features.Tensor):
        return False
    shape: Any = feature.shape
    dtype: Any = feature.np_dtype
    return len(shape) == 1 and np.issubdtype(dtype, np.floating)


def _damaged(folder: Path, found: str) -> ValueError:
    return ValueError(f"{folder}: expected a complete prepared dataset, found {found}; delete it and prepare it again")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Data of one's own, by the path of a file or of a folder: `data.Config.path`."""

from __future__ import annotations

__all__ = ["load_own"]

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vifx.checks import nearest
from vifx.data.data_config import Config
from vifx.data.dataset import Dataset, Info, Split, hold_out
from vifx.data.image_folder import ENDINGS, image_files, open_folder
from vifx.data.opened import Opened
from vifx.data.own_arrays import integer_labels, named_splits, one_array, pixels, read_arrays
from vifx.data.own_tables import Columns, chosen_columns, read_columns
from vifx.data.rows import length, read_all
from vifx.data.standardization import Standardization

_TABLES = (".csv", ".tsv", ".parquet")
_ARRAYS = (".npy", ".npz")
_SPLITS = ("train", "validation", "test")


def load_own(config: Config) -> Dataset:
    """Load the file or the folder of `config.path`.

    * A table (`.csv`, `.tsv`, `.parquet`, or an array with an axis of columns): x has its columns, or those of
      `columns`, float32, standardized over the training rows unless `standardize` is off. y is the column `label`.
    * Images (a folder of PNG and JPEG files, or an array ``[examples, height, width]``, with or without an axis of
      channels): x is uint8 ``[examples, height, width, channels]``, and y the subfolder where each image lies in one.
    * In an `.npz` file x is the entry "x", or the only one, and y the entry `label`, or "y" if there is one. Images may
      be divided already, as "x_train", "x_test" and "x_validation".

    Of a folder, the subfolders train, test and validation are splits. Otherwise `config.test` of the examples are the
    test split, and of the others `config.validation` the validation split.

    Raises:
      ModuleNotFoundError: for a Parquet file, without pyarrow.
      ValueError: if there is nothing at the path, or what is there is not such data; the message says where.
    """
    path = Path(str(config.path)).expanduser()
    ending = path.suffix.lower()
    if not path.exists():
        there = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise config.refused("path", f"must be a file or a folder, got {config.path!r}{nearest(path.name, there)}")
    if path.is_dir():
        _require_unset(config, "a folder of images", "columns", "label")
        return _folder(config, path)
    if ending not in (*_TABLES, *_ARRAYS):
        hint = "; give the folder that it is in" if ending in ENDINGS else ""
        known = ", ".join((*_ARRAYS, *_TABLES))
        raise config.refused("path", f"must end in {known}, or be a folder of images, got {config.path!r}{hint}")
    config.require_resident("a file of arrays or rows is read at once; a folder of images may be streamed")
    if ending in _TABLES:
        return _table(config, read_columns(path, config.columns, config.label))
    arrays = read_arrays(path)
    if (splits := named_splits(arrays, path)) is not None:
        _require_unset(config, "a file of splits", "columns", "label")
        return _images(config, {name: pixels(config, path, split) for name, split in splits.items()})
    x, y = one_array(config, path, arrays)
    if x.ndim <= 2:
        column = config.label if y is None else None
        table = chosen_columns(x.reshape(len(x), -1), path, config.columns, column)
        return _table(config, table if y is None else _labelled(table, integer_labels(y, path)))
    _require_unset(config, "an array of images", "columns")
    return _images(config, {"train": pixels(config, path, {"x": x} if y is None else {"x": x, "y": y})})


def _require_unset(config: Config, what: str, *fields: str) -> None:
    for field in fields:
        if getattr(config, field) is not None:
            raise config.refused(field, f"must be left out for {what}, got {getattr(config, field)!r}")


def _labelled(table: Columns, y: NDArray[np.int32]) -> Columns:
    return table._replace(y=y, label_names=tuple(map(str, range(int(y.max()) + 1))))


def _divided(config: Config, parts: Mapping[str, Split]) -> tuple[Split, Split, Split, tuple[str, ...]]:
    """Return the train, validation and test splits, of which some may be given, and what is to be said of them."""
    train, notes = parts["train"], ()
    size = length(train)
    if size < 3:
        raise config.refused("path", f"must hold three examples or more, of which one is for testing, got {size}")
    if "test" in parts:
        test = parts["test"]
    else:
        train, test = hold_out(train, config.test, config.split_seed, name="test")
        notes = (f"{length(test):,} of {size:,} examples are the test split (test, split_seed)",)
        if not length(test):
            raise config.refused("test", f"must hold out examples, got {config.test} of {size}; raise it")
    if "validation" in parts:
        return train, parts["validation"], test, notes
    train, validation = hold_out(train, config.validation, config.split_seed)
    return train, validation, test, notes


def _table(config: Config, table: Columns) -> Dataset:
    _require_unset(config, "a table", "size")
    *split_rows, notes = _divided(config, {"train": {"row": np.arange(len(table.x))}})
    rows = [split["row"] for split in split_rows]
    x, found = table.x.astype(np.float32), None
    if config.standardize:
        found = Standardization.of(table.x[rows[0]], table.names)
        x = found.standardize(table.x)
        notes = (*notes, _standardized(found))
    whole: dict[str, NDArray[Any]] = {"x": x} if table.y is None else {"x": x, "y": table.y}
    train, validation, test = ({name: array[kept] for name, array in whole.items()} for kept in rows)
    classes = len(table.label_names) or None
    info = Info(config.name, x.shape[1:], classes, -math.inf, math.inf, table.label_names, notes, found)
    return Dataset(train, validation, test, info)


def _standardized(found: Standardization) -> str:
    less = "less" if found.log_scale >= 0 else "more"
    return (
        "columns are standardized to mean 0 and standard deviation 1 of the training rows; a log-density in the "
        f"table's own units is {abs(found.log_scale):.4f} nats {less}"
    )


def _folder(config: Config, path: Path) -> Dataset:
    subfolders = {each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")}
    given = {"train", "test"} <= subfolders <= set(_SPLITS)
    roots = {name: path / name for name in _SPLITS if name in subfolders} if given else {"train": path}
    opened = {name: open_folder(root, image_files(root), config.size) for name, root in roots.items()}
    images, names = opened["train"]
    for name, (others, classes) in opened.items():
        if (others.shape, classes) != (images.shape, names):
            raise ValueError(
                f"{path}: expected the shape and the classes of train in every split, {images.shape} and "
                f"{', '.join(names) or 'none'}, found {others.shape} and {', '.join(classes) or 'none'} in {name}"
            )
    parts: dict[str, Split] = {name: read_all(each[0]) for name, each in opened.items() if name != "train"}
    parts["train"] = Opened(images, config.name) if config.streaming else read_all(images)
    return _images(config, parts, names)


def _images(config: Config, parts: Mapping[str, Split], label_names: tuple[str, ...] = ()) -> Dataset:
    train, validation, test, notes = _divided(config, parts)
    shape = test["x"].shape[1:]
    classes = len(label_names) or None
    if classes is None and "y" in test:
        classes = max(int(part["y"].max()) for part in parts.values()) + 1
    colour = "grey" if shape[-1] == 1 else "red, green and blue"
    cut = f", the middle square of each scaled to {config.size}×{config.size}" if config.size else ""
    seen = f"images are {shape[0]}×{shape[1]}, 8 bits of {colour}{cut}; what is transparent is seen on white"
    info = Info(config.name, shape, classes, 0.0, 255.0, label_names, (seen, *notes))
    return Dataset(train, validation, test, info)

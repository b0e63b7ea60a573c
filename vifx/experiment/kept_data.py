"""What a run keeps of its data: the standardization of a table, by which samples are in the table's own units."""

from __future__ import annotations

__all__ = ["as_seen", "in_own_units", "keep_standardization", "less_in_own_units", "require_same_standardization"]

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.data import Standardization
from vifx.experiment.file import Experiment
from vifx.files import write_whole

_FILE = "standardization.json"
_ROUNDING = 1e-9  # of sums over the rows in another order, relative to the spread


def keep_standardization(directory: Path, built: Experiment) -> None:
    """Write the standardization of an experiment's data into its run, or if it is there, check that it is the same.

    Raises:
      ValueError: as `require_same_standardization`.
    """
    found = _standardization(built)
    path = directory / _FILE
    if found is None or path.is_file():
        require_same_standardization(directory, built)
        return
    content = {"names": found.names, "location": found.location, "scale": found.scale}
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def require_same_standardization(directory: Path, built: Experiment) -> None:
    """Check that the data of a run is still standardized as it was in training.

    Raises:
      ValueError: if a column has another mean or spread, because the table has changed; or the file is damaged.
    """
    path, found = directory / _FILE, _standardization(built)
    if found is None or not path.is_file():
        return
    try:
        kept = Standardization(**{name: tuple(value) for name, value in json.loads(path.read_bytes()).items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the standardization of a run: {error}") from error
    for name, *there, mean, scale in zip(*kept, found.location, found.scale, strict=True):
        if not np.allclose(there, (mean, scale), rtol=_ROUNDING, atol=_ROUNDING * scale):
            raise ValueError(
                f"{path}: column {name!r} had mean {there[0]:g} and standard deviation {there[1]:g} in training, and "
                f"has {mean:g} and {scale:g} now, so the table has changed since; restore it, or start a new run"
            )


def in_own_units(built: Experiment, name: str, values: np.ndarray) -> np.ndarray:
    """Return values of a variable of the data in the units of its table, if the model sees them standardized."""
    found = _standardization(built)
    return values if found is None or name != "x" else found.restore(values)


def as_seen(built: Experiment, name: str, values: ArrayLike) -> NDArray[Any]:
    """Return values of a variable of the data as the model sees them, from those in the units of its table.

    Raises:
      ValueError: if a table has other columns.
    """
    found, rows = _standardization(built), np.asarray(values)
    if found is None or name != "x":
        return rows
    if rows.ndim != 2 or rows.shape[1] != len(found.names):
        raise ValueError(
            f"x must be rows of the columns {', '.join(found.names)}, [examples, {len(found.names)}], in the units of "
            f"the table, got {list(rows.shape)}"
        )
    return found.standardize(rows)


def less_in_own_units(built: Experiment) -> float:
    """Return by how much a log-density in the units of the table is less than that of what the model sees, in nats."""
    found = _standardization(built)
    modelled = "x" in built.inference.observed and "x" not in built.generative.observed
    return found.log_scale if found is not None and modelled else 0.0


def _standardization(built: Experiment) -> Standardization | None:
    return None if built.splits is None else built.splits.info.standardization

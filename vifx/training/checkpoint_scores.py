"""The metrics of all checkpoints of a run, as they were when each was saved, and which is the best."""

from __future__ import annotations

__all__ = ["best_of", "read_scores", "record_scores"]

import json
import math
from collections.abc import Mapping
from pathlib import Path

from vifx.training.errors import CheckpointError
from vifx.training.metrics import decode, encode

_NAME = "metrics.json"


def read_scores(directory: Path) -> dict[int, dict[str, int | float]]:
    """Return the metrics by step, also of checkpoints damaged since; none if there is no such file.

    Raises:
      CheckpointError: if the file is damaged.
    """
    path = directory / _NAME
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
        return {int(step): decode(metrics) for step, metrics in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged ({str(error).partition(chr(10))[0]}); delete it, and the checkpoints themselves are asked"
        ) from error


def record_scores(directory: Path, scores: Mapping[int, Mapping[str, int | float]]) -> None:
    """Write the metrics by step, at once or not at all."""
    partial = directory / f"{_NAME}.partial"
    text = json.dumps({str(step): encode(metrics) for step, metrics in scores.items()})
    partial.write_text(text, encoding="utf-8")
    partial.replace(directory / _NAME)


def best_of(best: str | None, scores: Mapping[int, Mapping[str, int | float]]) -> int | None:
    """Return the step with the smallest finite value of a metric, the latest of equals; with a minus sign, largest."""
    if best is None:
        return None
    name, sign = best.removeprefix("-"), -1 if best.startswith("-") else 1
    each = [(sign * metrics.get(name, math.nan), -step) for step, metrics in scores.items()]
    finite = [score for score in each if math.isfinite(score[0])]
    return -min(finite)[1] if finite else None

"""Controls of sample quality: what training images, a Gaussian of the pixels and noise score against the same data."""

from __future__ import annotations

__all__ = ["CONTROLS", "image_controls"]

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vifx.data import Split, batches
from vifx.data.rows import length, read
from vifx.files import write_whole

_FITTED = 20_000  # training images that the Gaussian is fitted to
_ROWS = 2048
_SEED = 0

CONTROLS: Mapping[str, str] = MappingProxyType(
    {
        "train_images": "control: as many training images, data against data",
        "pixel_gaussian": f"control: a Gaussian with the mean and covariance of ≤ {_FITTED:,} training images",
        "uniform_noise": "control: pixels that are uniform noise",
    }
)
"""What each control is, by its name."""


def image_controls(
    score: Callable[[NDArray[np.uint8]], Mapping[str, float]],
    real: NDArray[np.uint8],
    train: Split,
    *,
    folder: Path | None = None,
    identity: str = "",
) -> dict[str, dict[str, float]]:
    """Return the scores of each control, by control and metric.

    They do not depend on the model, so that they are computed once, and with `folder` kept there for other runs. As
    many training images as there are of `real` are the perfect generator that copies; there is no such control where
    the training split has fewer. A draw of the Gaussian is ``μ + Σ_i g_i (x_i − μ) / √(n − 1)`` with standard normal
    g: no matrix is factorized, and constant pixels stay constant.

    Args:
      score: of images, ``[n, height, width, channels]``, against the data.
      real: the images of the data, uint8.
      train: the training split.
      folder: where the scores are kept; None for nowhere.
      identity: of `score`, such as the hash of the features: scores that are kept are of one identity, one set of
        images and one training split.

    Raises:
      ValueError: if what `folder` has kept cannot be read.
    """
    first = read(train, np.arange(min(max(_FITTED, len(real)), length(train))))["x"]
    path = None if folder is None else folder / f"controls-{_digest(identity, real, first)}.json"
    if path is not None and path.is_file():
        return _kept(path)
    generator = np.random.default_rng(_SEED)
    drawn = {
        "train_images": lambda: first[: len(real)],
        "pixel_gaussian": lambda: _gaussian(generator, first[:_FITTED], len(real)),
        "uniform_noise": lambda: generator.integers(0, 256, real.shape, np.uint8),
    }
    if len(first) < len(real):
        del drawn["train_images"]
    found = {name: {metric: float(value) for metric, value in score(draw()).items()} for name, draw in drawn.items()}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(found, indent=2) + "\n").encode())
    return found


def _gaussian(generator: np.random.Generator, images: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    """Draw images from the Gaussian with the mean and the covariance of others, rounded and clipped to 8 bits."""
    mean = images.reshape(len(images), -1).mean(axis=0, dtype=np.float64).astype(np.float32)
    drawn = np.tile(mean, (n, 1))
    for part in batches({"x": images}, _ROWS):
        centred = part["x"].reshape(len(part["x"]), -1).astype(np.float32) - mean
        noise = generator.standard_normal((n, len(centred)), np.float32)
        drawn += noise @ centred / np.float32(np.sqrt(max(1, len(images) - 1)))
    return np.floor(drawn.clip(0, 255) + 0.5).astype(np.uint8).reshape(n, *images.shape[1:])


def _kept(path: Path) -> dict[str, dict[str, float]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: cannot read the scores of controls ({error}); delete it to measure them again"
        ) from error


def _digest(identity: str, *images: NDArray[Any]) -> str:
    content = hashlib.sha256(f"{identity}; {_FITTED}; {_SEED}".encode())
    for array in images:
        content.update(str(array.shape).encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:12]

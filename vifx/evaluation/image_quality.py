"""The quality of generated images in the features of one frozen network, named by its hash.

FMD, the Fréchet distance there, is never called FID, which belongs to one Inception network and to natural images.
"""

from __future__ import annotations

__all__ = ["Features", "Fmd", "as_bytes", "fmd", "measure_image_quality"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_unmasked
from vifx.core.types import Key, Params, State
from vifx.data import Split, batches
from vifx.evaluation.frechet import frechet_distance
from vifx.evaluation.image_controls import CONTROLS, image_controls
from vifx.evaluation.kernel_distance import kid
from vifx.evaluation.measure import Measure, unmeasured
from vifx.evaluation.neighbours import expected_coverage, prdc
from vifx.evaluation.samples import memorization
from vifx.evaluation.table import Noted

_NEIGHBOURS = 5
_ROWS = 8192  # training images in memory at a time
_SEARCHED = 100_000


def as_bytes(images: ArrayLike) -> NDArray[np.uint8]:
    """Return images as uint8: floats in [0, 1] are rounded to the 256 levels.

    Raises:
      ValueError: if they are not ``[n, height, width, channels]``, or floats outside [0, 1].
    """
    array = np.asarray(require_unmasked(images, "images"))
    if array.ndim != 4 or len(array) == 0:
        raise ValueError(
            f"images must be [n, height, width, channels] with at least one image, got shape {array.shape}."
        )
    if array.dtype != np.uint8:
        # The comparison is false for NaN too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"images must be uint8 or floats in [0, 1], got values from {array.min()} to {array.max()}; "
                "map the sampler's range onto [0, 1] first."
            )
        array = np.floor(255.0 * array + 0.5).astype(np.uint8)
    return array


@dataclass(frozen=True, eq=False)
class Features:
    """A frozen map from images to features, and what identifies it.

    Called with images ``[n, height, width, channels]``, it returns features ``[n, features]``. Images are uint8, or
    floats in [0, 1], which are rounded to the 256 levels that data has: without that, a sampler would be
    told from data by its levels alone.

    Attributes:
      apply: from uint8 images to features, which may be any function of one's own, such as the last layer but one of a
        network from elsewhere.
      weight_hash: a few letters that identify the map: distances under different ones do not compare.
      accuracy: of the classifier that the features come from, on its dataset's test split; None without one.
      origin: what they are, in words, where they are not of a classifier.
      folder: where scores that depend on features and data alone are kept; None for nowhere.
    """

    apply: Callable[[NDArray[np.uint8]], NDArray[Any]]
    weight_hash: str
    accuracy: float | None = None
    origin: str = ""
    folder: Path | None = None

    def __str__(self) -> str:
        """Return "features 0123456789ab of test accuracy 91.2%"."""
        origin = self.origin if self.accuracy is None else f"test accuracy {self.accuracy:.1%}"
        return f"features {self.weight_hash}" + (f" of {origin}" if origin else "")

    def __call__(self, images: ArrayLike) -> NDArray[Any]:
        """Return the features of images.

        Raises:
          ValueError: if they are not ``[n, height, width, channels]``, or floats outside [0, 1].
        """
        return self.apply(as_bytes(images))


class Fmd(NamedTuple):
    """A Fréchet distance, with all that it depends on.

    Attributes:
      distance: ``‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)`` in squared units of the features.
      relative: the distance over tr Σ of the data: free of the features' scale, 0 at best, about 1 for a sampler
        that always draws the mean image.
      examples: n, of either side; the distance of two samples of one distribution is of order 1/n.
      features: what they are: their hash, and the accuracy of their classifier if they have one.
    """

    distance: float
    relative: float
    examples: int
    features: str

    def __str__(self) -> str:
        return f"FMD {self.distance:.2f} ({self.note})"

    @property
    def note(self) -> str:
        """What a reader must know to compare the distance with another one."""
        return f"n = {self.examples:,}, {self.features}"


def fmd(features: Features, samples: ArrayLike, data: ArrayLike) -> Fmd:
    """Return the Fréchet distance between two equally large sets of images in the features of a frozen network.

    Args:
      features: the frozen map.
      samples: generated images ``[n, height, width, channels]``, uint8 or floats in [0, 1].
      data: images of the dataset, the same shape; usually the test split.

    Raises:
      ValueError: if the two sets differ in size, since the bias is of order 1/n, or have fewer than two images, or
        the features are the same for all images of `data`.

    Reference: Heusel et al., GANs trained by a two time-scale update rule, 2017, for the distance; the features
    are our own.
    """
    if np.shape(samples)[0] != np.shape(data)[0]:
        raise ValueError(
            f"samples and data must be equally many, since FMD depends on the number, got {np.shape(samples)[0]} and "
            f"{np.shape(data)[0]}; take equal subsets."
        )
    return _fmd(features, features(samples), features(data))


def measure_image_quality(
    sample: Callable[[Key, Params, State, int, float], NDArray[Any]],
    split: Split,
    features: Callable[[], Features],
    *,
    n: int | None = None,
    train: Split | None = None,
    memorized: int = 1000,
) -> Measure:
    """Measure samples against the first `n` images of a split, in the features of a frozen network.

    ``fmd`` and ``fmd/relative`` are as in `fmd`, and the first says in the table what it depends on; ``kid`` is `kid`
    of the same features, and ``precision``, ``recall``, ``density`` and ``coverage`` their `prdc`; ``memorization``
    compares the distances of samples to their nearest training image, in pixels, with those of the split's own
    images. A split of five images or fewer has no neighbours to count, and is not measured.

    With a training split, controls stand beside each score, ``fmd/train_images`` and so on: what as many training
    images, a Gaussian of the training pixels and uniform noise score against the same images. They are computed at the
    first measurement, and kept where the features are (`Features.folder`).

    Args:
      sample: such as `DecodedImages.sample`.
      split: uint8 images, usually the test split.
      features: gives the frozen map, such as ``lambda: feature_network(config.data)``, or one's own `Features`; called
        at the first measurement, so that building an experiment does not train a network.
      n: how many samples and images; all of the split by default.
      train: the training split, for memorization and controls; without it, there are no such entries.
      memorized: how many of the samples, and of the images, are searched for in the training split, among its first
        100,000 images.
    """
    real = np.asarray(split["x"][:n])
    if len(real) <= _NEIGHBOURS:
        return unmeasured
    network = cache(features)
    real_features = cache(lambda: network()(real))
    ideal = expected_coverage(len(real), len(real))

    def nearer(images: NDArray[Any], train: Split) -> float:
        held = np.asarray(real[:memorized], np.float32) / 255
        return memorization(np.asarray(images[:memorized]), _searched(train), held).closer

    @cache
    def controls() -> Mapping[str, Mapping[str, float]]:
        if train is None:
            return {}

        def score(images: NDArray[np.uint8], train: Split = train) -> Mapping[str, float]:
            found = _scores(network(), network()(images), real_features())
            found["memorization"] = nearer(np.asarray(images[:memorized], np.float32) / 255, train)
            return found

        return image_controls(score, real, train, folder=network().folder, identity=network().weight_hash)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        images = sample(key, params, state, len(real), 1.0)
        found = _scores(network(), network()(images), real_features())
        found["coverage"] = Noted(found["coverage"], f"data balls with a sample; {ideal:.3f} for a perfect generator")
        if train is not None:
            found["memorization"] = nearer(images, train)
        beside = dict[str, float]()
        for name, value in found.items():
            beside[name] = value
            for control, scores in controls().items() if "/" not in name else ():
                beside[f"{name}/{control}"] = Noted(scores[name], CONTROLS[control])
        return beside

    return measure


def _searched(train: Split) -> Iterator[NDArray[Any]]:
    """Yield training images in [0, 1], some at a time."""
    left = _SEARCHED
    for part in batches(train, _ROWS):
        yield np.asarray(part["x"][:left], np.float32) / 255
        left -= len(part["x"])
        if left <= 0:
            return


def _scores(features: Features, generated: NDArray[Any], real: NDArray[Any]) -> dict[str, float]:
    distance, kernel = _fmd(features, generated, real), kid(generated, real)
    found = prdc(real, generated, neighbours=_NEIGHBOURS)
    return {
        "fmd": Noted(distance.distance, distance.note),
        "fmd/relative": distance.relative,
        "kid": Noted(kernel.value, kernel.note),
        "coverage": found.coverage,
        "density": found.density,
        "precision": found.precision,
        "recall": found.recall,
    }


def _fmd(features: Features, generated: NDArray[Any], real: NDArray[Any]) -> Fmd:
    distance = frechet_distance(generated, real)
    spread = float(np.sum(np.var(np.asarray(real, np.float64), axis=0, ddof=1)))
    if not spread > np.shape(real)[1] * (8 * np.finfo(np.float64).eps * np.max(np.abs(real))) ** 2:
        raise ValueError(
            f"data must have features with spread, by which the distance is divided, got tr Σ = {spread:g} in "
            f"{len(real)} images; give different images, or features that tell them apart."
        )
    return Fmd(distance, distance / spread, len(real), str(features))

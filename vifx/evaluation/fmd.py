"""FMD: the Fréchet distance between images in the features of one frozen network, named by its hash.

It is never called FID, which belongs to one Inception network and to natural images.
"""

from __future__ import annotations

__all__ = ["Features", "Fmd", "fmd", "of_features"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_unmasked
from vifx.evaluation.samples import frechet_distance


@dataclass(frozen=True, eq=False)
class Features:
    """A frozen map from images to features, and what identifies it.

    Called with images ``[n, height, width, channels]``, it returns features ``[n, features]``. Images are uint8, or
    floats in [0, 1], which are rounded to the 256 levels that data has: without that, a sampler would be
    told from data by its levels alone.

    Attributes:
      apply: from uint8 images to features.
      weight_hash: hexadecimal digits that identify the weights: distances under different ones do not compare.
      accuracy: of the classifier that the features come from, on its dataset's test split.
    """

    apply: Callable[[NDArray[np.uint8]], NDArray[Any]]
    weight_hash: str
    accuracy: float

    def __call__(self, images: ArrayLike) -> NDArray[Any]:
        """Return the features of images.

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
        return self.apply(array)


class Fmd(NamedTuple):
    """A Fréchet distance, with all that it depends on.

    Attributes:
      distance: ``‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)`` in squared units of the features.
      relative: the distance over tr Σ of the data: free of the features' scale, 0 at best, about 1 for a sampler
        that always draws the mean image.
      examples: n, of either side; the distance of two samples of one distribution is of order 1/n.
      weight_hash: of the features.
      accuracy: of the features' classifier.
    """

    distance: float
    relative: float
    examples: int
    weight_hash: str
    accuracy: float

    def __str__(self) -> str:
        return f"FMD {self.distance:.2f} ({self.note})"

    @property
    def note(self) -> str:
        """What a reader must know to compare the distance with another one."""
        return f"n = {self.examples:,}, features {self.weight_hash} of test accuracy {self.accuracy:.1%}"


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
    return of_features(features, features(samples), features(data))


def of_features(features: Features, generated: NDArray[Any], real: NDArray[Any]) -> Fmd:
    """Return `fmd` when the features ``[n, features]`` of either side are at hand.

    Raises:
      ValueError: as `fmd` does.
    """
    distance = frechet_distance(generated, real)
    spread = float(np.sum(np.var(np.asarray(real, np.float64), axis=0, ddof=1)))
    if not spread > np.shape(real)[1] * (8 * np.finfo(np.float64).eps * np.max(np.abs(real))) ** 2:
        raise ValueError(
            f"data must have features with spread, by which the distance is divided, got tr Σ = {spread:g} in "
            f"{len(real)} images; give different images, or features that tell them apart."
        )
    return Fmd(distance, distance / spread, len(real), features.weight_hash, features.accuracy)

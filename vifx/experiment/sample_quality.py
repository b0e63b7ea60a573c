"""The quality of a model's images or rows, one measure for experiments of every kind."""

from __future__ import annotations

__all__ = ["sample_quality"]

from collections.abc import Mapping
from functools import cache, partial

import numpy as np

from vifx import data
from vifx.core.types import Key, Params, State
from vifx.data import Dataset
from vifx.evaluation import features_of, measure_image_quality, measure_rows
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Measure
from vifx.experiment.file import Experiment


def sample_quality(built: Experiment, config: data.Config, examples: int) -> Measure | None:
    """Return what measures samples against the test split, or None for a model of neither images nor rows.

    A generator, an autoencoder, a flow and a mixture have the same lines in their tables, so that they compare: of
    images `evaluation.measure_image_quality` of what `vifx sample` draws, with its controls, in the features of one
    network; of rows of real numbers `evaluation.measure_rows`. Where a model does not see the 8-bit images, they are
    read again when it is measured.

    Args:
      built: an experiment.
      config: which data it is of.
      examples: of the test split, and as many samples; fewer where the test split has fewer.
    """
    drawn = built.sample
    if drawn is None:
        x = {} if built.splits is None else built.splits.test
        of_rows = "x" in x and x["x"].ndim == 2 and np.issubdtype(x["x"].dtype, np.floating)
        return measure_rows(built.generative, x, n=examples) if of_rows and "x" in built.generative.variables else None

    @cache
    def quality() -> Measure:
        splits = _images(built.splits, config)
        return measure_image_quality(drawn, splits.test, partial(features_of, config), n=examples, train=splits.train)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        return quality()(key, params, state)

    return measure


def _images(splits: Dataset | None, config: data.Config) -> Dataset:
    """Return the splits whose images are uint8."""
    if splits is not None and splits.test["x"].dtype == np.uint8 and splits.test["x"].ndim == 4:
        return splits
    return data.load(config)

"""Certificates of a trained model, on evidence as its data set has it."""

from __future__ import annotations

__all__ = ["certified"]

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from vifx import evaluation
from vifx.core.types import Batch
from vifx.evaluation import Certificate
from vifx.experiment.kept_data import less_in_own_units
from vifx.experiment.model_functions import Model, as_trained


def certified(model: Model, batch: Batch, seed: int, **settings: Any) -> Certificate:
    """Return the certificate of examples, in the units of their data; see `vifx.evaluation.certify`.

    Raises:
      ValueError: as `vifx.evaluation.certify`.
    """
    built, params, state = model
    seen, transform = as_trained(built, batch, seed)
    split = {name: np.asarray(value) for name, value in seen.items()}
    key = jax.random.key(seed)
    found = evaluation.certify(key, built.inference, built.generative, params, state, split, **settings)
    less = less_in_own_units(built)
    if less:
        ends = ("below", "above")
        moved = {end: dataclasses.replace(each := getattr(found, end), values=each.values - less) for end in ends}
        found = dataclasses.replace(found, **moved)
    shades = getattr(transform, "shades", None)
    return found if shades is None else dataclasses.replace(found, offset=math.log(shades))

"""What experiments measure and draw on data whose law is known: the density that they have to reach."""

from __future__ import annotations

__all__ = ["compared", "draw_projection"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vifx import evaluation
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Modes, Split
from vifx.evaluation import Estimate
from vifx.experiment.file import Drawing, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compared(measure: Measure, law: Modes, split: Split, *, metric: str = "log_prob/test") -> Measure:
    """Return a measure with what the true density has on the same rows.

    ``log_prob/test`` is the mean log-likelihood of the model and ``log_prob/test/true`` that of the law, in nats. The
    mean of their differences row by row, ``kl/true``, estimates ``KL(law ‖ model)`` without bias. It has a far smaller
    standard error than either, since what is hard about a row is hard for both. A model with k free parameters that is
    fitted to n rows by maximum likelihood has a divergence of about ``k/(2n)`` nats.

    Args:
      measure: of the model; one of its metrics is an `Estimate` of log-likelihoods, or of their negatives.
      law: what the rows were drawn from.
      split: rows ``x``, usually the test split.
      metric: the name of that metric; those of ``nll/…`` change their sign.
    """
    weights = split.get(WEIGHTS)
    truth = law.log_prob(split["x"])

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = measure(key, params, state)
        each = found[metric]
        if not isinstance(each, Estimate):
            raise TypeError(f"compared: metric must be an Estimate with a value a row, got {metric!r}, a number")
        values = np.asarray(each.values, np.float64) * (-1 if metric.startswith("nll/") else 1)
        low, high = (f"{end:.4f}".replace("-", "−") for end in Estimate(truth - values, weights=weights).interval)
        note = f"true density minus model, row by row; 95 % interval {low} to {high}"
        return {
            "log_prob/test": Estimate(values, "mean log-likelihood, exact", weights),
            **found,
            "log_prob/test/true": Estimate(truth, "of the density that the rows were drawn from", weights),
            "kl/true": Estimate(truth - values, note, weights),
        }

    return measured


def draw_projection(generative: Joint, law: Modes, *, n: int = 20_000, title: str = "") -> Drawing:
    """Draw the law along the line through its first two centres, with a histogram of `n` samples of the model.

    Args:
      generative: of ``x``.
      law: what the rows were drawn from.
      n: how many samples.
      title: above, on the left.
    """
    line = law.centres[0] - law.centres[1]
    line = line / np.linalg.norm(line)
    shadow = Modes(law.centres @ line[:, None], law.scale, law.weights)
    reach = 4 * law.scale
    grid = np.linspace((shadow.centres[:, 0] - reach).min(), (shadow.centres[:, 0] + reach).max(), 1000)

    def draw(key: Key, params: Params, state: State) -> Figure:
        drawn = np.asarray(generative.sample(key, params, state, examples=n).values["x"], np.float64) @ line
        return evaluation.density_fit_1d(grid, np.exp(shadow.log_prob(grid[:, None])), {}, samples=drawn, title=title)

    return draw

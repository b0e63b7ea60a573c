"""Rows of a table: how near samples are to them, and the histogram of each column."""

from __future__ import annotations

__all__ = ["draw_columns", "measure_rows"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Dataset, Split
from vifx.evaluation.batches import samples
from vifx.evaluation.frechet import frechet_distance
from vifx.evaluation.kernel_distance import kid
from vifx.evaluation.measure import Drawing, Measure, unmeasured
from vifx.evaluation.neighbours import expected_coverage, prdc
from vifx.evaluation.style import STYLE, dress, legend, panels
from vifx.evaluation.table import Noted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NEIGHBOURS = 5
_MOST_COLUMNS = 12


def measure_rows(generative: Joint, split: Split, *, n: int = 2000) -> Measure:
    """Measure samples against the first `n` rows of a split, by distances between rows as the model sees them.

    ``frechet`` is the squared Fréchet distance of the Gaussians that are fitted to both; ``kid`` is `kid` of the
    rows, and ``precision``, ``recall``, ``density`` and ``coverage`` are their `prdc`. A split of five rows or fewer
    has no neighbours to count, and is not measured.

    Args:
      generative: prior and generator of rows ``x``.
      split: rows ``x``, ``[examples, columns]``.
      n: how many rows, and as many samples.
    """
    real = np.asarray(split["x"][:n])
    if len(real) <= _NEIGHBOURS:
        return unmeasured
    ideal = f"data balls with a sample; {expected_coverage(len(real), len(real)):.3f} for a perfect generator"

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        drawn = samples(key, generative, params, state, len(real))
        found, kernel = prdc(real, drawn, neighbours=_NEIGHBOURS), kid(drawn, real)
        return {
            "frechet": frechet_distance(drawn, real),
            "kid": Noted(kernel.value, kernel.note),
            "coverage": Noted(found.coverage, ideal),
            "density": found.density,
            "precision": found.precision,
            "recall": found.recall,
        }

    return measure


def draw_columns(generative: Joint, splits: Dataset, *, n: int = 2000) -> Drawing:
    """Draw the histogram of each of the first twelve columns, of samples above that of test rows, in the table's units.

    Args:
      generative: a joint of rows ``x``.
      splits: whose test rows are compared, and whose standardization is undone.
      n: at most how many of either.
    """
    table = splits.info.standardization

    def draw(key: Key, params: Params, state: State) -> Figure:
        real = np.asarray(splits.test["x"][:n], np.float64)
        drawn = np.asarray(samples(key, generative, params, state, len(real)), np.float64)
        names = [f"x{column}" for column in range(1, real.shape[1] + 1)]
        if table is not None:
            real, drawn, names = table.restore(real), table.restore(drawn), list(table.names)
        count = min(len(names), _MOST_COLUMNS)
        columns = min(3, count)
        rows = -(-count // columns)
        figure, every = panels(rows, columns, title="Columns of the table", height=0.8 + 1.9 * rows)
        for column, axes in enumerate(every[:count]):
            dress(axes, names[column], "density" if column % columns == 0 else "")
            bins = np.histogram_bin_edges(real[:, column], 30)
            for values, colour, name in ((real, STYLE.lines[0], "test rows"), (drawn, STYLE.lines[1], "samples")):
                inside = np.clip(values[:, column], bins[0], bins[-1])  # what lies beyond is in the last bin
                axes.hist(inside, bins, density=True, histtype="step", color=colour, label=name)
        for axes in every[count:]:
            axes.remove()
        legend(figure, columns=2)
        return figure

    return draw

"""Families of models in one table: what was measured of each over its seeds, beside controls and the true law."""

from __future__ import annotations

__all__ = ["COLUMNS", "Cell", "Column", "Compared", "Source", "compared", "controls"]

import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from vifx.evaluation.estimate import minus
from vifx.evaluation.image_controls import CONTROLS

Results = Mapping[str, float]
"""What was measured of a run, by name."""
_TRUE_LAW = "the true law"


class Source(NamedTuple):
    """Where the number of a column comes from.

    Attributes:
      metric: of a run.
      sign: what it is multiplied by.
      side: "≤" if the metric bounds what the column is of from above, "≥" from below, "" if it is exact or no bound.
    """

    metric: str
    sign: int = 1
    side: Literal["≤", "≥", ""] = ""


class Column(NamedTuple):
    """A column of the table.

    Attributes:
      heading: with its unit.
      better: which way is better; empty if neither.
      sources: the first that a run has counts.
    """

    heading: str
    better: Literal["lower", "higher", ""]
    sources: Sequence[Source]


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "bits_per_dim": Column(
            "bits/dim", "lower", (Source("bits_per_dim/iwae/1000", side="≤"), Source("bits_per_dim", side="≤"))
        ),
        "bits_per_dim/elbo": Column("bits/dim by the ELBO", "lower", (Source("bits_per_dim", side="≤"),)),
        "log_prob": Column(
            "log-likelihood, nats",
            "higher",
            (
                Source("log_prob/test"),
                Source("iwae/1000", side="≥"),
                Source("elbo", side="≥"),
                Source("nll/x", -1),  # of a joint without latents alone: elsewhere it is a term of the ELBO
            ),
        ),
        "kl_true": Column("KL from the true law, nats", "lower", (Source("kl/true"),)),
        "fmd": Column("FMD", "lower", (Source("fmd"),)),
        "kid": Column("KID", "lower", (Source("kid"),)),
        "frechet": Column("Fréchet distance", "lower", (Source("frechet"),)),
        "coverage": Column("coverage", "higher", (Source("coverage"),)),
        "density": Column("density", "", (Source("density"),)),
        "memorization": Column("memorization", "", (Source("memorization"),)),
        "active_units": Column("active units", "higher", (Source("active_units"),)),
    }
)
"""What a benchmark can show, by name."""


class Cell(NamedTuple):
    """A number of the table.

    Attributes:
      median: over seeds.
      low: the smallest.
      high: the largest.
      side: as that of a `Source`.
    """

    median: float
    low: float
    high: float
    side: str = ""

    def __str__(self) -> str:
        side = f"{self.side} " if self.side else ""
        text = f"{side}{self.median:.4g}"
        return minus(text if self.low == self.high else f"{text} ({self.low:.4g} to {self.high:.4g})")


class Compared(NamedTuple):
    """A row of the table.

    Attributes:
      name: of the family, the control or the law.
      seeds: how many runs are behind it.
      cells: by column; what was not measured is missing.
      kind: what it is.
    """

    name: str
    seeds: int
    cells: Mapping[str, Cell]
    kind: Literal["family", "control"] = "family"


def compared(name: str, runs: Sequence[Results], columns: Sequence[str]) -> Compared:
    """Return a family's row: the median and the range over its runs, of the first source that all of them have."""
    cells = {}
    for column in columns:
        for source in COLUMNS[column].sources:
            values = [source.sign * run[source.metric] for run in runs if source.metric in run]
            if runs and len(values) == len(runs):
                cells[column] = Cell(statistics.median(values), min(values), max(values), source.side)
                break
    return Compared(name, len(runs), cells)


def controls(runs: Sequence[Results], columns: Sequence[str]) -> list[Compared]:
    """Return the rows of what no model was trained for: training images, Gaussians, noise, and the law of the data.

    Every run measures them; those of the first run that has them count.
    """
    named = {
        **{control: control.replace("_", " ").replace("gaussian", "Gaussian") for control in CONTROLS},
        "gaussian": "Gaussian on the logits",
        "true": _TRUE_LAW,
    }
    rows = []
    for suffix, name in named.items():
        cells = {}
        for column in columns:
            for source in COLUMNS[column].sources:
                values = [source.sign * run[each] for run in runs if (each := f"{source.metric}/{suffix}") in run]
                if values and source.metric != "kl/true":
                    cells[column] = Cell(values[0], values[0], values[0], source.side)
                    break
        if cells:
            rows.append(Compared(name, 0, cells, "control"))
    return rows

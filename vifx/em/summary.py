"""A fitted model as tables: what it was fitted to, how well, and its parameters as one reads them."""

from __future__ import annotations

__all__ = ["Summary", "Table", "named_estimates", "summarized"]

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vifx.core.types import Params
from vifx.em.model import Model

if TYPE_CHECKING:
    from vifx.em.fitted import Fit

_MOST = 8
"""The most columns of a table, and of rows of a matrix; of more the first ones and the last are shown."""
_MOST_ROWS = 40
_SINGLE = ("weights", "initial", "df")
"""What has one number for each state, and so shares a table."""


class Table(NamedTuple):
    """A table of a summary.

    Attributes:
      title: what it is of.
      columns: their names, the first one that of the rows.
      rows: the cells of each row, the first one its name.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        cells = [
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
            for line in lines
        ]
        text = ["  ".join(line).rstrip() for line in cells]
        return "\n".join([self.title, *text])


class Summary(NamedTuple):
    """What there is to know of a fit, for a reader: `print` shows it as text, a notebook as tables.

    Attributes:
      lines: what was fitted, to what, and how well.
      tables: the parameters.
    """

    lines: tuple[str, ...]
    tables: tuple[Table, ...]

    def __str__(self) -> str:
        return "\n\n".join(["\n".join(self.lines), *map(str, self.tables)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        parts = [f"<p>{'<br>'.join(map(html.escape, self.lines))}</p>"]
        for table in self.tables:
            head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
            body = "".join(
                "<tr>"
                + f"<th>{html.escape(row[0])}</th>"
                + "".join(f"<td>{html.escape(c)}</td>" for c in row[1:])
                + "</tr>"
                for row in table.rows
            )
            caption = f"<caption>{html.escape(table.title)}</caption>"
            parts.append(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        return "\n".join(parts)


def named_estimates(model: Model, params: Params) -> dict[str, np.ndarray]:
    """Return the parameters of all families of a model as one reads them, by name.

    Args:
      model: whose parameters.
      params: one entry per owner.
    """
    found: dict[str, np.ndarray] = {}
    for item in model.generative.modelled:
        owner = str(item.owner)
        if owner not in model.families:
            continue
        own = {name: np.asarray(value) for name, value in model.families[owner].estimates(params[owner]).items()}
        if item.variables == (model.latent,) and "probabilities" in own:
            own = {"weights": own["probabilities"].reshape(-1)}
        found |= own
    return found


def summarized(fit: Fit, names: Sequence[str]) -> Summary:
    """Return the summary of a fit.

    Args:
      names: of the features; none for x0, x1, ...

    Raises:
      ValueError: there is another number of features.
    """
    size = fit.event[-1] if fit.event else 1
    if names and (isinstance(names, str) or len(names) != size):
        raise ValueError(f"summary: names must be one for each of the {size} features, got {names!r}.")
    estimates, states = dict(fit.estimates), fit.model.components
    features = tuple(names) or tuple(f"x{i}" for i in range(size))
    return Summary(tuple(_lines(fit)), tuple(_tables(estimates, states, features)))


def _lines(fit: Fit) -> Iterator[str]:
    latent = "a continuous latent" if fit.model.components is None else f"{fit.model.components} components"
    what = "components" if fit.model.latent_axes == 1 else "states"
    yield f"{fit.model.generative}, {latent.replace('components', what)}"
    updates = len(fit.history) - 1
    converged = f"converged after {updates} updates" if fit.converged else f"not converged after {updates} updates"
    steps = f" of {fit.observations:g} steps in all" if fit.model.latent_axes == 2 else ""
    yield f"fitted to {fit.examples:g} examples{steps}, {converged}"
    mean = fit.log_likelihood / fit.examples
    yield f"log-likelihood {fit.log_likelihood:.6g} nats, {mean:.6g} per example; {fit.degrees} free parameters"
    yield f"BIC {fit.bic():.6g}, AIC {fit.aic():.6g} nats"
    yield from fit.messages


def _tables(estimates: dict[str, np.ndarray], states: int | None, features: Sequence[str]) -> Iterator[Table]:
    kind, own = "component", [str(k) for k in range(states or 0)]
    if "transitions" in estimates and states:
        kind = "state"
    single = {n: v for n, v in estimates.items() if states and v.shape == (states,) and (n in _SINGLE or states > 1)}
    if single:
        yield _matrix(", ".join(single), kind, own, [*single], np.stack([*single.values()], axis=1))
    for name, value in estimates.items():
        title, columns = name.replace("_", " "), _columns(name, value, features)
        if name in single:
            continue
        if name == "transitions" and states:
            yield _matrix("transitions, from a row to a column", kind, own, own, value)
        elif states and value.ndim >= 2 and len(value) == states and name not in ("transitions",):
            yield from _of_states(title, kind, own, columns, features, value)
        elif value.ndim == 2:
            rows = features if len(value) == len(features) and "transition" not in name else _numbered("z", len(value))
            yield _matrix(title, "", rows, columns, value)
        else:
            flat = value.reshape(1, -1)
            yield _matrix(
                title, "", [""], columns if len(columns) == flat.shape[1] else _numbered("", flat.shape[1]), flat
            )


def _of_states(
    title: str, kind: str, own: Sequence[str], columns: Sequence[str], features: Sequence[str], value: np.ndarray
) -> Iterator[Table]:
    """Return the tables of what each state has one of."""
    if value.ndim == 2:
        yield _matrix(title, kind, own, columns, value)
    elif value.ndim == 3:
        rows = features if value.shape[1] == len(features) else _numbered("", value.shape[1])
        for k, matrix in zip(_shown(len(own), _MOST_ROWS // 4), value[_shown(len(own), _MOST_ROWS // 4)], strict=True):
            yield _matrix(f"{title} of {kind} {k}", "", rows, columns, matrix)
    else:
        ranges = np.stack(
            [value.reshape(len(value), -1).min(axis=1), value.reshape(len(value), -1).max(axis=1)], axis=1
        )
        shape = " × ".join(map(str, value.shape[1:]))
        yield _matrix(f"{title} of {shape}", kind, own, ["least", "largest"], ranges)


def _columns(name: str, value: np.ndarray, features: Sequence[str]) -> tuple[str, ...]:
    size = value.shape[-1] if value.ndim else 1
    latent = name == "loadings" or (name.startswith(("initial", "transition", "offset")) and name != "offsets")
    if latent:
        return _numbered("z", size)
    return tuple(features) if size == len(features) else _numbered("", size)


def _numbered(letter: str, size: int) -> tuple[str, ...]:
    return tuple(f"{letter}{i}" for i in range(size))


def _shown(size: int, most: int) -> list[int]:
    return [*range(size)] if size <= most else [*range(most - 2), size - 1]


def _matrix(title: str, corner: str, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> Table:
    across, down = _shown(len(columns), _MOST), _shown(len(rows), _MOST_ROWS if corner else _MOST)
    gap = len(across) < len(columns)
    head = [columns[at] for at in across]
    cells = [[rows[row], *(f"{values[row, at]:.4g}" for at in across)] for row in down]
    if gap:
        head.insert(len(head) - 1, "…")
        cells = [[*row[:-1], "…", row[-1]] for row in cells]
    if len(down) < len(rows):
        cells.insert(len(cells) - 1, ["…"] * len(cells[0]))
    return Table(title, (corner, *head), tuple(map(tuple, cells)))

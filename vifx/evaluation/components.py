"""Figures of what EM finds: components as images, the choice of their number, states over time, tables as bars."""

from __future__ import annotations

__all__ = ["component_images", "model_choice", "probability_bars", "state_timeline"]

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from vifx.evaluation.estimate import Estimate
from vifx.evaluation.style import STYLE, chart, dress, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def component_images(
    images: ArrayLike,
    captions: Sequence[str],
    *,
    columns: int | None = None,
    title: str = "Component means",
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Draw one image for each component with its caption below, such as its weight.

    Args:
      images: ``[n, height, width(, channels)]`` with one or three channels.
      captions: one for each.
      columns: images a row; near-square by default.
      title: above, on the left.
      limits: the values of black and white.

    Raises:
      ValueError: if there is not one caption for each image, or no image.
    """
    from matplotlib.figure import Figure

    array = np.asarray(images, np.float64)
    if array.ndim not in (3, 4) or len(array) == 0 or len(captions) != len(array):
        raise ValueError(
            f"images must be [n, height, width(, channels)], one for each of {len(captions)} captions, "
            f"got shape {array.shape}."
        )
    array = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
    array = np.clip((array - limits[0]) / (limits[1] - limits[0]), 0, 1)
    columns = columns or _columns(len(array))
    rows = -(-len(array) // columns)
    # In inches: a cell, the line of its caption, and the title.
    cell, line, top, margin = 0.72, 0.22, 0.42 if title else 0.1, 0.12
    width, height = max(columns * (cell + 0.08) + 2 * margin, 0.1 * len(title)), rows * (cell + line) + top + margin
    figure = Figure(figsize=(width, height), dpi=STYLE.dpi, facecolor="white")
    if title:
        figure.text(
            margin / width, 1 - 0.1 / height, title, va="top", ha="left", fontsize=STYLE.title_size, color=STYLE.text
        )
    for i, (image, caption) in enumerate(zip(array, captions, strict=True)):
        row, column = divmod(i, columns)
        left, bottom = margin + column * (cell + 0.08), height - top - row * (cell + line) - cell
        axes = figure.add_axes((left / width, bottom / height, cell / width, cell / height))
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
        axes.set_axis_off()
        axes.text(
            *(0.5, -0.04),
            caption,
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=STYLE.tick_size,
            color=STYLE.muted,
        )
    return figure


def model_choice(
    bic: Mapping[int, float], log_prob: Mapping[int, Estimate], *, title: str = "How many components"
) -> Figure:
    """Draw the Bayesian information criterion and the held-out log-likelihood over the number of components.

    Args:
      bic: by number of components, in nats per training example; the least is marked.
      log_prob: of held-out examples, in nats; bars are 95 % intervals over the examples.
      title: above, on the left.

    Raises:
      ValueError: if nothing is given, or the two are of different numbers of components.
    """
    from matplotlib.figure import Figure

    if not bic or bic.keys() != log_prob.keys():
        raise ValueError(f"bic and log_prob must be of the same numbers of components, got {[*bic]} and {[*log_prob]}.")
    sizes = sorted(bic)
    figure = Figure(figsize=(8.0, 3.2), dpi=STYLE.dpi, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE.title_size, color=STYLE.text)
    left, right = figure.subplots(1, 2)
    dress(left, "components", "BIC / examples (nats), less is better")
    values = [bic[size] for size in sizes]
    left.plot(sizes, values, color=STYLE.lines[0], marker="o", markersize=4, linewidth=1.6)
    best = int(np.argmin(values))
    left.plot(
        sizes[best],
        values[best],
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=STYLE.bad,
        linestyle="",
    )
    left.annotate(
        f"least at {sizes[best]}",
        (sizes[best], values[best]),
        xytext=(0, -9),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=STYLE.tick_size,
        color=STYLE.bad,
    )
    dress(right, "components", "held-out log-likelihood (nats per example)")
    means = np.array([log_prob[size].mean for size in sizes])
    errors = np.array([log_prob[size].interval[1] for size in sizes]) - means
    right.errorbar(
        sizes, means, np.nan_to_num(errors), color=STYLE.lines[1], marker="o", markersize=4, linewidth=1.6, capsize=2
    )
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.margins(x=0.08, y=0.16)
    return figure


def state_timeline(
    probability: ArrayLike,
    truth: ArrayLike,
    *,
    title: str = "",
    x_label: str = "time",
    y_label: str = "posterior probability",
    shade: str = "true state",
    columns: int = 1,
) -> Figure:
    """Draw the posterior probability of a state over time above the times at which the state really held.

    Args:
      probability: ``[time]``, or ``[sequences, time]`` for a panel each.
      truth: booleans of the same shape; where true, the background is shaded.
      title: above, on the left.
      x_label: of time, with its unit.
      y_label: of the probability.
      shade: what the shade means.
      columns: panels side by side.

    Raises:
      ValueError: if the two have different shapes.
    """
    from matplotlib.figure import Figure

    probability, truth = np.atleast_2d(np.asarray(probability, np.float64)), np.atleast_2d(np.asarray(truth, bool))
    if probability.shape != truth.shape or probability.ndim != 2:
        raise ValueError(f"probability and truth must have one shape, got {probability.shape} and {truth.shape}.")
    rows = -(-len(probability) // columns)
    figure = Figure(figsize=(8.0, 0.7 + 1.5 * rows), dpi=STYLE.dpi, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE.title_size, color=STYLE.text)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    times = np.arange(probability.shape[1])
    for i, (axes, own, held) in enumerate(zip(grid, probability, truth, strict=False)):
        dress(axes, x_label if i + columns >= len(probability) else "", y_label if i == columns * (rows // 2) else "")
        axes.fill_between(
            times, 0, 1, where=held, step="mid", color=STYLE.lines[4], alpha=0.35, linewidth=0, label=shade
        )
        axes.plot(times, own, color=STYLE.lines[0], linewidth=1.2, label=y_label)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(0, len(times) - 1)
        axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    for axes in grid[len(probability) :]:
        axes.remove()
    handles, labels = grid[0].get_legend_handles_labels()
    box = figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=STYLE.tick_size)
    for text in box.get_texts():
        text.set_color(STYLE.muted)
    return figure


def probability_bars(
    tables: Mapping[str, ArrayLike], values: Sequence[str], *, title: str = "", x_label: str = "value"
) -> Figure:
    """Draw distributions over the same values as bars side by side.

    Args:
      tables: probabilities ``[values]`` by what they are of, such as ``"loaded, learned"``.
      values: the name of each value.
      title: above, on the left.
      x_label: what the values are.

    Raises:
      ValueError: if there is nothing to draw, or a table has another number of values.
    """
    if not tables or any(np.shape(table) != (len(values),) for table in tables.values()):
        shapes = {name: np.shape(table) for name, table in tables.items()}
        raise ValueError(f"each table must have {len(values)} probabilities, got {shapes}.")
    figure, axes = chart(title, x_label, "probability")
    width = 0.8 / len(tables)
    for i, (name, table) in enumerate(tables.items()):
        places = np.arange(len(values)) + (i - (len(tables) - 1) / 2) * width
        # Pairs of one colour, the second of each lighter.
        axes.bar(
            places,
            np.asarray(table),
            0.92 * width,
            color=STYLE.lines[i // 2 % len(STYLE.lines)],
            alpha=1.0 if i % 2 == 0 else 0.45,
            label=name,
        )
    axes.set_xticks(np.arange(len(values)), list(values))
    axes.tick_params(axis="x", length=0)
    legend(axes, columns=len(tables))
    return figure


def _columns(count: int) -> int:
    """Return a number of columns a little above the square root that leaves the fewest gaps."""
    least = math.ceil(math.sqrt(count))
    return min(range(least, math.ceil(2 * math.sqrt(count)) + 1), key=lambda columns: (-count % columns, columns))

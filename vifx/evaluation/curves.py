"""Figures of curves: losses and metrics over updates, and the importance-weighted bound over its samples."""

from __future__ import annotations

__all__ = ["banded_curves", "bound_curve", "loss_curves", "metric_curves"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.estimate import Estimate, minus
from vifx.evaluation.style import STYLE, chart, dress, legend, panels
from vifx.evaluation.table import described

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def loss_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "Training",
    label: str = "loss (nats per example)",
    mark_best: str | None = None,
) -> Figure:
    """Draw training curves over updates.

    The vertical axis is logarithmic when all values are positive and span more than a factor of ten.
    Otherwise, where the first tenth of ten updates or more would flatten all the rest, its high values lie
    above the chart, and the chart says how high they reach. Non-finite values leave a gap.

    Args:
      curves: ``{"train": (steps, values), "validation": (steps, values), ...}``, in nats per example.
      title: above, on the left.
      label: of the vertical axis.
      mark_best: the curve whose minimum gets a mark with its value, if any.

    Raises:
      ValueError: if `curves` is empty, a curve's steps and values differ in length, or `mark_best`
        names none.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none.")
    if mark_best is not None and mark_best not in curves:
        raise ValueError(f"mark_best must name one of the curves {sorted(curves)}, got {mark_best!r}.")
    figure, axes = chart(title, "update", label)
    for i, (name, curve) in enumerate(curves.items()):
        steps, values = _vectors(name, curve)
        colour, marker = STYLE.lines[i % len(STYLE.lines)], "o" if len(steps) <= 30 else ""
        line = {"color": colour, "linewidth": 1.6, "solid_capstyle": "round", "marker": marker, "markersize": 3}
        axes.plot(steps, values, label=name, **line)
        if name == mark_best and np.isfinite(values).any():
            _mark_best(axes, steps, values, colour)
    axes.margins(x=0.02, y=0.12)  # below its own minimum there is room for what marks it
    drawn = [line.get_xydata() for line in axes.lines]
    _scale(axes, *np.concatenate(drawn).T)
    axes.xaxis.set_major_formatter(_thousands)
    legend(axes, columns=len(curves))
    return figure


def metric_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "Metrics",
    marks: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw metrics over updates, each in a panel with an axis of its own, all over the same updates.

    The scales are those of `loss_curves`, but shares (nothing above 1) and counts (integers) are never drawn on a
    logarithmic one.

    Args:
      curves: ``{"critic/accuracy": (steps, values), ...}``; a panel's unit is what `described` knows of its metric.
      title: above, on the left.
      marks: updates to mark in every panel, by what they are; those of the first name stand out.

    Raises:
      ValueError: if `curves` is empty, or a curve's steps and values differ in length.
    """
    if not curves:
        raise ValueError("curves must hold at least one metric, got none.")
    columns = 1 if len(curves) < 3 else 2
    rows = -(-len(curves) // columns)
    marks = {name: steps for name, steps in (marks or {}).items() if len(steps)}
    size = {"width": 6.4 if columns == 1 else 8.0, "height": 0.8 + 1.9 * rows}
    figure, grid = panels(rows, columns, title=title, sharex=True, **size)
    for index, (name, curve) in enumerate(curves.items()):
        axes = grid[index]
        dress(axes, "update" if index + columns >= len(curves) else "", _unit(name))
        axes.tick_params(labelbottom=index + columns >= len(curves))
        axes.set_title(name, loc="left", fontsize=STYLE.label_size, color=STYLE.text)
        _draw_metric(axes, *_vectors(name, curve))
        for mark, colour in zip(marks, (STYLE.bad, *[STYLE.muted] * len(marks)), strict=False):
            for i, step in enumerate(marks[mark]):
                label = {"label": mark} if i == 0 else {}
                axes.axvline(step, color=colour, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1.5, **label)
    for axes in grid[len(curves) :]:
        axes.remove()
    if marks:
        legend(figure, columns=len(marks))
    return figure


def _draw_metric(axes: Axes, steps: NDArray[Any], values: NDArray[Any]) -> None:
    from matplotlib.ticker import MaxNLocator

    marker = {"marker": "o", "markersize": 2.5} if len(steps) <= 30 else {}
    axes.plot(steps, values, color=STYLE.lines[0], linewidth=1.4, solid_capstyle="round", **marker)
    axes.margins(x=0.02, y=0.12)
    axes.xaxis.set_major_formatter(_thousands)
    finite = values[np.isfinite(values)]
    if (finite == np.round(finite)).all():
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    elif finite.max() > 1:
        _scale(axes, steps, values)
        axes.set_ylabel(axes.get_ylabel().removeprefix(", "))


def banded_curves(
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]], *, title: str = "Runs", label: str = "loss (nats per example)"
) -> Figure:
    """Draw the median of several runs over updates, and between their smallest and largest value a band.

    Args:
      bands: by name the updates ``[n]`` and the values ``[n, runs]``.
      title: above, on the left.
      label: of the vertical axis.

    Raises:
      ValueError: if `bands` is empty, or updates and values differ in length.
    """
    if not bands:
        raise ValueError("bands must hold at least one group of runs, got none.")
    figure, axes = chart(title, "update", label)
    points = []
    for i, (name, (steps, values)) in enumerate(bands.items()):
        at, each = np.asarray(steps, np.float64), np.asarray(values, np.float64)
        if each.ndim != 2 or len(each) != len(at):
            raise ValueError(f"band {name!r} must have values [updates, runs], got {each.shape} for {at.shape}.")
        colour, marker = STYLE.lines[i % len(STYLE.lines)], "o" if len(at) <= 30 else ""
        axes.fill_between(at, each.min(axis=1), each.max(axis=1), color=colour, alpha=0.18, linewidth=0)
        axes.plot(at, np.median(each, axis=1), label=name, color=colour, linewidth=1.6, marker=marker, markersize=3)
        points.append(np.stack([np.repeat(at, each.shape[1]), each.ravel()]))
    axes.margins(x=0.02, y=0.12)
    _scale(axes, *np.concatenate(points, axis=1))
    axes.xaxis.set_major_formatter(_thousands)
    legend(axes, columns=min(3, len(bands)))
    return figure


def _unit(metric: str) -> str:
    return described({metric.removeprefix("validation/"): 0.0})[0].unit


def _vectors(name: str, curve: tuple[ArrayLike, ArrayLike]) -> tuple[NDArray[Any], NDArray[Any]]:
    steps, values = (np.asarray(part, dtype=np.float64) for part in curve)
    if steps.shape != values.shape or steps.ndim != 1:
        raise ValueError(f"curve {name!r} must be two vectors of one length, got {steps.shape} and {values.shape}.")
    return steps, values


def bound_curve(bounds: Mapping[int, Estimate], *, interval: tuple[float, float] | None = None) -> Figure:
    """Draw ``-L_K``, an upper bound on the negative log-likelihood, over the number of samples ``K``.

    The band is one standard error over examples to each side. The examples are the same at each
    ``K``, so that the curve is far more certain than the band: the band is about where the whole
    curve lies.

    Args:
      bounds: as `importance_weighted_bound` returns them.
      interval: what log q(x) of the same examples is in, in nats, such as the ends of a `Certificate`.

    Raises:
      ValueError: if `bounds` is empty.
    """
    if not bounds:
        raise ValueError("bounds must hold at least one number of samples, got none.")
    from matplotlib.ticker import NullLocator

    samples = np.array(sorted(bounds))
    values = np.array([-bounds[int(k)].mean for k in samples])
    errors = np.array([bounds[int(k)].standard_error for k in samples])
    figure, axes = chart(
        "Importance-weighted bound", "importance samples K (log scale)", "negative bound (nats per example)"
    )
    colour = STYLE.lines[0]
    band = {"color": colour, "alpha": 0.15, "linewidth": 0, "label": "± standard error over examples"}
    axes.fill_between(samples, values - errors, values + errors, **band)
    axes.plot(samples, values, color=colour, marker="o", markersize=4, linewidth=1.6, label="$-L_K$")
    if interval is not None:
        ends = {"color": STYLE.lines[1], "alpha": 0.35, "linewidth": 1.2, "label": "−log q(x), certified"}
        axes.axhspan(-interval[1], -interval[0], **ends)
    axes.set_xscale("log")
    axes.set_xticks(samples, [f"{k:,}" for k in samples])
    axes.xaxis.set_minor_locator(NullLocator())
    beside = {"xytext": (4, 5), "textcoords": "offset points", "ha": "left"}
    named = range(len(samples)) if len(samples) <= 5 else (0, len(samples) // 2, len(samples) - 1)
    for k, value in ((samples[index], values[index]) for index in named):
        place = (float(k), float(value))
        axes.annotate(minus(f"{value:.2f}"), place, fontsize=STYLE.tick_size, color=STYLE.text, **beside)
    axes.margins(x=0.12, y=0.12)
    legend(axes, columns=2 if interval is None else 3)
    return figure


def _mark_best(axes: Axes, steps: NDArray[Any], values: NDArray[Any], colour: str) -> None:
    from matplotlib.patheffects import withStroke

    best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
    dot = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": colour}
    axes.plot(steps[best], values[best], markeredgewidth=1.6, linestyle="", **dot)
    below: dict[str, Any] = {"xytext": (0, -10), "textcoords": "offset points", "va": "top"}
    below["ha"] = "right" if steps[best] > steps.mean() else "left"
    axes.annotate(
        minus(f"best {values[best]:.4g} at {steps[best]:,.0f}"),
        (steps[best], values[best]),
        fontsize=STYLE.tick_size,
        color=colour,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        **below,
    )


def _scale(axes: Axes, steps: NDArray[Any], values: NDArray[Any]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    late = values[steps >= steps.min() + 0.1 * np.ptp(steps)]
    if len(np.unique(steps)) >= 10 and np.ptp(late) > 0 and high - low > 2.5 * (late.max() - low):
        span = late.max() - low
        axes.set_ylim(low - 0.15 * span, late.max() + 0.12 * span)
        words = minus(f"starts off the chart, at {high:,.4g}")
        axes.text(1, 1.0, words, transform=axes.transAxes, ha="right", va="bottom", **STYLE.small)


def _thousands(value: float, _: float) -> str:
    return f"{value:,.0f}"

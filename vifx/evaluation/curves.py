"""Figures made of lines and points: training curves, metrics, the importance-weighted curve, the latent scatter."""

from __future__ import annotations

__all__ = ["bound_curve", "latent_scatter", "loss_curves", "metric_curves"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.estimate import Estimate
from vifx.evaluation.latents import principal_components
from vifx.evaluation.style import STYLE, chart, dress, legend
from vifx.evaluation.table import described

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def loss_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "Training",
    y_label: str = "loss (nats per example)",
    mark_best: str | None = None,
) -> Figure:
    """Draw training curves over updates.

    The vertical axis is logarithmic when all values are positive and span more than a factor of ten.
    Otherwise, where the first tenth of the updates would flatten all the rest, its high values lie
    above the chart, and the chart says how high they reach. Non-finite values leave a gap.

    Args:
      curves: ``{"train": (steps, values), "validation": (steps, values), ...}``.
      title: above, on the left.
      y_label: what the values are, with their unit.
      mark_best: the curve whose minimum gets a mark with its value, if any.

    Raises:
      ValueError: if `curves` is empty, a curve's steps and values differ in length, or `mark_best`
        names none.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none.")
    if mark_best is not None and mark_best not in curves:
        raise ValueError(f"mark_best must name one of the curves {sorted(curves)}, got {mark_best!r}.")
    figure, axes = chart(title, "update", y_label)
    for (name, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        steps, values = _vectors(name, curve)
        few = len(steps) <= 30
        axes.plot(
            steps,
            values,
            color=colour,
            label=name,
            linewidth=1.6,
            solid_capstyle="round",
            marker="o" if few else "",
            markersize=3,
        )
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
    from matplotlib.figure import Figure

    columns = 1 if len(curves) < 3 else 2
    rows = -(-len(curves) // columns)
    marks = {name: steps for name, steps in (marks or {}).items() if len(steps)}
    figure = Figure(
        figsize=(6.4 if columns == 1 else 8.0, 0.8 + 1.9 * rows), dpi=STYLE.dpi, layout="constrained", facecolor="white"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE.title_size, color=STYLE.text)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
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
        handles, labels = grid[0].get_legend_handles_labels()
        box = figure.legend(
            handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=STYLE.tick_size
        )
        for text in box.get_texts():
            text.set_color(STYLE.muted)
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


def _unit(metric: str) -> str:
    return described({metric.removeprefix("validation/"): 0.0})[0].unit


def _vectors(name: str, curve: tuple[ArrayLike, ArrayLike]) -> tuple[NDArray[Any], NDArray[Any]]:
    steps, values = (np.asarray(part, dtype=np.float64) for part in curve)
    if steps.shape != values.shape or steps.ndim != 1:
        raise ValueError(f"curve {name!r} must be two vectors of one length, got {steps.shape} and {values.shape}.")
    return steps, values


def bound_curve(
    bounds: Mapping[int, Estimate],
    *,
    title: str = "Importance-weighted bound",
    y_label: str = "negative bound (nats per example)",
) -> Figure:
    """Draw ``-L_K``, an upper bound on the negative log-likelihood, over the number of samples ``K``.

    The band is one standard error over examples to each side. The examples are the same at each
    ``K``, so that the curve is far more certain than the band: the band is about where the whole
    curve lies.

    Args:
      bounds: as `importance_weighted_bound` returns them.
      title: above, on the left.
      y_label: what is drawn, with its unit.

    Raises:
      ValueError: if `bounds` is empty.
    """
    if not bounds:
        raise ValueError("bounds must hold at least one number of samples, got none.")
    samples = np.array(sorted(bounds))
    values = np.array([-bounds[int(k)].mean for k in samples])
    errors = np.array([bounds[int(k)].standard_error for k in samples])
    figure, axes = chart(title, "importance samples K (log scale)", y_label)
    colour = STYLE.lines[0]
    axes.fill_between(
        samples,
        values - errors,
        values + errors,
        color=colour,
        alpha=0.15,
        linewidth=0,
        label="± standard error over examples",
    )
    axes.plot(samples, values, color=colour, marker="o", markersize=4, linewidth=1.6, label="$-L_K$")
    axes.set_xscale("log")
    axes.set_xticks(samples, [f"{k:,}" for k in samples])
    axes.xaxis.set_minor_locator(_no_ticks())
    for k, value in zip(samples, values, strict=True):
        axes.annotate(
            f"{value:.2f}".replace("-", "−"),
            (float(k), float(value)),
            xytext=(4, 5),
            textcoords="offset points",
            ha="left",
            fontsize=STYLE.tick_size,
            color=STYLE.text,
        )
    axes.margins(x=0.12, y=0.12)
    legend(axes, columns=2)
    return figure


def latent_scatter(
    codes: ArrayLike, labels: ArrayLike | None = None, *, title: str = "Latent codes", point_size: float = 6.0
) -> Figure:
    """Draw codes in the plane, coloured by label.

    With more than two latents the axes are the first two principal components, and say so with the
    share of the variance. Each class also carries its label at its median, so that colour is not
    the only cue.

    Args:
      codes: ``[n, latent]``.
      labels: ``[n]``, of at most ten classes; without them one colour is used.
      title: above, on the left.
      point_size: the area of a point, in square points.

    Raises:
      ValueError: if `codes` has fewer than two latents, labels do not match, or there are more than
        ten classes.
    """
    codes = np.asarray(codes, dtype=np.float64)
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"codes must be [n, latent] with at least two latents, got shape {codes.shape}.")
    names = ("z₀", "z₁")
    if codes.shape[1] > 2:
        latents = codes.shape[1]
        codes, shares = principal_components(codes, count=2)
        names = tuple(
            f"{rank} principal component of {latents} latents ({share:.0%} of variance)"
            for rank, share in zip(("first", "second"), shares, strict=True)
        )
    figure, axes = chart(title, names[0], names[1], width=6.2, height=5.4)
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(*codes.T, s=point_size, color=STYLE.lines[0], alpha=0.6, linewidths=0)
    else:
        _scatter_classes(axes, codes, np.asarray(labels), point_size)
    return figure


def _scatter_classes(axes: Axes, codes: NDArray[Any], labels: NDArray[Any], point_size: float) -> None:
    from matplotlib.patheffects import withStroke

    classes = np.unique(labels)
    palette = STYLE.classes
    if labels.shape != codes.shape[:1]:
        raise ValueError(f"labels must be [{len(codes)}], one per code, got shape {labels.shape}.")
    if len(classes) > len(palette):
        raise ValueError(
            f"labels must have at most {len(palette)} classes to stay distinguishable, got {len(classes)}."
        )
    # One artist with interleaved points: no class hides another by being drawn last.
    colours = np.array(palette)[np.searchsorted(classes, labels)]
    axes.scatter(*codes.T, s=point_size, c=colours.tolist(), alpha=0.75, linewidths=0)
    for colour, label in zip(palette, classes, strict=False):
        axes.scatter([], [], s=28, color=colour, label=str(label))
        x, y = np.median(codes[labels == label], axis=0)
        axes.text(
            x,
            y,
            str(label),
            fontsize=12,
            fontweight="bold",
            color=STYLE.text,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    legend(axes, columns=len(classes))


def _mark_best(axes: Axes, steps: NDArray[Any], values: NDArray[Any], colour: str) -> None:
    from matplotlib.patheffects import withStroke

    best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
    axes.plot(
        steps[best],
        values[best],
        marker="o",
        markersize=7,
        markerfacecolor="white",
        markeredgecolor=colour,
        markeredgewidth=1.6,
        linestyle="",
    )
    late = steps[best] > steps.mean()
    axes.annotate(
        f"best {values[best]:.4g} at {steps[best]:,.0f}".replace("-", "−"),
        (steps[best], values[best]),
        xytext=(0, -10),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=STYLE.tick_size,
        color=colour,
        path_effects=[withStroke(linewidth=3, foreground="white")],
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
    if np.ptp(late) > 0 and high - low > 2.5 * (late.max() - low):
        span = late.max() - low
        axes.set_ylim(low - 0.15 * span, late.max() + 0.12 * span)
        axes.text(
            *(1, 1.0),
            f"starts off the chart, at {high:,.4g}".replace("-", "−"),
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=STYLE.tick_size,
            color=STYLE.muted,
        )


def _colours(count: int) -> list[str]:
    return [STYLE.lines[i % len(STYLE.lines)] for i in range(count)]


def _thousands(value: float, _: float) -> str:
    return f"{value:,.0f}"


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()

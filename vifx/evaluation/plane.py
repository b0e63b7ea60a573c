"""Figures of the plane: samples over the modes of a mixture, a critic's values, a density beside its data."""

from __future__ import annotations

__all__ = ["critic_field", "density_2d", "draw_critic", "draw_density", "draw_modes", "mode_scatter"]

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Modes, Split
from vifx.evaluation.batches import samples as drawn
from vifx.evaluation.estimate import minus
from vifx.evaluation.measure import Drawing
from vifx.evaluation.modes import mode_coverage
from vifx.evaluation.style import STYLE, chart, dress, legend
from vifx.evaluation.style import panels as empty_panels
from vifx.evaluation.windows import frame, in_plane, window_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT = 5.0  # the area of a dot, in square points


def mode_scatter(
    samples: ArrayLike,
    centres: ArrayLike,
    scale: ArrayLike,
    *,
    radius: float = 3.0,
    title: str = "",
) -> Figure:
    """Draw samples in the plane over the modes of the true mixture.

    A mode is a circle of `radius` standard deviations: a thin solid one if a sample lies in it, a thick dashed one
    with a cross if it is missed. Samples inside some circle are dots, the others small pluses; those that lie outside
    the picture, which is a little larger than the mixture, are counted under it. What is captured is measured on many
    more samples than are drawn (`measure_modes`), and so is not written here.

    Args:
      samples: ``[n, 2]``.
      centres: ``[modes, 2]``.
      scale: the modes' standard deviation, one for all or ``[modes]``.
      radius: of a mode, in standard deviations.
      title: in front of the number of samples, such as the number of updates.

    Raises:
      ValueError: if samples or centres are not in the plane, or as `mode_coverage`.
    """
    samples, centres = in_plane(samples, "samples"), in_plane(centres, "centres")
    mode_coverage(samples, centres, scale, radius=radius)  # which checks them
    counts = f"{len(samples):,} samples over {len(centres)} modes"
    reach = radius * np.broadcast_to(np.asarray(scale, np.float64), len(centres))
    within = np.linalg.norm(samples[:, None] - centres, axis=-1) <= reach
    near = within.any(axis=1)
    figure, axes = _plane(f"{title}: {counts}" if title else counts)
    window = window_of(np.concatenate([centres - reach[:, None], centres + reach[:, None]]))
    frame(axes, window, samples)
    dots: dict[str, Any] = {"color": STYLE.lines[0], "linewidths": 0}
    pluses: dict[str, Any] = {"color": STYLE.muted, "marker": "+", "linewidths": 0.7}
    axes.scatter(*samples[~near].T, s=2.5 * _POINT, alpha=0.55, zorder=2, **pluses)
    axes.scatter(*samples[near].T, s=_POINT, alpha=0.4, zorder=3, **dots)
    for centre, extent, captured in zip(centres, reach, within.any(axis=0), strict=True):
        _circle(axes, centre, float(extent), captured=bool(captured))
    axes.scatter([], [], s=16, label=f"sample within {radius:g}σ of a mode", **dots)
    axes.scatter([], [], s=20, label="elsewhere", **pluses)
    axes.plot([], [], **_outline(captured=True), label="captured mode")
    axes.plot([], [], **_outline(captured=False), marker="x", markersize=5, label="missed mode")
    legend(axes, columns=4)
    return figure


def critic_field(
    function: Callable[[NDArray[Any]], ArrayLike],
    data: ArrayLike,
    samples: ArrayLike,
    *,
    title: str = "Critic",
    resolution: int = 160,
) -> Figure:
    """Draw the values of a critic in the plane, with the data and the generator's samples that it compares.

    The zero line, where the critic cannot tell the two apart, is drawn in black; colours are symmetric around it,
    orange where data is more probable and violet where samples are, and the contours of negative values dashed.
    Both colours end at twice the smaller of the typical values at the data and at the samples, so that a critic that
    is extreme on one side still shows the other; values beyond have the last colour.

    Args:
      function: from points ``[n, 2]``, float32, to the critic's values ``[n]``.
      data: ``[n, 2]``, drawn as dots.
      samples: ``[n, 2]``, drawn as crosses.
      title: above, on the left.
      resolution: points of the grid along either axis.

    Raises:
      ValueError: if data or samples are not in the plane, or `function` does not give one finite value a point.
    """
    data, samples = in_plane(data, "data"), in_plane(samples, "samples")
    window = window_of(data)
    grid = np.meshgrid(*(np.linspace(low, high, resolution) for low, high in zip(*window, strict=True)))
    values = _values(function, np.stack(grid, axis=-1).reshape(-1, 2)).reshape(resolution, resolution)
    typical = (float(np.quantile(np.abs(_values(function, points)), 0.9)) for points in (data, samples))
    figure, axes = _plane(title, width=7.2, height=6.5)
    frame(axes, window, samples)
    _contours(figure, axes, grid, values, 2 * min(typical) or 1.0)
    axes.scatter(*data.T, s=_POINT, color=STYLE.text, alpha=0.5, linewidths=0, zorder=3)
    axes.scatter(*samples.T, s=2.5 * _POINT, color=STYLE.lines[2], marker="x", linewidths=0.9, alpha=0.9, zorder=4)
    axes.scatter([], [], s=16, color=STYLE.text, linewidths=0, label="data")
    axes.scatter([], [], s=20, color=STYLE.lines[2], marker="x", linewidths=1, label="generator")
    axes.plot([], [], color=STYLE.text, linewidth=1.4, label="ℓ = 0")
    legend(axes, columns=3)
    return figure


def density_2d(
    log_prob: Callable[[NDArray[Any]], ArrayLike],
    data: ArrayLike,
    samples: ArrayLike,
    *,
    title: str = "",
    points: str = "data",
    resolution: int = 240,
) -> Figure:
    """Draw a density in the plane between the data that it was fitted to and samples from it.

    All three panels show one window, a little larger than the middle 99.8 % of the data along each axis. Colours are
    proportional to the density and end at its 99.5 % quantile over the points of the grid where it is not
    negligible, so that a narrow peak does not leave the rest dark. Under the density stands the part of its mass
    that the window holds, by the midpoint rule: near 1 unless the density leaks out or is finer than the grid.

    Args:
      log_prob: from points ``[n, 2]``, float32, to log-densities in nats ``[n]``.
      data: ``[n, 2]``.
      samples: ``[n, 2]``.
      title: above, on the left.
      points: what the data are, in the title of their panel.
      resolution: points of the grid along either axis.

    Raises:
      ValueError: if data or samples are not in the plane, or `log_prob` does not give one finite value a point.
    """
    data, samples = in_plane(data, "data"), in_plane(samples, "samples")
    low, high = window_of(np.quantile(data, [0.001, 0.999], axis=0))
    step = (high - low) / resolution
    ticks = [low[i] + step[i] * (np.arange(resolution) + 0.5) for i in range(2)]
    grid = np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 2)
    density = np.exp(_values(log_prob, grid)).reshape(resolution, resolution)
    mass = float(density.sum() * step.prod())
    visible = density[density > 1e-3 * density.max()]
    figure, panels = empty_panels(1, 3, title=title, width=10.8, height=4.1, sharex=True, sharey=True)
    names = (
        f"{points}, {len(data):,} points",
        f"density, {mass:.1%} of it in the picture",
        f"{len(samples):,} samples",
    )
    for axes, name in zip(panels, names, strict=True):
        dress(axes, "x₀", "x₁" if axes is panels[0] else "")
        axes.grid(visible=False)
        axes.set_aspect("equal", adjustable="box")
        axes.set_title(name, loc="left", **STYLE.label)
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    top = float(np.quantile(visible, 0.995))
    colours: dict[str, Any] = {"cmap": "magma", "vmin": 0.0, "vmax": top, "interpolation": "bilinear"}
    image = panels[1].imshow(density, origin="lower", extent=extent, **colours)
    _bar(figure, image, panels[1], "density")
    for axes, shown in ((panels[0], data), (panels[2], samples)):
        axes.scatter(*shown.T, s=1.5, color=STYLE.lines[0], alpha=0.5, linewidths=0)
    frame(panels[2], (low, high), samples)
    return figure


def draw_modes(generative: Joint, modes: Modes, *, n: int = 2500, title: str = "") -> Drawing:
    """Draw `n` samples of `generative` in the plane over the true `modes`, under a `title`."""
    return lambda key, params, state: mode_scatter(
        drawn(key, generative, params, state, n), modes.centres, modes.scale, title=title
    )


def draw_critic(
    critic: Callable[[Params, State, Array], Array], generative: Joint, split: Split, *, n: int = 500
) -> Drawing:
    """Draw a critic's values in the plane, with `n` points of a split and `n` samples.

    Args:
      critic: ``(params, state, x [n, 2]) -> [n]``, the log density ratio of data against samples.
      generative: prior and generator.
      split: the data that the critic compares with.
      n: how many points of each.
    """
    values = jax.jit(critic)
    return lambda key, params, state: critic_field(
        lambda x: np.asarray(values(params, state, jnp.asarray(x))),
        split["x"][:n],
        drawn(key, generative, params, state, n),
    )


def draw_density(
    joint: Joint,
    points: Callable[[Key], ArrayLike],
    *,
    variable: str = "x",
    n: int = 4000,
    title: str = "",
    name: str = "data",
    resolution: int = 240,
) -> Drawing:
    """Draw the density of a variable in the plane, between points to compare it with and as many samples.

    Args:
      joint: of this variable alone.
      points: gives the points of a key, ``[n, 2]``.
      variable: its name.
      n: how many samples.
      title: above, on the left.
      name: what the points are.
      resolution: points of the grid along either axis, as in `density_2d`.
    """

    @jax.jit
    def log_prob(params: Params, state: State, x: Array) -> Array:
        return jnp.asarray(sum(joint.log_prob(params, state, {variable: x}).values()))

    def draw(key: Key, params: Params, state: State) -> Figure:
        samples = joint.sample(key, params, state, examples=n).values[variable]
        compared = points(jax.random.fold_in(key, 1))
        known = partial(log_prob, params, state)
        options: dict[str, Any] = {"title": title, "points": name, "resolution": resolution}
        return density_2d(lambda x: np.asarray(known(jnp.asarray(x))), compared, samples, **options)

    return draw


def _values(function: Callable[[NDArray[Any]], ArrayLike], points: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(function(points.astype(np.float32)), np.float64)
    if values.shape != (len(points),) or not np.isfinite(values).all():
        raise ValueError(
            f"function must map [n, 2] to one finite value a point, [n], got shape {values.shape} for n = {len(points)}"
            f" and {int((~np.isfinite(values)).sum())} values that are not finite."
        )
    return values


def _contours(figure: Figure, axes: Axes, grid: tuple[NDArray[Any], ...], values: NDArray[Any], limit: float) -> None:
    levels = np.linspace(-limit, limit, 22)
    filled = axes.contourf(*grid, values, levels=levels, extend="both", cmap="PuOr_r", alpha=0.6, zorder=0)
    lines = np.linspace(-limit, limit, 8)  # even, so that none is at zero
    axes.contour(*grid, values, levels=lines, colors=STYLE.muted, linewidths=0.4, negative_linestyles="dashed")
    if values.min() < 0 < values.max():
        axes.contour(*grid, values, levels=[0.0], colors=STYLE.text, linewidths=1.4)
    bar = _bar(figure, filled, axes, "log density ratio ℓ, data against generator (nats)")
    ticks = np.linspace(-limit, limit, 5)
    bar.set_ticks(ticks.tolist(), labels=[minus(f"{tick:.2g}") for tick in ticks])


def _bar(figure: Figure, artist: Any, axes: Axes, label: str) -> Any:
    """Return a bar of the colours of `artist` beside the axes."""
    bar = figure.colorbar(artist, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(label, **STYLE.label)
    bar.ax.tick_params(labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return bar


def _plane(title: str, *, width: float = 6.2, height: float = 6.9) -> tuple[Figure, Axes]:
    figure, axes = chart(title, "x₀", "x₁", width=width, height=height)
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="box")
    return figure, axes


def _outline(*, captured: bool) -> dict[str, Any]:
    if captured:
        return {"color": STYLE.text, "linewidth": 0.9, "linestyle": "-"}
    return {"color": STYLE.bad, "linewidth": 1.6, "linestyle": (0, (2.2, 1.4))}


def _circle(axes: Axes, centre: NDArray[Any], extent: float, *, captured: bool) -> None:
    from matplotlib.patches import Circle

    x, y = map(float, centre)
    axes.add_patch(Circle((x, y), extent, fill=False, zorder=5, **_outline(captured=captured)))
    if not captured:
        axes.plot([x], [y], marker="x", markersize=5, color=STYLE.bad, zorder=5)

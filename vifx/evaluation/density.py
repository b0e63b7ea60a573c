"""The figure of densities on the line: a target, and the Gaussians that were fitted to it."""

from __future__ import annotations

__all__ = ["density_fit_1d"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import require_number
from vifx.evaluation.style import STYLE, chart, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def density_fit_1d(
    values: ArrayLike,
    density: ArrayLike,
    fits: Mapping[str, tuple[float, float]],
    *,
    samples: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw a target density, and over it Gaussians with their mean and scale in the legend.

    Args:
      values: a grid on the line, increasing, ``[n]``.
      density: of the target at these values, per unit of x, ``[n]``.
      fits: (mean, scale) of each Gaussian, by what it is, such as ``{"trained": (1.01, 1.83)}``.
      samples: of the model, drawn as a histogram, ``[m]``.
      title: above, on the left.

    Raises:
      ValueError: if the grid and the density are not two vectors of one length, or a scale is not positive.
    """
    values, density = np.asarray(values, np.float64), np.asarray(density, np.float64)
    if values.ndim != 1 or values.shape != density.shape or len(values) < 2:
        raise ValueError(
            f"values and density must be two vectors of one length, got shapes {values.shape} and {density.shape}."
        )
    figure, axes = chart("", "x", "density (per unit of x)")
    axes.fill_between(values, density, color=STYLE.line, alpha=0.55, linewidth=0, label="target")
    axes.plot(values, density, color=STYLE.muted, linewidth=1.0)
    if samples is not None:
        edges = np.linspace(values[0], values[-1], 57)
        drawn = np.ravel(np.asarray(samples, np.float64))
        counts = np.histogram(drawn, edges)[0]
        axes.stairs(counts / (len(drawn) * np.diff(edges)), edges, color=STYLE.lines[5], linewidth=1.0, label="samples")
    for i, (name, (mean, scale)) in enumerate(fits.items()):
        require_number(scale, f"the scale of fit {name!r}", above=0)
        curve = np.exp(-(((values - mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
        axes.plot(
            values,
            curve,
            color=STYLE.lines[i % len(STYLE.lines)],
            linestyle=_DASHES[i % len(_DASHES)],
            linewidth=1.8,
            label=f"{name}: μ = {mean:.3f}, σ = {scale:.3f}".replace("-", "−"),
        )
    axes.set_xlim(values[0], values[-1])
    axes.set_ylim(bottom=0)
    rows = -(-len(axes.get_legend_handles_labels()[1]) // 2)
    axes.set_title(title, loc="left", fontsize=STYLE.title_size, color=STYLE.text, pad=12 + 14 * rows)
    legend(axes, columns=2)
    return figure

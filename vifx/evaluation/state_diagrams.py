"""Chains of states: their transitions as a diagram or a matrix, and the path of a sequence."""

from __future__ import annotations

__all__ = ["path_panel", "transition_diagram", "transition_matrix"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vifx.evaluation.ellipses import readable, shades
from vifx.evaluation.style import STYLE, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 0.005
"""A transition less probable than this has no arrow."""


def transition_diagram(axes: Axes, transitions: NDArray[Any], weights: NDArray[Any]) -> None:
    """Draw states on a circle and an arrow for each transition, as thick as it is probable.

    Args:
      transitions: from each row to each column, ``[K, K]``.
      weights: how often each state is visited, ``[K]``; the area of its disc.
    """
    from matplotlib.patches import Circle, FancyArrowPatch

    states, colours = len(transitions), shades(len(transitions))
    angles = np.pi / 2 - 2 * np.pi * np.arange(states) / states
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1.0 if states > 1 else 0.0)
    radii = 0.12 + 0.16 * np.sqrt(weights / weights.max())
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": STYLE.tick_size}
    for start in range(states):
        outward = places[start] / max(np.linalg.norm(places[start]), 1e-9) if states > 1 else np.array([0.0, 1.0])
        for end in range(states):
            probability = float(transitions[start, end])
            if probability < LEAST:
                continue
            look: dict[str, Any] = {"color": colours[start], "linewidth": 0.6 + 3.4 * probability, "alpha": 0.8}
            if start == end:
                centre = places[start] + outward * (radii[start] + 0.10)
                axes.add_patch(Circle((float(centre[0]), float(centre[1])), 0.13, fill=False, zorder=1, **look))
                at = centre + outward * 0.3
            else:
                tail, head = places[start], places[end]
                axes.add_patch(
                    FancyArrowPatch(
                        (float(tail[0]), float(tail[1])),
                        (float(head[0]), float(head[1])),
                        connectionstyle="arc3,rad=0.18",
                        arrowstyle="-|>",
                        mutation_scale=9 + 6 * probability,
                        shrinkA=72 * 0.9 * radii[start],
                        shrinkB=72 * 0.9 * radii[end],
                        zorder=2,
                        **look,
                    )
                )
                across = head - tail
                # The middle of the arc is to the right of the line from tail to head.
                at = 0.5 * (tail + head) + 0.13 * np.array([across[1], -across[0]]) + 0.16 * across
            axes.text(float(at[0]), float(at[1]), f"{probability:.2g}", zorder=5, **text, **readable())
    for k, place in enumerate(places):
        axes.add_patch(Circle((float(place[0]), float(place[1])), radii[k], color=colours[k], zorder=3))
        axes.text(
            float(place[0]), float(place[1]), str(k), color="white", zorder=4, **{**text, "fontsize": STYLE.label_size}
        )
    axes.set_xlim(-1.75, 1.75)
    axes.set_ylim(-1.7, 1.75)
    axes.set_aspect("equal")
    axes.set_axis_off()


def transition_matrix(axes: Axes, transitions: NDArray[Any]) -> None:
    """Draw many states' transitions as a matrix of probabilities, from rows to columns."""
    shown = axes.imshow(transitions, cmap="Blues", vmin=0, vmax=1)
    dress(axes, "to state", "from state")
    axes.grid(visible=False)
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_label("probability", **STYLE.label)
    bar.ax.tick_params(labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)


def path_panel(axes: Axes, path: NDArray[Any], states: int, series: NDArray[Any], names: Sequence[str]) -> None:
    """Draw a sequence over time on a background that says in which state it most likely was.

    Args:
      path: the likeliest states, ``[T]``.
      series: what was observed, ``[T, features]``.
      names: of the features.
    """
    colours, times = shades(states), np.arange(len(path))
    changes = np.flatnonzero(np.diff(path)) + 1
    for start, end in zip([0, *changes], [*changes, len(path)], strict=True):
        axes.axvspan(start - 0.5, end - 0.5, color=colours[path[start]], alpha=0.25, linewidth=0)
    for feature, name in enumerate(names):
        style = STYLE.lines[feature % len(STYLE.lines)] if len(names) > 1 else STYLE.text
        axes.plot(times, series[:, feature], color=style, linewidth=1.1, marker="o", markersize=2, label=name)
    axes.set_xlim(-0.5, len(path) - 0.5)
    dress(axes, "step", names[0] if len(names) == 1 else "observed")
    for k in np.unique(path):
        axes.plot([], [], color=colours[k], alpha=0.35, linewidth=6, label=f"state {k}")

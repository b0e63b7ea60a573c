"""How a flow of the plane moves its base."""

from __future__ import annotations

__all__ = ["draw_pushforward", "pushforward_2d"]

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.evaluation.measure import Drawing
from vifx.evaluation.style import STYLE, dress, panels
from vifx.evaluation.windows import frame, in_plane, window_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SECTORS = len(STYLE.lines)
_SHARES = (0.5, 0.9, 0.99)
_FINE = 721  # points of a curve


def pushforward_2d(decode: Callable[[NDArray[Any]], ArrayLike], noise: ArrayLike, *, title: str = "") -> Figure:
    """Draw points of the base beside the samples that a flow makes of them.

    A point has the colour of its direction from the middle of the noise, in six sectors, and its sample has the same.
    Around the middle are circles that hold 50 %, 90 % and 99 % of the points, and rays between the sectors; on the
    right is what the flow makes of both. A bijection of the plane takes the inside of a curve to the inside of its
    image, so that these curves hold the same shares of the samples.

    Args:
      decode: from points of the base ``[n, 2]``, float32, to points of the data ``[n, 2]``.
      noise: draws of the base, ``[n, 2]``.
      title: above, on the left.

    Raises:
      ValueError: if the noise, or what `decode` makes of it, is not in the plane.
    """
    noise = in_plane(noise, "noise")
    samples = in_plane(np.asarray(decode(noise.astype(np.float32))), "what decode returns")
    middle = np.median(noise, axis=0)
    away = noise - middle
    radii = np.quantile(np.linalg.norm(away, axis=1), _SHARES)
    sector = (np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) % 1 * _SECTORS).astype(int) % _SECTORS
    curves = [middle + curve for curve in (*_circles(radii), *_rays(radii[-1]))]
    images = [in_plane(np.asarray(decode(curve.astype(np.float32))), "what decode returns") for curve in curves]
    figure, both = panels(1, 2, title=title, width=8.6, height=5.1 if title else 4.7)
    shares = ", ".join(f"{share:.0%}" for share in _SHARES)
    names = f"base, circles that hold {shares}", f"{len(samples):,} samples, and what becomes of the circles"
    labels = ("z₀", "z₁"), ("x₀", "x₁")
    for axes, name, points, lines, label in zip(both, names, (noise, samples), (curves, images), labels, strict=True):
        dress(axes, *label)
        axes.grid(visible=False)
        axes.set_aspect("equal", adjustable="box")
        axes.set_title(name, loc="left", **STYLE.label)
        colours = np.asarray(STYLE.lines)[sector]
        axes.scatter(*points.T, s=3, c=colours, alpha=0.6, linewidths=0, rasterized=True)
        for index, line in enumerate(lines):
            circle = index < len(_SHARES)
            axes.plot(*line.T, color=STYLE.text if circle else STYLE.muted, linewidth=0.9 if circle else 0.5)
        low, high = np.quantile(points, [0.001, 0.999], axis=0)
        frame(axes, window_of(np.concatenate([np.stack([low, high]), *(lines if axes is both[0] else ())])), points)
    return figure


def draw_pushforward(joint: Joint, *, variable: str = "x", n: int = 4000, title: str = "") -> Drawing:
    """Draw how the flow of a variable in the plane moves `n` draws of its base, as `pushforward_2d` does.

    Args:
      joint: of this variable alone, a transformed factor.
      variable: its name.
      n: how many draws.
      title: above, on the left.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        found = joint.sample(key, params, state, examples=1).conditionals[variable]
        noise = found.base.sample(jax.random.fold_in(key, 1), (n,))
        decode = jax.jit(lambda z: found.bijection.inverse(found.params, found.state, z)[0])
        return pushforward_2d(lambda z: np.asarray(decode(jnp.asarray(z))), np.asarray(noise), title=title)

    return draw


def _circles(radii: NDArray[Any]) -> list[NDArray[Any]]:
    turn = np.linspace(0, 2 * np.pi, _FINE)
    return [radius * np.stack([np.cos(turn), np.sin(turn)], axis=1) for radius in radii]


def _rays(length: float) -> list[NDArray[Any]]:
    along = np.linspace(0, length, _FINE)
    angles = 2 * np.pi * np.arange(_SECTORS) / _SECTORS
    return [along[:, None] * np.array([[np.cos(angle), np.sin(angle)]]) for angle in angles]

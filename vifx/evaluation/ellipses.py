"""Components of real vectors in the plane: ellipses in their principal axes; of numbers, their densities."""

from __future__ import annotations

__all__ = ["PRINCIPAL", "Components", "component_densities", "component_ellipses", "of_estimates", "readable", "shades"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vifx.evaluation.style import STYLE, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRINCIPAL = ("first principal direction", "second principal direction")
"""The names of the axes of a plane that is not that of two features."""
_OUTSIDE = 0.05
"""The share of a component outside its ellipse."""


class Components(NamedTuple):
    """Elliptical components of a mixture.

    Attributes:
      weights: ``[components]``.
      means: their centres, ``[components, d]``.
      covariances: or the shapes of Student-t ones, ``[components, d, d]``.
      df: degrees of freedom, ``[components]``; infinite for normal components.
    """

    weights: NDArray[Any]
    means: NDArray[Any]
    covariances: NDArray[Any]
    df: NDArray[Any]

    @property
    def radii(self) -> NDArray[Any]:
        """The squared radii of ellipses in the plane that hold 95 % of each component, in units of its covariance.

        Of a Student-t, ``δ/2`` has the distribution F with 2 and ν degrees of freedom: ``ν (0.05^(−2/ν) − 1)``, which
        tends to ``−2 log 0.05``.
        """
        normal = -2 * np.log(_OUTSIDE)
        nu = np.where(np.isfinite(self.df), self.df, 1.0)
        return np.where(np.isfinite(self.df), nu * np.expm1(normal / nu), normal)

    def plane(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the mean ``[d]`` and the directions ``[d, 2]`` in which the whole mixture varies most.

        Data in the plane keep their own two axes.
        """
        size = self.means.shape[1]
        if size == 2:
            return np.zeros(2), np.eye(2)
        share = self.weights / self.weights.sum()
        centre = share @ self.means
        apart = self.means - centre
        whole = np.einsum("k,kij->ij", share, self.covariances) + np.einsum("k,ki,kj->ij", share, apart, apart)
        directions = np.linalg.eigh(whole)[1][:, ::-1][:, :2]
        signs = np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
        return centre, directions * signs


def of_estimates(estimates: Mapping[str, NDArray[Any]], weights: NDArray[Any]) -> Components | None:
    """Return the components of a fit whose family is elliptical, None of another one.

    Args:
      estimates: of `Fit.estimates`.
      weights: ``[components]``.
    """
    centres = estimates.get("means", estimates.get("locations"))
    if centres is None:
        return None
    means = np.asarray(centres, np.float64)
    whole = [estimates[name] for name in ("covariances", "covariance", "shapes") if name in estimates]
    diagonal = [estimates[name] for name in ("variances", "squared_scales") if name in estimates]
    if whole:
        each = np.asarray(whole[0], np.float64)
    elif diagonal:
        variances = np.asarray(diagonal[0], np.float64)
        variances = np.broadcast_to(variances[:, None] if variances.ndim == 1 else variances, means.shape)
        each = variances[:, :, None] * np.eye(means.shape[1])
    else:
        return None
    df = np.asarray(estimates.get("df", np.full(len(means), np.inf)), np.float64)
    return Components(weights, means, np.broadcast_to(each, (*means.shape, means.shape[1])), df)


def shades(states: int) -> list[str]:
    """Return a colour for each of some states; from the eleventh on they come again."""
    return [STYLE.classes[k % len(STYLE.classes)] for k in range(states)]


def readable() -> dict[str, Any]:
    """Return how text is written over lines and colours: dark, on a white edge."""
    from matplotlib.patheffects import withStroke

    return {"color": STYLE.text, "path_effects": [withStroke(linewidth=2.5, foreground="white")]}


def component_ellipses(
    axes: Axes, found: Components, points: NDArray[Any] | None, labels: NDArray[Any] | None, names: tuple[str, str]
) -> None:
    """Draw the ellipses that hold 95 % of each component, in the plane where the mixture varies most.

    Args:
      points: examples ``[n, d]``, if any.
      labels: their components, ``[n]``.
      names: of the two features of data in the plane.
    """
    from matplotlib.patches import Ellipse

    centre, directions = found.plane()
    colours = shades(len(found.means))
    if points is not None and labels is not None:
        flat = (points - centre) @ directions
        axes.scatter(*flat.T, s=6, c=[colours[k] for k in labels], alpha=0.5, linewidths=0, zorder=2)
    planar = np.einsum("ia,kij,jb->kab", directions, found.covariances, directions)
    for k, (mean, covariance, radius) in enumerate(
        zip((found.means - centre) @ directions, planar, found.radii, strict=True)
    ):
        sizes, vectors = np.linalg.eigh(covariance)
        width, height = 2 * np.sqrt(radius * np.maximum(sizes, 0))
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": colours[k], "linewidth": 1.6, "zorder": 3}
        axes.add_patch(Ellipse((float(mean[0]), float(mean[1])), width, height, angle=angle, **look))
        axes.plot(*mean, marker="+", markersize=8, color=colours[k], zorder=4)
        note: dict[str, Any] = {"xytext": (5, 5), "textcoords": "offset points", "fontsize": STYLE.tick_size}
        axes.annotate(f"{k}: {found.weights[k]:.0%}", tuple(mean), zorder=5, **note, **readable())
    axes.autoscale_view()
    dress(axes, *(PRINCIPAL if found.means.shape[1] > 2 else names))
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="datalim")


def component_densities(axes: Axes, found: Components, points: NDArray[Any] | None, name: str) -> None:
    """Draw the densities of components of numbers, each with its weight, and their sum.

    Args:
      points: examples ``[n, 1]``, if any, as a histogram.
      name: of the feature.
    """
    from scipy import stats

    means, scales = found.means[:, 0], np.sqrt(found.covariances[:, 0, 0])
    low, high = float((means - 4 * scales).min()), float((means + 4 * scales).max())
    at = np.linspace(low, high, 600)
    laws = [
        stats.t.pdf(at, nu, mean, scale) if np.isfinite(nu) else stats.norm.pdf(at, mean, scale)
        for nu, mean, scale in zip(found.df, means, scales, strict=True)
    ]
    each = found.weights[:, None] * np.stack(laws)
    if points is not None:
        axes.hist(points[:, 0], bins="auto", range=(low, high), density=True, color=STYLE.grid)
    for k, (curve, colour) in enumerate(zip(each, shades(len(each)), strict=True)):
        axes.plot(at, curve, color=colour, linewidth=1.6)
        top = int(curve.argmax())
        axes.annotate(
            f"{k}: {found.weights[k]:.0%}",
            (at[top], curve[top]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=STYLE.tick_size,
            **readable(),
        )
    axes.plot(at, each.sum(axis=0), color=STYLE.text, linewidth=1.0, linestyle="--")
    dress(axes, name, "density")
    axes.margins(y=0.12)

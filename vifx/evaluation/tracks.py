"""Targets that a linear dynamical system tracks: where they are thought to be, and how far that is from the truth."""

from __future__ import annotations

__all__ = ["covered", "draw_tracks", "measure_tracks", "track_figure", "true_params"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.types import Key, Params, State
from vifx.data import TRACKING, Split
from vifx.em import Model
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.exact_likelihood import held_out
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, legend, panels
from vifx.evaluation.table import Noted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVEL = 0.95
_RADIUS = float(-2 * np.log(1 - _LEVEL))
"""The squared radius of an ellipse that a normal point in the plane is in with probability 0.95, in variances."""


def measure_tracks(model: Model, split: Split) -> Measure:
    """Measure how far smoothed positions are from the true ones, and whether their uncertainty is right.

    ``error/seen`` and ``error/gap`` are root mean square distances, where something is seen and where nothing is;
    ``coverage/seen`` and ``coverage/gap`` the shares of true positions inside the ellipses of probability 0.95;
    ``log_prob/test/true`` is the log-likelihood of the true law, and ``scale_error`` the largest relative error of the
    learned standard deviations of a step's velocity and of what is seen. (That of a step's position is all but
    invisible beside them.)

    Args:
      split: ``x``, ``mask`` and the true ``states``.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        means, covariances = _positions(model, params, state, split)
        truth = split["states"][..., :2].astype(np.float64)
        distances, inside = np.sum((means - truth) ** 2, axis=-1), covered(means, covariances, truth)
        found: dict[str, Estimate | float] = {"log_prob/test/true": held_out(model, split, true_params(), state)}
        for name, where in (("seen", split["mask"]), ("gap", ~split["mask"])):
            count = np.maximum(where.sum(axis=1), 1)
            error = float(np.sqrt(np.sum(distances * where) / where.sum()))
            found[f"error/{name}"] = Noted(error, "root mean square distance from the true positions")
            share = (inside * where).sum(axis=1) / count
            found[f"coverage/{name}"] = Estimate(share, "true positions inside the ellipses of probability 0.95")
        factor = np.asarray(params["chain"]["scale_tril"], np.float64)
        ratios = [np.sqrt(np.diagonal(factor @ factor.T) / np.diagonal(TRACKING.noise))[2:]]
        ratios.append(np.asarray(params["emissions"]["scale"], np.float64) / TRACKING.scale)
        worst = float(np.abs(np.concatenate(ratios) - 1).max())
        found["scale_error"] = Noted(worst, "largest relative error of the scales of velocity and of sight")
        return found

    return measure


def draw_tracks(model: Model, split: Split) -> Drawing:
    """Draw the first three tracks: what is seen, the true path, and the smoothed one with ellipses through the gap.

    Args:
      split: ``x``, ``mask`` and the true ``states``.
    """
    few = {name: array[:3] for name, array in split.items()}

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        means, covariances = _positions(model, params, state, few)
        seen = [x[mask] for x, mask in zip(few["x"], few["mask"], strict=True)]
        return track_figure(means, covariances, few["states"][..., :2], seen, ~few["mask"], title="Three test tracks")

    return draw


def track_figure(
    means: ArrayLike,
    covariances: ArrayLike,
    truth: ArrayLike,
    seen: list[NDArray[Any]],
    missing: ArrayLike,
    *,
    title: str = "",
) -> Figure:
    """Draw paths in the plane, each in a panel: the smoothed positions with ellipses of probability 0.95.

    Args:
      means: the smoothed positions, ``[tracks, T, 2]``.
      covariances: theirs, ``[tracks, T, 2, 2]``.
      truth: the true positions, ``[tracks, T, 2]``.
      seen: the observed points of each track, ``[points, 2]``.
      missing: which steps have no observation, ``[tracks, T]``; their ellipses are red.
      title: above, on the left.

    Raises:
      ValueError: the shapes do not agree.
    """
    from matplotlib.patches import Ellipse

    means, covariances, truth = (np.asarray(each, np.float64) for each in (means, covariances, truth))
    missing = np.asarray(missing, bool)
    if means.shape != truth.shape or covariances.shape != (*means.shape, 2) or missing.shape != means.shape[:2]:
        shapes = [each.shape for each in (means, covariances, truth, missing)]
        raise ValueError(
            f"means [tracks, T, 2], covariances, truth and missing must be of the same steps, got {shapes}."
        )
    figure, grid = panels(1, len(means), title=title, width=3.6 * len(means), height=3.9)
    for axes, mean, covariance, path, points, gap in zip(grid, means, covariances, truth, seen, missing, strict=True):
        axes.plot(*path.T, color=STYLE.muted, linestyle="--", linewidth=1.2, label="true path")
        axes.plot(*mean.T, color=STYLE.lines[0], linewidth=1.4, label="smoothed path")
        axes.scatter(*points.T, s=9, color=STYLE.text, linewidths=0, label="seen", zorder=3)
        sizes, vectors = np.linalg.eigh(covariance)
        for at in range(len(mean)):
            if not gap[at] and at % 5:
                continue
            width, height = 2 * np.sqrt(_RADIUS * sizes[at])
            angle = np.degrees(np.arctan2(vectors[at, 1, 0], vectors[at, 0, 0]))
            color = STYLE.lines[1] if gap[at] else STYLE.lines[0]
            look: dict[str, Any] = {"facecolor": "none", "edgecolor": color, "linewidth": 0.8, "alpha": 0.8}
            axes.add_patch(Ellipse((mean[at, 0], mean[at, 1]), width, height, angle=angle, **look))
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("east", **STYLE.label)
        axes.set_ylabel("north", **STYLE.label)
        axes.tick_params(labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(STYLE.line)
    legend(figure, columns=3)
    return figure


def covered(means: NDArray[Any], covariances: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which points in the plane are in the ellipses of probability 0.95 around means, ``[...]``."""
    apart = truth - means
    distances = np.einsum("...i,...i->...", apart, np.linalg.solve(covariances, apart[..., None])[..., 0])
    return distances <= _RADIUS


def _positions(model: Model, params: Params, state: State, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    posterior = model.posterior(params, state, model.data(split))
    means, covariances = (np.asarray(each, np.float64) for each in (posterior.means, posterior.covariances))
    return means[..., :2], covariances[..., :2, :2]


def true_params() -> dict[str, dict[str, NDArray[Any]]]:
    """Return the parameters of the true law that an `em.lds` has whose motion is known."""
    chain = {
        "initial_mean": TRACKING.initial_mean,
        "initial_scale_tril": np.diag(TRACKING.initial_scale),
        "scale_tril": np.linalg.cholesky(TRACKING.noise),
    }
    true = {"chain": chain, "emissions": {"scale": TRACKING.scale}}
    return {owner: {name: value.astype(np.float32) for name, value in own.items()} for owner, own in true.items()}

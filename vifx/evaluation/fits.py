"""The figure of a fitted EM model: its components, its states and their transitions, or its path."""

from __future__ import annotations

__all__ = ["fit_figure"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require_array
from vifx.em import Fit
from vifx.evaluation.ellipses import component_densities, component_ellipses, of_estimates, shades
from vifx.evaluation.mosaics import image_grid
from vifx.evaluation.state_diagrams import path_panel, transition_diagram, transition_matrix
from vifx.evaluation.style import STYLE, canvas, chart, dress, legend, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY = 9
"""How many states a diagram has at most; more are a matrix."""
_POINTS = 5000
_CAPTION = "Ellipses hold 95 % of each component."


def fit_figure(fit: Fit, x: Any = None, *, image: tuple[int, ...] | None = None) -> Figure:
    """Draw a fitted model.

    Of a mixture: components of real vectors are ellipses that hold 95 % of each, in the two principal directions of the
    whole mixture (data in the plane keep their axes), and of numbers densities; the means of components whose examples
    are pictures are pictures; those of other families rows of a matrix. Of a hidden Markov model also the transitions,
    as a diagram, and of the first sequence of `x` the likeliest path. Of a linear dynamical system the eigenvalues of
    the transitions, and the first sequence of `x` with its smoothed path.

    Args:
      fit: of `vifx.em.fit`.
      x: examples to draw with it, as `Fit.predict` takes them; by default none. At most 5000 are drawn.
      image: the shape of the pictures that examples are, ``(height, width)`` or with channels; that of the examples if
        these are pictures.

    Raises:
      ValueError: examples are not pictures of this shape, or have another shape than those fitted.
    """
    if fit.model.components is None:
        return _system(fit, x)
    if fit.model.latent_axes == 2:
        return _chain(fit, x, image)
    return _mixture(fit, x, image)


def _mixture(fit: Fit, x: Any, image: tuple[int, ...] | None) -> Figure:
    weights, event = np.asarray(fit.estimates["weights"]), fit.event
    title = f"Mixture of {len(weights)} components" if len(weights) > 1 else "One component"
    image = event if image is None and len(event) in (2, 3) else image
    if image is not None:
        means = _centres(fit.estimates)
        if math.prod(image) != math.prod(means.shape[1:]):
            raise ValueError(f"plot: image must be a shape of {math.prod(means.shape[1:])} numbers, got {image}.")
        means = means.reshape(len(means), *image)
        low, high = min(float(means.min()), 0.0), max(float(means.max()), 1.0)
        captions = [f"{k}: {weight:.1%}" for k, weight in enumerate(weights)]
        return image_grid(means, captions=captions, title=f"{title}: means and weights", limits=(low, high))
    points, labels = (None, None) if x is None else _some(fit, x)
    size = {"width": 6.4, "height": 4.6} if len(event) and event[-1] > 1 else {}
    figure, axes = chart(title, "", "", **size)
    _emissions(axes, fit, weights, points, labels)
    return figure


def _some(fit: Fit, x: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return examples, evenly chosen where there are very many, and their components."""
    array = np.asarray(require_array(x, "x"))
    array = array[:: max(1, math.ceil(len(array) / _POINTS))]
    return array, np.asarray(fit.predict(array))


def _emissions(
    axes: Axes, fit: Fit, weights: NDArray[Any], points: NDArray[Any] | None, labels: NDArray[Any] | None
) -> None:
    """Draw what each component is, ``points [n, d]`` with it."""
    found = of_estimates(fit.estimates, weights)
    if found is None:
        _table(axes, _centres(fit.estimates), fit)
    elif found.means.shape[1] == 1:
        component_densities(axes, found, points, "x₀")
    else:
        component_ellipses(axes, found, points, labels, ("x₀", "x₁"))
        axes.text(0, 1.0, _CAPTION, transform=axes.transAxes, va="bottom", **STYLE.small)


def _centres(estimates: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the means of components, or the probabilities that are all there is to know of one."""
    for name in ("means", "locations", "probabilities", "rates", "offsets"):
        if name in estimates:
            return np.asarray(estimates[name], np.float64)
    raise ValueError(f"plot: there is no picture of what this family has: {', '.join(estimates)}.")


def _table(axes: Axes, centres: NDArray[Any], fit: Fit) -> None:
    rates = "rates" in fit.estimates
    flat = centres.reshape(len(centres), -1)
    most = None if rates else 1.0
    shown = axes.imshow(flat, aspect="auto", cmap="Blues", interpolation="nearest", vmin=0.0, vmax=most)
    dress(axes, "value" if centres.ndim == 2 else "variable and value", "component")
    axes.grid(visible=False)
    if flat.shape[1] <= 20:
        axes.set_xticks(range(flat.shape[1]))
    axes.set_yticks(range(len(flat)) if len(flat) <= 20 else [0, len(flat) - 1])
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_label("rate" if rates else "probability", **STYLE.label)
    bar.ax.tick_params(labelsize=STYLE.tick_size, color=STYLE.line, labelcolor=STYLE.muted)


def _chain(fit: Fit, x: Any, image: tuple[int, ...] | None) -> Figure:
    if image is not None:
        raise ValueError("plot: image is for mixtures; of a hidden Markov model, its states are drawn as they are.")
    transitions = np.asarray(fit.estimates["transitions"])
    weights = _stationary(transitions)
    figure = canvas(9.0, 4.2 if x is None else 7.0, layout="constrained")
    title = f"Hidden Markov model of {len(transitions)} states"
    figure.suptitle(title, x=0.01, ha="left", **STYLE.heading)
    places = figure.add_gridspec(1 if x is None else 2, 2, height_ratios=[1.0] if x is None else [4.0, 2.6])
    grid = [figure.add_subplot(places[0, column]) for column in range(2)]
    if len(transitions) > _MANY:
        transition_matrix(grid[0], transitions)
    else:
        transition_diagram(grid[0], transitions, weights)
    grid[0].set_title("transitions", loc="left", **STYLE.label)
    points = labels = None
    if x is not None:
        series, path = _first(fit, x)
        below = figure.add_subplot(places[1, :])
        count = series.shape[1]
        path_panel(below, path, len(transitions), series[:, :3], [f"x{'₀₁₂'[i]}" for i in range(min(count, 3))])
        legend(below, columns=8)
        points, labels = series, path
    real = points if points is not None and np.issubdtype(points.dtype, np.floating) else None
    _emissions(grid[1], fit, weights, real, labels)
    grid[1].set_title("what a state emits", loc="left", pad=14, **STYLE.label)
    return figure


def _stationary(transitions: NDArray[Any]) -> NDArray[Any]:
    """Return the stationary distribution: π P = π and Σ π = 1, of a reducible chain the solution of least norm."""
    states = len(transitions)
    equations = np.concatenate([transitions.T - np.eye(states), np.ones((1, states))])
    found = np.linalg.lstsq(equations, np.eye(states + 1)[-1], rcond=None)[0]
    return np.maximum(found, 0)  # rounding alone is below


def _first(fit: Fit, x: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first sequence ``[T, features]`` and its likeliest path."""
    if isinstance(x, list | tuple):
        few: Any = list(x[:1])
        series = np.asarray(few[0])
    elif isinstance(x, Mapping):
        few = {name: np.asarray(value)[:1] for name, value in x.items()}
        series = few[fit.model.observed][0]
        series = series[: int(few["lengths"][0])] if "lengths" in few else series
    else:
        few = np.asarray(x)[:1]
        series = few[0]
    path = np.asarray(fit.predict(few)[0])[: len(series)]
    return series.reshape(len(series), -1), path


def _system(fit: Fit, x: Any) -> Figure:
    estimates = fit.estimates
    values = np.linalg.eigvals(np.asarray(estimates["transitions"], np.complex128))
    figure, grid = panels(1, 2 if x is not None else 1, title="Linear dynamical system", width=9.0, height=3.6)
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    grid[0].plot(np.real(circle), np.imag(circle), color=STYLE.line, linewidth=1)
    grid[0].scatter(np.real(values), np.imag(values), color=STYLE.lines[0], zorder=3)
    dress(grid[0], "real part", "imaginary part")
    grid[0].set_aspect("equal", adjustable="datalim")
    grid[0].set_title("eigenvalues of the transitions", loc="left", **STYLE.label)
    if x is not None:
        _smoothed(grid[1], fit, x)
    return figure


def _smoothed(axes: Axes, fit: Fit, x: Any) -> None:
    """Draw the first sequence, and what is expected of it given all that was observed, with 95 % of the state."""
    few: Any = {n: np.asarray(v)[:1] for n, v in x.items()} if isinstance(x, Mapping) else [np.asarray(x[0])]
    seen = np.asarray(few["x"][0] if isinstance(few, Mapping) else few[0], np.float64)
    posterior = fit.posterior(few)
    means, covariances = np.asarray(posterior.means[0]), np.asarray(posterior.covariances[0])
    loadings, offset = fit.estimates["loadings"], fit.estimates["emission_mean"]
    expected = means @ loadings.T + offset
    spread = 1.96 * np.sqrt(np.einsum("di,tij,dj->td", loadings, covariances, loadings))
    mask = np.asarray(few["mask"][0]) if isinstance(few, Mapping) and "mask" in few else np.ones(len(seen), bool)
    mask = np.broadcast_to(mask[:, None] if mask.ndim == 1 else mask, seen.shape)
    for feature, colour in zip(range(min(seen.shape[1], 3)), shades(3), strict=False):
        shown, times = mask[:, feature], np.arange(len(seen))
        axes.plot(times[shown], seen[shown, feature], ".", markersize=4, color=colour, label=f"x{'₀₁₂'[feature]} seen")
        axes.plot(times, expected[: len(seen), feature], color=colour, linewidth=1.4, label="smoothed")
        low, high = (expected + sign * spread for sign in (-1, 1))
        area: dict[str, Any] = {"color": colour, "alpha": 0.2, "linewidth": 0}
        axes.fill_between(times, low[: len(seen), feature], high[: len(seen), feature], **area)
    dress(axes, "step", "")
    legend(axes, columns=6)

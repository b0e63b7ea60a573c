"""Models beside the law that their data was drawn from: divergence from it, and densities on the line."""

from __future__ import annotations

__all__ = [
    "best_normal",
    "density_fit_1d",
    "draw_projection",
    "draw_normal_fit",
    "measure_against_law",
    "measure_moments",
]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_number
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Modes, Split
from vifx.divergences import Divergence, nearest_normal
from vifx.evaluation.batches import samples as drawn
from vifx.evaluation.estimate import Estimate, minus
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, chart, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def measure_against_law(measure: Measure, law: Modes | None, split: Split, *, metric: str = "log_prob/test") -> Measure:
    """Return a measure with what the true density has on the same rows.

    ``log_prob/test`` is the mean log-likelihood of the model and ``log_prob/test/true`` that of the law, in nats. The
    mean of their differences row by row, ``kl/true``, estimates ``KL(law ‖ model)`` without bias. It has a far smaller
    standard error than either, since what is hard about a row is hard for both. A model with k free parameters that is
    fitted to n rows by maximum likelihood has a divergence of about ``k/(2n)`` nats.

    Args:
      measure: of the model; one of its metrics is an `Estimate` of log-likelihoods, or of their negatives.
      law: as `data.law` returns it; with None, where it is not known, the measure is returned as it is.
      split: rows ``x``, usually the test split.
      metric: the name of that metric; those of ``nll/…`` change their sign.
    """
    if law is None:
        return measure
    weights = split.get(WEIGHTS)
    truth = law.log_prob(split["x"])

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = measure(key, params, state)
        each = found[metric]
        if not isinstance(each, Estimate):
            raise TypeError(f"metric must be an Estimate with a value a row, got {metric!r}, a number")
        values = np.asarray(each.values, np.float64) * (-1 if metric.startswith("nll/") else 1)
        difference = Estimate(truth - values, weights=weights)
        return {
            "log_prob/test": Estimate(values, "mean log-likelihood, exact", weights),
            **found,
            "log_prob/test/true": Estimate(truth, "of the density that the rows were drawn from", weights),
            "kl/true": difference.noted("true density minus model, row by row", digits=4),
        }

    return measured


def draw_projection(generative: Joint, law: Modes) -> Drawing:
    """Draw the law along the line through its first two centres, with a histogram of 20,000 samples of the model.

    Args:
      generative: of ``x``.
    """
    line = law.centres[0] - law.centres[1]
    line = line / np.linalg.norm(line)
    shadow = Modes(law.centres @ line[:, None], law.scale, law.weights)
    grid = _grid(shadow)

    def draw(key: Key, params: Params, state: State) -> Figure:
        samples = np.asarray(generative.sample(key, params, state, examples=20_000).values["x"], np.float64) @ line
        density = np.exp(shadow.log_prob(grid[:, None]))
        return density_fit_1d(grid, density, {}, samples=samples, title="Along the line between the means")

    return draw


def measure_moments(generative: Joint, *, n: int = 100_000) -> Measure:
    """Measure the ``mean`` and the ``scale`` (standard deviation) of `n` samples of `generative` on the line."""

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        mean, scale = _moments(drawn(key, generative, params, state, n))
        return {"mean": mean, "scale": scale}

    return measure


def draw_normal_fit(generative: Joint, modes: Modes, *, optimum: tuple[float, float], n: int = 100_000) -> Drawing:
    """Draw a mixture on the line with the Gaussian that has the mean and the scale of `n` samples.

    Args:
      generative: prior and generator of points ``[n, 1]``.
      optimum: mean and scale of the best Gaussian, drawn beside it, such as `best_normal`.
    """
    grid = _grid(modes)

    def draw(key: Key, params: Params, state: State) -> Figure:
        samples = drawn(key, generative, params, state, n)
        fits = {"trained": _moments(samples), "exact optimum": optimum}
        return density_fit_1d(grid, np.exp(modes.log_prob(grid[:, None])), fits, samples=samples)

    return draw


def best_normal(divergence: Divergence, modes: Modes) -> tuple[float, float]:
    """Return mean and scale of the normal nearest to a mixture on the line by a divergence, by quadrature."""
    centres, scales, weights = (jnp.asarray(each, float) for each in (modes.centres[:, 0], modes.scale, modes.weights))

    def log_prob(x: Array) -> Array:
        standard = (x[..., None] - jnp.expand_dims(centres, range(x.ndim))) / jnp.expand_dims(scales, range(x.ndim))
        constants = jnp.log(weights) - jnp.log(scales * math.sqrt(2 * math.pi))
        return jax.nn.logsumexp(jnp.expand_dims(constants, range(x.ndim)) - 0.5 * standard**2, axis=-1)

    reach = 8 * float(modes.scale.max())
    grid = jnp.linspace(float(modes.centres.min()) - reach, float(modes.centres.max()) + reach, 4001)
    found = nearest_normal(divergence, log_prob, grid)
    return float(found.loc), float(found.scale)


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
        points = np.ravel(np.asarray(samples, np.float64))
        counts = np.histogram(points, edges)[0]
        axes.stairs(
            counts / (len(points) * np.diff(edges)), edges, color=STYLE.lines[5], linewidth=1.0, label="samples"
        )
    for i, (name, (mean, scale)) in enumerate(fits.items()):
        require_number(scale, f"the scale of fit {name!r}", above=0)
        curve = np.exp(-(((values - mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
        look: dict[str, Any] = {"color": STYLE.lines[i % len(STYLE.lines)], "linestyle": _DASHES[i % len(_DASHES)]}
        axes.plot(values, curve, linewidth=1.8, label=minus(f"{name}: μ = {mean:.3f}, σ = {scale:.3f}"), **look)
    axes.set_xlim(values[0], values[-1])
    axes.set_ylim(bottom=0)
    rows = -(-len(axes.get_legend_handles_labels()[1]) // 2)
    axes.set_title(title, loc="left", pad=12 + 14 * rows, **STYLE.heading)
    legend(axes, columns=2)
    return figure


def _grid(modes: Modes) -> NDArray[Any]:
    """Return points on the line that reach four scales beyond a mixture's centres."""
    reach = 4 * modes.scale
    low, high = float((modes.centres[:, 0] - reach).min()), float((modes.centres[:, 0] + reach).max())
    return np.linspace(low, high, 1000)


def _moments(samples: NDArray[Any]) -> tuple[float, float]:
    samples = samples.astype(np.float64)
    return float(samples.mean()), float(samples.std(ddof=1))

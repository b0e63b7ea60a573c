"""The components of a mixture: as images with their members, and the choice of their number.

Drawings take `restore`, which makes images in [0, 1], ``[n, height, width, channels]``, of what the model calls x.
"""

from __future__ import annotations

__all__ = ["draw_choice", "draw_means", "draw_members", "model_choice"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.core.types import Key, Params, State
from vifx.data import Split
from vifx.em import Model
from vifx.evaluation.clusters import likeliest_components
from vifx.evaluation.decoded_images import Restore
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.exact_likelihood import Tried, held_out
from vifx.evaluation.measure import Drawing
from vifx.evaluation.mosaics import image_grid, image_rows
from vifx.evaluation.style import STYLE, dress, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_means(model: Model, restore: Restore) -> Drawing:
    """Draw the means of the largest components, at most 100, as images with their weights below."""

    def draw(key: Key, params: Params, state: State) -> Figure:
        weights, means = _components(model, key, params, state)
        order = np.argsort(-weights, kind="stable")[:100]
        title = f"Means and weights of {len(order)} components"
        if len(order) < len(weights):
            title = f"Means and weights of the {len(order)} largest of {len(weights)} components"
        captions, columns = [f"{weights[k]:.1%}" for k in order], _columns(len(order))
        return image_grid(restore(means[order]), captions=captions, columns=columns, title=title)

    return draw


def draw_members(model: Model, restore: Restore, split: Split, images: NDArray[Any]) -> Drawing:
    """Draw the mean of each of the ten largest components before the first images that most likely belong to it.

    Args:
      split: ``x`` as the model takes it.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        weights, means = _components(model, key, params, state)
        likeliest = likeliest_components(model, params, state, split[model.observed])
        order = np.argsort(-weights, kind="stable")[:10]
        grid = np.ones((len(order), 12, *images.shape[1:]))  # white where there are no more
        for row, (k, mean) in enumerate(zip(order, restore(means[order]), strict=True)):
            members = images[likeliest == k][:11] / 255.0
            grid[row, 0], grid[row, 1 : 1 + len(members)] = mean, members
        labels, title = [f"{weights[k]:.1%}" for k in order], "Means, and test images that belong there"
        return image_rows(grid, labels, title=title)

    return draw


def draw_choice(fits: Tried, split: Split, *, examples: int) -> Drawing:
    """Draw the Bayesian information criterion and the held-out log-likelihood over the numbers of components tried.

    Args:
      examples: of the training split, by which the criterion is divided.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, params, state
        found = fits()
        bic = {size: fit.bic() / examples for size, fit in found.items()}
        return model_choice(
            bic, {size: held_out(fit.model, split, fit.params, fit.state) for size, fit in found.items()}
        )

    return draw


def model_choice(bic: Mapping[int, float], log_prob: Mapping[int, Estimate]) -> Figure:
    """Draw the Bayesian information criterion and the held-out log-likelihood over the number of components.

    Args:
      bic: by number of components, in nats per training example; the least is marked.
      log_prob: of held-out examples, in nats; bars are 95 % intervals over the examples.

    Raises:
      ValueError: if nothing is given, or the two are of different numbers of components.
    """
    if not bic or bic.keys() != log_prob.keys():
        raise ValueError(f"bic and log_prob must be of the same numbers of components, got {[*bic]} and {[*log_prob]}.")
    sizes = sorted(bic)
    figure, (left, right) = panels(1, 2, title="How many components")
    dress(left, "components", "BIC / examples (nats), less is better")
    values = [bic[size] for size in sizes]
    line = {"marker": "o", "markersize": 4, "linewidth": 1.6}
    left.plot(sizes, values, color=STYLE.lines[0], **line)
    best = int(np.argmin(values))
    place = (sizes[best], values[best])
    ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": STYLE.bad}
    left.plot(*place, linestyle="", **ring)
    below = {"xytext": (0, -9), "textcoords": "offset points", "ha": "center", "va": "top"}
    left.annotate(f"least at {sizes[best]}", place, fontsize=STYLE.tick_size, color=STYLE.bad, **below)
    dress(right, "components", "held-out log-likelihood (nats per example)")
    means = np.array([log_prob[size].mean for size in sizes])
    errors = np.array([log_prob[size].interval[1] for size in sizes]) - means
    right.errorbar(sizes, means, np.nan_to_num(errors), color=STYLE.lines[1], capsize=2, **line)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.margins(x=0.08, y=0.16)
    return figure


def _components(model: Model, key: Key, params: Params, state: State) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the weights ``[components]`` and means ``[components, *event]`` of a mixture."""
    every = {model.latent: jnp.arange(model.components)}
    drawn = model.generative.sample(key, params, state, fixed=every)
    weights = np.asarray(drawn.conditionals[model.latent].probs, np.float64)
    return weights.reshape(-1)[: model.components], np.asarray(drawn.conditionals[model.observed].mean, np.float64)


def _columns(count: int) -> int:
    """Return a number of columns a little above the square root that leaves the fewest gaps."""
    least = math.ceil(math.sqrt(count))
    return min(range(least, math.ceil(2 * math.sqrt(count)) + 1), key=lambda columns: (-count % columns, columns))

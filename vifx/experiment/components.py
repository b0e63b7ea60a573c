"""What EM experiments draw: components as images, their members, samples, and the choice of their number.

Each function returns a function of (key, params, state), as `Experiment` takes them. `restore` makes images in [0, 1],
``[n, height, width, channels]``, of what the model calls x.
"""

from __future__ import annotations

__all__ = ["Restore", "draw_choice", "draw_means", "draw_members", "draw_samples", "drawings", "sampler"]

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import evaluation
from vifx.core.types import Array, Key, Params, State
from vifx.data import Dataset, Split
from vifx.em import Model
from vifx.evaluation import Estimate
from vifx.experiment.file import Drawing
from vifx.experiment.mixtures import Tried, held_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Restore: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From values of x to images in [0, 1]."""


def drawings(
    model: Model, restore: Restore, splits: Dataset, images: NDArray[Any], *, others: Tried | None = None
) -> dict[str, Drawing]:
    """Return what every mixture of images draws: means, members, samples, and the choice of their number.

    Args:
      model: a mixture.
      restore: makes images of x.
      splits: ``x`` as the model takes it.
      images: those of the test split, uint8.
      others: models of other numbers of components.
    """
    found = {
        "means": draw_means(model, restore),
        "members": draw_members(model, restore, splits.test, images),
        "samples": draw_samples(model, restore),
    }
    size = len(splits.train[model.observed])
    return found if others is None else {**found, "choice": draw_choice(others, splits.test, examples=size)}


def sampler(model: Model, restore: Restore) -> Callable[..., NDArray[Any]]:
    """Return ``(key, params, state, n, temperature) -> images`` that draws x from the model.

    Args:
      model: a mixture.
      restore: makes images of x; what lies outside of [0, 1] is clipped.
    """

    def draw(key: Key, params: Params, state: State, n: int, temperature: float) -> NDArray[Any]:
        drawn = model.generative.sample(key, params, state, examples=n, temperature=temperature)
        return np.clip(restore(np.asarray(drawn.values[model.observed])), 0.0, 1.0)

    return draw


def draw_samples(model: Model, restore: Restore, *, n: int = 64, title: str = "Samples") -> Drawing:
    """Draw `n` samples in a grid.

    Args:
      model: a mixture.
      restore: makes images of x.
      n: how many.
      title: above, on the left.
    """
    draws = sampler(model, restore)

    def draw(key: Key, params: Params, state: State) -> Figure:
        return evaluation.image_grid(draws(key, params, state, n, 1.0), title=title, limits=(0.0, 1.0))

    return draw


def draw_means(model: Model, restore: Restore, *, most: int = 100, title: str = "") -> Drawing:
    """Draw the mean of each component as an image with its weight below, the largest first.

    Args:
      model: a mixture.
      restore: makes images of x.
      most: how many components, at most.
      title: above, on the left; says what they are by default.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        weights, means = _components(model, key, params, state)
        order = np.argsort(-weights, kind="stable")[:most]
        captions = [f"{weights[k]:.1%}" for k in order]
        whole = f"Means and weights of {len(order)} components"
        if len(order) < len(weights):
            whole = f"Means and weights of the {len(order)} largest of {len(weights)} components"
        return evaluation.component_images(restore(means[order]), captions, title=title or whole)

    return draw


def draw_members(
    model: Model,
    restore: Restore,
    split: Split,
    images: NDArray[Any],
    *,
    rows: int = 10,
    columns: int = 12,
    title: str = "Means, and test images that belong there",
) -> Drawing:
    """Draw the mean of each of the largest components before the first images that most likely belong to it.

    Args:
      model: a mixture.
      restore: makes images of x.
      split: ``x`` as the model takes it.
      images: the same examples as images, uint8.
      rows: how many components, at most.
      columns: images a row, the mean included.
      title: above, on the left.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        weights, means = _components(model, key, params, state)
        likeliest = np.asarray(_likeliest(model, params, state, jnp.asarray(split[model.observed])))
        order = np.argsort(-weights, kind="stable")[:rows]
        grid = np.ones((len(order), columns, *images.shape[1:]))  # white where there are no more
        for row, (k, mean) in enumerate(zip(order, restore(means[order]), strict=True)):
            members = images[likeliest == k][: columns - 1] / 255.0
            grid[row, 0], grid[row, 1 : 1 + len(members)] = mean, members
        labels = [f"{weights[k]:.1%}" for k in order]
        return evaluation.image_rows(grid, labels, title=title, limits=(0.0, 1.0))

    return draw


def draw_choice(fits: Tried, split: Split, *, examples: int) -> Drawing:
    """Draw the Bayesian information criterion and the held-out log-likelihood over the numbers of components tried.

    Args:
      fits: the models, fitted.
      split: held out, usually the test split.
      examples: of the training split, by which the criterion is divided.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, params, state
        found = fits()
        bic = {size: fit.bic / examples for size, fit in found.items()}
        log_prob: dict[int, Estimate] = {
            size: held_out(fit.model, split, fit.params, fit.state) for size, fit in found.items()
        }
        return evaluation.model_choice(bic, log_prob)

    return draw


@partial(jax.jit, static_argnums=0)
def _likeliest(model: Model, params: Params, state: State, x: Array) -> Array:
    return jnp.argmax(model.posterior(params, state, x).probs, axis=-1)


def _components(model: Model, key: Key, params: Params, state: State) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the weights ``[components]`` and means ``[components, *event]`` of a mixture."""
    every = {model.latent: jnp.arange(model.components)}
    drawn = model.generative.sample(key, params, state, fixed=every)
    weights = np.asarray(drawn.conditionals[model.latent].probs, np.float64)
    return weights.reshape(-1)[: model.components], np.asarray(drawn.conditionals[model.observed].mean, np.float64)

"""Probabilistic PCA of images: its directions, and what its latents keep of an image."""

from __future__ import annotations

__all__ = ["draw_component_codes", "draw_directions", "draw_explained", "measure_explained"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import em
from vifx.core.types import Array, Key, Params, State
from vifx.data import Split
from vifx.em import Model
from vifx.evaluation.clusters import likeliest_components
from vifx.evaluation.decoded_images import Restore
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.latents import latent_scatter
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.mosaics import latent_traversal, reconstructions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_directions(restore: Restore) -> Drawing:
    """Draw the mean of the largest component moved along its directions, by up to 2 standard deviations of each latent.

    Args:
      restore: makes images of x; the eight strongest directions are drawn.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, state
        largest, order = _strongest(params)
        mean, loadings = (np.asarray(params["components"][name])[largest] for name in ("mean", "loadings"))
        steps, order = np.linspace(-2, 2, 9), order[:8]
        moved = np.stack([mean + step * loadings[:, k] for k in order for step in steps])
        images = np.clip(restore(moved), 0.0, 1.0)
        grid = images.reshape(len(order), len(steps), *images.shape[1:])
        title = "The mean, moved along each principal direction"
        return latent_traversal(grid, range(len(order)), steps, title=title)

    return draw


def draw_explained(model: Model, restore: Restore, split: Split) -> Drawing:
    """Draw the first 20 examples above what the factors of their likeliest component make of them.

    Args:
      split: ``x`` as the model takes it.
    """
    x = jnp.asarray(split["x"][:20])

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        explained = np.asarray(_explained(model, params, state, x))
        latent = params["components"]["loadings"].shape[-1]
        title = f"Reconstructions from {latent} numbers an image"
        above, below = (np.clip(restore(values), 0.0, 1.0) for values in (np.asarray(x), explained))
        return reconstructions(above, below, title=title)

    return draw


def draw_component_codes(model: Model, split: Split) -> Drawing:
    """Draw the posterior means of the strongest two latents in the largest component, coloured by the labels.

    Args:
      model: a mixture of probabilistic PCA, with at least two latents.
      split: ``x`` as the model takes it, and labels ``y``; the first 2,000 members of the component are drawn.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        largest, order = _strongest(params)
        members = np.flatnonzero(likeliest_components(model, params, state, split["x"]) == largest)[:2000]
        posterior = em.latent_posterior(params["components"], jnp.asarray(split["x"][members]))
        codes = np.asarray(posterior.loc)[:, largest, order[:2]]
        labels = split["y"][members] if "y" in split else None
        of = "" if model.components == 1 else ", largest component"
        title = f"Posterior means of the two strongest latents{of}"
        return latent_scatter(codes, labels, title=title)

    return draw


def measure_explained(model: Model, split: Split) -> Measure:
    """Measure the root mean square of what reconstructions miss, over examples and pixels, in units of x.

    ``reconstruction_rms``; for pixels divided by 255 the unit is a white pixel.

    Args:
      split: ``x`` as the model takes it.
    """
    x = jnp.asarray(split["x"])

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        missed = np.asarray(x) - np.asarray(_explained(model, params, state, x))
        return {"reconstruction_rms": float(np.sqrt(np.mean(missed**2, dtype=np.float64)))}

    return measure


def _strongest(params: Params) -> tuple[int, NDArray[Any]]:
    """Return the component with the largest weight, and its latents from the strongest to the weakest."""
    largest = int(np.argmax(np.asarray(params["weights"]["logits"])[0]))
    return largest, np.argsort(-np.linalg.norm(np.asarray(params["components"]["loadings"])[largest], axis=0))


def _explained(model: Model, params: Params, state: State, x: Array) -> Array:
    likeliest = jnp.argmax(model.posterior(params, state, x).probs, axis=-1)
    each = em.reconstruct(params["components"], x)
    return jnp.take_along_axis(each, likeliest[:, None, None], axis=1)[:, 0]

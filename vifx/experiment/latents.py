"""What experiments with probabilistic PCA and hidden Markov models draw and measure; log-likelihoods are in nats.

Each function returns a function of (key, params, state), as `Experiment` takes them.
"""

from __future__ import annotations

__all__ = [
    "casino",
    "draw_codes",
    "draw_directions",
    "draw_dice",
    "draw_reconstructions",
    "draw_timeline",
    "order_of_dice",
    "reconstruction_error",
]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import data, em, evaluation
from vifx.core.types import Array, Key, Params, State
from vifx.data import Split
from vifx.em import Model
from vifx.evaluation import Estimate
from vifx.experiment.components import Restore
from vifx.experiment.file import Drawing, Measure
from vifx.experiment.mixtures import held_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_directions(restore: Restore, *, rows: int = 8) -> Drawing:
    """Draw the mean of the largest component moved along its directions, by up to 2 standard deviations of each latent.

    Args:
      restore: makes images of x.
      rows: how many directions at most, the strongest first.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, state
        own = params["components"]
        largest = int(np.argmax(np.asarray(params["weights"]["logits"])[0]))
        mean, loadings = np.asarray(own["mean"])[largest], np.asarray(own["loadings"])[largest]
        steps = np.linspace(-2, 2, 9)
        strengths = np.linalg.norm(loadings, axis=0)
        order = np.argsort(-strengths)[:rows]
        moved = np.stack([mean + step * loadings[:, k] for k in order for step in steps])
        images = np.clip(restore(moved), 0.0, 1.0)
        grid = images.reshape(len(order), len(steps), *images.shape[1:])
        title = "The mean, moved along each principal direction"
        return evaluation.latent_traversal(grid, range(len(order)), steps, title=title, limits=(0.0, 1.0))

    return draw


def draw_reconstructions(model: Model, restore: Restore, split: Split, *, n: int = 20) -> Drawing:
    """Draw the first `n` examples above what the factors of their likeliest component make of them.

    Args:
      model: a mixture of probabilistic PCA.
      restore: makes images of x.
      split: ``x`` as the model takes it.
      n: how many.
    """
    x = jnp.asarray(split["x"][:n])

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        explained = np.asarray(_explained(model, params, state, x))
        latent = params["components"]["loadings"].shape[-1]
        title = f"Reconstructions from {latent} numbers an image"
        above, below = (np.clip(restore(values), 0.0, 1.0) for values in (np.asarray(x), explained))
        return evaluation.reconstructions(above, below, title=title, limits=(0.0, 1.0))

    return draw


def draw_codes(model: Model, split: Split, *, n: int = 2000) -> Drawing:
    """Draw the posterior means of the strongest two latents in the largest component, coloured by the labels.

    Args:
      model: a mixture of probabilistic PCA, with at least two latents.
      split: ``x`` as the model takes it, and labels ``y``.
      n: how many examples at most, those that most likely belong to the component.
    """
    x = jnp.asarray(split["x"])

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        own = params["components"]
        largest = int(np.argmax(np.asarray(params["weights"]["logits"])[0]))
        members = np.flatnonzero(np.asarray(model.posterior(params, state, x).probs).argmax(axis=1) == largest)[:n]
        strongest = np.argsort(-np.linalg.norm(np.asarray(own["loadings"])[largest], axis=0))[:2]
        codes = np.asarray(em.latent_posterior(own, x[members]).loc)[:, largest, strongest]
        labels = split["y"][members] if "y" in split else None
        one = model.components == 1
        title = f"Posterior means of the two strongest latents{'' if one else ', largest component'}"
        return evaluation.latent_scatter(codes, labels, title=title)

    return draw


def reconstruction_error(model: Model, split: Split) -> Measure:
    """Measure the root mean square of what reconstructions miss, over examples and pixels, in units of x.

    ``reconstruction_rms``; for pixels divided by 255 the unit is a white pixel.

    Args:
      model: a mixture of probabilistic PCA.
      split: ``x`` as the model takes it.
    """
    x = jnp.asarray(split["x"])

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        missed = np.asarray(x) - np.asarray(_explained(model, params, state, x))
        return {"reconstruction_rms": float(np.sqrt(np.mean(missed**2, dtype=np.float64)))}

    return measure


def order_of_dice(params: Params) -> NDArray[Any]:
    """Return the learned states in the order fair, loaded: by their probability of a six.

    Args:
      params: of the casino's hidden Markov model.
    """
    return np.argsort(np.asarray(params["emissions"]["logits"])[:, -1], kind="stable")


def casino(model: Model, split: Split) -> Measure:
    """Measure how well the learned casino is the true one.

    ``faces_error`` and ``transitions_error`` are the largest differences of a probability; ``state_accuracy`` is the
    share of rolls whose die the posterior calls, with its standard error over sequences; ``log_prob/test/true`` is
    the log-likelihood of the true casino.

    Args:
      model: a hidden Markov model of two states.
      split: rolls ``x`` and dice ``y``, ``[sequences, length]``.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        order = order_of_dice(params)
        faces, transitions = _tables(params, order)
        loaded = _loaded(model, params, state, split, order)
        right = np.mean((loaded > 0.5) == (split["y"] == 1), axis=1)
        truth = data.CASINO
        initial, transitions_true, faces_true = (
            jnp.log(jnp.maximum(jnp.asarray(table, jnp.float32), 1e-30))
            for table in (truth.initial, truth.transitions, truth.faces)
        )
        true = {
            "chain": {"initial": initial, "transitions": transitions_true},
            "emissions": {"logits": faces_true},
        }
        return {
            "log_prob/test/true": held_out(model, split, true, state),
            "state_accuracy": Estimate(right, "rolls whose die the posterior calls"),
            "faces_error": float(np.abs(faces - truth.faces).max()),
            "transitions_error": float(np.abs(transitions - truth.transitions).max()),
        }

    return measure


def draw_timeline(model: Model, split: Split, *, rows: int = 3) -> Drawing:
    """Draw the posterior probability of the loaded die over time, above when it was really used.

    Args:
      model: a hidden Markov model of two states.
      split: rolls ``x`` and dice ``y``.
      rows: how many sequences.
    """
    few = {name: array[:rows] for name, array in split.items()}

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        loaded = _loaded(model, params, state, few, order_of_dice(params))
        return evaluation.state_timeline(
            loaded,
            few["y"] == 1,
            title="Which die? Test sequences",
            x_label="roll",
            y_label="p(loaded | all rolls)",
            shade="the loaded die was used",
        )

    return draw


def draw_dice() -> Drawing:
    """Draw the learned probabilities of the faces beside the true ones."""

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key, state
        faces, _ = _tables(params, order_of_dice(params))
        true = data.CASINO.faces
        tables = {
            "fair, learned": faces[0],
            "fair, true": true[0],
            "loaded, learned": faces[1],
            "loaded, true": true[1],
        }
        title = "Faces of the two dice"
        return evaluation.probability_bars(tables, [str(face) for face in range(1, 7)], title=title, x_label="face")

    return draw


def _tables(params: Params, order: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    faces, transitions = (
        np.asarray(jax.nn.softmax(logits, axis=-1), np.float64)
        for logits in (params["emissions"]["logits"], params["chain"]["transitions"])
    )
    return faces[order], transitions[order][:, order]


def _loaded(model: Model, params: Params, state: State, split: Split, order: NDArray[Any]) -> NDArray[Any]:
    marginals = model.posterior(params, state, jnp.asarray(split["x"])).marginals
    return np.asarray(marginals)[:, :, order[1]]


def _explained(model: Model, params: Params, state: State, x: Array) -> Array:
    likeliest = jnp.argmax(model.posterior(params, state, x).probs, axis=-1)
    each = em.reconstruct(params["components"], x)
    return jnp.take_along_axis(each, likeliest[:, None, None], axis=1)[:, 0]

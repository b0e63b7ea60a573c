"""What experiments with an encoder and a decoder measure and draw.

Each function returns a function of (key, params, state), as `Experiment` takes them.
"""

from __future__ import annotations

__all__ = [
    "bounds",
    "draw_codes",
    "draw_reconstructions",
    "draw_samples",
    "draw_shared",
    "draw_traversal",
    "monitor",
    "sampler",
]

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from vifx import evaluation
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.data import Split
from vifx.evaluation import Estimate
from vifx.experiment.file import Drawing, Measure, unmeasured

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def monitor(objective: Objective, split: Split, *, player: str = "model") -> Measure:
    """Measure every metric of a player's loss on a split, in evaluation mode.

    Args:
      objective: what is trained.
      split: usually the validation split.
      player: whose loss.
    """
    if not len(next(iter(split.values()))):
        return unmeasured
    return lambda key, params, state: evaluation.average_metrics(
        key, objective.players[player].loss, params, state, split
    )


def bounds(
    inference: Joint,
    generative: Joint,
    split: Split,
    *,
    samples: Sequence[int] = (1, 50, 1000),
    examples: int | None = None,
    latent: str = "z",
) -> Measure:
    """Measure the ELBO and its terms, the importance-weighted bounds and the active units of a split.

    ``iwae/K`` is the bound with K samples, in nats per example. All but the ELBO and the active units, which
    are cheap, are taken on the first `examples` examples.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: usually the test split.
      samples: the numbers K.
      examples: how many examples to take for the importance-weighted bounds; all by default.
      latent: the variable whose active units are counted.
    """
    few = {name: array[:examples] for name, array in split.items()}

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        terms = evaluation.elbo(key, inference, generative, params, state, split)
        weighted = evaluation.importance_weighted_bound(key, inference, generative, params, state, few, samples=samples)
        codes = evaluation.encode(key, inference, params, state, split, variable=latent)
        return {
            **{name: value for name, value in terms.items() if name != "loss"},
            **{f"iwae/{count}": value for count, value in weighted.items()},
            "active_units": float((evaluation.active_units(codes.mean) > 0.01).sum()),
            "examples_for_iwae": float(len(few["x"])),
        }

    return measure


def sampler(
    generative: Joint, *, white: float = 1.0, evidence: Callable[[int], Batch] | None = None
) -> Callable[..., NDArray[Any]]:
    """Return ``(key, params, state, n, temperature) -> images`` that draws the mean of ``x`` from the joint.

    Args:
      generative: prior and decoder.
      white: the value of a white pixel; images are divided by it.
      evidence: what a conditional model is given for `n` examples, such as labels.
    """

    def draw(key: Key, params: Params, state: State, n: int, temperature: float) -> NDArray[Any]:
        batch = evidence(n) if evidence else {}
        return _mean_images(generative, white, key, params, state, batch, {}, n, temperature)

    return draw


def draw_samples(
    sample: Callable[..., NDArray[Any]], *, n: int = 64, columns: int | None = None, title: str = "Samples"
) -> Drawing:
    """Draw `n` samples in a grid of `columns`, under a `title`; `sample` is a `sampler`."""

    def draw(key: Key, params: Params, state: State) -> Figure:
        images = sample(key, params, state, n, 1.0)
        return evaluation.image_grid(images, columns=columns, title=title, limits=(0.0, 1.0))

    return draw


def draw_reconstructions(
    inference: Joint,
    generative: Joint,
    split: Split,
    *,
    originals: NDArray[Any] | None = None,
    n: int = 20,
    white: float = 1.0,
    black: float = 0.0,
) -> Drawing:
    """Draw the first `n` examples of a split above the decoder's mean at one draw of their latents.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: what the encoder reads.
      originals: the images to show above, uint8, if not what the encoder reads.
      n: how many.
      white: the value of a white pixel.
      black: the value of a black pixel.
    """
    few = {name: jax.numpy.asarray(array[:n]) for name, array in split.items()}
    above = np.asarray(split["x"][:n] if originals is None else originals[:n], np.float32)
    above = (above - black) / (white - black) if originals is None else above / 255.0

    def draw(key: Key, params: Params, state: State) -> Figure:
        values = inference.sample(key, params, state, few).values
        known = [name for name in generative.variables if name in values and name not in inference.observed]
        latents = {name: values[name] for name in known}
        below = _mean_images(generative, white, key, params, state, few, latents, None, 1.0, black)
        return evaluation.reconstructions(above, below, limits=(0.0, 1.0))

    return draw


def draw_traversal(
    inference: Joint,
    generative: Joint,
    split: Split,
    *,
    latent: str = "z",
    rows: int = 8,
    columns: int = 11,
    white: float = 1.0,
) -> Drawing:
    """Move the most active latents one at a time over normal quantiles, from the code of the first example.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: measures the activity; its first example is where the latents start from.
      latent: the variable to move.
      rows: how many latents, at most.
      columns: how many quantiles.
      white: the value of a white pixel.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        codes = evaluation.encode(key, inference, params, state, split, variable=latent)
        dimensions = np.argsort(-evaluation.active_units(codes.mean))[:rows].tolist()
        values = evaluation.normal_quantiles(columns)
        grid = evaluation.traversal_codes(codes.mean[0], dimensions, values)
        flat = jax.numpy.asarray(grid.reshape(-1, grid.shape[-1]), dtype=np.float32)
        evidence = {
            name: jax.numpy.repeat(jax.numpy.asarray(array[:1]), len(flat), axis=0) for name, array in split.items()
        }
        images = _mean_images(generative, white, key, params, state, evidence, {latent: flat}, None, 1.0)
        images = images.reshape(*grid.shape[:2], *images.shape[1:])
        return evaluation.latent_traversal(images, dimensions, values, limits=(0.0, 1.0))

    return draw


def draw_shared(
    generative: Joint,
    shared: str,
    *,
    rows: int = 8,
    columns: int = 10,
    title: str = "",
    white: float = 1.0,
    evidence: Callable[[int], Batch] | None = None,
) -> Drawing:
    """Draw a grid of samples whose rows share one latent; everything else is drawn anew for each image.

    Args:
      generative: prior and decoder.
      shared: the latent that the images of a row have in common.
      rows: how many values of it.
      columns: how many images of each.
      title: of the figure.
      white: the value of a white pixel.
      evidence: what a conditional model is given for `n` images, row by row.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        value_key, image_key = jax.random.split(key)
        given = evidence or (lambda _: {})
        values = generative.sample(value_key, params, state, given(rows), examples=rows).values[shared]
        fixed = {shared: jax.numpy.repeat(values, columns, axis=0)}
        images = _mean_images(generative, white, image_key, params, state, given(rows * columns), fixed, None, 1.0)
        return evaluation.image_grid(images, columns=columns, title=title, limits=(0.0, 1.0))

    return draw


def draw_codes(inference: Joint, split: Split, *, latent: str = "z", n: int = 2000) -> Drawing:
    """Draw the mean codes of a `latent` for the first `n` examples in the plane, coloured by their labels."""
    few = {name: array[:n] for name, array in split.items()}

    def draw(key: Key, params: Params, state: State) -> Figure:
        codes = evaluation.encode(key, inference, params, state, few, variable=latent)
        return evaluation.latent_scatter(codes.mean, few.get("y"))

    return draw


def _mean_images(
    generative: Joint,
    white: float,
    key: Key,
    params: Params,
    state: State,
    batch: Batch,
    fixed: Mapping[str, Array],
    examples: int | None,
    temperature: float,
    black: float = 0.0,
) -> NDArray[Any]:
    """Return the mean of ``x`` given its parents, ``[examples, height, width, channels]`` in [0, 1]."""
    drawn = generative.sample(key, params, state, batch, examples=examples, fixed=fixed, temperature=temperature)
    return (np.asarray(drawn.conditionals["x"].mean, np.float32) - black) / (white - black)

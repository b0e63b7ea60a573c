"""Experiments that EM fits: their options, their step and its start, and what is measured and drawn.

The data set is one minibatch, and an update is an iteration of EM.
"""

from __future__ import annotations

__all__ = ["Config", "experiment", "images", "mixture_drawings", "only", "starting", "tried"]

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from numpy.typing import NDArray

from vifx import data, em, training
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.data import Dataset
from vifx.data.images import Dequantized, Embedding
from vifx.em import Fit, Model
from vifx.evaluation import DecodedImages, components, exact_likelihood
from vifx.evaluation.decoded_images import Restore
from vifx.evaluation.exact_likelihood import Tried
from vifx.evaluation.measure import Drawing
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.mesh import mesh_of
from vifx.experiment.rules import PositiveInt
from vifx.training import Alarm, Progress

_WHOLE = "an iteration of EM takes all examples at once"


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that EM experiments have in common. The data set is one minibatch, whatever data.batch-size is."""

    steps: PositiveInt = 100
    """How many iterations of EM to make."""
    log_every: PositiveInt = 5
    """Iterations between two lines of metrics, each the mean over them."""
    checkpoint_every: PositiveInt = 50
    """Iterations between two checkpoints; rounded up to a multiple of log_every."""
    evaluate_every: PositiveInt | None = 5
    """Iterations between two evaluations on the validation split; rounded up to a multiple of log_every."""
    start: Literal["k-means", "k-means++", "random"] = "k-means"
    """How EM starts: from k-means clusters, from k-means++ seeds, or from random responsibilities."""
    restarts: PositiveInt = 4
    """How many starts; the one whose objective is best after start_steps is trained."""
    start_steps: PositiveInt = 5
    """Iterations after which the starts are compared."""
    chunk: PositiveInt = 2048
    """How many examples the E step holds in memory at a time."""
    components_tried: tuple[PositiveInt, ...] = ()
    """Numbers of components to fit and compare at the end, by the Bayesian information criterion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.components_tried)) < len(self.components_tried):
            raise ValueError(f"components_tried must be different numbers, got {self.components_tried}")


def images(
    config: Config,
    splits: Dataset,
    originals: NDArray[Any],
    features: Embedding,
    make: Callable[[int], Model],
    size: int,
) -> Experiment:
    """Return the experiment of a mixture of images, with its means, members and samples, and the choice of its size.

    Args:
      splits: ``x`` as the model takes it.
      originals: the test images, uint8.
      features: the map between images and ``x``.
    """
    model, others, restore = make(size), tried(config, make, splits), features.restore
    drawings = mixture_drawings(model, restore, splits, originals, others)
    sample = DecodedImages(model.generative, restore, mean=False).sample
    shades = features.shades if isinstance(features, Dequantized) else None
    return experiment(config, model, splits, drawings=drawings, sample=sample, others=others, shades=shades)


def mixture_drawings(
    model: Model, restore: Restore, splits: Dataset, originals: NDArray[Any], others: Tried | None = None
) -> dict[str, Drawing]:
    """Return what every mixture of images draws: means, members, samples, and where `others` are tried, the choice.

    Args:
      splits: ``x`` as the model takes it.
    """
    found = {
        "means": components.draw_means(model, restore),
        "members": components.draw_members(model, restore, splits.test, originals),
        **DecodedImages(model.generative, restore, mean=False).drawings("samples"),
    }
    if others is not None:
        size = len(splits.train[model.observed])
        found["choice"] = components.draw_choice(others, splits.test, examples=size)
    return found


def experiment(
    config: Config,
    model: Model,
    splits: Dataset,
    *,
    drawings: Mapping[str, Drawing],
    sample: Callable[..., NDArray[Any]] | None = None,
    others: Tried | None = None,
    shades: int | None = None,
    seeds: bool = False,
) -> Experiment:
    """Return the experiment of a model that EM fits.

    Args:
      model: such as `em.mixture` makes.
      splits: ``x`` as the model takes it.
      sample: for `vifx sample`.
      others: models of other numbers of components, to be compared; see `tried`.
      shades: of images whose pixels are dequantized, how many shades of grey they have.
      seeds: see `starting`.

    Raises:
      ValueError: the model has more components than there are examples.
    """
    config.data.require_resident(_WHOLE)
    model.check(splits.train[model.observed])
    objective = dataclasses.replace(model.objective, init=starting(config, model, seeds=seeds))
    step = training.solve(objective, "model", chunk=config.chunk, mesh=mesh_of(config))
    smallest, empty = f"smallest/{model.latent}", f"empty/{model.latent}"
    lost = "a component has no examples; use fewer components or another start"
    curves: dict[str, tuple[str, ...]] = {"likelihood": ("log_prob",)}
    if model.components is not None:
        curves["components"] = (smallest, empty)
    return Experiment(
        objective=objective,
        step=step,
        source=data.Full({name: splits.train[name] for name in (model.observed, *model.given)}),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=exact_likelihood.monitor_exact_likelihood(model, splits.validation),
        evaluate=exact_likelihood.measure_exact_likelihood(model, splits, step=step, others=others, shades=shades),
        drawings=drawings,
        sample=sample,
        monotone="objective",
        alarms=(Alarm(empty, "above", 0, rows=1, meaning=lost),),
        curves=curves if model.components != 1 else {},  # with one component there is nothing to climb
    )


def starting(config: Config, model: Model, *, seeds: bool = False) -> Callable[[Key, Batch], tuple[Params, State]]:
    """Return the initialization: of several starts, the one that is best after a few iterations of EM.

    Args:
      seeds: start as the families do by themselves, whatever the options say: for latents that are not one
        finite variable.
    """
    step = training.solve(model.objective, "model", chunk=config.chunk)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        if seeds or model.components is None:
            keys = jax.random.split(key, config.restarts)
            stacked, states = jax.lax.map(lambda key: model.objective.init(key, batch), keys)
            state = jax.tree.map(lambda leaf: leaf[0], states)  # it does not depend on the key
        else:
            stacked, state = em.starts(key, model, batch, config.start, config.restarts)

        def score(params: Params) -> Array:
            def once(progress: Progress, _: None) -> tuple[Progress, Array]:
                still = jax.random.key(0)  # nothing is drawn
                progress, metrics = step.update(still, progress, batch)
                return progress, metrics["objective"]

            _, objective = jax.lax.scan(once, Progress(params, state, ()), length=config.start_steps)
            return objective[-1]

        scores = jax.lax.map(score, stacked)
        best = jnp.argmax(jnp.where(jnp.isfinite(scores), scores, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], dict(stacked)), state

    return init


def tried(config: Config, make: Callable[[int], Model], splits: Dataset) -> Tried | None:
    """Return the models of the other numbers of components that the options name, or None if they name none.

    Each is fitted by `em.fit`, with the starts and at most the iterations of the experiment itself.

    Args:
      splits: ``x`` as the model takes it.

    Raises:
      ValueError: a number of components is too large for the data.
    """
    if not config.components_tried:
        return None
    models = {size: make(size) for size in config.components_tried}
    for model in models.values():
        model.check(splits.train["x"])
    found: dict[int, Fit] = {}

    def fits() -> Mapping[int, Fit]:
        if not found:
            selected = em.select(
                jax.random.key(config.seed),
                models.__getitem__,
                config.components_tried,
                splits.train["x"],
                start=config.start,
                restarts=config.restarts,
                steps=config.steps,
                chunk=config.chunk,
            )
            found.update({each.components: each.fit for each in selected.candidates})
        return found

    return fits


def only(optimizer: optax.GradientTransformation, *networks: str) -> optax.GradientTransformation:
    """Return an optimizer that moves some networks of a player and leaves its others as they are."""

    def labels(params: Params) -> dict[str, str]:
        return {name: "moved" if name in networks else "kept" for name in params}

    return optax.multi_transform({"moved": optimizer, "kept": optax.set_to_zero()}, labels)

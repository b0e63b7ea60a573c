"""What EM experiments share: their options, their step and its start, and what they measure.

The data set is one minibatch, and an update is an iteration of EM; `vifx.experiment.components` has the drawings.
"""

from __future__ import annotations

__all__ = ["Config", "Tried", "both", "fitted_by_em", "held_out", "likelihoods", "monitor", "only", "starting", "tried"]

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from vifx import data, em, evaluation, training
from vifx.core.examples import WEIGHTS
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.data import Dataset, Split
from vifx.em import Fit, Model
from vifx.evaluation import Estimate, Noted
from vifx.evaluation.batches import in_batches
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Drawing, Experiment, Measure, unmeasured
from vifx.experiment.rules import PositiveInt
from vifx.training import Alarm, Progress, Step

_TIMED = 5
"""Iterations that are timed, of which the median is reported."""
Tried: TypeAlias = Callable[[], Mapping[int, Fit]]
"""Returns models of other numbers of components, fitted when they are first asked for."""


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


def fitted_by_em(
    config: Config,
    model: Model,
    splits: Dataset,
    *,
    drawings: Mapping[str, Drawing],
    sample: Callable[..., NDArray[Any]] | None = None,
    others: Tried | None = None,
    seeds: bool = False,
) -> Experiment:
    """Return the experiment of a model that EM fits.

    Args:
      config: its options.
      model: such as `em.mixture` makes.
      splits: ``x`` as the model takes it.
      drawings: figures by file name.
      sample: for `vifx sample`.
      others: models of other numbers of components, to be compared; see `tried`.
      seeds: see `starting`.

    Raises:
      ValueError: the model has more components than there are examples.
    """
    model.check(splits.train[model.observed])
    objective = dataclasses.replace(model.objective, init=starting(config, model, seeds=seeds))
    mesh = training.data_mesh(jax.devices()[: config.devices]) if config.devices > 1 else None
    step = training.solve(objective, "model", chunk=config.chunk, mesh=mesh)
    return Experiment(
        objective=objective,
        step=step,
        source=data.Full({model.observed: splits.train[model.observed]}),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=monitor(model, splits.validation),
        evaluate=likelihoods(model, splits, step=step, others=others),
        drawings=drawings,
        sample=sample,
        monotone="objective",
        alarms=(
            Alarm(
                f"empty/{model.latent}",
                "above",
                0,
                rows=1,
                meaning="a component has no examples; use fewer components or another start",
            ),
        ),
        # With one component there is nothing to climb.
        curves={"likelihood": ("log_prob",), "components": (f"smallest/{model.latent}", f"empty/{model.latent}")}
        if model.components > 1
        else {},
    )


def starting(config: Config, model: Model, *, seeds: bool = False) -> Callable[[Key, Batch], tuple[Params, State]]:
    """Return the initialization: of several starts, the one that is best after a few iterations of EM.

    Args:
      config: how to start, and how often.
      model: what is fitted.
      seeds: start as the families do by themselves, whatever the options say: for latents that are not one
        finite variable.
    """
    step = training.solve(model.objective, "model", chunk=config.chunk)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        if seeds:
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


def monitor(model: Model, split: Split) -> Measure:
    """Measure ``loss``, −log q(x) in nats, of a validation split.

    Args:
      model: what is trained.
      split: usually the validation split.
    """
    x = jnp.asarray(split[model.observed])
    if not len(x):
        return unmeasured

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        return {"loss": Estimate(-np.asarray(model.log_prob(params, state, x)), weights=split.get(WEIGHTS))}

    return measure


def likelihoods(
    model: Model,
    splits: Dataset,
    *,
    step: Step | None = None,
    others: Tried | None = None,
    plain: Model | None = None,
) -> Measure:
    """Measure the log-likelihood of the training and test split, and what follows from it.

    ``log_prob/test`` and ``log_prob/train`` are mean nats per example. For closed-form models there are ``bic`` and
    ``aic`` of the training split with the number of free ``parameters``, and ``iteration_time`` in milliseconds.
    Where there are labels, ``cluster_accuracy`` calls each test example by the commonest training label of its
    likeliest component, and ``cluster_purity`` is the share of test examples that have the commonest label of theirs.

    Args:
      model: what is trained; if a network is not a family, there is no number of free parameters.
      splits: ``x`` as the model takes it.
      step: to be timed, on the training split.
      others: models of other numbers of components; each adds ``bic/K`` and ``log_prob/test/K``.
      plain: a closed-form model to compare with; it is fitted from four starts, and adds ``log_prob/test/mixture``.
    """
    train, test = splits.train, splits.test

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        x = jnp.asarray(train[model.observed])
        found: dict[str, Estimate | float] = {"log_prob/test": held_out(model, test, params, state)}
        fitted = np.asarray(model.log_prob(params, state, x), np.float64)
        found["log_prob/train"] = Estimate(fitted)
        if not model.solver.others:
            degrees, total = model.solver.degrees(params), float(fitted.sum())
            found["bic"] = degrees * math.log(len(fitted)) - 2 * total
            found["aic"] = 2 * degrees - 2 * total
            found["parameters"] = degrees
        if step is not None:
            found["iteration_time"] = _milliseconds(
                jax.random.fold_in(key, 2), step, params, state, {model.observed: x}
            )
        found |= _clusters(jax.random.fold_in(key, 1), model, splits, params, state)
        for size, fit in (others() if others else {}).items():
            found[f"bic/{size}"] = Noted(fit.bic, f"{size} components, {fit.degrees:,} parameters")
            found[f"log_prob/test/{size}"] = held_out(fit.model, test, fit.params, fit.state)
        if plain is not None:
            fit = em.fit(jax.random.fold_in(key, 0), plain, train[model.observed], restarts=4)
            found["log_prob/test/mixture"] = held_out(plain, test, fit.params, fit.state)
        return found

    return measure


def both(*measures: Measure | None) -> Measure:
    """Return one measure of several, in order.

    Args:
      *measures: whose names differ; None measures nothing.
    """

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found: dict[str, Estimate | float] = {}
        for i, each in enumerate(measures):
            found |= each(jax.random.fold_in(key, i), params, state) if each is not None else {}
        return found

    return measure


def held_out(model: Model, split: Split, params: Params, state: State) -> Estimate:
    """Return ``log q(x)`` of a split in nats, with its 95 % interval as a note.

    Args:
      model: of which.
      split: usually the test split.
      params: one entry per owner.
      state: one entry per owner.
    """
    values = np.asarray(model.log_prob(params, state, split[model.observed]), np.float64)
    each = Estimate(values, weights=split.get(WEIGHTS))
    low, high = (f"{end:.3f}".replace("-", "−") for end in each.interval)
    return dataclasses.replace(each, note=f"mean log-likelihood, exact; 95 % interval {low} to {high}")


def tried(config: Config, make: Callable[[int], Model], splits: Dataset) -> Tried | None:
    """Return the models of the other numbers of components that the options name, or None if they name none.

    Each is fitted by `em.fit`, with the starts and at most the iterations of the experiment itself.

    Args:
      config: says which numbers.
      make: a model of a number of components.
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
    """Return an optimizer that moves some networks of a player and leaves its others as they are.

    Args:
      optimizer: of these.
      *networks: their names.
    """

    def labels(params: Params) -> dict[str, str]:
        return {name: "moved" if name in networks else "kept" for name in params}

    return optax.multi_transform({"moved": optimizer, "kept": optax.set_to_zero()}, labels)


def _milliseconds(key: Key, step: Step, params: Params, state: State, batch: Batch) -> float:
    """Return the time of an update after compilation."""
    progress = Progress(params, state, step.init(jax.random.fold_in(key, 0), params, state))
    update, keys = jax.jit(step.update), jax.random.split(jax.random.fold_in(key, 1), _TIMED + 1)
    jax.block_until_ready(update(keys[0], progress, batch))
    seconds = []
    for i in range(_TIMED):
        began = time.perf_counter()
        jax.block_until_ready(update(keys[1 + i], progress, batch))
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds))


def _clusters(key: Key, model: Model, splits: Dataset, params: Params, state: State) -> Mapping[str, Estimate | float]:
    if splits.info.classes is None or model.components < 2 or "y" not in splits.train:
        return {}
    train, test = (
        in_batches(key, partial(_likeliest, model), params, state, {"x": split[model.observed]}, batch_size=2000)
        for split in (splits.train, splits.test)
    )
    right = evaluation.cluster_accuracy((train, splits.train["y"]), (test, splits.test["y"]))
    return {
        "cluster_accuracy": Estimate(right, "test examples, by the commonest training label of their component"),
        "cluster_purity": evaluation.cluster_purity(test, splits.test["y"]),
    }


@partial(jax.jit, static_argnums=0)
def _likeliest(
    model: Model, key: Key, params: Params, state: State, batch: Mapping[str, Array], indices: Array
) -> Array:
    del key, indices
    return jnp.argmax(model.posterior(params, state, batch["x"]).probs, axis=-1)

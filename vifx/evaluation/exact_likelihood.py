"""The likelihood of a model with an exact posterior, such as EM fits: of splits, and with what follows from it."""

from __future__ import annotations

__all__ = ["Tried", "held_out", "measure_exact_likelihood", "monitor_exact_likelihood"]

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import numpy as np

from vifx import em, training
from vifx.core.examples import WEIGHTS
from vifx.core.types import Key, Params, State
from vifx.data import Dataset, Full, Split
from vifx.em import Fit, Model
from vifx.evaluation.clusters import cluster_accuracy, cluster_purity, likeliest_components
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood import bits_per_dim
from vifx.evaluation.measure import Measure, unmeasured
from vifx.evaluation.table import Noted
from vifx.training import Step

_TIMED = 5
"""Iterations that are timed, of which the median is reported."""
Tried: TypeAlias = Callable[[], Mapping[int, Fit]]
"""Returns models of other numbers of components, fitted when they are first asked for."""


def monitor_exact_likelihood(model: Model, split: Split) -> Measure:
    """Measure ``loss``, −log q(x) in nats, of a validation split."""
    if not len(split[model.observed]):
        return unmeasured

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        return {
            "loss": Estimate(-np.asarray(model.log_prob(params, state, model.data(split))), weights=split.get(WEIGHTS))
        }

    return measure


def measure_exact_likelihood(
    model: Model,
    splits: Dataset,
    *,
    step: Step | None = None,
    others: Tried | None = None,
    plain: Model | None = None,
    shades: int | None = None,
) -> Measure:
    """Measure the log-likelihood of the training and test split, and what follows from it.

    ``log_prob/test`` and ``log_prob/train`` are mean nats per example. For closed-form models there are ``bic`` and
    ``aic`` of the training split with the number of free ``parameters``, and ``iteration_time`` in milliseconds.
    Where there are labels, ``cluster_accuracy`` calls each test example by the commonest training label of its
    likeliest component, and ``cluster_purity`` is the share of test examples that have the commonest label of theirs.
    Of dequantized images there is ``bits_per_dim``, an upper bound on that of their shades.

    Args:
      model: what is trained; if a network is not a family, there is no number of free parameters.
      splits: ``x`` as the model takes it.
      others: models of other numbers of components; each adds ``bic/K`` and ``log_prob/test/K``.
      plain: a closed-form model to compare with; it is fitted from four starts, and adds ``log_prob/test/mixture``.
      shades: of dequantized images, how many shades of grey they have.
    """
    train, test = splits.train, splits.test

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        exact = held_out(model, test, params, state)
        found: dict[str, Estimate | float] = {"log_prob/test": exact}
        if shades is not None:
            shape, nll = test[model.observed].shape[1:], -exact.values
            bits = Estimate(bits_per_dim(nll, shape, offset=math.log(shades)), weights=test.get(WEIGHTS))
            found["bits_per_dim"] = bits.noted("upper bound, 1 dequantization", digits=3)
        fitted = np.asarray(model.log_prob(params, state, model.data(train)), np.float64)
        found["log_prob/train"] = Estimate(fitted)
        if not model.solver.others:
            degrees, total = model.solver.degrees(params), float(fitted.sum())
            found["bic"] = degrees * math.log(len(fitted)) - 2 * total
            found["aic"] = 2 * degrees - 2 * total
            found["parameters"] = degrees
        if step is not None:
            found["iteration_time"] = _milliseconds(jax.random.fold_in(key, 2), model, step, params, state, train)
        found |= _clusters(model, splits, params, state)
        for size, fit in (others() if others else {}).items():
            found[f"bic/{size}"] = Noted(fit.bic(), f"{size} components, {fit.degrees:,} parameters")
            found[f"log_prob/test/{size}"] = held_out(fit.model, test, fit.params, fit.state)
        if plain is not None:
            fit = em.fit(jax.random.fold_in(key, 0), plain, model.data(train), restarts=4)
            found["log_prob/test/mixture"] = held_out(plain, test, fit.params, fit.state)
        return found

    return measure


def held_out(model: Model, split: Split, params: Params, state: State) -> Estimate:
    """Return ``log q(x)`` of a split in nats, with its 95 % interval as a note."""
    values = np.asarray(model.log_prob(params, state, model.data(split)), np.float64)
    return Estimate(values, weights=split.get(WEIGHTS)).noted("mean log-likelihood, exact", digits=3)


def _milliseconds(key: Key, model: Model, step: Step, params: Params, state: State, split: Split) -> float:
    """Return the median time of an update after compilation, with the check that it is finite."""
    ends: list[float] = []
    training.fit(
        key,
        step,
        model.objective,
        Full({name: split[name] for name in (model.observed, *model.given)}),
        steps=_TIMED + 1,
        log_every=1,
        initial=(params, state),
        observe=lambda event: ends.append(event.seconds) if event.kind == "log" else None,
    )
    return 1000 * float(np.median(np.diff(ends)))


def _clusters(model: Model, splits: Dataset, params: Params, state: State) -> Mapping[str, Estimate | float]:
    if splits.info.classes is None or (model.components or 1) < 2 or "y" not in splits.train:
        return {}
    parts = (splits.train, splits.test)
    train, test = (likeliest_components(model, params, state, split[model.observed]) for split in parts)
    right = cluster_accuracy((train, splits.train["y"]), (test, splits.test["y"]))
    return {
        "cluster_accuracy": Estimate(right, "test examples, by the commonest training label of their component"),
        "cluster_purity": cluster_purity(test, splits.test["y"]),
    }

"""Clusters: which component each example most likely belongs to, against labels that the model never saw."""

from __future__ import annotations

__all__ = ["cluster_accuracy", "cluster_purity", "likeliest_components"]

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.types import Array, Params, State
from vifx.em import Model
from vifx.evaluation.batches import Rows, in_batches


def likeliest_components(model: Model, params: Params, state: State, x: ArrayLike) -> NDArray[np.int64]:
    """Return the component that each example most likely belongs to, ``[examples]``."""
    key = jax.random.key(0)  # nothing is drawn
    return in_batches(key, partial(_likeliest, model), params, state, {"x": x}, batch_size=2000)


@partial(jax.jit, static_argnums=0)
def _likeliest(model: Model, rows: Rows) -> Array:
    return jnp.argmax(model.posterior(rows.params, rows.state, rows.batch["x"]).probs, axis=-1)


def cluster_purity(assignments: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of examples that have the commonest label of their cluster.

    It grows with the number of clusters: with one for each example it is 1.

    Args:
      assignments: the cluster of each example, ``[examples]`` integers from 0.
      labels: ``[examples]`` integers from 0.

    Raises:
      ValueError: if they are not integers from 0, or not one for each example.

    References:
      Manning, Raghavan & Schütze (2008), Introduction to Information Retrieval, section 16.3.

    >>> cluster_purity([0, 0, 0, 1], [1, 1, 0, 0])
    0.75
    """
    counts = _counts(_integers(assignments, "assignments"), _integers(labels, "labels"))
    return float(counts.max(axis=1).sum() / counts.sum())


def cluster_accuracy(train: tuple[ArrayLike, ArrayLike], test: tuple[ArrayLike, ArrayLike]) -> NDArray[np.float64]:
    """Return for each test example whether its cluster's commonest label among the training examples is right.

    A cluster without training examples takes the commonest label of all.

    Args:
      train: assignments and labels, ``[examples]`` integers from 0 each.
      test: likewise.

    Returns:
      ``[test examples]`` of 0 and 1; the mean is the accuracy.

    Raises:
      ValueError: if they are not integers from 0, or not one for each example.

    >>> cluster_accuracy(([0, 0, 1], [5, 5, 2]), ([0, 1, 1], [5, 2, 5])).tolist()
    [1.0, 1.0, 0.0]
    """
    (of_train, labels), (of_test, truth) = (
        (_integers(assigned, f"{name} assignments"), _integers(given, f"{name} labels"))
        for name, (assigned, given) in (("train", train), ("test", test))
    )
    if of_test.shape != truth.shape:
        raise ValueError(
            f"test assignments and labels must be one for each example, got {of_test.shape}, {truth.shape}."
        )
    counts = _counts(of_train, labels)
    missing = max(int(of_test.max()) + 1 - len(counts), 0)
    counts = np.pad(counts, ((0, missing), (0, 0)))
    best = np.where(counts.any(axis=1), counts.argmax(axis=1), counts.sum(axis=0).argmax())
    return (best[of_test] == truth).astype(np.float64)


def _counts(assignments: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    if assignments.shape != labels.shape:
        raise ValueError(
            f"assignments and labels must be one for each example, got shapes {assignments.shape} and {labels.shape}."
        )
    counts = np.zeros((assignments.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (assignments, labels), 1)
    return counts


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise ValueError(f"{name} must be integers from 0, [examples], got {array.dtype} of shape {array.shape}.")
    return array.astype(np.int64)

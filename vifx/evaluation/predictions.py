"""What a classifier says of a split: the probability of every class, with accuracy, likelihood and Brier score."""

from __future__ import annotations

__all__ = ["Predictions", "calibrating_temperature", "predict"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from vifx.checks import nearest, require_number
from vifx.core.examples import WEIGHTS, check_weights
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.estimate import Estimate

_HOTTEST = 100.0  # temperatures are sought from its inverse to it
_HALVINGS = 60  # of that interval: log 10⁴ / 2⁶⁰ is below double precision


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """The probabilities q(y = k | x) of a split's examples beside their labels.

    Attributes:
      log_probs: log q(y = k | x) in nats, ``[examples, classes]``.
      labels: the classes that were observed, integers ``[examples]``.
      weights: how much each example counts, ``[examples]``; alike by default.

    Raises:
      TypeError: the labels are not integers.
      ValueError: the shapes disagree, a label is not a class, an example of weight above zero has a log-probability
        that is not a number, or weights are negative or all zero.

    >>> import numpy as np
    >>> Predictions(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])).accuracy.mean
    0.5
    """

    log_probs: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        log_probs, labels = np.asarray(self.log_probs), np.asarray(self.labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels must be integers, one class for each example, got {labels.dtype}{labels.shape}.")
        if log_probs.ndim != 2 or labels.shape != log_probs.shape[:1] or not log_probs.size:
            raise ValueError(
                "log_probs must be [examples, classes] with labels [examples], at least one, got shapes "
                f"{log_probs.shape} and {labels.shape}."
            )
        if self.weights is not None:
            check_weights(np.asarray(self.weights), "weights", examples=len(labels))
        counted = self.shares > 0
        if not ((labels[counted] >= 0) & (labels[counted] < log_probs.shape[1])).all():
            raise ValueError(
                f"labels must be classes from 0 to {log_probs.shape[1] - 1}, got values from {labels[counted].min()} "
                f"to {labels[counted].max()}; leave examples without a class out, or give them weight 0."
            )
        if np.isnan(log_probs[counted]).any():
            raise ValueError("log_probs must be log-probabilities, got NaN; the classifier has diverged.")

    def __repr__(self) -> str:
        return f"Predictions({len(self.labels)} examples, {self.log_probs.shape[1]} classes)"

    @property
    def shares(self) -> NDArray[np.float64]:
        """How much each example counts, ``[examples]``, with sum 1."""
        weights = np.ones(len(self.labels)) if self.weights is None else np.asarray(self.weights, np.float64)
        return weights / weights.sum()

    @property
    def probs(self) -> NDArray[np.float64]:
        """The probabilities, ``[examples, classes]``."""
        return np.exp(np.asarray(self.log_probs, np.float64))

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the likeliest class, ``[examples]``."""
        return self.probs.max(axis=1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the likeliest class, the first of several, is the label, ``[examples]``."""
        return np.asarray(self.log_probs).argmax(axis=1) == self.labels

    @property
    def accuracy(self) -> Estimate:
        """The share of examples whose likeliest class is their label."""
        return self._mean(self.correct.astype(np.float64))

    @property
    def nll(self) -> Estimate:
        """``−log q(label | x)`` in nats: infinite where a label was given no probability."""
        log_probs = np.asarray(self.log_probs, np.float64)
        return self._mean(-np.take_along_axis(log_probs, self._places, axis=1)[:, 0])

    @property
    def brier(self) -> Estimate:
        """The Brier score ``Σ_k (q(k | x) − 1{k = label})²``, from 0 to 2, a proper score as the likelihood is.

        Reference: Brier, Verification of forecasts expressed in terms of probability, 1950.
        """
        probs = self.probs
        own = np.take_along_axis(probs, self._places, axis=1)[:, 0]
        return self._mean(np.sum(probs**2, axis=1) - 2 * own + 1)

    def tempered(self, temperature: float) -> Predictions:
        """Return the predictions with the logits divided by a temperature: ``q(k | x)^{1/T}``, normalized.

        The accuracy stays; above 1 the probabilities come nearer to each other.

        Args:
          temperature: T, positive and finite.

        Raises:
          ValueError: it is not.
        """
        require_number(temperature, "temperature", above=0)
        return replace(self, log_probs=log_softmax(np.asarray(self.log_probs, np.float64) / temperature, axis=1))

    @property
    def _places(self) -> NDArray[np.int64]:
        """The labels as indices; those of examples that do not count may have been anything."""
        return np.clip(self.labels.astype(np.int64), 0, self.log_probs.shape[1] - 1)[:, None]

    def _mean(self, values: NDArray[np.float64]) -> Estimate:
        return Estimate(values, weights=self.weights)


def calibrating_temperature(predictions: Predictions) -> float:
    """Return the temperature T of the logits that minimizes the negative log-likelihood, such as of a validation split.

    The likelihood is concave in 1/T, so T is where its derivative crosses zero, found by bisection between 1/100 and
    100; at one of these ends where it does not, as for a classifier that is right on every example. Above 1 the
    classifier was too confident.

    Reference: Guo et al., On calibration of modern neural networks, 2017.

    Args:
      predictions: of examples that were not trained on.

    Raises:
      ValueError: a class has no probability at all, so that no temperature gives it any.
    """
    log_probs = np.asarray(predictions.log_probs, np.float64)[predictions.shares > 0]
    if not np.isfinite(log_probs).all():
        raise ValueError("every class must have a probability above zero, got log_probs of −∞; no temperature helps.")
    shares = predictions.shares[predictions.shares > 0]
    labels = predictions.labels[predictions.shares > 0]
    own = log_probs[np.arange(len(labels)), labels]

    def rise(inverse: float) -> float:
        """Return the derivative of the mean log-likelihood with respect to 1/T."""
        expected = np.sum(np.exp(log_softmax(log_probs * inverse, axis=1)) * log_probs, axis=1)
        return float(np.sum(shares * (own - expected)))

    low, high = -np.log(_HOTTEST), np.log(_HOTTEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rise(float(np.exp(middle))) > 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def predict(
    key: Key,
    generative: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    label: str = "y",
    noise: float = 0.0,
    batch_size: int = 500,
) -> Predictions:
    """Return what the factor of a finite label says of a split, in evaluation mode.

    Args:
      key: gives one key per example, for the noise.
      generative: a joint in which the label has a factor whose parents are evidence, such as
        ``Joint(evidence("x"), factor("y | x", classifier))``.
      params: one entry per network.
      state: one entry per network.
      split: arrays with one common leading axis, the labels among them; ``"@weights"`` weigh the examples.
      label: the variable that is predicted; its labels are the states of its factor, 0, 1, ….
      noise: standard deviation of Gaussian noise that is added to ``x``, for a measure of robustness; the result is
        not clipped.
      batch_size: examples at a time; the noise does not depend on it.

    Raises:
      TypeError: noise is to be added to integers, or the labels are not integers.
      ValueError: the label is not predicted from evidence, is not finite, or the entries of `split` are wrong.
    """
    item = generative.factor_of(label) if label in generative.variables else None
    if item is None or item.kind == "evidence" or not set(item.given) <= set(generative.observed):
        named = f"; {label!r} is not" if item is not None else nearest(label, generative.variables)
        raise ValueError(
            f"predict: label must be a variable of {generative} whose parents are evidence, got {label!r}{named}."
        )
    require_number(noise, "noise", least=0, hint="it is a standard deviation")
    if noise > 0 and np.asarray(split["x"]).dtype.kind != "f":
        raise TypeError(
            f"noise needs floating-point 'x', got {np.asarray(split['x']).dtype}; scale the values first, "
            "such as by data.normalize()."
        )
    entries = {name: array for name, array in split.items() if name != label}
    rows = partial(_rows, generative, label, noise > 0, jnp.asarray(noise, jnp.result_type(float)))
    log_probs = in_batches(key, rows, params, state, entries, batch_size=batch_size)
    weights = np.asarray(split[WEIGHTS]) if WEIGHTS in split else None
    return Predictions(log_probs, np.asarray(split[label]), weights)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _rows(generative: Joint, label: str, noisy: bool, noise: Array, rows: Rows) -> Array:
    batch = rows.batch
    if noisy:
        value = batch["x"]
        draw = jax.vmap(lambda own: jax.random.normal(own, value.shape[1:], value.dtype))
        batch = {**batch, "x": value + noise.astype(value.dtype) * draw(rows.keys)}
    conditional = generative.sample(rows.key, rows.params, rows.state, batch).conditionals[label]
    if not getattr(conditional, "has_enumerate_support", False):
        raise ValueError(
            f"predict: {generative.factor_of(label)} must be over finitely many classes, got "
            f"{type(conditional).__name__}; such as distributions.Categorical."
        )
    return jnp.moveaxis(conditional.log_prob(conditional.enumerate_support()), 0, -1)

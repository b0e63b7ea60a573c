"""Observed values against the support of the factor that explains them, checked on the host."""

from __future__ import annotations

__all__ = ["check_supports"]

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import ArrayLike
from numpyro.distributions import constraints

from vifx.core.conditional import condition, density, fold
from vifx.core.examples import WEIGHTS
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.types import Key, Networks, Params, State
from vifx.distributions.supports import LabelsOrWeights, UnitInterval


def check_supports(
    inference: Joint, generative: Joint, params: Params, state: State, batch: Mapping[str, ArrayLike]
) -> None:
    """Refuse values of the evidence that a density of the generative joint makes impossible.

    Such a value has the log-density −∞, and so has the whole objective. Nothing is drawn or computed but the comparison
    of the values with `distribution.support`; where the batch is traced, there is nothing to compare. An example of
    weight zero may hold anything.

    Args:
      inference: its evidence is read from `batch`.
      batch: a minibatch or a split, ``[examples, ...]`` each.

    Raises:
      ValueError: a value is outside the support; the message names the factor, the variable, the value and a remedy. Or
        labels are neither integers nor weights over the classes.

    Warns:
      UserWarning: a Bernoulli factor explains values strictly between 0 and 1.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(dict(batch))):
        return
    entries = {variable: entry for item in inference.factors for variable, entry in item.entries.items()}
    modelled = [
        item
        for item in generative.factors
        if item.kind in ("density", "transformed") and item.variables[0] in inference.observed
    ]
    if not modelled:
        return
    found: list[tuple[Factor, Any, Any]] = []

    def trace(key: Key) -> None:
        drawn = inference.sample(key, params, state, jax.tree.map(jnp.asarray, dict(batch)))
        examples = len(next(iter(drawn.values.values())))
        for item in modelled:
            noise = fold(key, item.name)
            conditional, _ = condition(noise, item, Networks(params, state), drawn.values, examples)
            support = getattr(conditional, "support", None)
            if support is not None:
                # NumPyro's Bernoulli has the support {0, 1}, and a log_prob of shades between.
                support = UnitInterval() if _single(support) is constraints.boolean else support
                if isinstance(_single(support), LabelsOrWeights):  # whether there is an axis of weights is in the shape
                    density(item, conditional, drawn.values[item.variables[0]], examples)
                with jax.ensure_compile_time_eval():
                    found.append((item, support, support(jnp.asarray(batch[entries[item.variables[0]]]))))

    jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)))
    counts = np.asarray(batch[WEIGHTS]) > 0 if WEIGHTS in batch else None
    for item, support, inside in found:
        # A support that depends on what is drawn cannot be told here.
        if not isinstance(inside, Tracer):
            values = np.asarray(batch[entries[item.variables[0]]])
            _compare(item, _single(support), values, np.asarray(inside), counts)


def _compare(item: Factor, support: Any, values: np.ndarray, inside: np.ndarray, counts: np.ndarray | None) -> None:
    counted = np.ones(len(values), bool) if counts is None else counts
    outside = ~inside.reshape(len(values), -1).all(axis=1) & counted
    variable = item.variables[0]
    if outside.any():
        example = int(np.argmax(outside))
        raise ValueError(
            f"{item}: {variable!r} of example {example} is {_shown(support, values[example])}, outside of the support, "
            f"{support!r}{_remedy(support, values[counted])}."
        )
    grey = values[counted]
    if isinstance(support, UnitInterval) and grey.dtype.kind == "f" and ((grey > 0) & (grey < 1)).any():
        warnings.warn(
            f"{item}: {variable!r} has values strictly between 0 and 1, of which a Bernoulli's log_prob is minus a "
            "cross-entropy: 'elbo' is then not a bound on a log-likelihood. Binarize, transform=data.binarize(), or "
            "model the shades, such as with networks.DiscretizedLogisticHead.",
            stacklevel=3,
        )


def _single(support: Any) -> Any:
    """Return what a single element, or the smallest event, of a support is in."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def _shown(support: Any, value: np.ndarray) -> str:
    """Return the first offending number of an example, or the whole of it where the support is of whole events."""
    whole = str(value) if value.size <= 8 else f"an array of {value.dtype}{list(value.shape)}"
    if getattr(support, "event_dim", 0):
        return whole
    single = np.asarray(support(value.reshape(-1))) if value.ndim else np.asarray(True)
    flat = value.reshape(-1)
    if single.shape != flat.shape or single.all():
        return whole
    place = tuple(int(i) for i in np.unravel_index(int(np.argmin(single)), value.shape))
    return f"{flat[np.argmin(single)]}" + (f" at {place}" if len(place) > 1 else "")


def _remedy(support: Any, values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    if isinstance(support, UnitInterval) and high > 1:
        return f"; the values run to {high:g}: pass transform=data.binarize(), or divide by {max(high, 255):g}"
    if isinstance(support, LabelsOrWeights) and values.dtype.kind == "f":
        return (
            "; divide the weights of each example by their sum, or explain labels that do not exclude each other by a "
            "Bernoulli for each"
        )
    if getattr(support, "is_discrete", False) and low == -1:
        return "; -1 is not a class: leave examples without a label out, give them weight 0, or make the label a latent"
    if getattr(support, "is_discrete", False) and values.dtype.kind == "f" and high <= 1:
        return f"; the values run from {low:g} to {high:g}: give the integers that they were scaled from"
    return "; transform the values, or explain them by a distribution that has them"

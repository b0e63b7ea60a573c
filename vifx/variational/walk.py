"""Expectations over a joint: evidence, then each other variable summed, drawn or mapped.

A walk visits the factors in order and carries *rows*: the examples, repeated for every state of a
finite latent and every draw. Three rules make the mean over rows, and its gradient, right:

* a latent of finite support is **summed**: its rows carry the weight p(v|pa); a *structured* one, such as a chain, is
  left out of the rows, since it takes expectations by itself, unless an encoder makes it and it can be drawn;
* a latent whose samples are differentiable in the parameters is **drawn**; the gradient flows
  through the draw (the reparameterization, or pathwise, estimator);
* any other latent is drawn with the **score function**: its rows carry the weight
  ``exp(log p(v|pa) − stop_gradient(log p(v|pa)))``, which is 1 and whose gradient is
  ``∇ log p(v|pa)``. References: Williams (1992); Foerster et al. (2018), DiCE. One whose law no parameter moves
  (``is_fixed``) is drawn alone.

A term in closed form is averaged over the rows from before its variable, which keeps that variable's own
noise out of it. The rows are those of all latents visited so far, whether the term depends on them or not.
"""

from __future__ import annotations

__all__ = ["How", "Rows", "Sums", "Visit", "describe", "is_finite", "log_density", "mean", "treatments", "walk"]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from vifx.core.conditional import condition, density, draw, fold
from vifx.core.examples import RESPONSIBILITIES, example_shares
from vifx.core.factor import Factor, has_density
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Networks, Structured
from vifx.distributions import Finite

How: TypeAlias = Literal["evidence", "summed", "structured", "drawn", "score function", "mapped"]
"""How a walk treats a variable."""

Sums: TypeAlias = Literal["each", "all", "none"]
"""Which latents of finite support a walk sums: each of them; all, if every variable but the evidence is one; none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Values of the variables visited so far.

    Attributes:
      values: every visited variable, ``[rows, *event]``, with ``rows = copies × examples``.
      weights: ``[rows]``, the probabilities of summed states and the score factors; None if all are 1.
      copies: the number of draws per example; states of summed latents are not counted.
      examples: the number of examples in the batch.
      shares: ``[examples]``, the probability of each under the evidence; None if they count alike.
      axes: what the rows repeat the examples for, outermost first: a summed variable and the number of its states, or
        None and the number of draws.
    """

    values: dict[str, Array]
    weights: Array | None
    copies: int
    examples: int
    shares: Array | None = None
    axes: tuple[tuple[str | None, int], ...] = ()

    @property
    def total(self) -> int:
        """The number of rows."""
        return next(iter(self.values.values())).shape[0] if self.values else self.copies * self.examples

    @property
    def measure(self) -> Array:
        """How much each row counts in an expectation, ``[rows]``; they sum to 1."""
        weights = jnp.ones(self.total) if self.weights is None else self.weights
        if self.shares is None:
            return weights / (self.copies * self.examples)
        return weights * jnp.tile(self.shares.astype(weights.dtype), self.total // self.examples) / self.copies


@dataclass(frozen=True, eq=False, kw_only=True)
class Visit:
    """One factor of the joint, visited.

    Attributes:
      factor: the factor.
      conditional: its conditional at the rows before it; None for evidence.
      how: what was done with the variable.
      before: the rows that the conditional was evaluated at.
      after: the rows with the variable assigned.
      log_prob: the log-density in nats at the rows after, ``[rows]``; None without one.
    """

    factor: Factor
    conditional: Any
    how: How
    before: Rows
    after: Rows
    log_prob: Array | None


def mean(rows: Rows, integrand: Array) -> Array:
    """Return the expectation of ``[rows]`` values, over the examples too."""
    if rows.weights is None and rows.shares is None:
        return jnp.mean(integrand)
    # A state of probability zero, and an example of weight zero, count for nothing, whatever the integrand there.
    measure = rows.measure
    return jnp.sum(measure * jnp.where(measure > 0, integrand, 0))


def walk(
    key: Key,
    joint: Joint,
    networks: Networks,
    batch: Batch,
    *,
    samples: int,
    sums: Sums = "each",
    structured: bool = False,
    examples: int | None = None,
) -> tuple[list[Visit], Networks]:
    """Visit every factor of a joint.

    Args:
      joint: its evidence is read from `batch`.
      batch: the evidence, ``[examples, *event]``, and the weights of the examples if there are any.
      samples: how many draws per example the first drawn latent makes; later ones make one per row.
      sums: which latents of finite support are summed; the others are drawn.
      structured: whether a structured latent is kept as it is, to take expectations by itself; if not it is drawn.
      examples: for a joint without evidence, how many examples it is drawn for. Of a sum, all are alike: there is one.

    Returns:
      The visits in order, and the networks in their new state.

    Raises:
      ValueError: there is no evidence and no number of examples, a log-density has the wrong shape, something depends
      on a structured latent that is kept, or responsibilities are given, which no loss reads.
    """
    if RESPONSIBILITIES in batch:
        raise ValueError(
            f"batch[{RESPONSIBILITIES!r}] is read by training.solve alone, so a loss would be of another objective; "
            "leave it out, or move every player with solve."
        )
    values = joint.observe(batch, {})
    if not values and examples is None:
        raise ValueError(f"{joint!r} has no evidence; the first joint of an objective starts from evidence('x').")
    count = len(next(iter(values.values()))) if values else examples or 1
    shares = example_shares(batch) if values else None
    rows = Rows(values=values, weights=None, copies=1, examples=count, shares=shares)
    visits, began = [], networks
    for item in joint.factors:
        if item.kind == "evidence":
            visits.append(Visit(factor=item, conditional=None, how="evidence", before=rows, after=rows, log_prob=None))
            continue
        _require_values(item, visits)
        conditional, networks = condition(fold(key, item.name, "network"), item, networks, rows.values, rows.total)
        if structured and _kept(item, conditional):
            visits.append(
                Visit(factor=item, conditional=conditional, how="structured", before=rows, after=rows, log_prob=None)
            )
            continue
        others = {visit.how for visit in visits} - {"evidence"}
        summing = is_finite(conditional) and (sums == "each" or (sums == "all" and others <= {"summed"}))
        if sums == "all" and not summing and "summed" in others:
            settings = {"samples": samples, "structured": structured, "examples": examples}
            return walk(key, joint, began, batch, sums="none", **settings)
        if sums == "all" and summing and not rows.values:
            rows = replace(rows, examples=1)
        # Only the first draw makes copies: later ones are one per row, on distinct rows already.
        copies = samples if rows.copies == 1 else 1
        visits.append(_visited(item, conditional, fold(key, item.name, "draw"), rows, copies, summing))
        rows = visits[-1].after
    return visits, networks


def log_density(key: Key, item: Factor, networks: Networks, rows: Rows) -> tuple[Array, Networks]:
    """Return a factor's log-density at rows, ``[rows]`` in nats, and the networks in their new state.

    A network whose parents are all summed variables runs once for each combination of their states, not for each row.
    """
    sizes = (*(size for _, size in rows.axes), rows.examples)
    own = [axis for axis, (name, _) in enumerate(rows.axes) if name in item.given]
    value = rows.values[item.variables[0]]
    if not item.given or len(own) < len(item.given):
        conditional, networks = condition(key, item, networks, rows.values, rows.total)
        return density(item, conditional, value, rows.total), networks
    count = math.prod(sizes[axis] for axis in own)
    chosen = tuple(slice(None) if axis in own else 0 for axis in range(len(sizes)))
    parents = {}
    for name in item.given:
        each = rows.values[name].reshape(*sizes, *rows.values[name].shape[1:])[chosen]
        parents[name] = each.reshape(count, *each.shape[len(own) :])
    conditional, networks = condition(key, item, networks, parents, count)
    order = [axis for axis in range(len(sizes)) if axis not in own] + own
    events = range(len(sizes), len(sizes) + value.ndim - 1)
    moved = jnp.transpose(value.reshape(*sizes, *value.shape[1:]), (*order, *events)).reshape(value.shape)
    log_prob = density(item, conditional, moved, count).reshape([sizes[axis] for axis in order])
    return jnp.transpose(log_prob, [order.index(axis) for axis in range(len(sizes))]).reshape(-1), networks


def _kept(item: Factor, conditional: Any) -> bool:
    """Return whether a structured latent takes expectations by itself: of an encoder, only where it cannot be drawn.

    What the other joint says of it itself, an exact posterior, is of a form whose expectations exist.
    """
    drawn = item.derived is None and bool(getattr(conditional, "has_rsample", False))
    return isinstance(conditional, Structured) and not drawn


def _require_values(item: Factor, visits: list[Visit]) -> None:
    for visit in visits:
        if visit.how == "structured" and visit.factor.variables[0] in item.given:
            raise ValueError(
                f"{item} depends on {visit.factor}, whose expectations are {visit.conditional.expectation}; the "
                "inference joint may have no further latent after it."
            )


def _visited(item: Factor, conditional: Any, key: Key, rows: Rows, copies: int, summing: bool) -> Visit:
    variable = item.variables[0]
    if not has_density(conditional):
        after = replace(rows, values={**rows.values, variable: draw(key, item, conditional, rows.total)})
        return Visit(factor=item, conditional=conditional, how="mapped", before=rows, after=after, log_prob=None)
    if summing:
        return _summed(item, conditional, rows)
    values, log_prob = _drawn(item, conditional, key, rows.total, copies)
    spread = replace(_repeated(rows, copies, None), copies=rows.copies * copies)
    if _differentiable(conditional, values):
        after = replace(spread, values={**spread.values, variable: values})
        return Visit(factor=item, conditional=conditional, how="drawn", before=rows, after=after, log_prob=log_prob)
    score = jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))
    weights = score if spread.weights is None else spread.weights * score
    after = replace(spread, values={**spread.values, variable: values}, weights=weights)
    return Visit(
        factor=item, conditional=conditional, how="score function", before=rows, after=after, log_prob=log_prob
    )


def _summed(item: Factor, conditional: Any, rows: Rows) -> Visit:
    event = tuple(conditional.event_shape)
    support = conditional.enumerate_support(expand=False)
    states = support.shape[0]
    spread = _repeated(rows, states, item.variables[0])
    values = jnp.repeat(support.reshape(states, *event), rows.total, axis=0)
    if isinstance(conditional, Finite):
        log_probs = jnp.broadcast_to(conditional.log_probs, (rows.total, states))
        log_prob = jnp.moveaxis(log_probs, -1, 0).reshape(-1)
    else:
        # Evaluated state by state, so that the conditional need not be repeated.
        each = jnp.broadcast_to(support.reshape(states, 1, *event), (states, rows.total, *event))
        log_prob = jax.vmap(conditional.log_prob)(each).reshape(-1)
    probability = jnp.exp(log_prob)
    weights = probability if spread.weights is None else spread.weights * probability
    after = replace(spread, values={**spread.values, item.variables[0]: values}, weights=weights)
    return Visit(factor=item, conditional=conditional, how="summed", before=rows, after=after, log_prob=log_prob)


def _drawn(item: Factor, conditional: Any, key: Key, count: int, copies: int) -> tuple[Array, Array]:
    """Draw ``[copies × count, *event]`` and the log-densities there.

    One draw for each row has no axis of copies, so that the compiler sees which parts of it nobody reads.
    """
    once = copies == 1 and bool(item.given)
    shape = () if once else (copies,) if item.given else (copies * count,)
    if hasattr(conditional, "sample_with_log_prob"):
        values, log_prob = conditional.sample_with_log_prob(key, shape)
    else:
        values = conditional.sample(key, shape)
        log_prob = conditional.log_prob(values)
    expected = (copies, count) if item.given and not once else (copies * count,)
    if log_prob.shape != expected:
        raise ValueError(
            f"{item}: log_prob of a sample has shape {list(log_prob.shape)}, expected {list(expected)}; declare "
            "event dimensions with .to_event(n)."
        )
    return values.reshape(copies * count, *values.shape[len(expected) :]), log_prob.reshape(copies * count)


def _repeated(rows: Rows, times: int, what: str | None) -> Rows:
    if times == 1:
        return rows

    def tile(x: Array) -> Array:
        return jnp.tile(x, (times,) + (1,) * (x.ndim - 1))

    weights = None if rows.weights is None else tile(rows.weights)
    values = {name: tile(value) for name, value in rows.values.items()}
    return replace(rows, values=values, weights=weights, axes=((what, times), *rows.axes))


def is_finite(conditional: Any) -> bool:
    """Return whether a conditional is over one variable of finite support, which can be summed."""
    if isinstance(conditional, Finite):
        return True
    return bool(getattr(conditional, "has_enumerate_support", False)) and tuple(conditional.event_shape) == ()


def _differentiable(conditional: Any, values: Array) -> bool:
    """Return whether samples are differentiable in the parameters (the protocol's default: if real)."""
    if getattr(conditional, "is_fixed", False):  # there is nothing to differentiate in
        return True
    # NumPyro says yes of a family that declares no constraints of its parameters, so of a discrete one too.
    return jnp.issubdtype(values.dtype, jnp.floating) and bool(getattr(conditional, "has_rsample", True))


def treatments(visits: Callable[[Key, Batch], list[Visit]], batch: Batch, samples: int) -> dict[str, str]:
    """Say how a walk treats each variable but the evidence, without computing anything."""
    how: dict[str, str] = {}

    def trace(key: Key, batch: Batch) -> None:
        latents = (visit for visit in visits(key, batch) if visit.how != "evidence")
        how.update({visit.factor.variables[0]: describe(visit, samples) for visit in latents})

    jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)), dict(batch))
    return how


def describe(visit: Visit, samples: int) -> str:
    """Say in words how the expectation over a variable is taken."""
    # A chain that an encoder makes may be drawn; others that have words of their own are drawn as these say.
    own = visit.how == "structured" or not isinstance(visit.conditional, Structured)
    if own and hasattr(visit.conditional, "expectation"):
        return visit.conditional.expectation
    draws = "1 draw" if samples == 1 else f"{samples} draws"
    if getattr(visit.conditional, "is_fixed", False):
        return draws
    return {
        "evidence": "mean over the batch",
        "summed": "summed over all states",
        "drawn": f"{draws}, reparameterized",
        "score function": f"{draws}, score function",
        "mapped": "deterministic map",
    }[visit.how]

"""Exact divergences by enumeration of finite spaces, through the same joints that are trained.

Every variable takes finitely many values, integers or arrays of them, so a joint is a table and a divergence a sum:

    KL(p ‖ q) = Σ_{x,z} p(x,z) [ log p(x,z) − log q(x,z) ],                                   (1)

with p̃ the empirical distribution of the batch, weighted where it has weights. A soft label, ``[examples, classes]``, is
a distribution: its example stands for one of each class, weighted by it. Nothing here is shared with the
estimators: the joints are evaluated by `Joint.log_prob` on the product of all supports.
"""

from __future__ import annotations

__all__ = [
    "supports_of",
    "Table",
    "constant_value",
    "entropy",
    "expectation",
    "importance_weighted_terms",
    "joint_kl",
    "joint_terms",
    "table",
]

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.core.conditional import condition, fold
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.objective import Constant
from vifx.core.types import Array, Batch, Networks, Params, State
from vifx.distributions import Finite
from vifx.distributions.supports import LabelsOrWeights

_MOST_TUPLES = 10**6


class Table(NamedTuple):
    """A joint on a finite space, one row per assignment of all variables.

    Attributes:
      values: every variable, ``[assignments, *event]``, concrete.
      log_prob: the log-probability of every factor, ``[assignments]``, in nats.
    """

    values: Mapping[str, np.ndarray]
    log_prob: Mapping[str, Array]

    @property
    def total(self) -> Array:
        """The joint log-probability of every assignment, ``[assignments]``."""
        return jnp.sum(jnp.stack(list(self.log_prob.values())), axis=0)


def table(
    joint: Joint, params: Params, state: State, batch: Batch, supports: Mapping[str, np.ndarray] | None = None
) -> Table:
    """Enumerate a joint on the product of its variables' supports.

    Args:
      batch: examples whose empirical distribution is p̃; concrete integers, ``[examples, *event]`` each.
      supports: the values of every variable, ``[states, *event]``, whose order is also the order of the
        assignments; taken from the joint if absent.

    Returns:
      The table; differentiable in `params`.

    Raises:
      ValueError: a variable is not finite, or the batch is abstract or not of integers.
    """
    space = supports_of(joint, params, state, batch) if supports is None else supports
    grid = np.meshgrid(*(np.arange(len(states)) for states in space.values()), indexing="ij")
    index = {v: axis.reshape(-1) for v, axis in zip(space, grid, strict=True)}
    values = {v: space[v][index[v]] for v in space}
    log_prob = joint.log_prob(params, state, {v: jnp.asarray(axis) for v, axis in values.items()})
    for item in joint.factors:
        if item.kind == "evidence":
            data = np.stack([_place(space[v], _concrete(batch, item.entries[v])) for v in item.variables], axis=1)
            points = np.stack([index[v] for v in item.variables], axis=1)
            share = np.all(points[:, None] == data[None], axis=-1) @ _shares(batch, len(data))
            log_prob = {item.name: jnp.log(jnp.asarray(share, jnp.result_type(float))), **log_prob}
    return Table(values, log_prob)


def supports_of(
    joint: Joint, params: Params, state: State, batch: Batch, *, observed: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return the support of every variable of a joint, ``[states, *event]``: the batch's values, or the family's.

    Args:
      observed: the values of variables of which no others matter, so that their family may be infinite.

    Raises:
      ValueError: a variable has no finite support.
    """
    supports = {}
    first = {}
    for item in joint.factors:
        if item.kind == "evidence":
            for variable, entry in item.entries.items():
                supports[variable] = np.unique(_concrete(batch, entry), axis=0)
                first[variable] = jnp.asarray(supports[variable][:1])
            continue
        variable = item.variables[0]
        key = fold(jax.random.key(0), item.name)  # nothing is drawn
        conditional, _ = condition(key, item, Networks(params, state), first, 1)
        sequences = getattr(conditional, "every_sequence", None)  # of a chain
        finite = sequences is not None or getattr(conditional, "has_enumerate_support", False)
        if variable in (observed or {}) and not (finite and tuple(conditional.event_shape) == ()):
            supports[variable] = (observed or {})[variable]
            first[variable] = jnp.asarray(supports[variable][:1])
            continue
        if not finite or not (sequences or isinstance(conditional, Finite) or tuple(conditional.event_shape) == ()):
            raise ValueError(
                f"{item} is not over a finite variable ({type(conditional).__name__}), so it cannot be enumerated; "
                "state the same objective on finite factors, such as vifx.verification.tabular."
            )
        with jax.ensure_compile_time_eval():  # a support is static, also inside a transformation
            states = sequences() if sequences else conditional.enumerate_support(expand=False)
            support = np.asarray(states)
            supports[variable] = support.reshape(len(support), *conditional.event_shape)
        first[variable] = jnp.asarray(supports[variable][:1])
    return supports


def joint_kl(inference: Joint, generative: Joint, params: Params, state: State, batch: Batch) -> Array:
    """Enumerate ``KL(inference ‖ generative)``, equation (1), in nats.

    Returns:
      A scalar, differentiable in `params`.
    """
    p, q = _tables(inference, generative, params, state, batch)
    return expectation(p.total, p.total - q.total)


def joint_terms(inference: Joint, generative: Joint, params: Params, state: State, batch: Batch) -> dict[str, Array]:
    """Enumerate the terms of equation (2): ``"nll/x"`` and ``"kl/z"`` for every modelled variable."""
    p, q = _tables(inference, generative, params, state, batch)
    terms = {}
    for item in generative.modelled:
        variable = item.variables[0]
        log_q = q.log_prob[item.name]
        if variable in inference.observed:
            terms[f"nll/{variable}"] = expectation(p.total, -log_q)
        else:
            log_p = p.log_prob[inference.factor_of(variable).name]
            terms[f"kl/{variable}"] = expectation(p.total, log_p - log_q)
    return terms


def importance_weighted_terms(
    inference: Joint, generative: Joint, params: Params, state: State, batch: Batch, samples: int, *, alpha: float = 0.0
) -> Array:
    """Enumerate ``−E log (1/K) Σ_k q(x,z_k)/p(z_k|x)`` over all K-tuples of latent states, in nats.

    With α it is that of the power mean ``((1/K) Σ_k w_k^(1−α))^(1/(1−α))``, the geometric one for α = 1.

    Raises:
      ValueError: there are too many tuples.
    """
    batch = _hard(batch, _modelled(inference, generative))
    p, q = _tables(inference, generative, params, state, batch)
    observed = [v for v in inference.variables if v in inference.observed]
    evidence = sum((p.log_prob[f.name] for f in inference.factors if f.kind == "evidence"), jnp.zeros(()))
    cancelled = sum((q.log_prob[f.name] for f in generative.factors if f.kind == "evidence"), jnp.zeros(()))
    latent = p.total - evidence
    spaces = {v: np.unique(p.values[v], axis=0) for v in observed}
    codes = np.stack([_place(spaces[v], p.values[v]) for v in observed], axis=1)
    _, point_of = np.unique(codes, axis=0, return_inverse=True)
    entries = {v: inference.factor_of(v).entries[v] for v in observed}
    data = np.stack([_place(spaces[v], _concrete(batch, entries[v])) for v in observed], axis=1)
    total = jnp.zeros((), latent.dtype)
    for point in range(point_of.max() + 1):
        rows = np.flatnonzero(point_of.reshape(-1) == point)
        if not np.any(np.all(data == codes[rows[0]], axis=1)):
            continue  # not in the support of the evidence
        if len(rows) ** samples > _MOST_TUPLES:
            raise ValueError(
                f"the claim of samples={samples} over {len(rows)} latent states is a sum over {len(rows)}^{samples} "
                f"tuples, more than {_MOST_TUPLES}; verify the objective with fewer samples."
            )
        draws = rows[np.array(list(itertools.product(range(len(rows)), repeat=samples)))]
        probability = jnp.exp(evidence[rows[0]] + jnp.sum(latent[draws], axis=1))
        # A state that the inference joint never draws has no weight; what stands for it counts for nothing.
        possible = latent > -jnp.inf
        log_weight = jnp.where(possible, q.total - cancelled - latent, 0)[draws]
        if alpha == 1:
            bound = jnp.mean(log_weight, axis=1)
        else:
            powers = jax.scipy.special.logsumexp((1 - alpha) * log_weight, axis=1) - jnp.log(samples)
            bound = powers / (1 - alpha)
        total = total - jnp.sum(jnp.where(jnp.all(possible[draws], axis=1), probability * bound, 0))
    return total


def entropy(batch: Batch, entries: Sequence[str]) -> float:
    """Return the entropy in nats of the empirical distribution of some entries of a batch."""
    if not entries:
        return 0.0
    each = [_concrete(batch, entry) for entry in entries]
    data = np.stack([_place(np.unique(values, axis=0), values) for values in each], axis=1)
    points, place = np.unique(data, axis=0, return_inverse=True)
    share = np.bincount(place.reshape(-1), _shares(batch, len(data)), len(points))
    return float(-np.sum(share * np.log(share)))


def constant_value(constants: Sequence[Constant], inference: Joint, batch: Batch) -> float:
    """Return the numerical value of dropped constants on the empirical distribution of a batch, in nats."""
    entries = {v: e for item in inference.factors for v, e in item.entries.items()}
    total = 0.0
    for constant in constants:
        own, given = ([entries[v] for v in names] for names in (constant.variables, constant.given))
        rows = _hard(batch, own)
        total += constant.coefficient * (entropy(rows, [*own, *given]) - entropy(rows, given))
    return total


def _modelled(inference: Joint, generative: Joint) -> list[str]:
    """Return the entries of the evidence that a factor of the generative joint explains."""
    entries = {v: e for item in inference.factors for v, e in item.entries.items()}
    return [entry for variable, entry in entries.items() if generative.factor_of(variable).kind != "evidence"]


def _hard(batch: Batch, entries: Sequence[str]) -> Batch:
    """Return the evidence with hard labels: an example with a soft one is a row of each class, weighted by it."""
    found: Any = batch  # NumPy's arrays, which stay concrete while a claim is traced
    for entry in entries:
        soft = found.get(entry)
        if soft is None or isinstance(soft, Tracer) or soft.ndim != 2 or not jnp.issubdtype(soft.dtype, jnp.floating):
            continue
        label = np.asarray(soft, np.float64)
        examples, classes = label.shape
        counts = np.asarray(found.get(WEIGHTS, np.ones(examples)), np.float64)
        if not LabelsOrWeights(classes)(np.asarray(soft))[counts > 0].all():
            continue
        rows = {name: np.repeat(np.asarray(value), classes, axis=0) for name, value in found.items()}
        label = np.where(counts[:, None] > 0, label, 1)
        shares = label / label.sum(axis=1, keepdims=True) * counts[:, None]
        found = {**rows, entry: np.tile(np.arange(classes), examples), WEIGHTS: shares.reshape(-1)}
    return found


def _tables(inference: Joint, generative: Joint, params: Params, state: State, batch: Batch) -> tuple[Table, Table]:
    batch = _hard(batch, _modelled(inference, generative))
    supports = supports_of(inference, params, state, batch)
    values = {v: batch[e] for item in inference.factors for v, e in item.entries.items()}
    named = _named(generative, values, batch)
    observed = {v: supports[v] for v in inference.observed}
    for variable, states in supports_of(generative, params, state, named, observed=observed).items():
        beyond = supports[variable][~np.any(_equal(supports[variable], states), axis=1)]
        if generative.factor_of(variable).kind != "evidence" and beyond.size:
            raise ValueError(
                f"{variable!r} takes the value {beyond[0]}, but {generative.factor_of(variable)} has the states "
                f"{', '.join(map(str, states[:8]))}{', …' if len(states) > 8 else ''}."
            )
    return table(inference, params, state, batch, supports), table(generative, params, state, named, supports)


def _named(generative: Joint, values: Mapping[str, Array], batch: Batch) -> dict[str, Array]:
    """Return a batch from which the generative joint reads the inference joint's evidence."""
    return {**batch, **{e: values[v] for item in generative.factors for v, e in item.entries.items()}}


def expectation(log_p: Array, integrand: Array) -> Array:
    """Return ``Σ p · integrand`` over assignments, those of probability zero left out of value and gradient.

    Args:
      log_p: the log-probability of every assignment, in nats.
    """
    possible = log_p > -jnp.inf
    probability = jnp.exp(jnp.where(possible, log_p, 0))
    return jnp.sum(jnp.where(possible, probability * jnp.where(possible, integrand, 0), 0))


def _concrete(batch: Batch, entry: str) -> np.ndarray:
    if entry not in batch:
        raise ValueError(f"batch lacks {entry!r}; it has {', '.join(map(repr, batch)) or 'nothing'}.")
    value = batch[entry]
    if isinstance(value, Tracer):
        raise ValueError(f"batch[{entry!r}] is traced; enumeration needs its concrete values, so close over the batch.")
    array = np.asarray(value)
    if array.ndim == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"batch[{entry!r}] has shape {list(array.shape)} and type {array.dtype}; enumeration needs integers, one "
            "or an array of them per example."
        )
    return array if WEIGHTS not in batch else array[np.asarray(batch[WEIGHTS]) > 0]


def _shares(batch: Batch, examples: int) -> np.ndarray:
    """Return the probability of each example that has any under the evidence, ``[examples]``."""
    weights = np.asarray(batch.get(WEIGHTS, np.ones(examples)), np.float64)
    return weights[weights > 0] / weights.sum()


def _equal(values: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return which values are which states, ``[values, states]``."""
    return np.all(values[:, None] == states[None], axis=tuple(range(2, values.ndim + 1)))


def _place(states: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the number of each value's state, ``[values]``; as many as there are states for what is none."""
    equal = _equal(values, states)
    return np.where(equal.any(axis=1), equal.argmax(axis=1), len(states))

"""Markov chains as the latent of sequences, with Baum and Welch's M step."""

from __future__ import annotations

__all__ = ["markov_chain"]

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import MarkovChain
from vifx.distributions.lengths import inside, possible
from vifx.em.families.held import Held
from vifx.em.families.priors import Dirichlet, log_dirichlet, require_dirichlet, with_prior
from vifx.em.families.zero_probabilities import best_shares, normalized, probabilities
from vifx.em.family import Family


def markov_chain(
    states: int,
    *,
    length: int,
    prior: Dirichlet | None = None,
    stickiness: float = 0.0,
    fixed: Mapping[str, ArrayLike] | None = None,
    parallel: bool = False,
) -> Family:
    """A chain of `length` steps, ``q(z) = π(z_1) Π_t A(z_t, z_{t+1})``: the prior of a hidden Markov model.

    In ``factor("z", markov_chain(3, length=50), name="chain")`` one value of z is a whole sequence of integers. Its
    features are ``φ(z) = (1[z_1 = k], Σ_t 1[z_t = i, z_{t+1} = j])``, and the M step is that of Baum & Welch:
    ``π_k ∝ n_k + α_k − 1`` and ``A_ij ∝ n_ij + α_j − 1 + κ 1[i = j]`` with expected counts n. With the lengths of the
    sequences as a parent, ``"z | lengths"`` of one integer (at least 1) an example, a chain ends there: its later steps
    are 0 and count for nothing.

    Args:
      states: the number of states K.
      length: the number of steps T, of the longest sequence.
      prior: of π and of each row of A; None for maximum likelihood, α = 1.
      stickiness: κ ≥ 0, counts that the prior adds to staying.
      fixed: parameters that are known and do not move, logits by name, such as ``{"transitions": jnp.log(A)}``; a
        transition that is impossible has −10³⁰.
      parallel: whether time is divided by an associative scan (`MarkovChain`).

    Returns:
      A family with parameters ``initial [K]`` and ``transitions [K, K]``, logits of π and of the rows of A; a logit of
      −∞ is a transition that stays impossible, without a prior. Those that are fixed are not among them.

    Raises:
      ValueError: a number is out of range, or parents that are not lengths.
      TypeError: `prior` is not a `Dirichlet`.

    References:
      Baum, Petrie, Soules & Weiss (1970); Rabiner (1989), A tutorial on hidden Markov models.
    """
    for name, number in (("states", states), ("length", length)):
        require_integer(number, f"markov_chain: {name}")
    stay = require_number(stickiness, "markov_chain: stickiness", least=0)
    own = require_dirichlet(prior, states, "markov_chain")
    held = Held("markov_chain", fixed, {"initial": (states,), "transitions": (states, states)})

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del key
        lengths = _lengths(parents, value)
        if lengths is not None:
            inside("markov_chain", lengths, len(lengths), length)
        uniform = jnp.full((states, states), -math.log(states), jnp.result_type(float))
        return held.free({"initial": uniform[0], "transitions": uniform}), {}

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[MarkovChain, PyTree]:
        del key, train
        logits = _until(held.all(params), _lengths(parents), length)
        return MarkovChain(*logits, length, parallel=parallel), state

    def features(state: PyTree, value: Array) -> tuple[Array, Array]:
        del state
        each = jax.nn.one_hot(_checked(value, length), states, dtype=jnp.result_type(float))
        return each[:, 0], jnp.einsum("nti,ntj->nij", each[:, :-1], each[:, 1:])

    def maximize(params: PyTree, state: PyTree, statistics: tuple[Array, Array]) -> PyTree:
        del state
        return held.free(_best(statistics, held.all(params), own, stay))

    def log_prior(params: PyTree, state: PyTree) -> Array:
        del state
        return _log_prior(*_prepare(held.all(params)), own, stay)

    return Family(
        init=init,
        apply=apply,
        features=features,
        prepare=lambda params, _: _prepare(held.all(params)),
        log_probs=_log_probs,
        statistics=_statistics,
        maximize=maximize,
        log_prior=log_prior,
        degrees=lambda params: sum(leaf.size - leaf.size // states for leaf in params.values()),
        estimates=lambda params: {name: probabilities(logits) for name, logits in held.all(params).items()},
    )


def _prepare(params: PyTree) -> tuple[Array, Array]:
    return normalized(params["initial"]), normalized(params["transitions"])


def _best(statistics: tuple[Array, Array], old: PyTree, prior: Dirichlet | None, stay: float) -> dict[str, Array]:
    first, pairs = (with_prior(prior, counts, "markov_chain") for counts in statistics)
    return {
        "initial": best_shares(first, 0.0, old["initial"]),
        "transitions": best_shares(pairs + stay * jnp.eye(len(pairs), dtype=pairs.dtype), 0.0, old["transitions"]),
    }


def _log_prior(initial: Array, transitions: Array, prior: Dirichlet | None, stay: float) -> Array:
    total = log_dirichlet(prior, initial, "markov_chain") + log_dirichlet(prior, transitions, "markov_chain")
    return total + stay * jnp.sum(jnp.diagonal(transitions)) if stay else total


def _log_probs(prepared: tuple[Array, Array], features: tuple[Array, Array]) -> Array:
    first, pairs = (_product(counts, log_probs) for counts, log_probs in zip(features, prepared, strict=True))
    return (first + pairs)[:, None]


def _statistics(
    prepared: tuple[Array, Array], features: tuple[Array, Array], responsibilities: Array
) -> tuple[Array, Array]:
    weights = jnp.sum(responsibilities, axis=1).astype(prepared[0].dtype)
    first, pairs = (counts.astype(weights.dtype) for counts in features)
    return jnp.einsum("n,ni->i", weights, first), jnp.einsum("n,nij->ij", weights, pairs)


def _checked(value: Array, length: int) -> Array:
    if value.ndim != 2 or value.shape[1] != length or not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(
            f"markov_chain: values must be integers [examples, {length}], got {value.dtype}{list(value.shape)}."
        )
    return value


def _until(params: PyTree, lengths: Array | None, length: int) -> tuple[Array, Array]:
    """Return the logits of the first state and of the transitions of sequences that end after their lengths."""
    initial, transitions = params["initial"], params["transitions"]
    if lengths is None:
        return initial, transitions
    initial = jnp.broadcast_to(initial, (len(lengths), *initial.shape))
    wrong = possible(lengths, length).astype(initial.dtype)
    return initial + jnp.broadcast_to(wrong[:, None], initial.shape), _ending(transitions, lengths, length)


def _ending(transitions: Array, lengths: Array, length: int) -> Array:
    """Return transitions at every time, ``[examples, T−1, K, K]``, that lead to state 0 for sure from the end on."""
    states = len(transitions)
    going_on = inside("markov_chain", lengths, len(lengths), length)[:, 1:]
    shape = (*going_on.shape, states, states)
    end = jnp.where(jnp.arange(states) == 0, 0.0, -jnp.inf).astype(transitions.dtype)
    going = jnp.broadcast_to(normalized(transitions), shape)
    return jnp.where(jnp.broadcast_to(going_on[:, :, None, None], shape), going, jnp.broadcast_to(end, shape))


def _lengths(parents: Sequence[Array], value: Array | None = None) -> Array | None:
    if not parents:
        return None
    if len(parents) > 1 or parents[0].ndim != 1 or not jnp.issubdtype(parents[0].dtype, jnp.integer):
        raise ValueError(
            "markov_chain: its one parent may be the lengths of the sequences, integers [examples]; got "
            f"{', '.join(f'{parent.dtype}{list(parent.shape)}' for parent in parents)}."
        )
    if value is not None:
        raise ValueError(
            "markov_chain: chains that are observed have no lengths; leave the lengths out, or make the chain a latent."
        )
    return parents[0]


def _product(counts: Array, log_probs: Array) -> Array:
    """Return ``Σ n log p`` for every example, with 0 log 0 = 0."""
    each = jnp.broadcast_to(log_probs, counts.shape)
    total = jnp.where(counts > 0, counts.astype(each.dtype) * each, 0)
    return jnp.sum(total, axis=tuple(range(1, counts.ndim)))

"""Emissions: what applies a family or a network to every step of a sequence."""

from __future__ import annotations

__all__ = ["each_step"]

from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import EachStep
from vifx.distributions.lengths import inside
from vifx.em.family import Family

Emission = TypeVar("Emission", Family, Net)


def each_step(emission: Emission) -> Emission:
    """Apply a family (or a network) to every step of a sequence: ``log q(x|z) = Σ_t log q(x_t|z_t)``.

    ``factor("x | z", each_step(gaussian(3)), name="emissions")`` is the emission of a hidden Markov model: x
    ``[examples, length, d]`` and z ``[examples, length]``, as `markov_chain` makes it. The parameters are those of the
    emission, shared by all steps. With the lengths of the sequences as a further parent, ``"x | z, lengths"`` of one
    integer an example, later steps count for nothing, whatever finite values fill them.

    Args:
      emission: of one step: a `Family`, or a `Net` whose output is a distribution of ``[examples × length]`` members.

    Returns:
      A family, or a network, of sequences; its `log_probs` and `statistics` have responsibilities
      ``[examples, length, states]``.

    Raises:
      TypeError: `emission` is neither.
    """
    if isinstance(emission, Family):
        return emission if emission.sequences else _family(emission)
    if isinstance(emission, Net):
        net = emission

        def init(key: Key, *parents: Array) -> tuple[PyTree, PyTree]:
            return net.init(key, *_split(parents)[0])

        def apply(
            params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
        ) -> tuple[EachStep, PyTree]:
            flat, lengths = _split(parents)
            each, state = net.apply(params, state, *flat, key=key, train=train)
            return EachStep(each, _length(parents), lengths=lengths), state

        return Net(init, apply)
    raise TypeError(
        f"each_step: emission must be a Family, such as em.gaussian(3), or a Net (vifx.nets.as_net makes one of "
        f"a module), got {type(emission).__name__}."
    )


def _family(family: Family) -> Family:
    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        flat, lengths = _split(parents)
        if value is None:
            return family.init(key, None, *flat)
        steps = _sequences(value)
        if lengths is not None:
            inside("each_step", lengths, *steps.shape[:2])
            # What fills the end of a sequence is not data: its steps stand in, from the first on.
            at = jnp.arange(steps.shape[1], dtype=lengths.dtype)[None] % jnp.maximum(lengths, 1)[:, None]
            steps = jax.vmap(lambda own, at: own[at])(steps, at)
        return family.init(key, _flat(steps), *flat)

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[EachStep, PyTree]:
        flat, lengths = _split(parents)
        each, state = family.apply(params, state, *flat, key=key, train=train)
        return EachStep(each, _length(parents), lengths=lengths), state

    def features(state: PyTree, value: Array) -> PyTree:
        value = _sequences(value)
        found = family.features(state, _flat(value))
        return jax.tree.map(lambda leaf: leaf.reshape(*value.shape[:2], *leaf.shape[1:]), found)

    def log_probs(prepared: PyTree, features: PyTree) -> Array:
        examples, length = jax.tree.leaves(features)[0].shape[:2]
        return family.log_probs(prepared, jax.tree.map(_flat, features)).reshape(examples, length, -1)

    def statistics(prepared: PyTree, features: PyTree, responsibilities: Array) -> PyTree:
        return family.statistics(prepared, jax.tree.map(_flat, features), _flat(responsibilities))

    def remarks(params: PyTree, value: Array) -> tuple[str, ...]:
        return family.remarks(params, _flat(_sequences(value)))

    return replace(
        family, init=init, apply=apply, features=features, log_probs=log_probs, statistics=statistics, remarks=remarks
    )


def _flat(value: Array) -> Array:
    return value.reshape(value.shape[0] * value.shape[1], *value.shape[2:])


def _sequences(value: Array) -> Array:
    if value.ndim < 2:
        raise ValueError(
            f"each_step: values must be sequences [examples, length, ...], got shape {list(value.shape)}; one sequence "
            "alone is x[None]."
        )
    return value


def _split(parents: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array | None]:
    """Return the parents of every step, ``[examples × length, ...]``, and the lengths of the sequences."""
    steps = tuple(parent for parent in parents if parent.ndim > 1)
    lengths = [parent for parent in parents if parent.ndim == 1]
    if not steps or len(lengths) > 1 or (lengths and not jnp.issubdtype(lengths[0].dtype, jnp.integer)):
        raise ValueError(
            "each_step: the parents must be sequences [examples, length, ...], such as a markov_chain's, and at most "
            f"one vector of integers [examples], the lengths; got shapes {[list(parent.shape) for parent in parents]}."
        )
    if len({step.shape[:2] for step in steps}) > 1:
        raise ValueError(
            "each_step: all parents must be sequences of one length, [examples, length, ...], and lengths [examples]; "
            f"got shapes {[list(parent.shape) for parent in parents]}."
        )
    return tuple(map(_flat, steps)), lengths[0] if lengths else None


def _length(parents: tuple[Array, ...]) -> int:
    return next(parent.shape[1] for parent in parents if parent.ndim > 1)

"""Families some of whose parameters are known."""

from __future__ import annotations

__all__ = ["with_held"]

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vifx.core.types import Array, Key, PyTree
from vifx.em.families.held import Held
from vifx.em.family import Family


def with_held(family: Family, held: Held, numbers: Callable[[str, Array], int]) -> Family:
    """Return a family whose known parameters are not among its parameters.

    Args:
      family: its `maximize` leaves the known ones as they are, and is the best for the others given them.
      held: the known ones.
      numbers: how many free numbers a parameter of a name has, for its degrees of freedom.
    """
    if not held:
        return family

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        params, state = family.init(key, value, *parents)
        held.check(params)
        return held.free(params), state

    def apply(params: PyTree, state: PyTree, *parents: Array, **options: Any) -> tuple[Any, PyTree]:
        return family.apply(held.all(params), state, *parents, **options)

    def degrees(params: PyTree) -> int:
        every = held.all(params)
        return family.degrees(every) - sum(numbers(name, leaf) for name, leaf in every.items() if name in held)

    return replace(
        family,
        init=init,
        apply=apply,
        prepare=lambda params, state: family.prepare(held.all(params), state),
        maximize=lambda params, state, sums: held.free(family.maximize(held.all(params), state, sums)),
        log_prior=lambda params, state: family.log_prior(held.all(params), state),
        degrees=degrees,
        remarks=lambda params, value: family.remarks(held.all(params), value),
        estimates=lambda params: family.estimates(held.all(params)),
    )

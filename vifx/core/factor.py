"""Factors: the conditional distributions that a joint is a product of, and their notation."""

from __future__ import annotations

__all__ = [
    "Derived",
    "Factor",
    "FactorMaker",
    "Kind",
    "has_density",
    "parsed",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from vifx.core.turn import Solver
from vifx.core.types import PyTree

Kind: TypeAlias = Literal["evidence", "density", "implicit", "target", "transformed"]


def has_density(conditional: object) -> bool:
    """Return whether a conditional has a `log_prob`; point masses have none."""
    return hasattr(conditional, "log_prob")


@runtime_checkable
class FactorMaker(Protocol):
    """Something that makes its own factor, because it offers more than a network does: `vifx.em.Family`."""

    def as_factor(self, variable: str, given: tuple[str, ...], name: str) -> Factor:
        """Return the factor ``variable | given``, the owner of whose parameters is `name`."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Derived:
    """How a factor without parameters of its own follows from a joint, all of whose networks it reads.

    Attributes:
      joint: the joint.
      anchored: whether it reads the networks as they were at the start of a phase.
      scheduled: whether it reads how many updates the model has made.
      tight: whether it is what the joint itself says of its variable, which makes a bound on the joint exact.
      line: what it is, in plain text and in LaTeX, as a line of a derivation.
      consequence: what follows if all latents have tight factors, likewise.
    """

    joint: Any
    anchored: bool
    scheduled: bool
    tight: bool
    line: tuple[str, str]
    consequence: tuple[str, str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Factor:
    """One conditional distribution ``variables | given`` of a joint.

    Make factors with `evidence`, `factor`, `implicit`, `target`, `transformed` and `exact_posterior`.

    Attributes:
      variables: what it is a distribution of; one name, or several for evidence.
      given: its parents.
      kind: ``"evidence"``, ``"density"``, ``"implicit"``, ``"target"`` or ``"transformed"``.
      label: what `str` writes in front of the parentheses.
      conditional: ``(key, params, state, *parents, train=...) -> (conditional, new state)``, with the parameters and
        the state of its owner; a derived one gets those of all networks, and returns no state.
      owner: the network whose parameters it uses, or None.
      source: the object it was made from; one owner may appear in several factors with one source.
      init: ``(key, value, *parents) -> (params, state)``, None without parameters.
      entries: for evidence, the batch entry of each variable.
      derived: how it follows from a joint, if it does.
      turn: ``(inference, generative) -> Solver | None``: the closed-form turn that it offers a player who owns it.
    """

    variables: tuple[str, ...]
    given: tuple[str, ...] = ()
    kind: Kind
    label: str
    conditional: Callable[..., tuple[Any, PyTree]]
    owner: str | None = None
    source: Any = None
    init: Callable[..., tuple[PyTree, PyTree]] | None = None
    entries: Mapping[str, str] = field(default_factory=dict)
    derived: Derived | None = None
    turn: Callable[[Any, Any], Solver | None] | None = None

    @property
    def name(self) -> str:
        """The factor's notation, such as ``"x | z, y"``."""
        left = ", ".join(self.variables)
        return f"{left} | {', '.join(self.given)}" if self.given else left

    def __str__(self) -> str:
        return f"{self.label}({self.name})"


def parsed(notation: str) -> tuple[str, tuple[str, ...]]:
    """Parse the `notation` ``"x | z, y"`` into ``("x", ("z", "y"))``.

    Raises:
      TypeError: it is not a string.
      ValueError: it is malformed; the message names the part.
    """
    if not isinstance(notation, str):
        raise TypeError(f"notation must be a string such as 'x | z', got {type(notation).__name__}.")
    left, bar, right = notation.partition("|")
    variable, given = left.strip(), tuple(name.strip() for name in right.split(",")) if bar else ()
    for name in (variable, *given):
        if not name.isidentifier():
            raise ValueError(
                f"notation {notation!r}: {name!r} is not a variable name; write one variable and its parents, "
                "such as 'x', 'x | z' or 'x | z, y'."
            )
    if len(set(given)) < len(given):
        raise ValueError(f"notation {notation!r}: a parent appears twice.")
    if variable in given:
        raise ValueError(f"notation {notation!r}: {variable!r} is its own parent, which is a cycle.")
    return variable, given

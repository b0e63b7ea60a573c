"""Objectives: one pure loss per player, what its value leaves out, and how objectives add up."""

from __future__ import annotations

__all__ = ["Constant", "Objective", "Part", "Player", "Schedule", "Term", "require_objective", "weight_in_words"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.checks import require, require_function, require_number
from vifx.core.factor import Factor
from vifx.core.joint import Joint, check_owners
from vifx.core.latex import plain
from vifx.core.support import check_supports
from vifx.core.turn import Solver
from vifx.core.types import Array, Aux, Batch, Key, Loss, Params, State

Schedule: TypeAlias = Callable[[Array], ArrayLike]
"""A weight as a function of the number of updates made, such as ``optax.linear_schedule(0, 1, 1000)``."""


class Player(NamedTuple):
    """One side of a game: what it moves, and what it minimizes.

    Attributes:
      owns: the networks whose parameters this player moves.
      loss: the pure function that it minimizes.
      anchors: the networks that its loss also reads as they were at the start of the phase, from
        ``params["<network>@anchor"]``; `vifx.training.anchored` puts them there.
      least_updates: how many updates a phase needs for every term to act: 2 with a proximal term, whose
        gradient is exactly zero at the first.
      solver: its closed-form turn, or None.
    """

    owns: tuple[str, ...]
    loss: Loss
    anchors: tuple[str, ...] = ()
    least_updates: int = 1
    solver: Solver | None = None


class Constant(NamedTuple):
    """A constant that a loss leaves out: ``coefficient · H(p̃(variables | given))``, in nats.

    Attributes:
      coefficient: its factor; the loss plus all constants is the claimed divergence.
      variables: what the evidence's entropy is of.
      given: what it is conditioned on.
    """

    coefficient: float
    variables: tuple[str, ...]
    given: tuple[str, ...]

    def __str__(self) -> str:
        sign, size = "−" if self.coefficient < 0 else "+", abs(self.coefficient)
        inside = ", ".join(self.variables) + (f" | {', '.join(self.given)}" if self.given else "")
        return f"{sign} {'' if size == 1 else f'{size:g} '}H(p̃({inside}))"


class Term(NamedTuple):
    """One named term of an objective, as `vifx.explain` prints it.

    Attributes:
      name: the name of its metric and of its weight, such as ``"kl/z"``.
      formula: what it is, with formulas between dollars.
      estimator: how it is computed: closed form, summed, drawn, or not yet known.
      weight: its weight in words; "1" unless set.
    """

    name: str
    formula: str
    estimator: str
    weight: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One estimator inside an objective, with the weight that it has there.

    Attributes:
      title: what it estimates, such as ``"$KL(inference ‖ generative)$"``, formulas between dollars.
      joints: the inference and the generative joint; none if a loss needs no joints.
      weight: its factor in the sum.
      constants: what its value leaves out.
      left_out: further constants that the losses leave out, in words, where no entropy says it.
      derivation: the lines that lead from the title to the loss, formulas between dollars.
      terms: ``(batch or None) -> terms``; a batch (arrays or shapes) makes the estimators definite.
      exact: per player, ``(params, state, batch) -> value``: the claim, enumerated.
      gaps: per player whose loss bounds its claim, ``(params, state, batch) -> bound − claim``, enumerated.
      others: further networks, which belong to neither joint, as factors.
      explicit: whether the losses evaluate the densities of the generative joint at the evidence.
    """

    title: str
    joints: tuple[Joint, ...] = ()
    weight: float = 1.0
    constants: tuple[Constant, ...] = ()
    left_out: tuple[str, ...] = ()
    derivation: tuple[str, ...] = ()
    terms: Callable[[Batch | None], tuple[Term, ...]] = lambda _: ()
    exact: Mapping[str, Callable[[Params, State, Batch], Array]] = field(default_factory=dict)
    gaps: Mapping[str, Callable[[Params, State, Batch], Array]] = field(default_factory=dict)
    others: tuple[Factor, ...] = ()
    explicit: bool = True

    @property
    def inference(self) -> Joint:
        """The inference joint."""
        return self.joints[0]

    @property
    def generative(self) -> Joint:
        """The generative joint."""
        return self.joints[1]

    @property
    def weighted(self) -> tuple[Constant, ...]:
        """The constants, with the weight that the part has in the sum."""
        scaled = (each._replace(coefficient=self.weight * each.coefficient) for each in self.constants)
        return tuple(scaled) if self.weight != 0 else ()

    @property
    def further(self) -> tuple[str, ...]:
        """The constants in words, with that weight."""
        if self.weight in (0, 1):
            return self.left_out if self.weight else ()
        return tuple(f"{weight_in_words(self.weight)}({text})" for text in self.left_out)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Every factor: those of both joints, and the others."""
        return (*(item for joint in self.joints for item in joint.factors), *self.others)


@dataclass(frozen=True, eq=False)
class Objective:
    """A divergence between two joints, as one pure loss per player.

    Objectives form a vector space: ``a + b``, ``a - b`` and ``sum([a, b])`` add the losses of players of one name, and
    ``2.0 * a``, ``a / 2`` and ``-a`` scale them by a finite number; metrics are never scaled. A sum keeps the order of
    turns of both: a critic of one of them moves before the model.

    Attributes:
      init: ``(key, batch) -> (params, state)``, by running both joints once, as one compiled program.
      players: by name, in the order in which they move.
      parts: the estimators that it is a sum of.

    >>> from vifx import Joint, evidence, factor, kl, standard_normal
    >>> [*(2.0 * kl(Joint(evidence("x")), Joint(factor("x", standard_normal(2))))).players]
    ['model']
    """

    init: Callable[[Key, Batch], tuple[Params, State]]
    players: Mapping[str, Player]
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        compiled = jax.jit(self.init)  # run eagerly, each operation would be compiled by itself

        def init(key: Key, batch: Batch) -> tuple[Params, State]:
            params, state = compiled(key, dict(batch))
            self.check(params, state, batch)
            return params, state

        object.__setattr__(self, "init", init)

    @classmethod
    def of_loss(
        cls,
        init: Callable[[Key, Batch], tuple[Params, State]],
        loss: Loss,
        *,
        owns: Sequence[str],
        title: str = "a loss of its own",
    ) -> Objective:
        """Make an objective of one player ``"model"`` from any loss, which is trained, logged and saved like others.

        It claims nothing, so `vifx.verify` refuses it, and `vifx.explain` has no derivation. Several players are
        ``Objective(init, players, parts)``.

        Args:
          init: ``(key, batch) -> (params, state)``, with one entry per network; it is compiled.
          loss: ``(key, params, state, batch, *, train) -> (value, Aux)``, the value a scalar.
          owns: the names of the networks whose parameters it moves.
          title: what it is, as `vifx.explain` prints it.

        Raises:
          TypeError: `init` or `loss` is not a function.
          ValueError: `owns` is empty, or one name.

        Example:
          >>> import jax.numpy as jnp
          >>> from vifx.core.types import Aux
          >>> def init(key, batch):
          ...     return {"line": jnp.zeros(2)}, {}
          >>> def loss(key, params, state, batch, *, train=True):
          ...     slope, offset = params["line"]
          ...     return jnp.mean((slope * batch["x"] + offset - batch["y"]) ** 2), Aux({}, state)
          >>> Objective.of_loss(init, loss, owns=["line"], title="least squares")
          Objective(least squares)
        """
        require_function(init, "Objective.of_loss: init", "(key, batch) -> (params, state)")
        require_function(loss, "Objective.of_loss: loss", "(key, params, state, batch, *, train) -> (value, Aux)")
        if isinstance(owns, str) or not owns:
            raise ValueError(f"Objective.of_loss: owns must be the names of networks, such as ['model'], got {owns!r}.")
        part = Part(title=title, explicit=False)
        return cls(init, {"model": Player(tuple(owns), loss)}, (part,))

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The constants left out of the value, weighted."""
        return tuple(constant for part in self.parts for constant in part.weighted)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The constants left out of the values, in words: ``("− H(p̃(x))",)``."""
        return (*map(str, self.constants), *(text for part in self.parts for text in part.further))

    def check(self, params: Params, state: State, batch: Batch) -> None:
        """Refuse a batch with values that a generative density makes impossible, see `check_supports`.

        Raises:
          ValueError: there is one; the message names the factor, the variable, the value and a remedy.
        """
        for part in self.parts:
            if part.explicit:
                check_supports(part.inference, part.generative, params, state, batch)

    def __add__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        check_owners(tuple(item for part in (*self.parts, *other.parts) for item in part.factors))

        def init(key: Key, batch: Batch) -> tuple[Params, State]:
            # Keys are folded per owner, so a shared network gets the same parameters from both.
            params, state = self.init(key, batch)
            more_params, more_state = other.init(key, batch)
            return {**more_params, **params}, {**more_state, **state}

        players = {
            name: _both(name, self.players[name], other.players[name])
            if name in self.players and name in other.players
            else self.players.get(name) or other.players[name]
            for name in _merged_order(tuple(self.players), tuple(other.players))
        }
        return Objective(init, players, (*self.parts, *other.parts))

    __array_ufunc__ = None  # so that NumPy leaves the product to this class

    def __radd__(self, other: object) -> Objective:
        # What `sum` begins with.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __neg__(self) -> Objective:
        return self.__rmul__(-1.0)

    def __sub__(self, other: Objective) -> Objective:
        return self + -other if isinstance(other, Objective) else NotImplemented

    def __mul__(self, weight: float) -> Objective:
        return self.__rmul__(weight)

    def __truediv__(self, weight: float) -> Objective:
        if _number(weight) == 0:
            raise ValueError("an objective is divided by a number that is not zero.")
        return self.__rmul__(1 / _number(weight))

    def __rmul__(self, weight: float) -> Objective:
        weight = _number(weight)
        # What is best for a loss is best for any positive multiple of it, and for no other.
        players = {
            name: player._replace(loss=_scaled(player.loss, weight), solver=player.solver if weight > 0 else None)
            for name, player in self.players.items()
        }
        parts = tuple(replace(part, weight=weight * part.weight) for part in self.parts)
        return Objective(self.init, players, parts)

    def __repr__(self) -> str:
        body = " + ".join(f"{weight_in_words(part.weight)}{plain(part.title)}" for part in self.parts)
        return f"Objective({body.replace('+ −', '− ')})"


def require_objective(objective: Objective, caller: str) -> Objective:
    """Return an objective, checked for a `caller`.

    Raises:
      TypeError: if it is something else, such as a joint or a loss.
    """
    fix = "make one of two joints, with vifx.kl(inference, generative) say"
    return require(objective, Objective, f"{caller}: objective", "an Objective", fix)


def weight_in_words(weight: float) -> str:
    """Write a weight in front of what it weighs: nothing for 1, a sign alone for −1."""
    sign, size = "−" if weight < 0 else "", abs(weight)
    return sign if size == 1 else f"{sign}{size:g} "


def _number(weight: object) -> float:
    return require_number(weight, "the scale of an objective")


def _merged_order(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Merge two orders: a player of the second alone comes before the shared ones that it precedes there."""
    order = list(first)
    for index, name in enumerate(second):
        if name not in order:
            later = [order.index(other) for other in second[index + 1 :] if other in order]
            order.insert(min(later, default=len(order)), name)
    return tuple(order)


def _scaled(loss: Loss, weight: float) -> Loss:
    def scaled(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        value, aux = loss(key, params, state, batch, train=train)
        return weight * value, aux

    return scaled


def _both(name: str, first: Player, second: Player) -> Player:
    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        # The second loss sees the state that the first has written: batch statistics count both.
        value, aux = first.loss(key, params, state, batch, train=train)
        more, more_aux = second.loss(key, params, aux.state, batch, train=train)
        shared = sorted(set(aux.metrics) & set(more_aux.metrics))
        if shared:
            raise ValueError(
                f"both objectives of player {name!r} report {shared[0]!r}; tell them apart with name=, such as "
                "kl(..., name='labelled')."
            )
        return jnp.add(value, more), Aux({**aux.metrics, **more_aux.metrics}, more_aux.state)

    owns = tuple(dict.fromkeys((*first.owns, *second.owns)))
    anchors = tuple(dict.fromkeys((*first.anchors, *second.anchors)))
    return Player(owns, loss, anchors, max(first.least_updates, second.least_updates))

"""Joints: products of factors, sampled by ancestors and evaluated factor by factor."""

from __future__ import annotations

__all__ = ["Joint", "Sample", "check_owners"]

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vifx.checks import nearest
from vifx.core.conditional import condition, density, draw, fold
from vifx.core.examples import check_entries, stand_ins
from vifx.core.factor import Factor
from vifx.core.types import Array, Batch, Key, Networks, Params, PyTree, State
from vifx.distributions import Transformed, tempered


class Sample(NamedTuple):
    """One ancestral draw from a joint.

    Attributes:
      values: every variable, ``[examples, *event]``.
      conditionals: the conditional distribution of every variable that was drawn or fixed.
      state: the new state of the networks.
    """

    values: dict[str, Array]
    conditionals: dict[str, Any]
    state: State


class Joint:
    """A joint distribution as a product of factors, parents first.

    ``Joint(evidence("x"), factor("z | x", encoder, name="encoder"))`` is p(x, z) = p̃(x) p(z|x).

    Args:
      *factors: made by `evidence`, `factor`, `implicit`, `transformed`, each after its parents.

    Attributes:
      factors: the factors in order.
      variables: all variables in order.
      observed: the variables that evidence supplies.
      modelled: the factors but the evidence, in order.
      owners: the networks, in order of appearance.

    Raises:
      TypeError: something that is not a factor.
      ValueError: no factor, a variable twice, a missing parent, a cycle, a parent that comes
        later, evidence in two factors, or one owner with two networks; the message names the factor.

    Example:
      >>> import vifx
      >>> from vifx.networks import MLP, Conditional, DiagonalNormal
      >>> encoder = Conditional(MLP((64,)), DiagonalNormal((8,)))
      >>> joint = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
      >>> print(joint, joint.variables, joint.observed, joint.owners)
      p̃(x) · encoder(z | x) ('x', 'z') ('x',) ('encoder',)
    """

    def __init__(self, *factors: Factor) -> None:
        for item in factors:
            if not isinstance(item, Factor):
                raise TypeError(
                    f"Joint: every argument must be a factor, got {type(item).__name__}; make factors with "
                    "evidence('x'), factor('z | x', network, name=...), implicit(...) or transformed(...)."
                )
        if not factors:
            raise ValueError("Joint: factors is empty; a joint needs at least one factor.")
        _check_order(factors)
        _check_evidence(factors)
        check_owners(factors)
        self.factors = factors
        self.variables = tuple(v for f in factors for v in f.variables)
        self.observed = tuple(v for f in factors if f.kind == "evidence" for v in f.variables)
        self.modelled = tuple(f for f in factors if f.kind != "evidence")
        self.owners = tuple(dict.fromkeys(f.owner for f in factors if f.owner is not None))

    def __str__(self) -> str:
        return " · ".join(map(str, self.factors))

    def __repr__(self) -> str:
        return f"Joint({self})"

    def factor_of(self, variable: str) -> Factor:
        """Return the factor that a variable belongs to; ValueError if there is none."""
        for item in self.factors:
            if variable in item.variables:
                return item
        raise ValueError(f"{self!r} has no variable {variable!r}{nearest(variable, self.variables)}.")

    def ancestral(self, variables: Sequence[str]) -> Joint:
        """Return the joint of some variables and their ancestors, the only factors that drawing them needs.

        Raises:
          ValueError: a variable that the joint lacks.
        """
        needed: set[str] = set()
        kept = []
        for name in variables:
            needed.add(self.factor_of(name).variables[0])
        for item in reversed(self.factors):
            if needed & set(item.variables):
                needed |= {*item.variables, *item.given}
                kept.append(item)
        return Joint(*reversed(kept))

    def init(
        self,
        key: Key,
        batch: Batch,
        *,
        fixed: Mapping[str, Array] | None = None,
        examples: int | None = None,
        present: tuple[Params, State] | None = None,
    ) -> tuple[Params, State]:
        """Initialize every network once, by running the joint on a batch.

        Args:
          key: folded per owner, so that adding a network changes no other's initial parameters.
          batch: the evidence; a transformed factor also finds its own variable here, for
            data-dependent initialization.
          fixed: values of further variables, used in place of samples.
          examples: how many examples to sample when nothing else gives the number.
          present: parameters and state of networks that are initialized already; they are kept.

        Returns:
          Parameters and state, one entry per owner.
        """
        params: dict[str, PyTree] = dict(present[0]) if present else {}
        state: dict[str, PyTree] = dict(present[1]) if present else {}
        values = self.observe(batch, fixed or {})
        # An entry may be another stream's evidence, so it tells the number of examples only where nothing else does.
        own = {name: batch[name] for name in self.variables if name in batch} if examples is None else {}
        count = _count_examples(values or own, examples, self)
        for item in self.factors:
            parents = tuple(values[name] for name in item.given)
            if item.owner is not None and item.init is not None and item.owner not in params:
                value = values.get(item.variables[0], batch.get(item.variables[0]))
                params[item.owner], state[item.owner] = item.init(fold(key, item.owner), value, *parents)
            if item.kind != "evidence" and item.variables[0] not in values:
                noise = fold(key, item.name, "network")
                conditional, _ = condition(noise, item, Networks(params, state), values, count)
                values[item.variables[0]] = draw(fold(key, item.name, "draw"), item, conditional, count)
        return params, state

    def sample(
        self,
        key: Key,
        params: Params,
        state: State,
        batch: Batch | None = None,
        *,
        examples: int | None = None,
        fixed: Mapping[str, Array] | None = None,
        temperature: float = 1.0,
        train: bool = False,
    ) -> Sample:
        """Draw every variable once per example, ancestors first.

        Args:
          key: folded per factor name, so that adding a factor changes no other's noise.
          params: one entry per owner.
          state: one entry per owner.
          batch: the evidence.
          examples: how many examples to draw; needed if neither `batch` nor `fixed` tells.
          fixed: variables that are clamped to values ``[examples, *event]`` instead of drawn.
          temperature: scales the standard deviation of the drawn variables without parents.
          train: the mode of the networks.

        Returns:
          Values and conditionals by variable, and the new state.
        """
        values = self.observe(batch or {}, fixed or {})
        count = _count_examples(values, examples, self)
        conditionals: dict[str, Any] = {}
        networks = Networks(params, dict(state), train)
        for item in self.modelled:
            variable = item.variables[0]
            conditional, networks = condition(fold(key, item.name, "network"), item, networks, values, count)
            if temperature != 1.0 and not item.given and variable not in values:
                conditional = _tempered(conditional, temperature)
            conditionals[variable] = conditional
            if variable not in values:
                values[variable] = draw(fold(key, item.name, "draw"), item, conditional, count)
        return Sample({name: values[name] for name in self.variables}, conditionals, dict(networks.state))

    def log_prob(
        self,
        params: Params,
        state: State,
        values: Mapping[str, Array],
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> dict[str, Array]:
        """Return the log-density in nats of every factor but the evidence.

        Args:
          params: one entry per owner.
          state: one entry per owner; not changed.
          values: every variable of the joint, ``[examples, *event]``.
          key: noise for networks in training mode; folded per factor name like `sample`'s.
          train: the mode of the networks.

        Returns:
          ``{factor name: [examples]}``.

        Raises:
          ValueError: a variable is missing, or a factor is implicit.
        """
        missing = [name for name in self.variables if name not in values]
        if missing:
            raise ValueError(f"log_prob: values lacks {missing[0]!r}; {self!r} needs {', '.join(self.variables)}.")
        count = _count_examples(dict(values), None, self)
        result = {}
        for item in self.modelled:
            noise = None if key is None else fold(key, item.name, "network")
            conditional, _ = condition(noise, item, Networks(params, state, train), values, count)
            result[item.name] = density(item, conditional, values[item.variables[0]], count)
        return result

    def observe(self, batch: Batch, fixed: Mapping[str, Array]) -> dict[str, Array]:
        """Return the values that a batch and fixed variables give, by variable name.

        Where ``batch["@weights"]`` gives an example no weight, the heaviest example stands in its place.

        Raises:
          ValueError: a fixed variable that the joint lacks, evidence that nothing supplies, values that disagree on the
            number of examples, weights that are not one for each, or an ``@`` entry that nothing reads.
          TypeError: `batch` is not a mapping.
        """
        if not isinstance(batch, Mapping):
            raise TypeError(f'batch must be a mapping such as {{"x": array}}, got {type(batch).__name__}.')
        for name in fixed:
            if name not in self.variables:
                raise ValueError(f"fixed: {self!r} has no variable {name!r}{nearest(name, self.variables)}.")
        check_entries(batch)
        values, read = dict(fixed), dict[str, str]()
        for item in self.factors:
            for variable, entry in item.entries.items():
                if variable in values:
                    continue
                if entry not in batch:
                    raise ValueError(
                        f"batch lacks {entry!r}, which {item} is read from; it has "
                        f"{', '.join(map(repr, batch)) or 'nothing'}{nearest(entry, tuple(batch))}."
                    )
                read[variable] = entry
        known = stand_ins(batch, set(read.values()))
        values |= {variable: known[entry] for variable, entry in read.items()}
        if values:
            _count_examples(values, None, self)
        return values


def _count_examples(values: Mapping[str, Array], examples: int | None, joint: Joint) -> int:
    """Return the common leading axis of `values`, or `examples`; ValueError if they disagree."""
    counts = {name: value.shape[0] if value.ndim else -1 for name, value in values.items()}
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"variable {name!r} is a scalar; its leading axis must be the examples.")
    sizes = set(counts.values())
    if examples is not None:
        sizes.add(examples)
    if not sizes:
        raise ValueError(f"examples is missing: nothing tells how many to draw from {joint!r}; pass examples=.")
    if len(sizes) > 1:
        asked = "" if examples is None else f", examples={examples}"
        raise ValueError(f"the number of examples disagrees: {counts}{asked}.")
    return sizes.pop()


def check_owners(factors: tuple[Factor, ...]) -> None:
    """Raise ValueError if one owner names two networks; the message names both factors."""
    seen: dict[str, Factor] = {}
    for item in factors:
        if item.owner is None:
            continue
        first = seen.setdefault(item.owner, item)
        if first.source is not item.source:
            raise ValueError(
                f"owner {item.owner!r} has two networks, in {first} and in {item}; give one another name, or pass "
                "the same object to both to share its parameters."
            )


def _check_evidence(factors: tuple[Factor, ...]) -> None:
    found = [item for item in factors if item.kind == "evidence"]
    if len(found) > 1:
        names = ", ".join(repr(variable) for item in found for variable in item.variables)
        raise ValueError(
            f"evidence is in two factors, {found[0]} and {found[1]}, which would be independent, but a batch pairs "
            f"its entries; write evidence({names})."
        )


def _check_order(factors: tuple[Factor, ...]) -> None:
    home: dict[str, Factor] = {}
    for item in factors:
        for variable in item.variables:
            if variable in home:
                raise ValueError(f"variable {variable!r} is defined twice, by {home[variable]} and by {item}.")
            home[variable] = item
    earlier: set[str] = set()
    for item in factors:
        for parent in item.given:
            if parent not in home:
                raise ValueError(
                    f"{item}: its parent {parent!r} has no factor{nearest(parent, tuple(home))}; add one, such as "
                    f"factor({parent!r}, standard_normal(16)) or evidence({parent!r})."
                )
            if parent not in earlier:
                path = _path(parent, item.variables[0], home)
                if path:
                    cycle = " → ".join((item.variables[0], *path))
                    raise ValueError(f"{item}: its parents form a cycle, {cycle}.")
                raise ValueError(f"{item}: its parent {parent!r} comes later; put {home[parent]} first.")
        earlier.update(item.variables)


def _path(start: str, goal: str, home: Mapping[str, Factor]) -> tuple[str, ...]:
    """Return a chain of parents from `start` up to `goal`, empty if there is none."""
    stack: list[tuple[str, ...]] = [(start,)]
    seen = set()
    while stack:
        path = stack.pop()
        if path[-1] == goal:
            return path
        if path[-1] in seen or path[-1] not in home:
            continue
        seen.add(path[-1])
        stack.extend((*path, parent) for parent in home[path[-1]].given)
    return ()


def _tempered(conditional: Any, temperature: float) -> Any:
    if isinstance(conditional, Transformed):
        base: Any = conditional.base
        return conditional._replace(base=tempered(base, temperature))
    return tempered(conditional, temperature)

"""Factors: the conditional distributions that a joint is a product of, and their notation."""

from __future__ import annotations

__all__ = [
    "Derived",
    "Factor",
    "evidence",
    "factor",
    "has_density",
    "implicit",
    "of_network",
    "target",
    "transformed",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import jax

from vifx.core.nets import as_net, is_network
from vifx.core.notation import parsed
from vifx.core.turn import Solver
from vifx.core.types import Array, Bijection, Distribution, Key, PyTree
from vifx.distributions import PointMass, Transformed, Unnormalized

Kind: TypeAlias = Literal["evidence", "density", "implicit", "target", "transformed"]


def has_density(conditional: object) -> bool:
    """Return whether a conditional has a `log_prob`; point masses have none."""
    return hasattr(conditional, "log_prob")


@dataclass(frozen=True, eq=False, kw_only=True)
class Derived:
    """How a factor without parameters of its own follows from a joint, all of whose networks it reads.

    Attributes:
      joint: the joint.
      anchored: whether it reads the networks as they were at the start of a phase.
      scheduled: whether it reads how many updates the model has made.
      tight: whether it is what the joint itself says of its variable, which makes a bound on the joint exact.
      line: what it is, as a line of a derivation, with formulas between dollars.
      consequence: what follows if all latents have tight factors, likewise.
    """

    joint: Any
    anchored: bool
    scheduled: bool
    tight: bool
    line: str
    consequence: str


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

    Example:
      >>> import vifx
      >>> prior = vifx.factor("z", vifx.standard_normal(2))
      >>> print(prior, prior.kind, prior.variables, prior.given)
      Normal(z) density ('z',) ()
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


def evidence(*names: str, **entries: str) -> Factor:
    """The data distribution p̃ of the named variables: a batch supplies it, no density is needed.

    Args:
      *names: variables, each read from the batch entry of the same name.
      **entries: variables read from another entry: ``evidence(x="unlabelled_x")``.

    Raises:
      ValueError: no variable, one variable twice, or one with parents.

    Example:
      >>> import vifx
      >>> print(vifx.evidence("x", "y"))
      p̃(x, y)
    """
    mapping = {**{name: name for name in names}, **entries}
    if not mapping:
        raise ValueError("evidence: names is empty; name at least one observed variable, such as evidence('x').")
    if len(names) + len(entries) > len(mapping):
        raise ValueError(f"evidence: a variable appears twice in {(*names, *entries)}.")
    for name in mapping:
        if parsed(name)[1]:
            raise ValueError(f"evidence: {name!r} has parents; evidence is a distribution of plain variables.")
    return Factor(
        variables=tuple(mapping),
        kind="evidence",
        label="p̃",
        conditional=_without_parameters(lambda: None),
        entries=mapping,
    )


def factor(notation: str, what: Any, *, name: str | None = None) -> Factor:
    """A conditional distribution with a density, such as ``factor("x | z", decoder, name="decoder")``.

    Args:
      notation: the variable and its parents: ``"z"``, ``"z | x"``, ``"x | z, y"``.
      what: a `Net`, a Flax Linen or NNX module whose output is a distribution with one member per
        example (event dimensions declared with ``.to_event``); a family of `vifx.em`; a plain function of the parents
        that returns such a distribution; or, without parents, a fixed distribution.
      name: the owner of the parameters; required if there are any. Factors (of either joint) that
        give the same name and the same `what` share parameters.

    Raises:
      ValueError: malformed notation, or a missing or needless `name`.
      TypeError: `what` is none of the above.
    """
    variable, given = parsed(notation)
    if hasattr(what, "as_factor"):  # it offers more than a network does
        return what.as_factor(variable, given, _required(notation, name))
    if is_network(what):
        return of_network(variable, given, "density", what, _required(notation, name))
    if isinstance(what, Distribution) and not isinstance(what, type):
        if given:
            raise ValueError(
                f"factor {notation!r}: a fixed distribution has no parents; write {variable!r}, or pass a function "
                "of the parents that returns a distribution."
            )
        _refuse_name(notation, name)
        fixed = _without_parameters(lambda: what)
        return Factor(variables=(variable,), kind="density", label=_family(what), conditional=fixed, source=what)
    _require_function(notation, what)
    _refuse_name(notation, name)
    label, known = _named(what, "known"), _without_parameters(what)
    return Factor(variables=(variable,), given=given, kind="density", label=label, conditional=known, source=what)


def implicit(notation: str, what: Any, *, name: str | None = None) -> Factor:
    """A deterministic map read as δ: it can be sampled and has no density.

    Args:
      notation: the variable and its parents.
      what: a `Net`, Linen or NNX module whose output is the value, ``[examples, *event]``; or a
        plain function of the parents.
      name: the owner of the parameters; required if there are any.

    Raises:
      ValueError: malformed notation, no parents, or a missing or needless `name`.
    """
    variable, given = parsed(notation)
    if not given:
        raise ValueError(f"implicit {notation!r}: a map needs parents; write {variable + ' | z'!r} and a prior of z.")
    if is_network(what):
        return of_network(variable, given, "implicit", what, _required(notation, name))
    _require_function(notation, what)
    _refuse_name(notation, name)
    known = _without_parameters(lambda *parents: PointMass(what(*parents)))
    return Factor(variables=(variable,), given=given, kind="implicit", label="δ", conditional=known, source=what)


def target(notation: str, log_density: Callable[[Array], Array]) -> Factor:
    """A density that is known up to a constant, to be approximated: ``log q(z) = log_density(z) − log Z``.

    In a generative joint it is what variational inference fits: ``kl(Joint(transformed("z", ...)),
    Joint(target("z", f)), samples=256)`` is the reverse KL without ``log Z``, which `Objective.dropped` lists.

    Args:
      notation: one variable without parents.
      log_density: ``[examples, *event] -> [examples]`` in nats, up to a constant; without parameters, since the
        constant would depend on them.

    Raises:
      ValueError: malformed notation, or parents.
      TypeError: `log_density` is not a plain function.

    Example:
      >>> import jax.numpy as jnp
      >>> print(target("z", lambda z: -jnp.sum(jnp.abs(z), axis=-1)))
      target(z)
    """
    variable, given = parsed(notation)
    if given:
        raise ValueError(
            f"target {notation!r}: the normalizing constant would depend on {', '.join(given)}; write {variable!r}, "
            "with the values it is conditioned on inside the function."
        )
    if is_network(log_density) or isinstance(log_density, Distribution):
        raise TypeError(
            f"target {notation!r}: log_density must be a function of the value, got {type(log_density).__name__}; a "
            "normalized density with parameters is a factor(...)."
        )
    _require_function(notation, log_density)
    label, known = _named(log_density, "target"), _without_parameters(lambda: Unnormalized(log_density))
    return Factor(variables=(variable,), kind="target", label=label, conditional=known, source=log_density)


def transformed(notation: str, base: Distribution, bijection: Bijection, *, name: str) -> Factor:
    """A base distribution pushed through a bijection, equation (3): a flow as a factor.

    Args:
      notation: the variable and its parents; with parents the bijection is conditional.
      base: a distribution without parents, one event per example.
      bijection: `Bijection(init, forward, inverse)`, `forward` from data to base.
      name: the owner of the bijection's parameters.

    Raises:
      ValueError: malformed notation, empty name, or a base with a batch axis.
      TypeError: `base` is not a distribution or `bijection` is not a `Bijection`.
    """
    variable, given = parsed(notation)
    if not isinstance(base, Distribution) or isinstance(base, type):
        raise TypeError(f"transformed {notation!r}: base must be a distribution, got {type(base).__name__}.")
    batch_shape = tuple(getattr(base, "batch_shape", ()))
    if batch_shape:
        raise ValueError(
            f"transformed {notation!r}: base has batch shape {list(batch_shape)}, expected [] (one event per "
            "example); declare event dimensions with .to_event(n)."
        )
    if not isinstance(bijection, Bijection):
        raise TypeError(f"transformed {notation!r}: bijection must be a Bijection, got {type(bijection).__name__}.")

    def join(parents: tuple[Array, ...]) -> Any:
        return None if not parents else parents[0] if len(parents) == 1 else parents

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        if value is None:
            # A latent has no values before it is made: noise of the base stands in for them.
            key, noise = jax.random.split(key)
            drawn: Any = base.sample(noise, (parents[0].shape[0] if parents else 256,))
            value = drawn if bijection.stand_in is None else bijection.stand_in(drawn)
        return bijection.init(key, value, join(parents))

    def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
        del train
        return Transformed(base, bijection, params, state, join(parents), key), state

    owner = _required(notation, name)
    return Factor(
        variables=(variable,),
        given=given,
        kind="transformed",
        label=owner,
        conditional=conditional,
        owner=owner,
        source=bijection,
        init=init,
    )


def of_network(variable: str, given: tuple[str, ...], kind: Kind, what: Any, name: str) -> Factor:
    """Return the factor whose conditional is a network's output, or for ``"implicit"`` a point mass on it."""
    net = as_net(what)

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del value
        return net.init(key, *parents)

    def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
        output, state = net.apply(params, state, *parents, key=key, train=train)
        return PointMass(output) if kind == "implicit" else output, state

    label = f"δ {name}" if kind == "implicit" else name
    return Factor(
        variables=(variable,),
        given=given,
        kind=kind,
        label=label,
        conditional=conditional,
        owner=name,
        source=what,
        init=init,
    )


def _without_parameters(make: Callable[..., Any]) -> Callable[..., tuple[Any, PyTree]]:
    def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
        del key, params, train
        return make(*parents), state

    return conditional


def _named(function: Any, otherwise: str) -> str:
    name = getattr(function, "__name__", otherwise)
    return otherwise if name == "<lambda>" else name


def _require_function(notation: str, what: Any) -> None:
    if not callable(what) or isinstance(what, type):
        kind = f"the class {what.__name__}" if isinstance(what, type) else type(what).__name__
        raise TypeError(
            f"factor {notation!r}: expected a Net, a Flax Linen or NNX module, a function of the parents or a "
            f"distribution, got {kind}."
        )


def _required(notation: str, name: str | None) -> str:
    if not name:
        raise ValueError(f"factor {notation!r}: name is missing; parameters need an owner, such as name='encoder'.")
    if not isinstance(name, str) or "@" in name or "/" in name:
        raise ValueError(f"factor {notation!r}: name must be a string without '@' and '/', got {name!r}.")
    return name


def _refuse_name(notation: str, name: str | None) -> None:
    if name is not None:
        raise ValueError(f"factor {notation!r}: name={name!r} has no parameters to own; leave it out.")


def _family(distribution: Any) -> str:
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return type(distribution).__name__

"""Chains as networks: the output is a distribution of whole sequences."""

from __future__ import annotations

__all__ = ["Role", "chain"]

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_choice, require_integer
from vifx.core.nets import as_net, is_network
from vifx.core.types import Array, Distribution, Key, Net, PyTree
from vifx.distributions import Chain
from vifx.distributions.lengths import increasing
from vifx.distributions.transition import Transition

Role: TypeAlias = Literal["example", "step", "times", "lengths"]
"""What a parent of a chain is."""


def chain(
    start: Any,
    transition: Any,
    steps: int,
    *,
    parents: Sequence[Role] | None = None,
    times: Any = None,
    stationary: bool = False,
    tabulated: bool = False,
) -> Net:
    """A network whose output is a distribution of sequences ``[steps, *event]``: a factor ``"z"``, ``"x | z"``, ….

    ``q(x | given) = q(x_1 | given_1) Π_t q(x_t | x_{t−1}, t, given_t)``, in nats. The density of a sequence takes one
    call of the transition for all steps at once, a sample one scan; see `vifx.distributions.Chain`.

    ``chain(standard_normal(2), lambda z, t: Normal(0.9 * z, 0.1).to_event(1), 50)`` is a random walk that forgets, and
    ``chain(standard_normal(2), networks.Conditional(networks.MLP((64,)), networks.DiagonalNormal((2,))), 50)`` learns.

    The transition is called as ``transition(previous, t, *given)``: the value before, ``[rows, *event]``; the time,
    floating ``[rows, 1]``, which is the number 0, 1, … of the value before; and the parents at the step that is
    entered. It returns one distribution a row, of the next value. Where the steps have `times`, it is called as
    ``transition(previous, t, gap, *given)``, with the time of the value before and the gap to the next one, as
    `ode_step` with ``length=None`` asks for them.

    A step whose value is missing cannot be conditioned on, and no weight of a loss puts that right. Leave such steps
    out and keep the times of the others, `vifx.dynamics.observed`; where steps are linear and Gaussian, `vifx.em`
    integrates over what is missing.

    Args:
      start: of the first value: a distribution without a batch axis; or a network or a function of the parents at the
        first step, as many as are not times or lengths.
      transition: of the next value: a `Net`, Linen or NNX module without state that training changes; a function
        without parameters; or a `Transition`, as `recurrent` makes one.
      steps: T.
      parents: what each parent is, in the order of the notation; all are ``"example"`` by default.

        * ``"example"``: one value an example, ``[examples, ...]``, the same at every step;
        * ``"step"``: a sequence, ``[examples, steps, ...]``;
        * ``"times"``: the times of the steps, floating ``[examples, steps]``, increasing;
        * ``"lengths"``: how many steps each sequence has, integers ``[examples]`` from 1 to T; what is beyond has
          log-density 0.
      times: the times of the steps of all examples, ``[steps]``, increasing.
      stationary: whether the transition does not read the time: it is called as ``transition(previous, *given)``, and
        with times as ``transition(previous, gap, *given)``. One with a memory is always called so.
      tabulated: whether the output is the `vifx.distributions.MarkovChain` of the same law, whose expectations and
        divergences are exact. For finitely many states K; it takes K times as long.

    Raises:
      TypeError: `start` or `transition` is none of the above.
      ValueError: times that do not increase, two parents of times or lengths, or times twice; where it is used, another
        number of parents, a parent of another shape, or a transition that is not over the values of the start.
    """
    require_integer(steps, "chain: steps")
    roles = None if parents is None else _Roles.of(parents)
    fixed = None if times is None else _fixed_times(times, steps)
    if fixed is not None and roles is not None and "times" in roles.each:
        raise ValueError("chain: the times are given twice, by times= and by a parent; leave one out.")
    first = _start(start)
    following = transition if isinstance(transition, Transition) else _transition(transition)

    def law(start: Any, params: PyTree, state: PyTree, parts: _Parts, noise: Key | None, train: bool) -> Chain:
        return Chain(
            start,
            following,
            steps,
            params=params,
            state=state,
            examples=parts.examples,
            given=parts.given,
            sequences=parts.sequences,
            times=parts.times if fixed is None else jnp.asarray(fixed, jnp.result_type(float)),
            lengths=parts.lengths,
            stationary=stationary or following.advance is not None,
            noise=noise,
            train=train,
        )

    def init(key: Key, *inputs: Array) -> tuple[PyTree, PyTree]:
        parts = _parts(roles, inputs, steps)
        own, other, noise = jax.random.split(key, 3)
        start_params, start_state = first.init(own, *parts.first)
        begun, _ = first.apply(start_params, start_state, *parts.first)
        whole = law(begun, None, None, parts, None, False)
        values = whole.first_values(noise)
        arguments = whole.steps_for(values).first_arguments if steps > 1 else ()
        params, state = following.init(other, values, *arguments) if steps > 1 else ({}, {})
        law(begun, params, state, parts, None, False).traced(lambda _: None)
        return {"start": start_params, "transition": params}, {"start": start_state, "transition": state}

    def apply(
        params: PyTree, state: PyTree, *inputs: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        parts = _parts(roles, inputs, steps)
        own, noise = (None, None) if key is None else jax.random.split(key)
        begun, started = first.apply(params["start"], state["start"], *parts.first, key=own, train=train)
        whole = law(begun, params["transition"], state["transition"], parts, noise, train)
        return whole.tabulated() if tabulated else whole, {**state, "start": started}

    return Net(init, apply)


class _Roles(NamedTuple):
    """What the parents are."""

    each: tuple[Role, ...]

    @classmethod
    def of(cls, parents: Sequence[Role]) -> _Roles:
        """Check them."""
        if isinstance(parents, str):
            raise TypeError(f"chain: parents must be a sequence of roles, one for each parent; write ({parents!r},).")
        for place, role in enumerate(parents):
            require_choice(role, get_args(Role), f"chain: parents[{place}]")
        for role in ("times", "lengths"):
            if tuple(parents).count(role) > 1:
                raise ValueError(f"chain: parents has {role!r} {tuple(parents).count(role)} times, expected once.")
        return cls(tuple(parents))


class _Parts(NamedTuple):
    """The parents of one call, by what they are.

    Attributes:
      examples: how many there are; None without parents.
      given: those that the networks read.
      sequences: which of them have one value for every step.
      first: those that the start reads.
    """

    examples: int | None
    given: tuple[Array, ...]
    sequences: tuple[bool, ...]
    first: tuple[Array, ...]
    times: Array | None
    lengths: Array | None


def _parts(roles: _Roles | None, inputs: tuple[Array, ...], steps: int) -> _Parts:
    each: tuple[Role, ...] = ("example",) * len(inputs) if roles is None else roles.each
    if len(each) != len(inputs):
        raise ValueError(
            f"chain: parents={each} says what {len(each)} of them are, but the factor has {len(inputs)}; give one role "
            "for each parent, in the order of the notation"
        )
    by_role = dict(zip(each, inputs, strict=True))
    read = [(value, role == "step") for value, role in zip(inputs, each, strict=True) if role in ("example", "step")]
    for value, along in read:
        if along and (value.ndim < 2 or value.shape[1] != steps):
            raise ValueError(
                f"chain: a parent of every step has shape {list(value.shape)}, expected [examples, {steps}, ...] for "
                f"steps={steps}; one value for each example has the role 'example'"
            )
    return _Parts(
        examples=inputs[0].shape[0] if inputs else None,
        given=tuple(value for value, _ in read),
        sequences=tuple(along for _, along in read),
        first=tuple(value[:, 0] if along else value for value, along in read),
        times=by_role.get("times"),
        lengths=by_role.get("lengths"),
    )


def _fixed_times(times: Any, steps: int) -> np.ndarray:
    each = np.asarray(times, np.float64)
    increasing("chain", jnp.asarray(each, jnp.result_type(float)), (steps,), None)
    return each


def _start(start: Any) -> Net:
    """Return the law of the first value as a network of the parents at the first step."""
    if is_network(start):
        return as_net(start)
    if isinstance(start, Distribution) and not isinstance(start, type):
        if tuple(getattr(start, "batch_shape", ())):
            raise ValueError(
                f"chain: start has batch shape {list(getattr(start, 'batch_shape', ()))}, expected [], one event; "
                "declare event dimensions with .to_event(n)."
            )
        return _without_parameters(lambda *given: start)  # noqa: ARG005
    _require_function(start, "start", "a distribution, a network, or a function (*given) -> distribution")
    return _without_parameters(start)


def _transition(transition: Any) -> Transition:
    """Return a network of the value before, the time and the parents as a transition without a memory."""
    if is_network(transition):
        net = as_net(transition)
    else:
        _require_function(
            transition, "transition", "a network, a Transition or a function (previous, t, *given) -> distribution"
        )
        net = _without_parameters(transition)

    def law(params: PyTree, state: PyTree, features: tuple[Array, ...], key: Key | None, train: bool) -> Any:
        return net.apply(params, state, *features, key=key, train=train)[0]

    return Transition(net.init, law)


def _without_parameters(function: Any) -> Net:
    def init(key: Key, *given: Array) -> tuple[PyTree, PyTree]:
        del key, given
        return {}, {}

    def apply(
        params: PyTree, state: PyTree, *given: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        del params, key, train
        return function(*given), state

    return Net(init, apply)


def _require_function(what: Any, name: str, like: str) -> None:
    if not callable(what) or isinstance(what, type):
        kind = f"the class {what.__name__}" if isinstance(what, type) else f"a {type(what).__name__}"
        raise TypeError(f"chain: {name} must be {like}; got {kind}.")

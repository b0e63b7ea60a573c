"""The aliases and protocols that every other file speaks in.

The contracts are stated once, here; `docs/design.md` says why they have this shape.
"""

from __future__ import annotations

__all__ = [
    "EXAMPLE_AXES",
    "Array",
    "Aux",
    "Batch",
    "Bijection",
    "Distribution",
    "Estimate",
    "Key",
    "Loss",
    "Metrics",
    "Net",
    "Networks",
    "Params",
    "Parts",
    "PyTree",
    "State",
    "Structured",
    "Velocity",
]

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import chex
import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = chex.PRNGKey
"""A typed PRNG key, as made by `jax.random.key`."""
PyTree: TypeAlias = Any
"""A tree of arrays; not `chex.ArrayTree`, whose entries type checkers do not let one look up by name."""
Params: TypeAlias = Mapping[str, PyTree]
"""One entry per network name: only what an optimizer may change.

A name with an ``@`` is an extra that no player owns, such as ``"generator@anchor"``.
"""
State: TypeAlias = Mapping[str, PyTree]
"""One entry per network name (batch statistics, power-iteration vectors; often empty).

A name with an ``@`` belongs to a player instead, such as the update counter
``"model@updates"`` that scheduled weights read.
"""
Batch: TypeAlias = Mapping[str, Array]
"""One entry per observed variable; the leading axis is the examples.

``"@weights"`` says how much each example counts, see `vifx.core.examples`.
"""
Metrics: TypeAlias = Mapping[str, Array]
"""Scalars with slash-separated names: ``"kl/z"``, ``"nll/x"``, ``"critic/accuracy"``."""
EXAMPLE_AXES = ("data", "fsdp")
"""The axes of a mesh over which the examples of a batch, and what is drawn for them, are divided."""


class Aux(NamedTuple):
    """What a step needs from a loss besides the gradient.

    Attributes:
      metrics: scalars to report, each term unweighted.
      state: the new state of every network that the loss ran.
    """

    metrics: Metrics
    state: State


class Networks(NamedTuple):
    """All networks as an evaluation of a loss finds them; functions that run networks return them in their new state.

    Attributes:
      params: one entry per owner.
      state: one entry per owner.
      train: the mode.
    """

    params: Params
    state: State
    train: bool = False


class Loss(Protocol):
    """A pure function to minimize: jit, differentiate, vmap and shard it as you like.

    The value is a scalar in nats, averaged over the examples of the batch, by their weights ``batch["@weights"]`` if
    there are any: it is then that of the rows repeated as often. `train` is static: it chooses between batch and
    running statistics and switches dropout.
    """

    def __call__(
        self, key: Key, params: Params, state: State, batch: Batch, *, train: bool = True
    ) -> tuple[Array, Aux]:
        """Return the loss and its `Aux`."""
        ...


@runtime_checkable
class Distribution(Protocol):
    """Anything that can be sampled and that has a density; NumPyro's distributions do.

    A conditional ``z | x`` has one distribution per example: `sample(key, ())` has shape
    ``[examples, *event]`` and `log_prob` maps that to ``[examples]``. A distribution without
    parents has no batch axis: `sample(key, (examples,))` gives ``[examples, *event]``.
    """

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draw samples of shape ``[*sample_shape, *batch, *event]``."""
        ...

    def log_prob(self, value: Array) -> Any:
        """Return the log-density in nats, shape ``[..., *batch]``."""
        ...


class Parts(NamedTuple):
    """An estimate in named parts, which add up to it.

    Attributes:
      values: by name, ``[examples]`` in nats each; metrics have them behind the term's name, ``"kl/z/steps"``.
      loss: ``[examples]``, what is minimized in the place of their sum, where draws are weighted for training; None for
        the sum itself.
    """

    values: Mapping[str, Array]
    loss: Array | None = None


class Estimate(NamedTuple):
    """One expectation: how to compute it, and what to call it.

    A conditional may offer one of its divergence from another, ``kl_estimate(other) -> Estimate | None``, which the
    explicit estimators then take in place of its samples: exact, or unbiased and drawn.

    Attributes:
      value: ``key -> [examples]`` in nats, or what broadcasts to it; an exact one ignores the key.
      how: how it is found, as `vifx.explain` prints it: ``"closed form"``.
      sampled: whether it is a Monte Carlo estimate, which is then part of the metric's name.
      parts: the same in named parts, ``key -> Parts``; None if there are none.
      formulas: of each part by its name, as `vifx.explain` prints it.
      weighting: how its loss is weighted for training, in words; empty if the loss is the value.
    """

    value: Callable[[Key], Array]
    how: str
    sampled: bool
    parts: Callable[[Key], Parts] | None = None
    formulas: Mapping[str, str] = MappingProxyType({})
    weighting: str = ""


@runtime_checkable
class Structured(Protocol):
    """A conditional with too many states to sum over that takes expectations by itself, without draws.

    `vifx.distributions.MarkovChain` is one: expectations under it follow from the marginals of its steps.

    Attributes:
      expectation: how expectations are taken, in words.
    """

    expectation: str

    def probes(self) -> Array:
        """Return the values ``[probes, *event]`` that a factor is evaluated at to take its expectation."""
        ...

    def expected_log_prob(self, conditional: Any, value: Array) -> Array:
        """Return ``E log q(value | z)`` in nats, ``[rows]``, z distributed as this conditional.

        Args:
          conditional: the factor at the probes, one probe after another for all rows: ``[probes × rows]`` members.
          value: ``[rows, *event]``.

        Raises:
          ValueError: the factor is of a kind whose expectation this conditional cannot take.
        """
        ...

    def kl_estimate(self, other: Any) -> Estimate | None:
        """Return an estimate of KL(self ‖ other) in nats, or None if there is no way to compute one."""
        ...


class Net(NamedTuple):
    """A network as a pair of pure functions; every network library is adapted to this.

    Attributes:
      init: ``(key, *inputs) -> (params, state)``.
      apply: ``(params, state, *inputs, key=None, train=False) -> (output, state)``.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Any, PyTree]]


class Velocity(NamedTuple):
    """What a bijection moves along that solves ``dx/dt = v(x, t)``, from data at t = 0 to base at t = 1.

    Attributes:
      start: ``(params, state, x, given, key) -> x(0)``, where the path of data begins: what is done to it before.
      end: ``(params, state, z, given, key) -> x(1)``, where the path to a value of the base ends.
      field: ``(params, state, x, t, given, *, key, train) -> (v, state)`` at ``[examples, *event]`` and t
        ``[examples]`` in [0, 1], per unit of that time.
    """

    start: Callable[..., Array]
    end: Callable[..., Array]
    field: Callable[..., tuple[Array, PyTree]]


class Bijection(NamedTuple):
    """An invertible map as a triple of pure functions; `forward` goes from data to base.

    `vifx.flows` has the shipped ones, and `flows.checked` makes one of your own with its shapes and dtypes checked.
    A log-determinant that is estimated (`flows.residual_block`, `flows.continuous`) draws its noise from `key`,
    which every other bijection ignores.

    Attributes:
      init: ``(key, x, given=None) -> (params, state)``, on data ``[examples, *event]``.
      forward: ``(params, state, x, given=None, *, key=None) -> (z, log_det)`` with
        ``log_det = log|det dz/dx|`` in nats, shape ``[examples]``.
      inverse: ``(params, state, z, given=None, *, key=None) -> (x, log_det)`` with
        ``log_det = log|det dx/dz|`` in nats, shape ``[examples]``.
      stand_in: ``z -> x``, data that it takes, made of noise of the base, on which the flow of a latent is initialized;
        None where the noise itself will do, since it takes any numbers of that shape.
      velocity: what it moves along, if it is the solution of a differential equation; else None.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    forward: Callable[..., tuple[Array, Array]]
    inverse: Callable[..., tuple[Array, Array]]
    stand_in: Callable[[Array], Array] | None = None
    velocity: Velocity | None = None

"""The aliases and protocols that every other file speaks in.

The contracts are stated once, here; `docs/design.md` says why they have this shape.
"""

from __future__ import annotations

__all__ = [
    "Array",
    "Aux",
    "Batch",
    "Bijection",
    "Distribution",
    "Family",
    "Key",
    "Loss",
    "Metrics",
    "Net",
    "Params",
    "PyTree",
    "State",
]

from collections.abc import Callable, Mapping
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


class Aux(NamedTuple):
    """What a step needs from a loss besides the gradient.

    Attributes:
      metrics: scalars to report, each term unweighted.
      state: the new state of every network that the loss ran.
    """

    metrics: Metrics
    state: State


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


class Net(NamedTuple):
    """A network as a pair of pure functions; every network library is adapted to this.

    Attributes:
      init: ``(key, *inputs) -> (params, state)``.
      apply: ``(params, state, *inputs, key=None, train=False) -> (output, state)``.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Any, PyTree]]


class Family(NamedTuple):
    """A conditional of a finite latent with a closed-form M step: what `training.solve` moves.

    With ``log q(x|s) = h(x) + φ(x)·η_s`` for every state s of the parents (all combinations of them, in order),
    the E step is a product of features and natural parameters, and the M step a function of the expected sufficient
    statistics ``Σ_n r_ns φ(x_n)``, which add up over chunks of examples and over devices. A family is also a
    network: `factor` takes it, and `kl` descends its parameters like any other's. `vifx.em` has the shipped ones.

    Attributes:
      init: ``(key, value, *parents) -> (params, state)``; `value` is the variable itself, None if it is latent.
      apply: ``(params, state, *parents, key=None, train=False) -> (distribution, state)``, as a `Net`'s.
      features: ``(state, value) -> φ``, leaves ``[examples, ...]``: what of a value does not depend on parameters.
      prepare: ``(params, state) -> prepared``: what of the parameters does not depend on values.
      log_probs: ``(prepared, φ) -> [examples, states]``, in nats.
      statistics: ``(prepared, φ, responsibilities [examples, states]) -> statistics``, sums over the examples.
      maximize: ``(params, state, statistics) -> params``, the maximum of ``E log q + log_prior``.
      log_prior: ``(params, state) -> scalar``, the log-density in nats of the parameters' own prior up to a constant;
        0 for maximum likelihood.
      degrees: ``params -> int``, how many free parameters they have, for information criteria.
      magnitude: ``(prepared, statistics) -> scalar``: ``Σ |η_i · Σ_n φ_i(x_n)|`` in nats, the absolute values of what
        cancels in the sum of the log-densities. A rounding of each by the dtype's epsilon is what a fall may be.
      remarks: ``(params, value) -> sentences``: what a user should know of fitted parameters and the concrete values
        that they were fitted to, such as which states are at a floor.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Any, PyTree]]
    features: Callable[[PyTree, Array], PyTree]
    prepare: Callable[[PyTree, PyTree], PyTree]
    log_probs: Callable[[PyTree, PyTree], Array]
    statistics: Callable[[PyTree, PyTree, Array], PyTree]
    maximize: Callable[[PyTree, PyTree, PyTree], PyTree]
    log_prior: Callable[[PyTree, PyTree], Array]
    degrees: Callable[[PyTree], int]
    magnitude: Callable[[PyTree, PyTree], Array | float] = lambda *_: 0.0
    remarks: Callable[[PyTree, Any], tuple[str, ...]] = lambda *_: ()


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
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    forward: Callable[..., tuple[Array, Array]]
    inverse: Callable[..., tuple[Array, Array]]

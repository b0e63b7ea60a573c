"""Families: what EM needs of a conditional to solve for its parameters."""

from __future__ import annotations

__all__ = ["Family", "no_prior"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.core.factor import Factor
from vifx.core.types import Array, Key, PyTree
from vifx.em.solver import solver


def no_prior(params: PyTree, state: PyTree) -> Array:
    """Return 0: the parameters have no prior of their own."""
    del params, state
    return jnp.zeros((), jnp.result_type(float))


def _linear(prepared: Array, features: Array | tuple[Array, Array]) -> Array:
    if not isinstance(features, tuple):
        return features @ prepared
    found = features[0] @ prepared
    return found + jnp.broadcast_to(features[1][:, None], found.shape)


def _weighted_sums(prepared: Array, features: Array | tuple[Array, Array], responsibilities: Array) -> Array:
    del prepared
    return responsibilities.T @ (features[0] if isinstance(features, tuple) else features)


@dataclass(frozen=True, eq=False, kw_only=True)
class Family:
    """A conditional of a finite latent with a closed-form M step: what `training.solve` moves.

    With ``log q(x|s) = h(x) + φ(x)·η_s`` for every state s of the parents (all combinations of them, in order),
    the E step is a product of features and natural parameters, and the M step a function of the expected sufficient
    statistics ``Σ_n r_ns φ(x_n)``, which add up over chunks of examples and over devices. A family is also a
    network: `factor` takes it, and `kl` descends its parameters like any other's. `vifx.em` has the shipped ones.

    Attributes:
      init: ``(key, value, *parents) -> (params, state)``; `value` is the variable itself, None if it is latent.
      apply: ``(params, state, *parents, key=None, train=False) -> (distribution, state)``, as a `Net`'s.
      features: ``(state, value) -> φ``, leaves ``[examples, ...]``: the part that does not depend on parameters.
      prepare: ``(params, state) -> prepared``: the part that does not depend on values.
      maximize: ``(params, state, statistics) -> params``, the maximum of ``E log q + log_prior``.
      log_prior: ``(params, state) -> scalar``, the log-density in nats of the parameters' own prior up to a constant;
        0 for maximum likelihood.
      degrees: ``params -> int``, how many free parameters they have, for information criteria.
      magnitude: ``(prepared, statistics) -> scalar``: ``Σ |η_i · Σ_n φ_i(x_n)|`` in nats, the absolute values of what
        cancels in the sum of the log-densities. A rounding of each by the dtype's epsilon is what a fall may be.
      remarks: ``(params, value) -> sentences``: what a user should know of fitted parameters and the concrete values
        that they were fitted to, such as which states are at a floor.
      log_probs: ``(prepared, φ) -> [examples, states]``, in nats; by default ``φ @ prepared``, where a pair of
        features is (φ, h). Of a parent that is a Gaussian chain, ``(prepared, φ, *known parents) -> LinearEvidence``.
      statistics: ``(prepared, φ, responsibilities [examples, states]) -> statistics``, sums over the examples; by
        default ``responsibilities.T @ φ``. Of a Gaussian chain, ``(prepared, φ, ChainMoments, *known parents)``.
      estimates: ``params -> {name: array}``: what a reader wants to know of them, in the units of the data, by
        names like scikit-learn's, such as ``means [states, d]`` and ``probabilities``; by default they as they are.
      sequences: whether its values are whole sequences, which `each_step` leaves as they are.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Any, PyTree]]
    features: Callable[[PyTree, Array], PyTree]
    prepare: Callable[[PyTree, PyTree], PyTree]
    maximize: Callable[[PyTree, PyTree, PyTree], PyTree]
    log_prior: Callable[[PyTree, PyTree], Array]
    degrees: Callable[[PyTree], int]
    magnitude: Callable[[PyTree, PyTree], Array | float] = lambda *_: 0.0
    remarks: Callable[[PyTree, Any], tuple[str, ...]] = lambda *_: ()
    log_probs: Callable[..., Any] = _linear
    statistics: Callable[..., PyTree] = _weighted_sums
    estimates: Callable[[PyTree], Mapping[str, ArrayLike]] = dict
    sequences: bool = False

    def as_factor(self, variable: str, given: tuple[str, ...], name: str) -> Factor:
        """Return the factor that `factor` makes of a family: a network that offers a closed-form turn."""

        def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
            return self.apply(params, state, *parents, key=key, train=train)

        return Factor(
            variables=(variable,),
            given=given,
            kind="density",
            owner=name,
            label=name,
            source=self,
            init=self.init,
            conditional=conditional,
            turn=solver,
        )

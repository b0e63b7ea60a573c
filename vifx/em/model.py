"""A model with an exact posterior: its two joints, its objective, and what one asks of it."""

from __future__ import annotations

__all__ = ["Data", "Model", "require_model"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import described, require, require_array, require_integer, require_key
from vifx.core.factor import evidence
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Schedule
from vifx.core.turn import Solver
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.em.family import Family
from vifx.em.posterior import exact_posterior
from vifx.variational.kl import kl

Data: TypeAlias = ArrayLike | Mapping[str, ArrayLike]
"""Values of x ``[examples, *event]``; of a model with further known variables, those of all of them by name."""


def _no_rule(x: np.ndarray) -> None:
    del x


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Model:
    """A generative joint with a latent that is summed out exactly: a mixture, a hidden Markov model.

    It is only the assembly: ``vifx.kl(model.inference, model.generative)`` is its objective, and every step and
    estimator takes its joints.

    Attributes:
      generative: ``q(z) q(x|z)``.
      inference: ``p̃(x) p(z|x)`` with the exact posterior.
      objective: their `kl`; its player ``"model"`` has a closed-form turn.
      likelihood: the same at temperature 1: ``−E log q(x)``.
      latent: the name of z.
      observed: the name of x.
      components: how many states the latent has; None if it is continuous.
      check: raises for data that the model is not of, on the host.
      latent_axes: how many leading axes of x have a state each: 1 of a mixture, 2 of sequences.
      given: what is known beside x, such as ``("lengths",)``: data are then a mapping of all of them.
      steps: how many steps a sequence has; None if x has no axis of time.
      variant: ``(steps, given) -> Model``: the same model of other sequences, whose parameters are the same; None if
        there is none.
    """

    generative: Joint
    inference: Joint
    objective: Objective
    likelihood: Objective
    latent: str
    observed: str
    components: int | None
    check: Callable[[np.ndarray], None] = field(default=_no_rule)
    latent_axes: int = 1
    given: tuple[str, ...] = ()
    steps: int | None = None
    variant: Callable[[int, tuple[str, ...]], Model] | None = None

    @classmethod
    def of(
        cls,
        generative: Joint,
        components: int | None,
        *,
        check: Callable[[np.ndarray], None] = _no_rule,
        temperature: float | Schedule = 1.0,
        anchored: bool = False,
        latent_axes: int = 1,
        steps: int | None = None,
        variant: Callable[[int, tuple[str, ...]], Model] | None = None,
    ) -> Model:
        """Return the model of a joint of a latent ``z`` and data ``x``, with its exact posterior and their `kl`.

        Args:
          generative: ``q(z) q(x|z)``; its evidence is given: ``q(z | lengths) q(x | z, lengths)``.
          components: how many states the latent has; None if it is continuous.
          check: raises for data that the model is not of.
          temperature: of the posterior, see `exact_posterior`.
          anchored: whether the posterior stays as it was at the start of a phase, likewise.
          latent_axes: how many leading axes of x have a state each.
          steps: how many steps a sequence has.
          variant: the same model of other sequences.
        """
        given = generative.observed

        def against(**options: Any) -> tuple[Joint, Objective]:
            known = ("x", *given)
            posterior = exact_posterior(generative, f"z | {', '.join(known)}", **options)
            inference = Joint(evidence(*known), posterior)
            return inference, kl(inference, generative)

        inference, objective = against(temperature=temperature, anchored=anchored)
        return cls(
            generative=generative,
            inference=inference,
            objective=objective,
            likelihood=against()[1] if callable(temperature) or temperature != 1 else objective,
            latent="z",
            observed="x",
            components=components,
            check=check,
            latent_axes=latent_axes,
            given=given,
            steps=steps,
            variant=variant,
        )

    @property
    def families(self) -> dict[str, Family]:
        """The families of the generative joint, by owner."""
        return {str(item.owner): item.source for item in self.generative.modelled if isinstance(item.source, Family)}

    def __repr__(self) -> str:
        latent = "a continuous latent" if self.components is None else f"{self.components} components"
        return f"Model({self.generative}, {latent})"

    @property
    def solver(self) -> Solver:
        """The closed-form turn of the model.

        Raises:
          ValueError: the joints have none.
        """
        return _required(self.objective, self.generative)

    def log_prob(self, params: Params, state: State, x: Data, *, chunk: int = 4096) -> Array:
        """Return ``log q(x)`` in nats, the latent summed out, ``[examples]``.

        Args:
          params: one entry per owner.
          state: one entry per owner.
          x: ``[examples, *event]``.
          chunk: how many examples at a time.

        Raises:
          TypeError: an argument is of another kind.
          ValueError: `x` lacks an axis, or `chunk` is not positive.
        """
        require_integer(chunk, "log_prob: chunk")
        return _log_prob(self, chunk, params, state, self.batch(x))

    def posterior(self, params: Params, state: State, x: Data) -> Any:
        """Return ``p(z|x)``, a distribution with one member per example; of a mixture, `probs` are responsibilities.

        Args:
          params: one entry per owner.
          state: one entry per owner.
          x: ``[examples, *event]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: `x` lacks an axis.
        """
        item = self.inference.factor_of(self.latent)
        key = jax.random.key(0)  # nothing is drawn
        batch = self.batch(x)
        conditional, _ = item.conditional(key, params, state, *(batch[name] for name in item.given), train=False)
        return conditional

    def sample(self, key: Key, params: Params, state: State, examples: int) -> Mapping[str, Array]:
        """Draw latents and data, ancestors first; values by variable, ``[examples, *event]``.

        Raises:
          TypeError: `key` is not a typed key, or `examples` not an integer.
          ValueError: `examples` is not positive.
        """
        require_key(key)
        require_integer(examples, "sample: examples")
        return self.generative.sample(key, params, state, examples=examples).values

    def batch(self, x: Data, weights: ArrayLike | None = None) -> dict[str, Array]:
        """Return data as the objective takes them, with the `weights` of the examples if there are any.

        Args:
          x: ``[examples, *event]``, or those of all known variables by name.
          weights: ``[examples]``, not negative.

        Raises:
          TypeError: `x` is not an array, or a mapping where a model needs one.
          ValueError: `x` lacks an axis, or a known variable is missing.
        """
        batch = {name: jnp.asarray(require_array(value, name)) for name, value in self.named(x).items()}
        array = batch[self.observed]
        if array.ndim < self.latent_axes:
            axes = ", ".join(("sequences", "steps", "...") if self.latent_axes == 2 else ("examples", "..."))
            raise ValueError(f"x must have axes [{axes}], got shape {list(array.shape)}; one of them alone is x[None].")
        return batch if weights is None else {**batch, "@weights": jnp.asarray(weights)}

    def data(self, batch: Mapping[str, Any]) -> Any:
        """Return the known variables of a batch as `log_prob` and `posterior` take them."""
        names = (self.observed, *self.given)
        return {name: batch[name] for name in names} if self.given else batch[self.observed]

    def named(self, x: Data) -> Mapping[str, ArrayLike]:
        """Return data by the names of the known variables.

        Raises:
          TypeError: the model has several known variables and `x` is not a mapping, or the other way round.
          ValueError: the names are not those of the known variables.
        """
        if not self.given:
            return {self.observed: require_array(x, self.observed)}
        names = (self.observed, *self.given)
        if not isinstance(x, Mapping):
            wanted = ", ".join(f"{name!r}: ..." for name in names)
            raise TypeError(
                f"{self!r} is given {', '.join(self.given)}: data must be {{{wanted}}}, got {described(x)}."
            )
        if set(x) != set(names):
            raise ValueError(
                f"data must have the entries {', '.join(map(repr, names))}, got {', '.join(map(repr, x))}."
            )
        return x


def require_model(model: Model, caller: str) -> Model:
    """Return a model, checked for a `caller`.

    Raises:
      TypeError: if it is something else, such as a family.
    """
    fix = "make one with em.mixture(em.gaussian, 3) or em.hmm(...)"
    return require(model, Model, f"{caller}: model", "a em.Model", fix)


def _required(objective: Objective, generative: Joint) -> Solver:
    found = objective.players["model"].solver
    if found is None:
        raise ValueError(f"{generative!r} has no closed-form turn; train it with training.descend.")
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _log_prob(model: Model, chunk: int, params: Params, state: State, batch: Batch) -> Array:
    solver = _required(model.likelihood, model.generative)
    prepared = solver.prepare(params, state)

    def one(example: Batch) -> Array:
        key = jax.random.key(0)  # nothing is drawn
        return solver.expect(key, params, state, prepared, jax.tree.map(lambda leaf: leaf[None], example)).log_prob

    return jax.lax.map(one, dict(batch), batch_size=chunk)

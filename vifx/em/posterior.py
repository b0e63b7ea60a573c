"""The exact posterior of finite latents: the E step of EM as a factor."""

from __future__ import annotations

__all__ = ["Posterior", "exact_posterior", "posterior_params", "posterior_temperature", "tempered_logits"]

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from vifx.checks import nearest, require_number
from vifx.core.factor import Derived, Factor
from vifx.core.joint import Joint
from vifx.core.notation import parsed
from vifx.core.objective import Schedule
from vifx.core.types import Array, Key, Networks, Params, PyTree, State
from vifx.distributions import Finite
from vifx.em.given import Given
from vifx.em.latent_chain import latent_chain
from vifx.em.latent_table import latent_table


class Posterior(NamedTuple):
    """What an exact posterior is of; the `Factor.source` of one.

    Attributes:
      generative: the joint that it is the posterior of.
      temperature: T of ``q(x, z)^(1/T)``, a number or a schedule of the update count.
      anchored: whether it stays as it was at the start of the phase.
    """

    generative: Joint
    temperature: float | Schedule
    anchored: bool


def exact_posterior(
    generative: Joint, notation: str, *, temperature: float | Schedule = 1.0, anchored: bool = False
) -> Factor:
    """The posterior of a finite latent under a generative joint: the E step of EM, equation (1).

    ``p(z|x) = q(x, z) / Σ_z q(x, z)``: the encoder for which the second term of (1) is zero, so that
    ``kl(Joint(evidence("x"), exact_posterior(generative, "z | x")), generative)`` has the value ``−E log q(x)``, and
    its gradient. The latent is categorical, or a vector of finite variables with at most 4096 states; everything
    that the notation does not name is summed out, so that several latents follow by the chain rule:
    ``exact_posterior(g, "z | x"), exact_posterior(g, "w | x, z")``. A latent that is a `MarkovChain` (of
    `em.markov_chain`) has one as posterior, by forward–backward, and a `GaussianChain` (of `em.gaussian_chain`) by the
    Kalman smoother; it is then the only latent. The posterior owns no parameters, and no gradient flows through it: in
    EM it is free, and the E step has put it where it is.

    Args:
      generative: over finite latents and the variables that `notation` conditions on.
      notation: one latent, and what is known: ``"z | x"``.
      temperature: T ≥ 0 of ``q(x, z)^(1/T)``: annealed EM above 1 (Ueda & Nakano, 1998), hard EM at 0, where the
        likeliest state has probability one; a number or a schedule of the update count.
      anchored: keep the posterior of the model as it was at the start of a phase, so that several updates of
        ``anchored(repeat(descend(...), n), networks)`` are one M step; without an anchor in the parameters, that of
        the present model. `training.optimize` anchors by itself.

    Raises:
      TypeError: `generative` is not a joint.
      ValueError: malformed notation, a variable that the joint lacks, nothing to condition on, or a temperature
        that is negative.

    References:
      Dempster, Laird & Rubin (1977); Neal & Hinton (1998), A view of the EM algorithm.

    Example:
      >>> import vifx
      >>> from vifx.verification import tabular
      >>> generative = vifx.Joint(
      ...     vifx.factor("z", tabular(states=3), name="prior"),
      ...     vifx.factor("x | z", tabular(3, states=4), name="decoder"),
      ... )
      >>> inference = vifx.Joint(vifx.evidence("x"), vifx.exact_posterior(generative, "z | x"))
      >>> print(inference)
      p̃(x) · posterior(z | x)
    """
    if not isinstance(generative, Joint):
        raise TypeError(f"exact_posterior: generative must be a Joint, got {type(generative).__name__}.")
    variable, given = parsed(notation)
    for name in (variable, *given):
        if name not in generative.variables:
            raise ValueError(
                f"exact_posterior {notation!r}: {generative!r} has no variable {name!r}"
                f"{nearest(name, generative.variables)}."
            )
    if not given:
        raise ValueError(
            f"exact_posterior {notation!r}: a posterior is given something, such as '{variable} | x'; without it it is "
            "the prior."
        )
    if not callable(temperature):
        require_number(temperature, f"exact_posterior {notation!r}: temperature", least=0, hint="or give a schedule")
    source = Posterior(generative, temperature, anchored)

    def conditional(key: Key, params: Params, state: State, *parents: Array, train: bool) -> tuple[Any, PyTree]:
        known = Given(
            key=key,
            joint=generative,
            networks=Networks(posterior_params(source, params), state, train),
            values=dict(zip(given, parents, strict=True)),
            examples=parents[0].shape[0],
        )
        chain = latent_chain(known)
        if chain is not None and chain.variable == variable:
            return chain.posterior(posterior_temperature(source, state)), {}
        table = latent_table(known)
        if variable not in table.states:
            raise ValueError(f"exact_posterior {notation!r}: {variable!r} is given by the data; it is not a latent.")
        rest = tuple(1 + axis for axis, name in enumerate(table.latents) if name != variable)
        logits = jax.lax.stop_gradient(table.log_prob)
        scaled = tempered_logits(logits, posterior_temperature(source, state), rest)
        return Finite(table.states[variable], scaled), {}

    return Factor(
        variables=(variable,),
        given=given,
        kind="density",
        label="posterior",
        conditional=conditional,
        source=source,
        derived=_derived(notation, source),
    )


def _derived(notation: str, source: Posterior) -> Derived:
    return Derived(
        joint=source.generative,
        anchored=source.anchored,
        scheduled=callable(source.temperature),
        tight=source.temperature == 1 and not source.anchored,
        line=_line(notation, source),
        consequence="the second term of (1), $E KL(inference(latents | data) ‖ generative(latents | data))$, is 0 "
        "there: EM",
    )


def _line(notation: str, source: Posterior) -> str:
    temperature, power = source.temperature, "" if source.temperature == 1 else "^(1/T)"
    heat = "" if temperature == 1 else ", T a schedule" if callable(temperature) else f", T = {temperature:g}"
    if temperature == 0:
        heat = ", T = 0: all of it on the likeliest state"
    when = ", of the model at the start of the phase" if source.anchored else ""
    proportional = f"posterior({notation}) ∝ generative({', '.join(source.generative.variables)}){power}"
    return f"E step: ${proportional}${heat}{when}; no gradient"


def posterior_params(source: Posterior, params: Params) -> Params:
    """Return the parameters that a posterior is taken at: the anchors, where it is anchored and there are any."""
    if not source.anchored:
        return params
    return {name: params.get(f"{name}@anchor", params.get(name)) for name in source.generative.owners}


def posterior_temperature(source: Posterior, state: State) -> float | Array:
    """Return the temperature now: a number, or a schedule's value at the model's update count.

    Args:
      state: has ``"model@updates"`` where there is a schedule.

    Raises:
      ValueError: the count is missing.
    """
    if not callable(source.temperature):
        return float(source.temperature)
    if "model@updates" not in state:
        raise ValueError("state lacks 'model@updates', which scheduled temperatures read; make it with objective.init.")
    return jnp.asarray(source.temperature(state["model@updates"]))


def tempered_logits(log_prob: Array, temperature: float | Array, axes: tuple[int, ...] = ()) -> Array:
    """Return logits of ``Σ_axes q^(1/T)`` over the remaining states; at T = 0 those of the likeliest state alone.

    Args:
      log_prob: ``[examples, *states]`` in nats.
      temperature: T ≥ 0, a number or a scalar.

    Returns:
      ``[examples, *remaining states]``, unnormalized.
    """
    if isinstance(temperature, float) and temperature > 0:
        scaled = log_prob if temperature == 1 else log_prob / temperature
        return logsumexp(scaled, axis=axes) if axes else scaled
    best = jnp.max(log_prob, axis=axes) if axes else log_prob
    flat = best.reshape(best.shape[0], -1)
    first = jnp.argmax(flat, axis=1, keepdims=True) == jnp.arange(flat.shape[1])[None]
    hard = jnp.where(first, jnp.zeros((), flat.dtype), -jnp.inf).reshape(best.shape)
    if isinstance(temperature, float):
        return hard
    safe = jnp.where(temperature > 0, temperature, 1).astype(log_prob.dtype)
    soft = log_prob / safe
    soft = logsumexp(soft, axis=axes) if axes else soft
    return jnp.where(temperature > 0, soft, hard)

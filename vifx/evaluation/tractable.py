"""What of a pair of joints has a likelihood that is exact, and what needs an observation noise to have one."""

from __future__ import annotations

__all__ = ["exact_inference", "noisy_decoder"]

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from vifx.checks import ArgumentError, require_number
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, PyTree
from vifx.distributions import Normal
from vifx.em.posterior import Posterior, exact_posterior


def exact_inference(inference: Joint, generative: Joint) -> Joint | None:
    """Return the inference joint under which the ELBO is log q(x) itself; None if there is none.

    Without latents it is the evidence. If the inference joint has exact posteriors, it is that one, or where these are
    annealed or tempered, one with posteriors that are not.
    """
    evidence = [item for item in inference.factors if item.kind == "evidence"]
    latents = [item.variables[0] for item in generative.modelled if item.variables[0] not in inference.observed]
    if not latents:
        return Joint(*evidence) if evidence else None
    if not any(isinstance(item.source, Posterior) for item in inference.modelled):
        return None
    if all(item.derived is not None and item.derived.tight for item in inference.modelled):
        return inference
    known, factors = [name for name in inference.observed if name in generative.variables], []
    for name in latents:
        factors.append(exact_posterior(generative, f"{name} | {', '.join(known)}"))
        known.append(name)
    return Joint(*evidence, *factors)


def noisy_decoder(inference: Joint, generative: Joint, noise: float | None) -> Joint:
    """Return the generative joint with a Gaussian of a declared scale around each decoder without a density.

    Raises:
      ArgumentError: there is such a decoder and no noise, or noise and no such decoder.
    """
    bare = [item for item in generative.modelled if item.kind == "implicit" and item.variables[0] in inference.observed]
    if noise is None:
        if bare:
            raise ArgumentError(
                "noise",
                f"must be given, since {bare[0]} has no density: it is the standard deviation σ of "
                "q(x|z) = N(G(z), σ² I), in the units of x as the model sees it, and the likelihood depends on it",
                value=noise,
            )
        return generative
    require_number(noise, "noise", above=0, hint="it is the standard deviation of the observation noise")
    if not bare:
        raise ArgumentError(
            "noise", f"must be left out, since every factor of {generative} has a density; got {noise:g}", value=noise
        )
    return Joint(*(_noisy(item, noise) if item in bare else item for item in generative.factors))


def _noisy(item: Factor, noise: float) -> Factor:
    def conditional(key: Key, params: PyTree, state: PyTree, *parents: Array, train: bool) -> tuple[Any, PyTree]:
        point, state = item.conditional(key, params, state, *parents, train=train)
        scale = jnp.full_like(point.value, noise)
        return Normal(point.value, scale).to_event(point.value.ndim - 1), state

    return replace(item, kind="density", label=f"N({item.owner or 'G'}, {noise:g}²)", conditional=conditional)

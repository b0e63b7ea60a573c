"""Sampling temperature."""

from __future__ import annotations

__all__ = ["tempered"]


import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_number
from vifx.distributions.normal import Normal


def tempered(distribution: numpyro.Distribution, temperature: float) -> numpyro.Distribution:
    """Return a normal distribution with its standard deviation multiplied by the temperature.

    ``N(μ, σ²) → N(μ, (T σ)²)``, with the same batch and event shape; ``T = 1`` gives back any distribution
    as it is.

    Args:
      distribution: a normal distribution, possibly expanded or with event dimensions declared.
      temperature: T > 0.

    Raises:
      ValueError: if T is not positive and finite, or the distribution has no standard deviation to scale.

    >>> from vifx.distributions import standard_normal
    >>> float(tempered(standard_normal(2), 0.5).variance[0])
    0.25
    """
    require_number(temperature, "temperature", above=0)
    if temperature == 1:
        return distribution
    match distribution:
        case numpyro.Independent():
            scaled = tempered(distribution.base_dist, temperature)
            return scaled.to_event(distribution.reinterpreted_batch_ndims)
        case numpyro.ExpandedDistribution():
            return tempered(distribution.base_dist, temperature).expand(distribution.batch_shape)
        case numpyro.Normal():
            return Normal(distribution.loc, jnp.asarray(distribution.scale) * temperature)
    raise ValueError(
        f"temperature {temperature} needs a normal distribution, which has a standard deviation to scale, "
        f"but got {type(distribution).__name__}; sample it at temperature 1"
    )

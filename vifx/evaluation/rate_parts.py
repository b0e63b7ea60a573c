"""How the aggregated posterior p(z) = E_x p(z|x) differs from the prior: bounds, and the parts of the rate."""

from __future__ import annotations

__all__ = ["RateParts", "gaussian_gap", "measure_information", "rate_parts"]

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Split
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.information import information_bounds, posterior_log_densities
from vifx.evaluation.latents import Codes, aggregated_posterior, encode
from vifx.evaluation.measure import Measure, unmeasured
from vifx.evaluation.table import Noted

_ROWS = 64  # draws whose densities under all posteriors are in memory at a time


class RateParts(NamedTuple):
    """What the rate ``E KL(p(z|x) ‖ N(0, I))`` of diagonal normal posteriors is made of, in nats; it is their sum.

    Attributes:
      information: ``I(x; z)``, at most the logarithm of the number of examples.
      total_correlation: ``KL(p(z) ‖ Π_l p(z_l))``, 0 where the latents are independent under the aggregated posterior.
      dimension_wise: ``KL(p(z_l) ‖ N(0, 1))`` of each latent, ``[latent]``.
    """

    information: float
    total_correlation: float
    dimension_wise: NDArray[Any]


def rate_parts(codes: Codes) -> RateParts:
    """Divide the rate of diagonal normal posteriors against a standard normal prior into its three parts.

    ``E KL(p(z|x) ‖ q(z)) = I(x; z) + KL(p(z) ‖ Π p(z_l)) + Σ_l KL(p(z_l) ‖ q(z_l))`` with q(z) = N(0, I). The
    aggregated posterior is that of the examples given, ``p(z) = 1/n Σ_j p(z | x_j)``, a mixture whose density is
    exact, and the expectations are means over one draw per example. For the distribution that the examples come from,
    the information is an underestimate by this, and the rest an overestimate: look at it at two n.

    Args:
      codes: such as `encode` returns, of an encoder whose posteriors are diagonal normals.

    Raises:
      ValueError: if there are fewer than two examples, or a variance is not positive.

    References:
      Hoffman and Johnson, ELBO surgery, 2016; Chen, Li, Grosse and Duvenaud, Isolating sources of disentanglement in
      VAEs, 2018.
    """
    mean, variance, sample = (np.asarray(each, np.float64) for each in codes)
    if mean.ndim != 2 or len(mean) < 2 or not np.all(variance > 0):
        raise ValueError(
            "codes must be of two examples or more, [n, latent], with positive variances; got shape "
            f"{mean.shape} and a smallest variance of {variance.min(initial=math.inf):g}."
        )
    log_n = math.log(len(mean))
    joint, marginals = np.empty(len(mean)), np.empty(mean.shape)
    for first in range(0, len(mean), _ROWS):
        rows = slice(first, first + _ROWS)
        each = _log_normal(sample[rows, None], mean[None], variance[None])
        joint[rows] = np.asarray(logsumexp(each.sum(axis=2), axis=1)) - log_n
        marginals[rows] = np.asarray(logsumexp(each, axis=1)) - log_n
    own = _log_normal(sample, mean, variance).sum(axis=1)
    prior = _log_normal(sample, np.zeros(1), np.ones(1))
    return RateParts(
        information=float(np.mean(own - joint)),
        total_correlation=float(np.mean(joint - marginals.sum(axis=1))),
        dimension_wise=np.mean(marginals - prior, axis=0),
    )


def gaussian_gap(mean: ArrayLike, covariance: ArrayLike) -> float:
    """Return ``KL(N(m, S) ‖ N(0, I))`` in nats: what any distribution with these moments is at least from N(0, I).

    ``½ (tr S + ‖m‖² − log det S − latent)``. For p(z) with mean m and covariance S, ``KL(p ‖ N(0, I)) = KL(p ‖ N(m,
    S)) + KL(N(m, S) ‖ N(0, I))``, so that this part of it is known by the moments alone, whatever p.

    Args:
      mean: ``[latent]``.
      covariance: ``[latent, latent]``, such as `aggregated_posterior` returns.

    Returns:
      The divergence, infinite for a singular covariance.

    >>> gaussian_gap([1.0, 0.0], np.eye(2))
    0.5
    """
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    sign, log_det = np.linalg.slogdet(covariance)
    if sign <= 0:
        return math.inf
    return 0.5 * float(np.trace(covariance) + mean @ mean - log_det - len(mean))


def measure_information(
    inference: Joint, generative: Joint, split: Split, *, latent: str = "z", examples: int = 1000
) -> Measure:
    """Measure how much of the rate is information, and how much the aggregated posterior is from the prior, in nats.

    ``information/z_at_least`` and ``…_at_most`` are `information_bounds` of the encoder, and as the rate is ``I(x; z)
    + KL(p(z) ‖ q(z))``, ``aggregated_kl/z_at_least`` and ``…_at_most`` are the rate less these. Under a standard
    normal prior `gaussian_gap` is a second lower bound of the divergence, of which the better one is taken: it goes
    on where the information is above the logarithm of the number of examples and the first says nothing.

    The bounds of the information are of the first `examples` examples, and the rate and the moments of all. All are
    averages over draws, so that where they are tight one may cross another by chance.

    A latent that has another one as a parent, in either joint, an encoder without a density, or examples with weights
    are not measured.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: usually the test split.
      latent: which variable.
      examples: how many of its examples the bounds of the information are of.
    """
    few = {name: array[:examples] for name, array in split.items()}
    encoder, posterior = inference.factor_of(latent), inference.ancestral((latent,))
    prior = generative.ancestral((latent,))
    parents = {*encoder.given, *generative.factor_of(latent).given} - {*inference.observed, *generative.observed}
    if parents or encoder.kind == "implicit" or WEIGHTS in split or len(few["x"]) < 2:
        return unmeasured
    standard = _is_standard_normal(generative.factor_of(latent).source)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        _, log_densities = posterior_log_densities(key, inference, params, state, few, variable=latent)
        information, n = information_bounds(log_densities), len(log_densities)
        codes = encode(key, inference, params, state, split, variable=latent)
        function, drawn = partial(_ratios, posterior, prior), {**split, latent: codes.sample}
        rate = float(np.mean(in_batches(key, function, params, state, drawn, batch_size=500), dtype=np.float64))
        gap = gaussian_gap(*aggregated_posterior(codes.mean, codes.variance)) if standard else 0.0
        least = max(rate - information.at_most, gap, 0.0)
        above, below = rate - gap, rate - information.at_least
        shown = {
            "information/{}_at_least": (
                information.at_least,
                f"from below, {n:,} examples: ≤ log n = {math.log(n):.2f}",
            ),
            "information/{}_at_most": (min(information.at_most, above), "mutual information of x and z, from above"),
            "aggregated_kl/{}_at_least": (least, "KL(p(z) ‖ q(z)), from below"),
            "aggregated_kl/{}_at_most": (below, "KL(p(z) ‖ q(z)), from above"),
        }
        return {name.format(latent): Noted(value, note) for name, (value, note) in shown.items()}

    return measure


@partial(jax.jit, static_argnums=(0, 1))
def _ratios(posterior: Joint, prior: Joint, rows: Rows) -> Array:
    """Return ``log p(z|x) − log q(z)`` of each row."""
    encoded, drawn = (
        sum(joint.log_prob(rows.params, rows.state, {name: rows.batch[name] for name in joint.variables}).values())
        for joint in (posterior, prior)
    )
    return jnp.asarray(encoded - drawn)


def _is_standard_normal(source: Any) -> bool:
    """Say whether the prior of a vector is the fixed N(0, I)."""
    base = source.base_dist if isinstance(source, numpyro.Independent) else None
    if not isinstance(base, numpyro.Normal) or len(source.event_shape) != 1 or source.batch_shape:
        return False
    return bool(np.all(np.asarray(base.loc) == 0) and np.all(np.asarray(base.scale) == 1))


def _log_normal(x: NDArray[Any], mean: NDArray[Any], variance: NDArray[Any]) -> NDArray[Any]:
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))

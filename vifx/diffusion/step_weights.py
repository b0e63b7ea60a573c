"""Weights of the steps in training; the bound is always reported without them."""

from __future__ import annotations

__all__ = ["StepWeights", "min_snr", "sigmoid", "simple"]

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array


class StepWeights(NamedTuple):
    """By what the term of a step is multiplied in training.

    The term in nats is ``½ rate ‖ε − ε̂‖²`` with ``rate = γ′(t)``, or ``T (SNR(s)/SNR(t) − 1)`` of T steps.

    Attributes:
      of: ``(gamma, rate) -> weight``, elementwise.
      label: its name and its settings.
    """

    of: Callable[[Array, Array], Array]
    label: str


def simple() -> StepWeights:
    """``2/rate``: the mean of ``‖ε − ε̂‖²`` over the times, DDPM's simple loss (Ho, Jain & Abbeel, 2020)."""
    return StepWeights(lambda gamma, rate: 2 / rate, "steps weighted to the mean of ‖ε − ε̂‖²")  # noqa: ARG005


def min_snr(*, largest: float = 5.0) -> StepWeights:
    """``2 min(1, largest/SNR)/rate``: the mean of ``min(SNR, largest) ‖x − x̂‖²`` over the times.

    Args:
      largest: of the ratio of signal to noise.

    Raises:
      ValueError: if it is not positive.

    Reference: Hang et al. (2023), Efficient diffusion training via min-SNR weighting, arXiv:2303.09556.
    """
    most = require_number(largest, "min_snr: largest", above=0)
    return StepWeights(
        lambda gamma, rate: 2 * jnp.minimum(1.0, most * jnp.exp(gamma)) / rate,
        f"steps weighted to the mean of min(SNR, {most:g}) ‖x − x̂‖²",
    )


def sigmoid(*, bias: float = 2.0) -> StepWeights:
    """``σ(γ + bias)``: the bound itself where there is much noise, and less and less of it where there is little.

    It falls with the signal, so that the loss is the bound of the data with noise added, averaged over its strength.

    Args:
      bias: which ratio of signal to noise, in logs, has half the weight.

    Raises:
      ValueError: if it is not finite.

    Reference: Kingma & Gao (2023), Understanding diffusion objectives as the ELBO, arXiv:2303.00848.
    """
    shift = require_number(bias, "sigmoid: bias")
    return StepWeights(
        lambda gamma, rate: jax.nn.sigmoid(gamma + shift),  # noqa: ARG005
        f"steps weighted by sigmoid({shift:g} − log SNR)",
    )

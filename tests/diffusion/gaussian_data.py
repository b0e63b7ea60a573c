"""Data of a known normal law, for which the best denoiser is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vifx import diffusion
from vifx.core.types import Net

MEAN, COV = np.array([0.4, -0.3]), np.array([[1.0, 0.6], [0.6, 0.5]])
ENTROPY = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * COV)[1]


def rows(key, examples):
    """Draw the data, in double precision where it is enabled."""
    noise = jax.random.normal(key, (examples, 2))
    return jnp.asarray(MEAN, noise.dtype)[None] + noise @ jnp.asarray(np.linalg.cholesky(COV).T, noise.dtype)


def best(schedule, predicts="noise", *, off=0.0):
    """The best denoiser of a schedule, which has no parameters; `off` moves it away from the best."""

    def apply(params, state, z, t, *given, key=None, train=False):
        level = schedule.at_gamma(schedule.start + (schedule.end - schedule.start) * t[:, 0])
        z = z * level.norm[:, None]
        alpha, sigma = level.alpha[:, None], level.sigma[:, None]
        values, vectors = (jnp.asarray(each, z.dtype) for each in np.linalg.eigh(COV))
        along = (z - alpha * jnp.asarray(MEAN, z.dtype)[None]) @ vectors
        values = values[None]
        x = (
            jnp.asarray(MEAN, z.dtype)[None]
            + (along * alpha * values / (alpha**2 * values + sigma**2)) @ vectors.T
            + off
        )
        told = diffusion.Prediction(x, "data", z, level)
        return getattr(told, predicts), state

    return Net(lambda key, *inputs: ({}, {}), apply)


def error(gamma):
    """E ‖x − x̂‖² of the best denoiser at γ: ``Σ s/(1 + s SNR)`` over the eigenvalues s."""
    values = np.linalg.eigvalsh(COV)
    return np.sum(values / (1 + values * np.exp(-np.asarray(gamma))[..., None]), axis=-1)


def steps_in_closed_form(gamma):
    """``Σ_t ½ (SNR(t−1) − SNR(t)) E ‖x − x̂(z_t)‖²`` over a grid of γ."""
    snr = np.exp(-gamma)
    return 0.5 * np.sum((snr[:-1] - snr[1:]) * error(gamma[1:]))


def z_score(one, other):
    """How many standard errors the means of two sets of draws, ``[draws, ...]``, lie apart; the largest of them."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    spread = one.var(0) / len(one) + (other.var(0) / len(other) if other.ndim == one.ndim else 0)
    middle = other.mean(0) if other.ndim == one.ndim else other
    return float(np.max(np.abs(one.mean(0) - middle) / np.sqrt(spread)))

"""Diffusion: two chains, of which the inference one is fixed; their divergence is that of two joints, as any other.

>>> import jax.numpy as jnp, vifx
>>> from vifx import diffusion, networks
>>> noise = diffusion.cosine()
>>> inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", diffusion.forward(noise, steps=100)))
>>> reverse = diffusion.reverse(networks.MLP((64, 64), 2), noise, (2,), steps=100)
>>> generative = vifx.Joint(vifx.factor("z", reverse, name="denoiser"), vifx.factor("x | z", diffusion.normal(noise)))
>>> objective = vifx.kl(inference, generative)
>>> print(inference, "against", generative)
p̃(x) · noising(z | x) against denoiser(z) · normal_of_z0(x | z)
"""

from __future__ import annotations

__all__ = [
    "Denoising",
    "NoiseLevel",
    "NoiseSchedule",
    "Noising",
    "Prediction",
    "Proposal",
    "Sampler",
    "StepWeights",
    "ancestral",
    "bridge",
    "cosine",
    "ddim",
    "first",
    "flow",
    "forward",
    "heun",
    "importance",
    "learned",
    "linear_beta",
    "linear_log_snr",
    "marginal",
    "min_snr",
    "normal",
    "reverse",
    "schedule",
    "shades",
    "sigmoid",
    "simple",
    "step",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.diffusion.at_zero import first, normal, shades
    from vifx.diffusion.denoising import Denoising
    from vifx.diffusion.gaussian_steps import bridge, marginal, step
    from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule, schedule
    from vifx.diffusion.noising import Noising, forward
    from vifx.diffusion.prediction import Prediction
    from vifx.diffusion.probability_flow import flow
    from vifx.diffusion.reverse_chain import reverse
    from vifx.diffusion.samplers import Sampler, ancestral, ddim, heun
    from vifx.diffusion.schedules import cosine, learned, linear_beta, linear_log_snr
    from vifx.diffusion.step_times import Proposal, importance
    from vifx.diffusion.step_weights import StepWeights, min_snr, sigmoid, simple

make_lazy(__name__)

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

Of categorical data, such as characters, these are `discrete_forward`, `discrete_reverse` and `unnoised`.
"""

from __future__ import annotations

__all__ = [
    "Corrupting",
    "Corruption",
    "Denoising",
    "NoiseLevel",
    "NoiseSchedule",
    "Noising",
    "Prediction",
    "Proposal",
    "Restoring",
    "Sampler",
    "StepWeights",
    "absorbing",
    "ancestral",
    "bridge",
    "cosine",
    "ddim",
    "discrete_ancestral",
    "discrete_forward",
    "discrete_reverse",
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
    "uniform",
    "unnoised",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.diffusion.at_zero import first, normal, shades
    from vifx.diffusion.corrupting import Corrupting, discrete_forward
    from vifx.diffusion.corruption import Corruption, absorbing, uniform
    from vifx.diffusion.denoising import Denoising
    from vifx.diffusion.discrete_chain import discrete_reverse
    from vifx.diffusion.gaussian_steps import bridge, marginal, step
    from vifx.diffusion.noise_schedule import NoiseLevel, NoiseSchedule, schedule
    from vifx.diffusion.noising import Noising, forward
    from vifx.diffusion.prediction import Prediction
    from vifx.diffusion.probability_flow import flow
    from vifx.diffusion.restoring import Restoring
    from vifx.diffusion.reverse_chain import reverse
    from vifx.diffusion.samplers import Sampler, ancestral, ddim, heun
    from vifx.diffusion.schedules import cosine, learned, linear_beta, linear_log_snr
    from vifx.diffusion.state_samplers import discrete_ancestral
    from vifx.diffusion.step_times import Proposal, importance
    from vifx.diffusion.step_weights import StepWeights, min_snr, sigmoid, simple
    from vifx.diffusion.unnoised import unnoised

make_lazy(__name__)

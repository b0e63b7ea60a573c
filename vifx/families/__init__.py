"""Families: conditionals of finite latents with a closed-form M step."""

from __future__ import annotations

__all__ = [
    "NormalInverseWishart",
    "bernoulli",
    "categorical",
    "check_values",
    "each_step",
    "factor_analysis",
    "gaussian",
    "latent_posterior",
    "markov_chain",
    "multinomial",
    "poisson",
    "ppca",
    "reconstruct",
    "student_t",
]

from vifx.families.bernoulli import bernoulli
from vifx.families.categorical import categorical
from vifx.families.checks import check_values
from vifx.families.continuous_latent import latent_posterior, reconstruct
from vifx.families.each_step import each_step
from vifx.families.factor_analysis import factor_analysis
from vifx.families.gaussian import gaussian
from vifx.families.markov_chain import markov_chain
from vifx.families.multinomial import multinomial
from vifx.families.poisson import poisson
from vifx.families.ppca import ppca
from vifx.families.priors import NormalInverseWishart
from vifx.families.student_t import student_t

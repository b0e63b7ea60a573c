"""EM: exact posteriors, families with a closed-form M step, and the models made of them."""

from __future__ import annotations

__all__ = [
    "Beta",
    "Candidate",
    "Dirichlet",
    "Filtered",
    "Fit",
    "Gamma",
    "InverseGamma",
    "InverseWishart",
    "Model",
    "NormalInverseWishart",
    "Selection",
    "Start",
    "Summary",
    "autoregressive",
    "bernoulli",
    "categorical",
    "check_values",
    "each_step",
    "exact_posterior",
    "factor_analysis",
    "filtered",
    "fit",
    "forecast",
    "gaussian",
    "gaussian_chain",
    "hmm",
    "k_means",
    "latent_posterior",
    "lds",
    "linear_gaussian",
    "markov_chain",
    "mixture",
    "most_likely_path",
    "multinomial",
    "poisson",
    "ppca",
    "reconstruct",
    "select",
    "starts",
    "student_t",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.em.families.autoregressive import autoregressive
    from vifx.em.families.bernoulli import bernoulli
    from vifx.em.families.categorical import categorical
    from vifx.em.families.continuous_latent import latent_posterior, reconstruct
    from vifx.em.families.each_step import each_step
    from vifx.em.families.factor_analysis import factor_analysis
    from vifx.em.families.gaussian import gaussian
    from vifx.em.families.gaussian_chain import gaussian_chain
    from vifx.em.families.linear_gaussian import linear_gaussian
    from vifx.em.families.markov_chain import markov_chain
    from vifx.em.families.multinomial import multinomial
    from vifx.em.families.normal_inverse_wishart import NormalInverseWishart
    from vifx.em.families.poisson import poisson
    from vifx.em.families.ppca import ppca
    from vifx.em.families.priors import Beta, Dirichlet, Gamma, InverseGamma, InverseWishart
    from vifx.em.families.student_t import student_t
    from vifx.em.families.valid_values import check_values
    from vifx.em.fit import fit
    from vifx.em.fitted import Fit
    from vifx.em.forecast import filtered, forecast
    from vifx.em.hmm import hmm, most_likely_path
    from vifx.em.initial import Start, starts
    from vifx.em.k_means import k_means
    from vifx.em.latent_chain import Filtered
    from vifx.em.lds import lds
    from vifx.em.mixture import mixture
    from vifx.em.model import Model
    from vifx.em.posterior import exact_posterior
    from vifx.em.selection import Candidate, Selection, select
    from vifx.em.summary import Summary

make_lazy(__name__)

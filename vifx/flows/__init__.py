"""Normalizing flows: bijections with their log-determinants, and what composes them.

A bijection goes from data to base. ``transformed("x", base, bijection, name="flow")`` makes a factor of one:

>>> import vifx
>>> from vifx import flows
>>> bijection = flows.chain(flows.identity(), flows.invert(flows.identity()))
>>> generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), bijection, name="flow"))
>>> print(vifx.kl(vifx.Joint(vifx.evidence("x")), generative).dropped[0])
− H(p̃(x))
"""

from __future__ import annotations

__all__ = [
    "Check",
    "Elementwise",
    "FittedFlow",
    "Flow",
    "Mask",
    "actnorm",
    "additive",
    "affine",
    "alternating",
    "autoregressive",
    "block_autoregressive",
    "bnaf",
    "chain",
    "channels",
    "check",
    "checked",
    "checkerboard",
    "circular_rational_quadratic",
    "circular_spline",
    "cnf",
    "concatenate",
    "conditional_affine",
    "conditioned",
    "continuous",
    "coupling",
    "dense",
    "exp",
    "flatten",
    "glow",
    "halves",
    "iaf",
    "identity",
    "image_realnvp",
    "indexed",
    "invert",
    "last_scale",
    "leaky_tanh",
    "linear",
    "logit",
    "maf",
    "mask",
    "multiscale",
    "nice",
    "permutation",
    "planar",
    "pointwise",
    "power",
    "radial",
    "rational_quadratic",
    "realnvp",
    "residual",
    "residual_block",
    "reverse",
    "scale",
    "shuffle",
    "sigmoid",
    "softplus",
    "spline",
    "split_off",
    "squeeze",
    "stack",
    "support",
    "tanh",
]

from vifx.flows.bijections.actnorm import actnorm
from vifx.flows.bijections.alternating import alternating
from vifx.flows.bijections.block_autoregressive import block_autoregressive
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.circular_rational_quadratic import circular_rational_quadratic
from vifx.flows.bijections.concatenate import concatenate
from vifx.flows.bijections.conditional_affine import conditional_affine
from vifx.flows.bijections.constraint import support
from vifx.flows.bijections.continuous import continuous
from vifx.flows.bijections.coupling import coupling
from vifx.flows.bijections.default_networks import dense
from vifx.flows.bijections.elementwise import Elementwise, additive, affine
from vifx.flows.bijections.embedded_condition import conditioned
from vifx.flows.bijections.flatten import flatten
from vifx.flows.bijections.identity import identity
from vifx.flows.bijections.indexed import indexed
from vifx.flows.bijections.invert import invert
from vifx.flows.bijections.linear import linear
from vifx.flows.bijections.logit import logit
from vifx.flows.bijections.masked_autoregressive import autoregressive
from vifx.flows.bijections.masks import Mask, channels, checkerboard, halves, mask
from vifx.flows.bijections.multiscale import last_scale, multiscale
from vifx.flows.bijections.permutation import permutation, reverse, shuffle
from vifx.flows.bijections.planar import planar
from vifx.flows.bijections.pointwise import pointwise
from vifx.flows.bijections.positive import exp, power, softplus
from vifx.flows.bijections.radial import radial
from vifx.flows.bijections.rational_quadratic import rational_quadratic
from vifx.flows.bijections.residual_block import residual_block
from vifx.flows.bijections.scale import scale
from vifx.flows.bijections.split_off import split_off
from vifx.flows.bijections.squashing import leaky_tanh, sigmoid, tanh
from vifx.flows.bijections.squeeze import squeeze
from vifx.flows.bijections.stack import stack
from vifx.flows.bnaf import bnaf
from vifx.flows.check import Check, check
from vifx.flows.checked import checked
from vifx.flows.circular_spline import circular_spline
from vifx.flows.cnf import cnf
from vifx.flows.flow import FittedFlow, Flow
from vifx.flows.glow import glow
from vifx.flows.iaf import iaf
from vifx.flows.image_realnvp import image_realnvp
from vifx.flows.maf import maf
from vifx.flows.nice import nice
from vifx.flows.realnvp import realnvp
from vifx.flows.residual import residual
from vifx.flows.spline import spline

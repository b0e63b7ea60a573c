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
    "Elementwise",
    "Flow",
    "Mask",
    "additive",
    "affine",
    "alternating",
    "chain",
    "channels",
    "checked",
    "checkerboard",
    "conditional_affine",
    "conditioned",
    "coupling",
    "dense",
    "halves",
    "identity",
    "invert",
    "mask",
    "nice",
    "permutation",
    "planar",
    "radial",
    "rational_quadratic",
    "realnvp",
    "residual_block",
    "reverse",
    "scale",
    "shuffle",
    "spline",
    "stack",
]

from vifx.flows.alternating import alternating
from vifx.flows.chain import chain
from vifx.flows.checked import checked
from vifx.flows.conditional_affine import conditional_affine
from vifx.flows.conditioned import conditioned
from vifx.flows.conditioners import dense
from vifx.flows.coupling import coupling
from vifx.flows.elementwise import Elementwise, additive, affine
from vifx.flows.flow import Flow
from vifx.flows.identity import identity
from vifx.flows.invert import invert
from vifx.flows.masks import Mask, channels, checkerboard, halves, mask
from vifx.flows.nice import nice
from vifx.flows.permutation import permutation, reverse, shuffle
from vifx.flows.planar import planar
from vifx.flows.radial import radial
from vifx.flows.rational_quadratic import rational_quadratic
from vifx.flows.realnvp import realnvp
from vifx.flows.residual_block import residual_block
from vifx.flows.scale import scale
from vifx.flows.spline import spline
from vifx.flows.stack import stack

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
    "additive",
    "affine",
    "chain",
    "checked",
    "conditioned",
    "identity",
    "invert",
    "stack",
]

from vifx.flows.chain import chain
from vifx.flows.checked import checked
from vifx.flows.conditioned import conditioned
from vifx.flows.elementwise import Elementwise, additive, affine
from vifx.flows.flow import Flow
from vifx.flows.identity import identity
from vifx.flows.invert import invert
from vifx.flows.stack import stack

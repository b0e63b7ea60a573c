"""Flow matching: continuous flows that are trained without being solved, and are solved for what they are good for.

>>> import vifx
>>> from vifx import flows, matching, networks
>>> velocity = flows.continuous(networks.PointDenoiser((64, 64)), steps=24)
>>> inference = vifx.Joint(vifx.evidence("x"))
>>> generative = vifx.Joint(vifx.transformed("x", vifx.standard_normal(2), velocity, name="velocity"))
>>> objective = vifx.flow_matching(inference, generative, path=matching.linear(), pairing="optimal")
>>> print(objective)
Objective(flow matching of x along linear())

The parameters are those of the flow, so that what was trained has a density, samples and codes as any other flow:
``generative.log_prob``, ``generative.sample``, ``flows.Flow``. `vifx.kl` of the same two joints is maximum likelihood,
whose every update solves the equation.
"""

from __future__ import annotations

__all__ = ["Path", "TimeWeights", "flow_matching", "linear", "logit_normal", "optimal_order", "scheduled"]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.matching.flow_matching import flow_matching
    from vifx.matching.interpolation import Path, linear, scheduled
    from vifx.matching.pairing import optimal_order
    from vifx.matching.time_weights import TimeWeights, logit_normal

make_lazy(__name__)

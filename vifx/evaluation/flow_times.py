"""The densities of a continuous flow of the plane between data and base, beside the data's own."""

from __future__ import annotations

__all__ = ["draw_flow_times"]

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vifx import flows
from vifx.core.factor import transformed
from vifx.core.joint import Joint
from vifx.core.types import Array, Bijection, Key, Net, Params, PyTree, State
from vifx.data import Modes, Split
from vifx.distributions import standard_normal
from vifx.evaluation.density_pairs import density_pairs_2d
from vifx.evaluation.measure import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_flow_times(
    joint: Joint,
    law: Modes,
    split: Split,
    *,
    variable: str = "x",
    times: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8),
    title: str = "",
) -> Drawing:
    """Draw the densities of points of the plane on the straight way to noise: the law's own, and the flow's.

    The law is a mixture of Gaussians, and so is that of ``(1 − t) x + t ε``.

    Args:
      joint: of this variable alone, a continuous flow, trained along `matching.linear`.
      law: of the data.
      split: data ``x``, around which the densities are drawn.
      variable: its name.
      times: in [0, 1).
      title: above, on the left.

    Raises:
      ValueError: the variable's factor has no velocity.
    """
    flow = joint.factor_of(variable)
    bijection: Any = flow.source
    if getattr(bijection, "velocity", None) is None:
        raise ValueError(f"joint must have a continuous flow of {variable!r}, got {joint}; give flows.continuous(...)")
    x = np.asarray(split["x"])
    noise = np.random.default_rng(0).standard_normal(x.shape)

    def density_at(time: float) -> tuple[Any, Any, Any]:
        spread = np.sqrt(((1 - time) * law.scale) ** 2 + time**2)
        exact = Modes((1 - time) * law.centres, spread, law.weights)
        joint = Joint(transformed("x", standard_normal(2), _rest(bijection, time), name=str(flow.owner)))

        @jax.jit
        def model(params: Params, state: State, z: Array) -> Array:
            return joint.log_prob(params, state, {"x": z})["x"]

        return exact.log_prob, model, (1 - time) * x + time * noise

    columns = [density_at(time) for time in times]

    def draw(key: Key, params: Params, state: State) -> Figure:
        del key
        return density_pairs_2d(
            [exact for exact, _, _ in columns],
            [partial(model, params, state) for _, model, _ in columns],
            [each for _, _, each in columns],
            labels=[f"t = {time:g}" for time in times],
            names=("data with noise", "the flow"),
            title=title,
        )

    return draw


def _rest(bijection: Bijection, begin: float) -> Bijection:
    """Return the flow from a time on, which has the density of what it has become by then."""
    own: Any = bijection.velocity

    def apply(params: PyTree, state: PyTree, x: Array, t: Array, **mode: Any) -> tuple[Array, PyTree]:
        moving, state = own.field(params, state, x, begin + (1 - begin) * t[:, 0], None, **mode)
        return (1 - begin) * moving, state

    return flows.continuous(Net(lambda key, x, _: bijection.init(key, x), apply), steps=16)

"""Dynamics: sequences by what leads from one step to the next; recurrent cells and differential equations."""

from __future__ import annotations

__all__ = [
    "BlowUpError",
    "LeastSquares",
    "SequenceReader",
    "Transition",
    "blow_up",
    "chain",
    "fit_ode",
    "gaussian_around",
    "grad_norm",
    "gru",
    "laplace",
    "latent_ode",
    "least_squares",
    "lstm",
    "observed",
    "ode_path",
    "ode_step",
    "recurrent",
    "require_finite",
    "scattered",
    "solve",
    "vanilla",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.distributions.transition import Transition
    from vifx.dynamics.blow_up import BlowUpError, blow_up, require_finite
    from vifx.dynamics.chain_network import chain
    from vifx.dynamics.fit_ode import fit_ode
    from vifx.dynamics.grad_norm import grad_norm
    from vifx.dynamics.laplace import gaussian_around, laplace
    from vifx.dynamics.latent_paths import latent_ode
    from vifx.dynamics.least_squares import LeastSquares, least_squares, scattered
    from vifx.dynamics.observed_steps import observed
    from vifx.dynamics.ode_step import ode_step
    from vifx.dynamics.paths import ode_path, solve
    from vifx.dynamics.recurrent_cells import gru, lstm, recurrent, vanilla
    from vifx.dynamics.sequence_reader import SequenceReader

make_lazy(__name__)

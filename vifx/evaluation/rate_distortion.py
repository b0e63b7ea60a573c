"""The rate–distortion curve of an autoencoder: several weights of the rate trained side by side in one program."""

from __future__ import annotations

__all__ = ["RateDistortion", "rate_distortion", "rate_distortion_curve"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray

from vifx import training
from vifx.checks import require_number
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Player
from vifx.core.types import Array, Aux, Batch, Key, Params, PyTree, State
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood_bounds import elbo
from vifx.evaluation.style import STYLE, chart, legend
from vifx.training.event import Observe
from vifx.training.minibatch_sources import Source
from vifx.variational import kl
from vifx.variational.pair import pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RateDistortion(NamedTuple):
    """What autoencoders with different weights of the rate reach, in nats per example, in the order of the weights.

    Attributes:
      betas: the weights β, rising, ``[betas]``.
      rate: ``R = E KL(p(z|x) ‖ q(z))`` of each, an upper bound on the information of x and z.
      distortion: ``D = E −log q(x|z)`` of each.
      params: one entry per network, each leaf stacked, ``[betas, …]``.
      state: likewise.
    """

    betas: NDArray[np.float64]
    rate: tuple[Estimate, ...]
    distortion: tuple[Estimate, ...]
    params: Params
    state: State

    @property
    def elbo(self) -> NDArray[np.float64]:
        """``−(R + D)`` of each, ``[betas]``: largest near β = 1."""
        return -np.array([r.mean + d.mean for r, d in zip(self.rate, self.distortion, strict=True)])


def rate_distortion(
    key: Key,
    inference: Joint,
    generative: Joint,
    source: Source,
    split: Mapping[str, ArrayLike],
    *,
    betas: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    steps: int = 2000,
    optimizer: optax.GradientTransformation | None = None,
    samples: int = 1,
    observe: Observe = None,
) -> RateDistortion:
    """Train an autoencoder for several weights β of the rate at once, and measure rate and distortion of each.

    Each minimizes ``D + β R``, the loss of `kl` with the weight β on every term ``"kl/…"``. β is an array that the
    compiled update maps over, so that the program is one and minibatches, initial values and noise are the same for
    all. At the optimum over networks that can represent it the points lie on a convex curve of slope ``dD/dR = −β``,
    and the ELBO is ``−(R + D)``, whose lines have the slope −1 and touch the curve at β = 1.

    Args:
      key: of the training and of the measurement.
      inference: evidence and encoder.
      generative: prior and decoder.
      source: minibatches to train on, such as `data.Resident`.
      split: what rate and distortion are measured on, usually the test split.
      betas: the weights.
      steps: updates of each.
      optimizer: of every element by itself, as Adam is, by default with a step size of 1e-3; one that looks across the
        parameters, such as by their norm, would mix the weights.
      samples: draws of the latents per example.
      observe: as for `training.fit`.

    Raises:
      ValueError: if fewer than two weights are given, one is not positive or there twice, or the joints have no latent.
      Exception: those of `kl` and `training.fit`.

    References:
      Alemi et al., Fixing a broken ELBO, 2018; Higgins et al., β-VAE, 2017.
    """
    weights = np.sort([require_number(beta, "a number in betas", above=0, hint="it weighs the rate") for beta in betas])
    if len(np.unique(weights)) < len(weights) or len(weights) < 2:
        raise ValueError(f"betas must be two or more different numbers, got {tuple(betas)}.")
    names = pair("rate_distortion", inference, generative).term_names
    rates = [name for name in names if name.startswith("kl/")]
    if not rates:
        raise ValueError(
            f"generative must have a latent that inference encodes, got the terms {', '.join(names)} alone."
        )
    objective = _side_by_side(inference, generative, rates, jnp.asarray(weights, jnp.result_type(float)), samples)
    step = training.optimize(objective, optax.adam(1e-3) if optimizer is None else optimizer)
    fitted = training.fit(jax.random.fold_in(key, 0), step, objective, source, steps=steps, observe=observe)
    params, state = fitted.train_state.params, fitted.train_state.state
    measured = []
    for index in range(len(weights)):
        own, kept = (jax.tree.map(lambda leaf, index=index: leaf[index], dict(tree)) for tree in (params, state))
        terms = elbo(jax.random.fold_in(key, 1), inference, generative, own, kept, split, samples=samples)
        measured.append((_total(terms, "kl/"), _total(terms, "nll/")))
    rate, distortion = zip(*measured, strict=True)
    return RateDistortion(weights, rate, distortion, params, state)


def _side_by_side(inference: Joint, generative: Joint, rates: Sequence[str], betas: Array, samples: int) -> Objective:
    """Return the sum of the losses of all weights, each with parameters of its own: leaves are stacked."""

    def weighted(beta: Array) -> Objective:
        return kl(inference, generative, weights=dict.fromkeys(rates, lambda _: beta), samples=samples)

    plain = weighted(betas[0])

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(betas)), plain.init(key, batch))

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        def one(beta: Array, params: PyTree, state: PyTree) -> tuple[Array, PyTree]:
            value, aux = weighted(beta).players["model"].loss(key, params, state, batch, train=train)
            return value, dict(aux.state)

        values, states = jax.vmap(one)(betas, dict(params), dict(state))
        return jnp.sum(values), Aux({f"loss/{index}": value for index, value in enumerate(values)}, states)

    player: Player = plain.players["model"]
    return Objective.of_loss(init, loss, owns=player.owns, title="distortion + β rate, for several β")


def _total(terms: Mapping[str, Estimate], kind: str) -> Estimate:
    found = [term for name, term in terms.items() if name.startswith(kind)]
    return Estimate(np.sum([term.values for term in found], axis=0), weights=found[0].weights)


def rate_distortion_curve(found: RateDistortion) -> Figure:
    """Draw distortion over rate, with the slope −β at each point, and the line of the best ELBO.

    Of autoencoders that have reached their optimum the short lines are tangents of the curve, and the curve is
    convex. A point above a line of its neighbours has not: more updates or a larger network would move it. On the
    dashed line the ELBO is that of the best point.

    Args:
      found: as `rate_distortion` returns it.
    """
    rate, distortion = (np.array([each.mean for each in values]) for values in (found.rate, found.distortion))
    figure, axes = chart("Rate and distortion", "rate R, nats", "distortion D, nats")
    order = np.argsort(rate)
    axes.plot(rate[order], distortion[order], color=STYLE.lines[0], linewidth=1.2, marker="o", markersize=4, label="β")
    reach = 0.12 * max(np.ptp(rate), 1e-6)
    for beta, r, d in zip(found.betas, rate, distortion, strict=True):
        along = np.array([-reach, reach]) / np.sqrt(1 + (beta * np.ptp(rate) / max(np.ptp(distortion), 1e-6)) ** 2)
        axes.plot(r + along, d - beta * along, color=STYLE.lines[1], linewidth=1.4)
        beside = {"xytext": (6, 5), "textcoords": "offset points", "fontsize": STYLE.tick_size, "color": STYLE.text}
        axes.annotate(f"{beta:g}", (r, d), **beside)
    axes.plot([], [], color=STYLE.lines[1], linewidth=1.4, label="slope −β")
    best = float(found.elbo.max())
    inside = np.clip([rate.min(), rate.max()], -best - distortion.max(), -best - distortion.min())
    dashed = {"color": STYLE.muted, "linewidth": 1.0, "linestyle": (0, (4, 2))}
    axes.plot(inside, -best - inside, **dashed, label="the best ELBO")
    legend(axes, columns=3)
    return figure

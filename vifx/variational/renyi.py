"""Rényi bounds as objectives: from the ELBO to the importance-weighted bound, and past both."""

from __future__ import annotations

__all__ = ["renyi"]

from vifx.checks import require_number
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.variational.bounds import Gradient, Weighting
from vifx.variational.derivation import derive_renyi
from vifx.variational.pair import pair
from vifx.variational.weighted_bounds import Mover, check_weighting, weighted_objective


def renyi(
    inference: Joint,
    generative: Joint,
    *,
    alpha: float,
    samples: int,
    gradient: Gradient = "reparameterized",
    name: str = "",
) -> Objective:
    """The Rényi bound of K draws, ``−E log ((1/K) Σ_k w_k^(1−α))^(1/(1−α))`` with ``w = q(x,z) / p(z|x)``.

    α = 1 is the ELBO (the limit), and α = 0 is the bound of `importance_weighted`. The power mean of the weights falls
    as α grows: for α ≥ 0 it is at most their mean, so that minus the loss is a lower bound on log q(x), above the ELBO
    for α < 1 and below it for α > 1. **For α < 0 it is not a bound** at finite K. As K grows it tends to
    ``−log q(x) + D_α(p(z|x) ‖ q(z|x))``, Rényi's divergence from the posterior: α > 1 makes the encoder cover less of
    the posterior, α < 1 more of it.

    Finite latents are summed exactly and others drawn, as in `importance_weighted`, with the same gradient estimators;
    the doubly reparameterized one weights draws by ``α w̃_k + (1 − α) w̃_k²``, w̃ the shares of ``w^(1−α)``.

    Args:
      inference: starts from evidence; every other factor has a density.
      generative: over the same variables.
      alpha: α, any finite number.
      samples: K, draws per example.
      gradient: the gradient estimator, one of those of `importance_weighted`.
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns every network. Its loss is in nats, the mean over the batch.
      Metrics: ``"renyi"``, minus the loss, or ``"renyi_sampled"`` where a finite latent is drawn; ``"elbo"``, the mean
      of log w over the same draws; ``"effective_samples"`` of the weights themselves.

    Raises:
      ValueError: as `importance_weighted`; α is not finite.

    References:
      Li and Turner (2016), Rényi divergence variational inference, arXiv:1602.02311; Tucker et al. (2019),
      arXiv:1810.04152.
    """
    both = pair("renyi", inference, generative)
    hint = "1 is the ELBO, 0 the importance-weighted bound, and both are limits of others"
    require_number(alpha, "renyi: alpha", hint=hint)
    how = Weighting(samples, 1, float(alpha), gradient)
    check_weighting(how, "renyi")
    return weighted_objective(
        both,
        {"model": Mover(both.owners, how, "renyi")},
        title=f"Rényi bound, α = {alpha:g}, K = {samples}",
        formula=f"$−E log M_(1−α)(w_1 … w_{samples})$, power mean of $w = [{both.generative}] / [{both.inference}]$",
        derivation=derive_renyi(both, float(alpha), samples),
        prefix=f"{name}/" if name else "",
    )

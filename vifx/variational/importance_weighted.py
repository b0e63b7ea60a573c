"""The importance-weighted bound as an objective."""

from __future__ import annotations

__all__ = ["importance_weighted"]

from vifx.checks import ArgumentError, require
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.variational.bounds import Gradient, Weighting
from vifx.variational.derivation import derive_importance_weighted
from vifx.variational.pair import Pair, pair
from vifx.variational.weighted_bounds import Mover, check_weighting, weighted_objective


def importance_weighted(
    inference: Joint,
    generative: Joint,
    *,
    samples: int,
    outer: int = 1,
    apart: bool = False,
    gradient: Gradient = "reparameterized",
    name: str = "",
) -> Objective:
    """The importance-weighted bound ``L_K = −E log (1/K) Σ_k q(x,z_k) / p(z_k|x)``.

    ``L_1`` is `kl`'s loss, ``L_K`` never increases with K, and tends to −log q(x). As `kl`, it leaves out
    the evidence's entropy: ``L_K − H(p̃) ≥ KL(p̃ ‖ q)``. The value is the same for every gradient estimator:

    * ``"reparameterized"``: the total derivative through the draws;
    * ``"sticking_the_landing"``: without the score ``∂ log p(z|x; φ)/∂φ``: unbiased for K = 1, where its
      variance vanishes at the exact posterior; **biased for K > 1**;
    * ``"doubly_reparameterized"``: unbiased for every K, and the encoder's signal does not fade as K grows:
      ``Σ_k w̃_k² ∂ log w_k/∂z_k · ∂z_k/∂φ`` for the encoder;
    * ``"vimco"``: for latents of any kind, without a derivative through the draws, unbiased: the score of each draw
      times the bound less what it would be with the geometric mean of the other weights in its place. K is at least 2.

    The signal of the encoder fades as K grows, relative to its noise, with the first of these. Against that,

    * ``outer=M`` averages M bounds of K draws each (MIWAE);
    * with ``apart=True`` the two joints are two players: ``"inference"`` minimizes that average, and ``"generative"``
      the tighter bound of all M·K draws (PIWAE);
    * a convex combination of bounds is one of objectives (CIWAE):
      ``β * kl(inference, generative) + (1 - β) * importance_weighted(..., name="iwae")``.

    If every latent has finite support, the expectation over K-tuples is computed exactly, by multisets, as long as
    there are at most 20,000 of them and the estimator is not ``"vimco"``. A finite latent among more, or beside latents
    that are drawn, is drawn with the score function, as is one without reparameterization; that takes the first
    estimator or the last.

    Args:
      inference: starts from evidence; every other factor has a density.
      generative: over the same variables.
      samples: K, draws per example of each bound.
      outer: M, how many bounds are averaged.
      apart: whether each joint has a player of its own; no network may then belong to both.
      gradient: the gradient estimator.
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns every network, or two. Its loss is in nats, the mean over the
      batch. Metrics: ``"iwae"``, minus the loss, ``"miwae"`` if several bounds are averaged; ``"iwae_sampled"`` where a
      finite latent is drawn; ``"elbo"``, the mean of log w over the same draws; ``"effective_samples"``, ``1/Σ w̃²``,
      between 1 and K.

    Raises:
      ValueError: as `kl`; an unknown gradient estimator, or one that the latents do not admit; a network of both joints
        where they are apart.

    References:
      Burda et al. (2016), arXiv:1509.00519; Roeder et al. (2017), arXiv:1703.09194; Tucker et al. (2019),
      arXiv:1810.04152; Mnih and Rezende (2016), arXiv:1602.06725; Rainforth et al. (2018), arXiv:1802.04537.
    """
    both = pair("importance_weighted", inference, generative)
    require(apart, bool, "importance_weighted: apart", "True or False", "leave it out for one player")
    how = Weighting(samples, outer, 0.0, gradient)
    check_weighting(how, "importance_weighted")
    return weighted_objective(
        both,
        _movers(both, how, apart=apart),
        title=f"importance-weighted bound, K = {samples}" + (f", mean of {outer}" if outer > 1 else ""),
        formula=f"$−E log (1/{samples}) Σ_k [{both.generative}] / [{both.inference}]$, evidence left out",
        derivation=derive_importance_weighted(both, samples, outer, apart=apart),
        prefix=f"{name}/" if name else "",
    )


def _movers(both: Pair, how: Weighting, *, apart: bool) -> dict[str, Mover]:
    metric = "iwae" if how.outer == 1 else "miwae"
    if not apart:
        return {"model": Mover(both.owners, how, metric)}
    shared = [owner for owner in both.inference.owners if owner in both.generative.owners]
    if shared or not both.inference.owners:
        what = f"{shared[0]!r} belongs to both" if shared else "the inference joint has none to move"
        raise ArgumentError(
            "importance_weighted: apart", f"must be False unless each joint has networks of its own; {what}", value=True
        )
    tighter = how._replace(samples=how.samples * how.outer, outer=1)
    return {
        "inference": Mover(both.inference.owners, how, metric),
        "generative": Mover(both.generative.owners, tighter, "iwae"),
    }

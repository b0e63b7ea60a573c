"""The importance-weighted bound as an objective."""

from __future__ import annotations

__all__ = ["importance_weighted"]

from functools import partial
from typing import get_args

import jax

from vifx.checks import require_choice, require_integer
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Networks, Params, State
from vifx.variational.bounds import Gradient, bound, walk_latents
from vifx.variational.derivation import derive_importance_weighted
from vifx.variational.pair import Pair, pair, pair_init
from vifx.variational.walk import Visit, treatments
from vifx.verification import enumeration


def importance_weighted(
    inference: Joint,
    generative: Joint,
    *,
    samples: int,
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
      ``Σ_k w̃_k² ∂ log w_k/∂z_k · ∂z_k/∂φ`` for the encoder.

    If every latent has finite support, the expectation over K-tuples is computed exactly, by multisets, as long as
    there are at most 20,000 of them. A finite latent among more, or beside latents that are drawn, is drawn with the
    score function, as is one without reparameterization; that takes the first estimator.

    Args:
      inference: starts from evidence; every other factor has a density.
      generative: over the same variables.
      samples: K, draws per example.
      gradient: the gradient estimator.
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns every network. Its loss is in nats, the mean over the batch.
      Metrics: ``"iwae"``, minus the loss, or ``"iwae_sampled"`` where a finite latent is drawn; ``"elbo"``, the mean
      of log w over the same draws; ``"effective_samples"``, ``1/Σ w̃²``, between 1 and K.

    Raises:
      ValueError: as `kl`; an unknown gradient estimator, or one that the latents do not admit.

    References:
      Burda et al. (2016), arXiv:1509.00519; Roeder et al. (2017), arXiv:1703.09194; Tucker et al. (2019),
      arXiv:1810.04152.
    """
    both = pair("importance_weighted", inference, generative)
    require_integer(samples, "importance_weighted: samples")
    require_choice(gradient, get_args(Gradient), "importance_weighted: gradient")
    return _objective(both, samples, gradient, f"{name}/" if name else "")


def _objective(both: Pair, samples: int, gradient: Gradient, prefix: str) -> Objective:
    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        networks = Networks(params, state, train)
        value, metrics, networks = bound(key, both, networks, batch, samples=samples, gradient=gradient)
        return -value, Aux({prefix + metric: number for metric, number in metrics.items()}, networks.state)

    def claim(params: Params, state: State, batch: Batch) -> Array:
        value = enumeration.importance_weighted_terms(both.inference, both.generative, params, state, batch, samples)
        return value + enumeration.constant_value(both.constants, both.inference, batch)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        how = "a batch decides whether latents are summed or drawn" if batch is None else _plan(both, batch, samples)
        return (Term("iwae", formula, f"{how}; gradient: {gradient}", "1"),)

    formula = f"$−E log (1/{samples}) Σ_k [{both.generative}] / [{both.inference}]$, evidence left out"
    title = f"importance-weighted bound, K = {samples}"
    derivation = derive_importance_weighted(both, samples)
    part = Part(
        title=title,
        joints=(both.inference, both.generative),
        constants=both.constants,
        left_out=both.left_out,
        derivation=derivation,
        terms=terms,
        exact={"model": claim},
    )
    return Objective(partial(pair_init, both=both), {"model": Player(both.owners, loss)}, (part,))


def _plan(both: Pair, batch: Batch, samples: int) -> str:
    def visits(key: Key, batch: Batch) -> list[Visit]:
        networks = Networks(*pair_init(key, batch, both=both))
        return walk_latents(jax.random.clone(key), both, networks, batch, samples=samples)[0]

    how = treatments(visits, batch, samples)
    if any(words.startswith("summed") for words in how.values()):
        return "all K-tuples of states, exactly"
    return "; ".join(f"{variable}: {words}" for variable, words in how.items()) or "no latent: exact"

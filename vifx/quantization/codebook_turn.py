"""The closed-form turn of a codebook: hard EM of its vectors, at once or step by step, and codes that are revived."""

from __future__ import annotations

__all__ = ["Turn", "codebook_turn"]

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vifx.checks import require_function, require_integer, require_number
from vifx.core.conditional import fold
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.distributions import uniform_categorical
from vifx.em.family import Family
from vifx.em.posterior import exact_posterior
from vifx.quantization.code_usage import conditional_of, usage
from vifx.quantization.quantized import Quantized
from vifx.quantization.quantizer import Quantizer, quantized_by
from vifx.training import Progress, Step, solve
from vifx.variational import kl

OWN = "codebook"
"""The codebook's name, in its own joint and among the parameters of its quantizer."""


class Turn(NamedTuple):
    """The slot of `codebook_turn`.

    Attributes:
      slot: that of `training.solve`: the running averages of the statistics.
      unused: how many updates each code has been without a vector, int32 ``[K]``.
    """

    slot: PyTree
    unused: Array


def codebook_turn(
    inference: Joint,
    *,
    latent: str = "z",
    rate: float | Callable[[Array], ArrayLike] | None = 0.01,
    revive: int | None = 100,
) -> Step:
    """One turn of the codebook: ``e_k ← Σ_n r_nk E(x_n) / Σ_n r_nk``, the M step of hard EM.

    The vectors E(x) that the encoder makes of a batch are the evidence of two joints of their own,
    ``p̃(E) p(k | E)`` with the exact posterior at the temperature 0 against ``K⁻¹ N(E; e_k, ½ I)``, and the step is
    `training.solve` of their divergence: k-means. With a `rate` the statistics are running averages, stepwise EM, whose
    constant rate 1 − decay is the moving average of a VQ-VAE. A code that nothing is assigned to stays where it is.
    Nothing else moves, so that it goes beside a step of gradients:
    ``in_turn(optimize(objective, optimizer), codebook_turn(inference))``.

    A code that has had no vector for `revive` updates is put on one of the batch, drawn without replacement with
    probabilities proportional to the squared distance from its code, as seeds of k-means++ are; its running averages
    are those of this one vector. Other codes do not move, so that no vector of the batch is farther from its code than
    without.

    Metrics, of the parameters before: those of `solve` as ``"codebook/objective"`` and so on, without the ones of
    rounding; ``"codebook/perplexity"``, of the codes in the batch; ``"codebook/dead"``, how many have had no vector for
    `revive` updates (without it: in this one), and ``"codebook/revived"``, how many of these were put elsewhere.

    Args:
      inference: evidence, and ``z | x`` of a quantizer by `vector`.
      latent: the quantized variable.
      rate: η_t in (0, 1], a number or a function of the turns made, such as `training.cappe_moulines()`; None takes
        each batch by itself, which is k-means where it is the whole data set.
      revive: after how many updates without a vector; None for never.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: the latent has no quantizer, or one whose codes are fixed; or a number is out of range.

    References:
      Cappé & Moulines (2009), On-line EM algorithm for latent data models; van den Oord, Vinyals & Kavukcuoglu (2017),
      arXiv:1711.00937, appendix A.1; Łańcucki et al. (2020), Robust training of vector quantized bottleneck models.
    """
    item, quantizer = quantized_by(inference, latent, "codebook_turn")
    family = quantizer.family
    if family is None:
        raise ValueError(f"codebook_turn: the codes of {item} are fixed, so there is no turn; leave it out.")
    if revive is not None:
        require_integer(revive, "codebook_turn: revive")
    schedule = _schedule(rate)
    owner = str(item.owner)
    solver = solve(_k_means(quantizer, family), "model", rate=schedule)

    def own(params: Params, state: State) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        return {OWN: params[owner][OWN]}, {OWN: state[owner][OWN]}

    def init(key: Key, params: Params, state: State) -> Turn:
        return Turn(solver.init(key, *own(params, state)), jnp.zeros((quantizer.total,), jnp.int32))

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        params, state, (slot, unused) = progress
        noise = fold(key, "inference")
        found, _ = conditional_of(noise, inference, params, state, batch, latent=latent, train=True)
        vectors = _vectors(found, batch, quantizer)
        before = Progress(*own(params, state), slot)
        (moved, kept, slot), metrics = solver.update(fold(key, "solve"), before, vectors)
        counted = usage(found.codes, quantizer.total, weights=vectors.get("@weights"))
        unused = jnp.where(counted.counts > 0, 0, unused + 1)
        dead, revived = jnp.sum(unused >= (revive or 1)), jnp.zeros((), jnp.int32)
        if revive is not None:
            due = unused >= revive
            share = None if schedule is None else jnp.asarray(schedule(before.slot[2]), vectors["e"].dtype)
            seeds, filled = _seeds(fold(key, "revive"), found, vectors, due)
            moved, slot = _revived(family, moved, kept, slot, seeds, filled, share, vectors)
            unused, revived = jnp.where(filled, 0, unused), jnp.sum(filled).astype(jnp.int32)
        report = {f"codebook/{name}": value for name, value in metrics.items() if name in ("log_prob", "objective")}
        report |= {"codebook/perplexity": counted.perplexity, "codebook/dead": dead, "codebook/revived": revived}
        params = {**params, owner: {**params[owner], OWN: moved[OWN]}}
        return Progress(params, state, Turn(slot, unused)), report

    step = Step(init, update, lambda _: step)  # there is no loss to transform
    return step


def _schedule(rate: float | Callable[[Array], ArrayLike] | None) -> Callable[[Array], ArrayLike] | None:
    if rate is None:
        return None
    if callable(rate):
        return require_function(rate, "codebook_turn: rate", "of the number of turns")
    constant = require_number(rate, "codebook_turn: rate", above=0, most=1)
    return lambda turns: jnp.full(turns.shape, constant)


def _k_means(quantizer: Quantizer, family: Family) -> Objective:
    """Return the divergence whose closed-form turn is that of the codebook: hard EM of equal spherical Gaussians."""
    generative = Joint(
        factor("k", uniform_categorical(quantizer.total)),
        factor("e | k", family, name=OWN),
    )
    return kl(Joint(evidence("e"), exact_posterior(generative, "k | e", temperature=0.0)), generative)


def _vectors(found: Quantized, batch: Batch, quantizer: Quantizer) -> dict[str, Array]:
    """Return the encoder's vectors as the evidence of the codebook, as heavy as their examples."""
    encoded = jax.lax.stop_gradient(found.encoded)
    vectors = {"e": encoded.reshape(-1, encoded.shape[-1])}
    if "@weights" in batch:
        vectors["@weights"] = jnp.repeat(jnp.asarray(batch["@weights"]), quantizer.places)
    return vectors


def _seeds(key: Key, found: Quantized, vectors: Mapping[str, Array], due: Array) -> tuple[Array, Array]:
    """Draw a vector for every code that is due, far from the codes: seeds ``[K, features]``, and which have one."""
    apart = found.encoded - found.chosen
    distance = jnp.sum(apart.reshape(-1, apart.shape[-1]) ** 2, axis=1)
    if "@weights" in vectors:
        distance = distance * vectors["@weights"].astype(distance.dtype)
    # The largest of log-weights with Gumbel noise are a draw without replacement.
    scores = jnp.log(distance) + jax.random.gumbel(key, distance.shape, distance.dtype)
    best, places = jax.lax.top_k(scores, min(due.shape[0], scores.shape[0]))
    turn = jnp.cumsum(due) - 1  # the first code that is due gets the first seed
    at = jnp.clip(turn, 0, best.shape[0] - 1)
    filled = due & (turn < best.shape[0]) & (best[at] > -jnp.inf)
    return vectors["e"][places[at]], filled


def _revived(
    family: Family,
    params: Params,
    state: State,
    slot: PyTree,
    seeds: Array,
    filled: Array,
    share: Array | None,
    vectors: Mapping[str, Array],
) -> tuple[dict[str, Any], PyTree]:
    """Put codes on their seeds, with running averages as if each had been seen in this batch for the first time."""
    means = jnp.where(filled[:, None], seeds, params[OWN]["mean"])
    moved = {OWN: {**params[OWN], "mean": means}}
    if share is None:
        return moved, slot
    mixed, weight, turns = slot
    whole = jnp.sum(vectors["@weights"]) if "@weights" in vectors else jnp.asarray(vectors["e"].shape[0])
    features = family.features(state[OWN], seeds)
    single = family.statistics(None, features, jnp.eye(seeds.shape[0], dtype=seeds.dtype))

    def put(old: Array, new: Array) -> Array:
        return jnp.where(filled[:, None], share * new / whole.astype(new.dtype), old)

    return moved, ({**mixed, OWN: jax.tree.map(put, mixed[OWN], single)}, weight, turns)

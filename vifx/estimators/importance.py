"""The importance-weighted bound and its gradient estimators."""

from __future__ import annotations

__all__ = ["importance_weighted"]

import itertools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp

from vifx.conditional import condition, density, fold, nearest
from vifx.estimators import exact
from vifx.estimators.derivation import derive_importance_weighted
from vifx.estimators.expectation import Visit, describe, walk
from vifx.estimators.pair import Pair, pair, pair_init
from vifx.joint import Joint
from vifx.objective import Objective, Part, Player, Term
from vifx.types import Array, Aux, Batch, Key, Params, State

Gradient = Literal["reparameterized", "sticking_the_landing", "doubly_reparameterized"]

MOST_MULTISETS = 20_000
"""The most multisets of latent states that an exact bound enumerates."""


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

    If every latent has finite support the expectation over K-tuples is computed exactly, by multisets. A
    latent that is neither (in a mixture with drawn ones, or without reparameterization) uses the score
    function, with the first estimator only.

    Args:
      inference: starts from evidence; every other factor has a density.
      generative: over the same variables.
      samples: K, draws per example.
      gradient: the gradient estimator.
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns every network. Its loss is in nats, the mean over the
      batch. Metrics: ``"iwae"``, minus the loss; ``"elbo"``, the mean of log w over the same draws;
      ``"effective_samples"``, ``1/Σ w̃²``, between 1 and K.

    Raises:
      ValueError: as `kl`; an unknown gradient estimator, or one that the latents do not admit; or too many
        multisets.

    References:
      Burda et al. (2016), arXiv:1509.00519; Roeder et al. (2017), arXiv:1703.09194; Tucker et al. (2019),
      arXiv:1810.04152.
    """
    both = pair("importance_weighted", inference, generative)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise ValueError(f"importance_weighted: samples must be an integer ≥ 1, got {samples!r}.")
    if gradient not in get_args(Gradient):
        known = get_args(Gradient)
        raise ValueError(
            f"importance_weighted: gradient must be one of {', '.join(known)}, got {gradient!r}"
            f"{nearest(str(gradient), known)}."
        )
    prefix = f"{name}/" if name else ""

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        bound, metrics, state = _bound(key, both, params, state, batch, samples, gradient, train)
        metrics = {"iwae": jax.lax.stop_gradient(bound), **metrics}
        return -bound, Aux({prefix + metric: value for metric, value in metrics.items()}, state)

    def claim(params: Params, state: State, batch: Batch) -> Array:
        bound = exact.importance_weighted_terms(both.inference, both.generative, params, state, batch, samples)
        return bound + exact.constant_value(both.constants, both.inference, batch)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return pair_init(key, both, batch)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        how = "a batch decides whether latents are summed or drawn"
        if batch is not None:
            how = _plan(both, batch, samples)
        return (Term("iwae", formula, latex, f"{how}; gradient: {gradient}", "1"),)

    formula = f"−E log (1/{samples}) Σ_k [{both.generative}] / [{both.inference}], evidence left out"
    latex = rf"-\mathbb{{E}} \log \frac{{1}}{{{samples}}} \sum_k \frac{{q(x, z_k)}}{{p(z_k \mid x)}}"
    title = f"importance-weighted bound, K = {samples}"
    derivation = derive_importance_weighted(both, samples)
    part = Part(1.0, title, latex, inference, generative, both.constants, derivation, terms, {"model": claim})
    return Objective(init, {"model": Player(both.owners, loss)}, (part,))


def _bound(
    key: Key,
    both: Pair,
    params: Params,
    state: State,
    batch: Batch,
    samples: int,
    gradient: Gradient,
    train: bool,
) -> tuple[Array, dict[str, Array], State]:
    """Return the bound on log q(x), nats, the mean over the batch; its metrics; and the new state."""
    how = _hows(both, params, state, batch, samples, train)
    finite = bool(how) and set(how.values()) == {"summed"}
    noise = fold(key, "inference")
    before = state
    visits, state = walk(noise, both.inference, params, state, batch, samples=samples, train=train, sum_finite=finite)
    latents = [visit for visit in visits if visit.how != "evidence"]
    if gradient != "reparameterized":
        for visit in latents:
            if finite or visit.how != "drawn":
                raise ValueError(
                    f"importance_weighted: gradient={gradient!r} needs reparameterized draws, but {visit.factor} is "
                    f"{'of finite support' if finite else 'not reparameterizable'}; use gradient='reparameterized'."
                )

    def generative_log_prob(params: Params, values: dict[str, Array]) -> tuple[Array, State]:
        count = next(iter(values.values())).shape[0]
        total, new_state = jnp.zeros(count), state
        for item in both.generative.factors:
            if item.kind != "evidence":
                network = fold(key, "generative", item.name)
                conditional, new_state = condition(item, network, params, new_state, values, count, train=train)
                total = total + density(item, conditional, values[item.variables[0]], count)
        return total, new_state

    values = visits[-1].after.values
    rows = visits[-1].after
    log_q, new_state = generative_log_prob(params, values)
    # Rows are copied copy by copy, so an earlier latent's log-densities repeat as a block.
    log_p = jnp.zeros(rows.total)
    for visit in latents:
        if visit.log_prob is not None:
            log_p = log_p + jnp.tile(visit.log_prob, rows.total // visit.after.total)
    log_weight = log_q - log_p
    if finite:
        shape = (-1, rows.examples)
        bound, elbo = _over_multisets(log_weight.reshape(shape), log_p.reshape(shape), samples)
        return bound, {"elbo": elbo}, new_state
    shape = (rows.copies, rows.examples)
    log_weight = log_weight.reshape(shape)
    bound = logsumexp(log_weight, axis=0) - jnp.log(rows.copies)
    share = jax.lax.stop_gradient(jax.nn.softmax(log_weight, axis=0))
    metrics = {
        "elbo": jnp.mean(jax.lax.stop_gradient(log_weight)),
        "effective_samples": jnp.mean(1 / jnp.sum(share**2, axis=0)),
    }
    if gradient != "reparameterized":
        fixed = jax.lax.stop_gradient(params)
        log_p_path = _path_log_prob(noise, latents, fixed, before, train).reshape(shape)
        if gradient == "sticking_the_landing":
            surrogate = share * (log_q.reshape(shape) - log_p_path)
        else:
            log_q_path, _ = generative_log_prob(fixed, values)
            log_q_model, _ = generative_log_prob(params, jax.lax.stop_gradient(values))
            surrogate = share**2 * (log_q_path.reshape(shape) - log_p_path) + share * log_q_model.reshape(shape)
        bound = _with_gradient_of(bound, jnp.sum(surrogate, axis=0))
    if rows.weights is not None:
        # One factor per draw: their product carries the score of the whole tuple.
        bound = bound * jnp.prod(rows.weights.reshape(shape), axis=0)
    return jnp.mean(bound), metrics, new_state


def _path_log_prob(key: Key, latents: list[Visit], fixed: Params, state: State, train: bool) -> Array:
    """Σ log p(z|·) with the parameters held fixed: its gradient flows through the draws alone."""
    total = jnp.zeros(())
    for visit in latents:
        item, rows = visit.factor, visit.before
        network = fold(key, item.name, "network")
        conditional, _ = condition(item, network, fixed, state, rows.values, rows.total, train=train)
        total = total + density(item, conditional, visit.after.values[item.variables[0]], rows.total)
    return total


def _with_gradient_of(value: Array, surrogate: Array) -> Array:
    return jax.lax.stop_gradient(value) + surrogate - jax.lax.stop_gradient(surrogate)


def _over_multisets(log_weight: Array, log_p: Array, samples: int) -> tuple[Array, Array]:
    """``E log (1/K) Σ_k w_k`` over K independent draws of a finite latent, exactly.

    Args:
      log_weight: ``[states, examples]``.
      log_p: ``[states, examples]``.
      samples: K.

    Returns:
      The bound and the ELBO, both the mean over the examples.
    """
    states = log_weight.shape[0]
    count = math.comb(states + samples - 1, samples)
    if count > MOST_MULTISETS:
        raise ValueError(
            f"importance_weighted: samples={samples} over {states} latent states means {count} multisets, more than "
            f"{MOST_MULTISETS}; use fewer samples, or kl, which sums the latent out."
        )
    index = np.array(list(itertools.combinations_with_replacement(range(states), samples)))
    counts = np.stack([np.sum(index == s, axis=1) for s in range(states)], axis=1)
    dtype = log_weight.dtype
    log_ways = gammaln(jnp.asarray(samples + 1, dtype)) - jnp.sum(gammaln(jnp.asarray(counts + 1, dtype)), axis=1)
    probability = jnp.exp(log_ways[:, None] + jnp.sum(log_p[index], axis=1))
    value = logsumexp(log_weight[index], axis=1) - jnp.log(samples)
    bound = jnp.sum(jnp.where(probability > 0, probability * value, 0), axis=0)
    return jnp.mean(bound), jnp.mean(jnp.sum(jnp.exp(log_p) * log_weight, axis=0))


def _hows(both: Pair, params: Params, state: State, batch: Batch, samples: int, train: bool) -> dict[str, str]:
    """Return how each latent would be treated, without computing anything."""
    how: dict[str, str] = {}

    def trace(key: Key, params: Params, state: State, batch: Batch) -> None:
        visits, _ = walk(key, both.inference, params, state, batch, samples=samples, train=train)
        how.update({v.factor.variables[0]: v.how for v in visits if v.how != "evidence"})

    jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)), params, state, dict(batch))
    return how


def _plan(both: Pair, batch: Batch, samples: int) -> str:
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(lambda key, batch: pair_init(key, both, batch), key, dict(batch))
    how = _hows(both, params, state, batch, samples, False)
    if how and set(how.values()) == {"summed"}:
        return "all K-tuples of states, exactly"
    words: list[Any] = []
    for variable, kind in how.items():
        kind = "score function" if kind == "summed" else kind
        words.append(f"{variable}: {describe(kind, samples)}")  # pyright: ignore[reportArgumentType]
    return "; ".join(words) or "no latent: exact"

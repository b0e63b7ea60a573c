"""Explicit estimators: the KL between two joints whose densities exist, equation (2)."""

from __future__ import annotations

__all__ = ["kl", "reconstruction"]

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import nearest, require_integer, require_number
from vifx.core.conditional import condition, density, fold
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Part, Player, Schedule, Term
from vifx.core.types import Array, Aux, Batch, Estimate, Key, Networks, Params, State
from vifx.distributions.kl_estimates import estimate
from vifx.variational.derivation import derive, term_formulas
from vifx.variational.pair import Pair, pair, pair_init
from vifx.variational.walk import Rows, Visit, describe, log_density, mean, walk
from vifx.verification import enumeration

Weights = Mapping[str, float | Schedule]


class _Estimate(NamedTuple):
    """One term's value, nats per example, how it was found, its parts, and the loss in its place if it has another."""

    value: Array
    how: str
    sampled: bool
    parts: Mapping[str, Array] = MappingProxyType({})
    loss: Array | None = None
    found: Estimate | None = None


def kl(
    inference: Joint,
    generative: Joint,
    *,
    weights: Weights | None = None,
    samples: int = 1,
    free_bits: float = 0.0,
    name: str = "",
) -> Objective:
    """KL(inference ‖ generative) between two joints with densities: the negative ELBO, equation (2).

    ``L = Σ_v E_p[ log p(v|pa) − log q(v|pa) ]`` over all variables v, the evidence's own term dropped,
    so that ``KL(p ‖ q) = L − H(p̃)``. With ``p = p̃(x) p(z|x)`` and ``q = q(z) q(x|z)`` this is the VAE;
    conditional, hierarchical and semi-supervised models and flows follow from other factors.

    The term of a variable with a density on both sides is taken in closed form when the pair of
    families has one and the generative parents of the variable come before it in the inference joint;
    otherwise it is averaged over the draws. Latents of finite support are summed out exactly, reals
    are reparameterized, other latents use the score function. Which it was is in the metric's name
    (``"kl/z"`` is exact given the variables before, ``"kl/z_sampled"`` is a Monte Carlo value) and in
    `vifx.explain`.

    Args:
      inference: starts from evidence, if there is any; every other factor has a density.
      generative: over the same variables; evidence here (inputs of a conditional model) cancels, and a `target`
        leaves out its log Z.
      weights: multipliers of named terms, numbers or schedules of the update count, by term name:
        ``{"kl/z": 4.0}`` is a β-VAE, ``{"kl/z": optax.linear_schedule(0, 1, 1000)}`` anneals.
      samples: draws per example of the first latent that is drawn; without evidence, draws in all.
      free_bits: nats below which a latent's batch-mean term exerts no pressure,
        ``max(free_bits, kl/z)``, per latent variable (Kingma et al., 2016).
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"`` that owns every network. Its loss is in nats, the mean
      over the batch; metrics are the unweighted terms and ``"elbo"``, minus their sum.

    Raises:
      ValueError: the joints are not over the same variables, a needed density does not exist, or a
        hyperparameter is out of range.

    References:
      Kingma & Welling (2014), arXiv:1312.6114; Higgins et al. (2017), β-VAE.
    """
    both = pair("kl", inference, generative)
    names = both.term_names
    weights = _checked_weights(names, weights or {})
    require_integer(samples, "kl: samples")
    free_bits = require_number(free_bits, "kl: free_bits", least=0, hint="it is in nats")
    return _explicit(both, names, weights, samples, free_bits, name, "$KL(inference ‖ generative)$")


def reconstruction(
    inference: Joint, generative: Joint, *, samples: int = 1, weight: float | Schedule = 1.0, name: str = ""
) -> Objective:
    """The observed variables' terms of the KL alone: ``E_p[ −log q(x|z) ]``.

    It needs a density of the observed variables only, so that the latents' factors may be implicit
    (adversarial autoencoders). It drops no constant: it is not a divergence by itself.

    Args:
      inference: starts from evidence.
      generative: over the same variables.
      samples: draws per example of the first latent that is drawn.
      weight: a number or a schedule of the update count, for all terms.
      name: prefix of the metrics.

    Returns:
      An objective with one player ``"model"``, in nats, the mean over the batch; metrics ``"nll/x"``.

    Raises:
      ValueError: as `kl`.
    """
    both = pair("reconstruction", inference, generative, latents=False)
    names = tuple(term for term in both.term_names if term.startswith("nll/"))
    weights = _checked_weights(names, dict.fromkeys(names, weight))
    require_integer(samples, "reconstruction: samples")
    return _explicit(both, names, weights, samples, 0.0, name, "$E[−log generative(observed | latent)]$")


def _explicit(
    both: Pair, names: tuple[str, ...], weights: Weights, samples: int, free_bits: float, name: str, title: str
) -> Objective:
    prefix = f"{name}/" if name else ""
    complete = names == both.term_names
    constants = both.constants if complete else ()

    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        estimates, networks = _estimates(key, both, names, Networks(params, state, train), batch, samples=samples)
        losses = {term: e.value if e.loss is None else e.loss for term, e in estimates.items()}
        total, metrics = _weighted(losses, weights, free_bits, state)
        metrics |= {t + ("_sampled" if e.sampled else ""): e.value for t, e in estimates.items()}
        metrics |= {f"{t}/{part}": value for t, e in estimates.items() for part, value in e.parts.items()}
        if complete:
            metrics["elbo"] = -jnp.sum(jnp.stack([e.value for e in estimates.values()]))
        return total, Aux({prefix + metric: value for metric, value in metrics.items()}, networks.state)

    def claim(params: Params, state: State, batch: Batch) -> Array:
        if complete and not weights and free_bits == 0:
            return enumeration.joint_kl(both.inference, both.generative, params, state, batch)
        enumerated = enumeration.joint_terms(both.inference, both.generative, params, state, batch)
        total, _ = _weighted({term: enumerated[term] for term in names}, weights, free_bits, state)
        return total + enumeration.constant_value(constants, both.inference, batch)

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        return _terms(both, names, weights, samples, free_bits, batch)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = pair_init(key, batch, both=both)
        scheduled = both.scheduled or any(callable(weight) for weight in weights.values())
        return params, {**state, "model@updates": jnp.zeros((), jnp.int32)} if scheduled else state

    part = Part(
        title=title,
        joints=(both.inference, both.generative),
        constants=constants,
        left_out=both.left_out if complete else (),
        derivation=derive(both) if complete else (),
        terms=terms,
        exact={"model": claim},
    )
    offers = [item.turn for item in both.generative.factors if item.turn is not None]
    closed = offers[0](*part.joints) if offers and complete and not weights and free_bits == 0 else None
    return Objective(init, {"model": Player(both.owners, loss, both.anchors, solver=closed)}, (part,))


def _weighted(
    terms: Mapping[str, Array], weights: Weights, free_bits: float, state: State
) -> tuple[Array, dict[str, Array]]:
    """Return the weighted sum of the terms, and the scheduled weights as metrics."""
    total, metrics = jnp.zeros((), jnp.result_type(float)), dict[str, Array]()
    for term, value in terms.items():
        weight = weights.get(term, 1.0)
        if callable(weight):
            weight = jnp.asarray(weight(_updates(state)), value.dtype)
            metrics[f"weight/{term}"] = weight
        if term.startswith("kl/") and free_bits > 0:
            value = jnp.maximum(value, free_bits)
        total = total + weight * value
    return total, metrics


def _estimates(
    key: Key, both: Pair, names: tuple[str, ...], networks: Networks, batch: Batch, *, samples: int
) -> tuple[dict[str, _Estimate], Networks]:
    """Evaluate the named terms; every conditional is evaluated once."""
    how_many = {"samples": samples, "examples": both.examples}
    visits, networks = walk(fold(key, "inference"), both.inference, networks, batch, **how_many, structured=True)
    estimates = {}
    for item in both.generative.factors:
        term = both.term_of(item)
        if term in names:
            noise = fold(key, "generative", item.name)
            estimates[term], networks = _estimate(noise, item, visits, networks, samples)
    return estimates, networks


def _estimate(
    key: Key, item: Factor, visits: list[Visit], networks: Networks, samples: int
) -> tuple[_Estimate, Networks]:
    variable = item.variables[0]
    visit = next(v for v in visits if variable in v.factor.variables)
    # With its generative parents known before it, a latent's expectation can be taken by itself.
    early = visit.how != "evidence" and all(name in visit.before.values for name in item.given)
    _require_estimate(visit, item, early)
    above = next((v for v in visits if v.how == "structured" and v.factor.variables[0] in item.given), None)
    if above is not None:
        value, networks = _expected_log_prob(key, item, above, networks)
        return _Estimate(-value, _how(describe(above, samples), visits, above.before, samples), False), networks
    if early:
        rows = visit.before
        conditional, networks = condition(key, item, networks, rows.values, rows.total)
        _check_events(visit, item, conditional)
        found = estimate(visit.conditional, conditional)
        _require_estimate(visit, item, found is not None)
        if found is not None:
            return _taken(fold(key, "estimate"), found, rows, _how(found.how, visits, rows, samples)), networks
        rows = visit.after
        log_prob = density(item, conditional, rows.values[variable], visit.before.total)
    else:
        rows = _first_rows(item, visits)
        log_prob, networks = log_density(key, item, networks, rows)
    value = -mean(rows, log_prob)
    if visit.log_prob is not None:
        value = value + mean(visit.after, visit.log_prob)
    # Exact given the variables before it, unless it or a generative parent that comes later is drawn.
    new = set(rows.values) - set(visit.before.values)
    drawn = [v for v in visits if v.how in ("drawn", "score function") and v.factor.variables[0] in new]
    return _Estimate(value, _how("", visits, rows, samples), visit.how != "evidence" and bool(drawn)), networks


def _taken(key: Key, found: Estimate, rows: Rows, how: str) -> _Estimate:
    """Take a pair's own estimate in its mean over the rows, part by part if it has parts."""

    def over_rows(each: Array) -> Array:
        return mean(rows, jnp.broadcast_to(each, (rows.total,)))

    if found.parts is None:
        return _Estimate(over_rows(found.value(key)), how, found.sampled)
    each, loss = found.parts(key)
    parts = {name: over_rows(value) for name, value in each.items()}
    value = jnp.sum(jnp.stack(list(parts.values())))
    return _Estimate(value, how, found.sampled, parts, None if loss is None else over_rows(loss), found)


def _check_events(visit: Visit, item: Factor, conditional: Any) -> None:
    shapes: list[Any] = [getattr(each, "event_shape", None) for each in (visit.conditional, conditional)]
    if None not in shapes and shapes[0] != shapes[1]:
        raise ValueError(
            f"{visit.factor} is over events of shape {list(shapes[0])}, but {item} is over {list(shapes[1])}; make "
            "the two factors of one variable agree."
        )


def _require_estimate(visit: Visit, item: Factor, exists: bool) -> None:
    if visit.how == "structured" and not exists:
        raise ValueError(
            f"{visit.factor} takes expectations by itself, so {item} must be of a kind that it can be compared with, "
            "such as a chain with a chain, and its parents come before the variable in the inference joint."
        )


def _expected_log_prob(key: Key, item: Factor, visit: Visit, networks: Networks) -> tuple[Array, Networks]:
    """Return ``E log q(x | z)`` in nats, z under a structured conditional, and the networks in their new state."""
    latent, rows, own = visit.factor.variables[0], visit.before, item.variables[0]
    for name in (own, *item.given):
        if name != latent and name not in rows.values:
            raise ValueError(
                f"{item}: its expectation under {visit.factor} is {visit.conditional.expectation}, so {name!r} must "
                "come before it in the inference joint."
            )
    probes = visit.conditional.probes()

    def tiled(name: str) -> Array:
        return jnp.tile(rows.values[name], (len(probes),) + (1,) * (rows.values[name].ndim - 1))

    values = {name: jnp.repeat(probes, rows.total, axis=0) if name == latent else tiled(name) for name in item.given}
    conditional, networks = condition(key, item, networks, values, len(probes) * rows.total)
    try:
        each = visit.conditional.expected_log_prob(conditional, rows.values[own])
    except ValueError as error:
        raise ValueError(f"{item}, whose expectation is taken under {visit.factor}: {error}.") from error
    return mean(rows, each), networks


def _first_rows(item: Factor, visits: list[Visit]) -> Rows:
    """Return the earliest rows that hold a factor's variable and its parents."""
    needed = {*item.variables, *item.given}
    return next(visit.after for visit in visits if needed <= set(visit.after.values))


def _how(exactly: str, visits: list[Visit], rows: Rows, samples: int) -> str:
    latents = [v for v in visits if v.how != "evidence" and v.factor.variables[0] in rows.values]
    words = [f"{v.factor.variables[0]}: {describe(v, samples)}" for v in latents]
    return "; ".join(([exactly] if exactly else []) + words) or "mean over the batch"


def _terms(
    both: Pair, names: tuple[str, ...], weights: Weights, samples: int, free_bits: float, batch: Batch | None
) -> tuple[Term, ...]:
    """Describe the terms; with a batch, trace the loss abstractly to learn how each is estimated."""
    how = dict.fromkeys(names, "closed form if the two families have one, else summed or drawn; a batch decides")
    how |= {term: "mean over the batch and the latents; a batch decides how" for term in names if term[:4] == "nll/"}
    own = dict[str, Estimate]()
    if batch is not None:

        def trace(key: Key, batch: Batch) -> None:
            networks = Networks(*pair_init(key, batch, both=both))
            estimates, _ = _estimates(key, both, names, networks, batch, samples=samples)
            how.update({term: estimate.how for term, estimate in estimates.items()})
            own.update({term: each.found for term, each in estimates.items() if each.found})

        jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)), dict(batch))
    terms = []
    for term, formula in term_formulas(both).items():
        if term in names:
            weight = weights.get(term, 1.0)
            words = "schedule of the update count" if callable(weight) else f"{weight:g}"
            if term.startswith("kl/") and free_bits:
                words += f", at least {free_bits:g} nats"
            inside = own.get(term)
            words += f", {inside.weighting}" if inside and inside.weighting else ""
            terms.append(Term(term, f"${formula}$", how[term], words))
            parts = inside.formulas if inside else {}
            terms += [Term(f"{term}/{part}", f"${of}$", f"a part of {term}", "1") for part, of in parts.items()]
    return tuple(terms)


def _updates(state: State) -> Array:
    if "model@updates" not in state:
        raise ValueError("state lacks 'model@updates', which scheduled weights read; make it with objective.init.")
    return state["model@updates"]


def _checked_weights(names: tuple[str, ...], weights: Weights) -> Weights:
    for term, weight in weights.items():
        if term not in names:
            raise ValueError(
                f"weights: there is no term {term!r}{nearest(term, names)}; the terms are {', '.join(names)}."
            )
        if not callable(weight):
            require_number(weight, f"weights[{term!r}]", least=0, hint="a schedule is a function of the updates")
    return {term: weight for term, weight in weights.items() if callable(weight) or weight != 1}

"""The focal loss: a likelihood of binary elements in which easy ones count less, and so not a likelihood."""

from __future__ import annotations

__all__ = ["focal"]

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_number
from vifx.core.conditional import condition, density, fold
from vifx.core.examples import example_mean, example_shares
from vifx.core.factor import Factor
from vifx.core.joint import Joint
from vifx.core.objective import Objective, Part, Player, Term
from vifx.core.types import Array, Aux, Batch, Key, Networks, Params, State
from vifx.distributions import Bernoulli, EachStep
from vifx.distributions.lengths import inside
from vifx.distributions.log_zero import weighted
from vifx.variational.pair import Pair, pair, pair_init


class _Elements(NamedTuple):
    """A factor's variable, and the log-probabilities of 0 and of 1 of each of its elements, in nats."""

    item: Factor
    value: Array
    zero: Array
    one: Array
    log_prob: Array


def focal(inference: Joint, generative: Joint, *, alpha: float = 0.25, gamma: float = 2.0, name: str = "") -> Objective:
    """The focal loss of the binary variables of a conditional model, in place of the `kl` of the same two joints.

    ``E_p̃ Σ_i −[ α y_i (1 − P_i)^γ log P_i + (1 − α)(1 − y_i) P_i^γ log(1 − P_i) ]`` with ``P_i = P(y_i = 1)``: elements
    that the model is sure of and right about hardly count, so that a few ones among many zeros do. For γ = 0 and
    α = ½ it is half of `kl`'s loss. **Otherwise it is neither a likelihood nor a divergence**: its minimum is not the
    distribution of the data, so that its probabilities are not calibrated. Hence the term has another name,
    ``"focal/y"``; ``"nll/y"`` is a metric beside it, the true negative log-likelihood.

    Args:
      inference: evidence alone.
      generative: evidence, and factors of independent binary elements given it (`networks.BernoulliHead`, a
        `reading.Reader`).
      alpha: the weight of ones, in (0, 1); zeros have one minus it.
      gamma: how much less easy elements count, at least 0.
      name: prefix of the metrics, to tell objectives in a sum apart.

    Returns:
      An objective with one player ``"model"``, the mean over the batch, summed over elements.

    Raises:
      ValueError: as `kl`; there are latents, an element is not binary, or a hyperparameter is out of range.

    Reference: Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    >>> import vifx
    >>> body = vifx.networks.MLP((8,))
    >>> network = vifx.networks.Conditional(body, vifx.networks.BernoulliHead((5,)))
    >>> inference = vifx.Joint(vifx.evidence("x", "y"))
    >>> generative = vifx.Joint(vifx.evidence("x"), vifx.factor("y | x", network, name="tagger"))
    >>> focal(inference, generative).dropped
    ()
    """
    both = pair("focal", inference, generative)
    require_number(alpha, "focal: alpha", above=0, below=1, hint="it is the weight of ones")
    require_number(gamma, "focal: gamma", least=0, hint="2 is usual")
    for item in (*inference.factors, *generative.factors):
        if item.kind not in ("evidence", "density") or not {*item.variables} <= {*inference.observed}:
            raise ValueError(
                f"focal: {item} is not a factor with a density of observed variables; with latents or other factors "
                "use kl, importance_weighted or adversarial."
            )
    return _objective(both, alpha, gamma, f"{name}/" if name else "")


def _objective(both: Pair, alpha: float, gamma: float, prefix: str) -> Objective:
    def loss(key: Key, params: Params, state: State, batch: Batch, *, train: bool = True) -> tuple[Array, Aux]:
        found, networks = _elements(key, both, Networks(params, state, train), batch)
        total, metrics, shares = jnp.zeros((), jnp.result_type(float)), {}, example_shares(batch)
        for item, value, zero, one, log_prob in found:
            # (1 − P)^γ as an exponential, whose derivative is finite where P is 1, too.
            ones = weighted(alpha * value * jnp.exp(gamma * zero), one)
            zeros = weighted((1 - alpha) * (1 - value) * jnp.exp(gamma * one), zero)
            metrics[f"{prefix}focal/{item.variables[0]}"] = term = -example_mean(shares, _summed(ones + zeros))
            metrics[f"{prefix}nll/{item.variables[0]}"] = -example_mean(shares, log_prob)
            total = total + term
        return total, Aux(metrics, networks.state)

    def claim(params: Params, state: State, batch: Batch) -> Array:
        """The definition, by probabilities."""
        found, _ = _elements(None, both, Networks(params, state), batch)
        total = jnp.zeros((), jnp.result_type(float))
        for _, value, zero, one, _ in found:
            ones = alpha * value * (1 - jnp.exp(one)) ** gamma * one
            zeros = (1 - alpha) * (1 - value) * (1 - jnp.exp(zero)) ** gamma * zero
            total = total - example_mean(example_shares(batch), _summed(ones + zeros))
        return total

    def terms(batch: Batch | None) -> tuple[Term, ...]:
        del batch
        return tuple(_term(item, alpha, gamma) for item in both.generative.modelled)

    words = "the focal loss: its value is neither a likelihood nor a divergence, unless gamma is 0 and alpha 1/2"
    title = "focal loss of the generative joint"
    part = Part(
        title=title,
        joints=(both.inference, both.generative),
        derivation=(words,),
        terms=terms,
        exact={"model": claim},
    )
    return Objective(partial(pair_init, both=both), {"model": Player(both.owners, loss)}, (part,))


def _term(item: Factor, alpha: float, gamma: float) -> Term:
    weight = f"$α = {alpha:g}$ for ones and {1 - alpha:g} for zeros"
    formula = f"$E Σ_i −α_i (1 − P_i)^{gamma:g} log P_i$, $P_i = {item}_i$ of each element, {weight}"
    return Term(f"focal/{item.variables[0]}", formula, "mean over the batch", "1")


def _elements(key: Key | None, both: Pair, networks: Networks, batch: Batch) -> tuple[list[_Elements], Networks]:
    values = both.inference.observe(batch, {})
    examples = len(next(iter(values.values())))
    found = []
    for item in both.generative.modelled:
        noise = None if key is None else fold(key, "generative", item.name)
        conditional, networks = condition(noise, item, networks, values, examples)
        value = values[item.variables[0]]
        log_prob = density(item, conditional, value, examples)
        zero, one = (_each(item, conditional, jnp.full(value.shape, y, log_prob.dtype)) for y in (0, 1))
        found.append(_Elements(item, value.astype(log_prob.dtype), zero, one, log_prob))
    return found, networks


def _each(item: Factor, conditional: Any, value: Array) -> Array:
    """Return the log-probability of each element, 0 beyond the end of a sequence, with the shape of the value."""
    if isinstance(conditional, EachStep):
        each = _each(item, conditional.each, value.reshape(-1, *value.shape[2:])).reshape(value.shape)
        if conditional.lengths is None:
            return each
        within = inside("EachStep", conditional.lengths, *value.shape[:2])
        return jnp.where(within.reshape(*value.shape[:2], *(1,) * (value.ndim - 2)), each, 0)
    if isinstance(conditional, numpyro.Independent):
        return _each(item, conditional.base_dist, value)
    if not isinstance(conditional, Bernoulli):
        raise ValueError(
            f"focal: {item} is a {type(conditional).__name__}, expected independent binary elements; end the network "
            "with networks.BernoulliHead, or use kl."
        )
    return conditional.log_prob(value)


def _summed(elements: Array) -> Array:
    return jnp.sum(elements.reshape(elements.shape[0], -1), axis=-1)

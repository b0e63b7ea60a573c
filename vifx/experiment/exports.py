"""What a trained model can do, as plain functions of arrays: draw, encode, and say how likely data is."""

from __future__ import annotations

__all__ = ["Exportable", "Input", "exportables", "owned", "with_facts"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.factor import Factor, has_density
from vifx.core.joint import Joint, Sample
from vifx.core.objective import Objective
from vifx.core.types import Array, Batch, Params, State
from vifx.variational import importance_weighted, kl
from vifx.variational.pair import Pair, pair

_KEY = "the data of a random key, such as jax.random.key_data(jax.random.key(0)) or two numbers of one's own"


class Input(NamedTuple):
    """One array that a function takes besides the parameters.

    Attributes:
      name: its name.
      like: its shape and element type; where `each` holds, without the axis of examples.
      each: whether it has one entry for each example.
      doc: what it is.
    """

    name: str
    like: jax.ShapeDtypeStruct
    each: bool
    doc: str


class Exportable(NamedTuple):
    """One function of a model.

    Attributes:
      call: ``(params, state, *inputs) -> {name: array}``; each array has one entry for each example.
      inputs: what it takes.
      doc: what it returns, in a sentence or two.
    """

    call: Callable[..., dict[str, Array]]
    inputs: tuple[Input, ...]
    doc: str


def exportables(
    inference: Joint, generative: Joint, batch: Batch, *, samples: int
) -> tuple[dict[str, Exportable], dict[str, str]]:
    """Return what a model can do, by name, and why it cannot do the rest.

    * ``sample`` draws every variable of the generative joint, given its evidence if it has any, and returns the mean
      of each given its parents where there is one.
    * ``encode`` draws every latent of the inference joint given the evidence, with its mean and variance, or its
      probabilities.
    * ``log_prob`` is log q(x) in nats, where there are no latents or their exact posterior is known. Where there is
      an encoder there are bounds on it instead: ``elbo`` and ``importance_weighted_<samples>``.

    Args:
      inference: the inference joint.
      generative: the generative joint.
      batch: one minibatch as the losses see it, or its shapes.
      samples: draws for each example of the importance-weighted bound.
    """
    found: dict[str, Exportable] = {}
    missing: dict[str, str] = {}
    drawn = generative
    if target := next((item for item in generative.factors if item.kind == "target"), None):
        drawn = inference
        if inference.observed:
            missing["sample"] = f"{target} is known up to a constant and cannot be drawn from"
    if "sample" not in missing:
        found["sample"] = _sampler(drawn, batch)
    if not inference.observed:
        missing["encode"] = missing["log_prob"] = "there is no evidence"
        return found, missing
    latents = [item.variables[0] for item in inference.modelled]
    if latents:
        doc = (
            f"Draw {', '.join(latents)} given the evidence; with the mean and variance, or the probabilities, of each."
        )
        found["encode"] = Exportable(partial(_draw, inference), _key_and(inference, batch), doc)
    else:
        missing["encode"] = "the inference joint has no latent variable"
    try:
        both = pair("export", inference, generative)
    except ValueError as error:  # a factor has no density: it says which
        missing["log_prob"] = str(error).removeprefix("export: ")
        return found, missing
    return found | _likelihoods(both, batch, samples), missing


def _sampler(joint: Joint, batch: Batch) -> Exportable:
    names = ", ".join(item.variables[0] for item in joint.modelled)
    inputs = _key_and(joint, batch)
    given = " given the evidence" if joint.observed else ""
    doc = f"Draw {names}{given}, once for each example; with the mean and variance, or the probabilities, of each."
    if joint.observed:
        return Exportable(partial(_draw, joint), inputs, doc)
    count = Input("count", jax.ShapeDtypeStruct((), jnp.uint8), True, "any array whose length is how many to draw")

    def call(params: Params, state: State, key_data: Array, count: Array) -> dict[str, Array]:
        return _draw(joint, params, state, key_data, examples=count.shape[0])

    return Exportable(call, (*inputs, count), doc)


def _draw(
    joint: Joint, params: Params, state: State, key_data: Array, *evidence: Array, examples: int | None = None
) -> dict[str, Array]:
    """Draw every variable of a joint once for each example, with what is known of its distribution."""
    batch = dict(zip(_entries(joint), evidence, strict=True))
    drawn = joint.sample(jax.random.wrap_key_data(key_data), params, state, batch, examples=examples)
    return with_facts(joint.modelled, drawn)


def with_facts(items: Sequence[Factor], drawn: Sample) -> dict[str, Array]:
    """Return the values of variables, and what is known of the distribution of each, as ``"x/mean"``."""
    result = {}
    for item in items:
        variable = item.variables[0]
        result[variable] = drawn.values[variable]
        for name, value in _facts(drawn.conditionals[variable], given=bool(item.given)).items():
            result[f"{variable}/{name}"] = value
    return result


def _facts(conditional: Any, *, given: bool) -> Mapping[str, Array]:
    """Return the mean and the variance of a distribution, or its probabilities, for each example, if it has them."""
    if not given or not has_density(conditional):
        return {}
    found = {}
    finite = bool(getattr(conditional, "has_enumerate_support", False))
    for name in ("probs",) if finite and hasattr(conditional, "probs") else ("mean", "variance"):
        try:
            value = getattr(conditional, name, None)
        except RuntimeError:  # NumPyro's way to say that a family has no formula for it
            value = None
        if isinstance(value, jax.Array):
            found[name] = value
    return found


def _likelihoods(both: Pair, batch: Batch, samples: int) -> dict[str, Exportable]:
    inference, generative = both.inference, both.generative
    inputs = _key_and(inference, batch)
    modelled = ", ".join(v for v in inference.observed if v not in generative.observed)
    given = ", ".join(generative.observed)
    what = f"log q({modelled}{f' | {given}' if given else ''})"
    exact = not inference.modelled or (both.wholly_derived and all(each.tight for each in both.derived))
    if exact:
        doc = f"{what} in nats; exact, or where the model estimates its log-determinant an estimate drawn with the key."
        return {"log_prob": Exportable(_metric("log_prob", kl(inference, generative), inference), inputs, doc)}
    several = importance_weighted(inference, generative, samples=samples)
    found = f"of at least one draw for each example, a lower bound on {what} in expectation, in nats"
    return {
        "elbo": Exportable(
            _metric("elbo", kl(inference, generative), inference), inputs, f"The evidence lower bound {found}."
        ),
        f"importance_weighted_{samples}": Exportable(
            _metric(f"importance_weighted_{samples}", several, inference),
            inputs,
            f"The importance-weighted bound of {samples} draws for each example, a lower bound on {what} in "
            "expectation, in nats, that rises to it with the number of draws.",
        ),
    }


def _metric(name: str, objective: Objective, inference: Joint) -> Callable[..., dict[str, Array]]:
    """Return minus the loss of each example alone, with the keys that `evaluation` gives the examples."""
    (player,) = objective.players.values()

    def call(params: Params, state: State, key_data: Array, *evidence: Array) -> dict[str, Array]:
        key = jax.random.wrap_key_data(key_data)
        batch = dict(zip(_entries(inference), evidence, strict=True))

        def one(place: Array, example: Batch) -> Array:
            alone = {entry: value[None] for entry, value in example.items()}
            value, _ = player.loss(jax.random.fold_in(key, place), params, state, alone, train=False)
            return -value

        places = jax.lax.iota(jnp.uint32, evidence[0].shape[0])
        return {name: jax.vmap(one)(places, batch)}

    return call


def _entries(joint: Joint) -> list[str]:
    """Return the entries of a batch that a joint reads."""
    return list(dict.fromkeys(entry for item in joint.factors for entry in item.entries.values()))


def _key_and(joint: Joint, batch: Batch) -> tuple[Input, ...]:
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    found = [Input("key_data", jax.ShapeDtypeStruct(key.shape, key.dtype), False, _KEY)]
    for entry in _entries(joint):
        array = batch[entry]
        like = jax.ShapeDtypeStruct(array.shape[1:], array.dtype)
        found.append(Input(entry, like, True, f"the evidence {entry!r} as the model takes it"))
    return tuple(found)


def owned(tree: Mapping[str, Any], joints: Sequence[Joint]) -> dict[str, Any]:
    """Return the entries of parameters or state that joints read: those of their networks, and counters of updates."""
    owners = {owner for joint in joints for owner in joint.owners}
    return {name: value for name, value in tree.items() if name in owners or name.endswith("@updates")}

"""What a model does with arrays of a user's: codes of examples, what codes stand for, draws, and likelihoods."""

from __future__ import annotations

__all__ = ["Drawn", "Model", "as_trained", "bound", "decoded", "drawn", "encoded", "exact_log_prob"]

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.types import Array, Batch, Params, State
from vifx.data.transforms import Transform
from vifx.evaluation.batches import Rows, in_batches
from vifx.experiment.exports import exportables, with_facts
from vifx.experiment.file import Experiment
from vifx.experiment.kept_data import in_own_units, less_in_own_units

Model: TypeAlias = tuple[Experiment, Params, State]
"""An experiment with the parameters and the state of its networks."""
Drawn: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]
"""An array ``[examples, ...]``, or several by the name of their variables."""
_AT_ONCE = 500
_TRANSFORM = 0x7472616E


def encoded(model: Model, batch: Batch, seed: int | None) -> Drawn:
    """Return what is known of the latents given evidence: means, probabilities or values, or draws with a seed.

    Raises:
      ValueError: if there is no latent.
    """
    built = model[0]
    found = _function(built, batch, "encode", 1)
    results = _each(found, model, _seen(built, batch, seed or 0), seed or 0)
    latents = [item.variables[0] for item in built.inference.modelled]
    return _one_or_all({name: _told(results, name, drawn=seed is not None) for name in latents})


def decoded(model: Model, z: ArrayLike | Mapping[str, ArrayLike], seed: int | None) -> Drawn:
    """Return what is known of the evidence given latents, or draws of it with a seed.

    Raises:
      ValueError: if a latent is missing, or there is none.
    """
    built = model[0]
    roots = [item.variables[0] for item in built.generative.modelled if item.variables[0] not in _evidence(built)]
    if not roots:
        raise ValueError(f"{built.generative} has no latent variable, so there is nothing to decode; use sample")
    given = dict(z) if isinstance(z, Mapping) else {roots[0]: z}
    if unknown := [name for name in given if name not in built.generative.variables]:
        raise ValueError(f"{unknown} are no variables of {built.generative}; its latents are {roots}")
    values = {name: jnp.asarray(np.asarray(value)) for name, value in given.items()}
    wanted = [item for item in built.generative.modelled if item.variables[0] not in values]

    def call(params: Params, state: State, key_data: Array, *given: Array) -> dict[str, Array]:
        key, fixed = jax.random.wrap_key_data(key_data), dict(zip(values, given, strict=True))
        sampled = built.generative.sample(key, params, state, fixed=fixed, examples=len(given[0]))
        return with_facts(wanted, sampled)

    results = _each(call, model, values, seed or 0)
    shown = [item.variables[0] for item in wanted if item.variables[0] in _evidence(built)]
    told = {name: _told(results, name, drawn=seed is not None) for name in shown}
    return _one_or_all({name: in_own_units(built, name, value) for name, value in told.items()})


def drawn(model: Model, n: int, temperature: float, seed: int) -> Drawn:
    """Draw `n` values of the evidence from the generative joint; rows of a table in its own units.

    Raises:
      ValueError: if it needs evidence itself.
    """
    built = model[0]
    joint = built.generative if built.inference.observed else built.inference
    if joint.observed:
        raise ValueError(f"{joint} is drawn given {list(joint.observed)}; give latents and evidence to decode")
    names = _evidence(built) or [item.variables[0] for item in joint.modelled]

    def call(params: Params, state: State, key_data: Array, count: Array) -> dict[str, Array]:
        key = jax.random.wrap_key_data(key_data)
        values = joint.sample(key, params, state, examples=len(count), temperature=temperature).values
        return {name: values[name] for name in names}

    results = _each(call, model, {"count": np.zeros(n, np.uint8)}, seed)
    return _one_or_all({name: in_own_units(built, name, value) for name, value in results.items()})


def exact_log_prob(model: Model, batch: Batch, seed: int) -> NDArray[Any]:
    """Return log q(x) of each example, in nats.

    Raises:
      ValueError: if it is not known exactly.
    """
    found = _function(model[0], batch, "log_prob", 1)
    return _likelihood(found, "log_prob", model, batch, seed)


def bound(model: Model, batch: Batch, samples: int, seed: int) -> NDArray[Any]:
    """Return the ELBO of each example, or the importance-weighted bound of `samples` draws, in nats.

    Raises:
      ValueError: if a density that it needs does not exist.
    """
    name = "elbo" if samples == 1 else f"importance_weighted_{samples}"
    return _likelihood(_function(model[0], batch, name, samples), name, model, batch, seed)


def _likelihood(found: Callable[..., Any], name: str, model: Model, batch: Batch, seed: int) -> NDArray[Any]:
    return _each(found, model, _seen(model[0], batch, seed), seed)[name] - less_in_own_units(model[0])


def _function(built: Experiment, batch: Batch, name: str, samples: int) -> Callable[..., Any]:
    seen = jax.eval_shape(lambda: _seen(built, batch, 0))
    found, missing = exportables(built.inference, built.generative, seen, samples=samples)
    if name in found:
        return found[name].call
    if name == "log_prob" and "elbo" in found:
        raise ValueError("log q(x) is not known exactly: there is an encoder; run.bound(x, samples=100) is below it")
    if name not in missing and "log_prob" in found:
        raise ValueError("log q(x) is known exactly; use run.log_prob(x)")
    raise ValueError(missing.get(name, missing.get("log_prob", f"the model has no {name}")))


def as_trained(built: Experiment, batch: Batch, seed: int) -> tuple[Batch, Transform | None]:
    """Return evidence as the losses see it, and the transform of the source that makes it so, if there is one."""
    transform = getattr(getattr(built.source, "recipe", built.source), "transform", None)
    if transform is None:
        return batch, None
    made: Batch = transform(jax.random.fold_in(jax.random.key(seed), _TRANSFORM), batch)
    return {name: made[name] for name in batch}, transform


def _seen(built: Experiment, batch: Batch, seed: int) -> Batch:
    return as_trained(built, batch, seed)[0]


def _evidence(built: Experiment) -> list[str]:
    return [name for name in built.inference.observed if name not in built.generative.observed]


def _told(results: Mapping[str, NDArray[Any]], name: str, *, drawn: bool) -> NDArray[Any]:
    """Return the mean of a variable, else its probabilities, else its value; or a draw."""
    names = [name] if drawn else [f"{name}/mean", f"{name}/probs", name]
    return next(results[each] for each in names if each in results)


def _each(
    call: Callable[..., dict[str, Array]], model: Model, batch: Mapping[str, ArrayLike], seed: int
) -> dict[str, NDArray[Any]]:
    """Apply ``(params, state, key_data, *arrays) -> {name: array}`` to all examples, a batch of one shape at a time."""
    _, params, state = model

    @jax.jit
    def rows(part: Rows) -> dict[str, Array]:
        key = jax.random.fold_in(part.key, part.indices[0])
        return call(part.params, part.state, jax.random.key_data(key), *part.batch.values())

    size = min(_AT_ONCE, max(1, len(np.asarray(next(iter(batch.values()))))))
    found: dict[str, NDArray[Any]] = in_batches(jax.random.key(seed), rows, params, state, batch, batch_size=size)
    return found


def _one_or_all(found: dict[str, NDArray[Any]]) -> Drawn:
    return next(iter(found.values())) if len(found) == 1 else found

"""Where EM starts: seeds, random responsibilities, labels, or parameters; several starts at once."""

from __future__ import annotations

__all__ = ["Start", "best_params", "from_responsibilities", "starts"]

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_array, require_batch, require_integer, require_key
from vifx.core.types import Batch, Key, Params, State
from vifx.em.families.k_means_plus_plus import random_responsibilities
from vifx.em.k_means import k_means
from vifx.em.model import Model, require_model
from vifx.training import Progress, solve

Start: TypeAlias = Literal["k-means", "k-means++", "random"] | chex.Array | tuple[Params, State]
"""How EM starts: by name, from labels or responsibilities, or at ``(params, state)``."""

_STEPS = {"k-means": 20, "k-means++": 0, "random": 0}


def starts(key: Key, model: Model, batch: Batch, start: Start, restarts: int) -> tuple[Params, State]:
    """Return the parameters of several starts, stacked ``[restarts, ...]``, and the state that they share.

    Args:
      key: random key for every choice.
      model: what is fitted.
      batch: the data.
      start: ``"k-means"`` gives each example to the nearest centre of `k_means`, ``"k-means++"`` to the nearest of
        its seeds; ``"random"`` draws responsibilities; integer labels ``[examples]`` or responsibilities
        ``[examples, components]`` (of sequences, for every step) are taken as they are; ``(params, state)`` continues.
        A continuous latent starts from the random initialization of its networks, ``"random"``.
      restarts: how many.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: an unknown name, labels or responsibilities that do not fit, or several restarts of one start.
    """
    require_key(key)
    require_model(model, "starts")
    require_batch(batch)
    require_integer(restarts, "restarts")
    if isinstance(start, tuple):
        if len(start) != 2 or not all(isinstance(part, Mapping) for part in start):
            raise TypeError("start as a tuple must be (params, state), such as (fitted.params, fitted.state).")
        _single(start="(params, state)", restarts=restarts)
        params, state = start
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], dict(params)), state
    if isinstance(start, str):
        if start not in _STEPS:
            raise ValueError(
                f"start must be {', '.join(map(repr, _STEPS))}, labels, responsibilities or (params, state); got "
                f"{start!r}."
            )
        if model.components is None and start != "random":
            raise ValueError(
                f"start={start!r} needs components, and the latent of {model!r} is continuous; use 'random'."
            )
        return _drawn(model, start, jax.random.split(key, restarts), batch)
    _single(start="labels and responsibilities", restarts=restarts)
    if model.components is None:
        raise ValueError("start must be 'random' or (params, state) where the latent is continuous: it has no labels.")
    places = batch[model.observed].shape[: model.latent_axes]
    given = _given(np.asarray(require_array(start, "start")), model.components, places)
    return from_responsibilities(key, model, {**batch, "@responsibilities": jnp.asarray(given)})


@partial(jax.jit, static_argnums=(0, 1))
def _drawn(model: Model, start: str, keys: Key, batch: Batch) -> tuple[Params, State]:
    data = {name: value for name, value in batch.items() if not name.startswith("@")}

    def one(key: Key) -> Params:
        params, state = model.objective.init(jax.random.fold_in(key, 0), data)
        if model.components is None:
            return dict(params)
        x, noise = data[model.observed], jax.random.fold_in(key, 1)
        places, event = x.shape[: model.latent_axes], x.shape[model.latent_axes :]
        if start == "random":
            drawn = random_responsibilities(noise, math.prod(places), model.components)
        else:
            drawn = k_means(noise, x.reshape(math.prod(places), *event), model.components, steps=_STEPS[start])
        drawn = drawn.reshape(*places, model.components)
        return dict(best_params(model, params, state, {**batch, "@responsibilities": drawn}))

    _, state = model.objective.init(keys[0], data)
    # One start after another, so that memory is that of one.
    return jax.lax.map(one, jax.random.clone(keys)), state


@partial(jax.jit, static_argnums=1)
def from_responsibilities(key: Key, model: Model, batch: Batch) -> tuple[Params, State]:
    """Return the best parameters for given responsibilities, stacked ``[1, ...]``, and the state.

    Args:
      key: of what the parameters would start from without them.
      model: what is fitted.
      batch: the data, with ``"@responsibilities"``, where an example that belongs to nothing counts for nothing.
    """
    data = {name: value for name, value in batch.items() if not name.startswith("@")}
    params, state = model.objective.init(key, data)
    params = best_params(model, params, state, batch)
    return jax.tree.map(lambda leaf: leaf[None], dict(params)), state


def best_params(model: Model, params: Params, state: State, batch: Batch) -> Params:
    """Return the best parameters for given responsibilities.

    Args:
      batch: the data, with ``"@responsibilities"``.
    """
    step = solve(model.objective, "model")
    key = jax.random.key(0)  # nothing is drawn
    progress, _ = step.update(key, Progress(params, state, ()), batch)
    return progress.params


def _single(*, start: str, restarts: int) -> None:
    if restarts != 1:
        raise ValueError(f"restarts={restarts} of {start} would all be the same; use restarts=1.")


def _given(start: np.ndarray, components: int, places: tuple[int, ...]) -> np.ndarray:
    if start.shape == places and np.issubdtype(start.dtype, np.integer):
        if start.min() < 0 or start.max() >= components:
            raise ValueError(
                f"start has labels {start.min()} to {start.max()}, but the components are 0 to {components - 1}."
            )
        return np.eye(components)[start]
    if start.shape != (*places, components) or not np.issubdtype(start.dtype, np.floating):
        raise ValueError(
            f"start must be integer labels {list(places)} or responsibilities {[*places, components]}, got "
            f"{start.dtype}{list(start.shape)}."
        )
    sums = start.sum(axis=-1)
    if not np.isfinite(start).all() or (start < 0).any() or not np.allclose(sums, 1, atol=1e-5):
        worst = np.unravel_index(int(np.argmax(np.abs(sums - 1))), places)
        raise ValueError(
            f"start: responsibilities must be ≥ 0 and sum to 1 for each example; example {int(worst[0])} has "
            f"{start[worst]}."
        )
    return start

"""EM until it converges: several starts at once, the best kept, and what went wrong said."""

from __future__ import annotations

__all__ = ["FellError", "Fit", "fit"]

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from vifx.checks import require_function, require_integer, require_key, require_number
from vifx.core.types import Array, Batch, Key, Metrics, Params, State
from vifx.em.fit_data import checked_data, counted
from vifx.em.initial import Start, starts
from vifx.em.model import Model, require_model
from vifx.em.reseed import reseed
from vifx.training import Progress, replicate, shard_batch, solve
from vifx.training.monotone import rounding
from vifx.training.sharding import padded, require_mesh

MOST_RESEEDINGS = 10
"""After how many updates that filled empty components a fit leaves them as they are."""


class FellError(RuntimeError):
    """The objective fell, is not finite or has lost its digits, which in exact arithmetic it never does.

    Attributes:
      params: the parameters before the update that lowered it.
      state: the state that goes with them.
    """

    def __init__(self, message: str, params: Params, state: State) -> None:
        super().__init__(message)
        self.params, self.state = params, state


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A fitted model.

    Attributes:
      model: what was fitted.
      params: of the best start, those whose objective is the last of `history`.
      state: the state that goes with them.
      history: the objective before each update and at the end, mean nats per example: ``log q(x)``, plus
        ``log prior / examples`` where parameters have priors.
      histories: of every start, ``[updates + 1, starts]``.
      converged: whether the last gain was below the tolerance.
      examples: how many, or the sum of their weights.
      observations: the same of a mixture; of sequences, how many steps they have in all.
      log_likelihood: ``Σ_n log q(x_n)`` in nats.
      degrees: how many free parameters the model has.
      seconds: of each update, the first with its compilation.
      messages: what a user should know: components that were empty or whose least variance is the floor, features
        that are constant, whether it converged.
      event: the shape of one example.
    """

    model: Model
    params: Params
    state: State
    history: np.ndarray
    histories: np.ndarray
    converged: bool
    examples: float
    observations: float
    log_likelihood: float
    degrees: int
    seconds: tuple[float, ...]
    messages: tuple[str, ...]
    event: tuple[int, ...]

    def __repr__(self) -> str:
        told = "converged" if self.converged else "not converged"
        said = f", messages: {len(self.messages)}" if self.messages else ""
        return (
            f"Fit({self.model.generative}: {self.log_likelihood / self.examples:.6g} nats per example of "
            f"{self.examples:g}, {told} after {len(self.history) - 1} updates{said})"
        )

    @property
    def bic(self) -> float:
        """``degrees · log observations − 2 Σ log q(x)`` in nats; less is better (Schwarz, 1978)."""
        return self.degrees * math.log(self.observations) - 2 * self.log_likelihood

    @property
    def aic(self) -> float:
        """``2 degrees − 2 Σ log q(x)`` in nats; less is better (Akaike, 1974)."""
        return 2 * self.degrees - 2 * self.log_likelihood

    def log_prob(self, x: ArrayLike) -> Array:
        """Return ``log q(x)`` in nats, ``[examples]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return self.model.log_prob(self.params, self.state, self._values(x))

    def posterior(self, x: ArrayLike) -> Any:
        """Return ``p(z|x)``; of a mixture, its `probs` are the responsibilities ``[examples, components]``.

        Raises:
          TypeError: `x` is not an array.
          ValueError: its examples have another shape than those fitted.
        """
        return self.model.posterior(self.params, self.state, self._values(x))

    def sample(self, key: Key, examples: int) -> Mapping[str, Array]:
        """Draw latents and data; values by variable, ``[examples, *event]``."""
        return self.model.sample(key, self.params, self.state, examples)

    def _values(self, x: ArrayLike) -> Array:
        values = self.model.values(x)
        if values.shape[1:] != self.event:
            expected = ", ".join(map(str, ("examples", *self.event)))
            raise ValueError(f"x must have the shape [{expected}], as what was fitted, got {list(values.shape)}.")
        return values


def fit(
    key: Key,
    model: Model,
    x: ArrayLike,
    *,
    start: Start = "k-means",
    restarts: int = 1,
    steps: int = 1000,
    tolerance: float = 1e-5,
    weights: ArrayLike | None = None,
    chunk: int = 2048,
    store_features: bool = True,
    mesh: Mesh | None = None,
    observe: Callable[[int, Metrics], None] | None = None,
) -> Fit:
    """Fit a model by EM until the mean objective gains less than a tolerance.

    All starts run in one compiled program, one call an update, and the best is kept. A component that nothing belongs
    to gets half of the largest one, ten times at most, and a message says so. The objective never falls but by
    rounding; if it does, `FellError` is raised. A `Fit` is continued with ``start=(params, state)``; runs that save
    checkpoints are those of
    `training.fit` with `training.solve`.

    Args:
      key: random key for the starts.
      model: made by `mixture` or `hmm`.
      x: ``[examples, *event]``, all of it.
      start: how it starts, see `starts`.
      restarts: how many starts.
      steps: the most updates.
      tolerance: in mean nats per example; 0 makes all `steps`.
      weights: of the examples, ``[examples]``, not negative; integers are counts.
      chunk: how many examples the E step holds responsibilities of at a time.
      store_features: whether the features of the data are computed once and kept, rather than chunk by chunk.
      mesh: its axis ``data`` divides the examples.
      observe: called with the number of updates made and the metrics ``[starts]`` after each E step.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: data that are not finite or too few, weights that are negative or all zero, or a number out of
        range; the message says which.
      FellError: the objective fell by more than rounding, is not finite, or its features have lost their digits.
    """
    require_key(key)
    require_model(model, "fit")
    _check_options(restarts=restarts, steps=steps, chunk=chunk, tolerance=tolerance, mesh=mesh, observe=observe)
    x, weights, start = counted(x, weights, start)
    batch = model.batch(*checked_data(model, x, weights))
    stacked, state = starts(jax.random.fold_in(key, 0), model, batch, start, restarts)
    model.objective.check(jax.tree.map(lambda leaf: leaf[0], stacked), state, batch)
    if store_features:
        batch = {**batch, **_features(model, state, batch)}
    if mesh is not None:
        batch, (stacked, state) = _divided(batch, mesh), replicate((stacked, state), mesh)
    monotone = not callable(model.inference.factor_of(model.latent).source.temperature)
    history: list[np.ndarray] = []
    seconds, messages, fresh, reseeded, gain = [], [], True, 0, math.inf
    before, update, metrics = stacked, 0, dict[str, Array]()
    for update in range(steps + 1):
        began = time.perf_counter()
        after, new_state, metrics = _update(model, chunk, mesh, stacked, state, batch)
        objective = np.asarray(metrics["objective"], np.float64)
        seconds.append(time.perf_counter() - began)
        if observe is not None:
            observe(update, metrics)
        allowed = np.asarray(metrics["rounding/objective"], np.float64) if monotone and not fresh else None
        _require_rise(model, batch, history, objective, allowed, before, state)
        history.append(objective)
        gain = math.inf if fresh else float(np.max(objective - history[-2]))
        if update == steps or (monotone and tolerance > 0 and gain < tolerance):
            break
        before, fresh = stacked, False
        stacked, state = after, new_state
        if reseeded < MOST_RESEEDINGS:
            stacked, said = reseed(jax.random.fold_in(key, 1 + update), model, batch, before, after, state, metrics)
            messages += [f"update {update + 1}: {text}" for text in said]
            fresh = bool(said)
            reseeded += fresh
    converged = monotone and tolerance > 0 and gain < tolerance
    if not converged:
        messages.append(f"not converged after {update} updates: the last gain was {gain:.3g} nats")
    empty = np.asarray(metrics[f"empty/{model.latent}"])
    if empty.any():
        messages.append(f"empty states of {model.latent!r} at the end, by start: {', '.join(map(str, empty))}")
    told = (converged, tuple(seconds), tuple(messages))
    return _best(model, stacked, state, batch, np.array(history), told, metrics)


def _divided(batch: Batch, mesh: Mesh) -> Batch:
    """Divide the examples of every array of a batch over the mesh; features may be trees of them."""
    leaves, structure = jax.tree.flatten(dict(padded(batch, mesh)))
    placed = shard_batch({f"array {i}": leaf for i, leaf in enumerate(leaves)}, mesh)
    return jax.tree.unflatten(structure, list(placed.values()))


@partial(jax.jit, static_argnums=0)
def _features(model: Model, state: State, batch: Batch) -> Batch:
    return model.solver.features(state, batch)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _update(
    model: Model, chunk: int, mesh: Mesh | None, stacked: Params, state: State, batch: Batch
) -> tuple[Params, State, Metrics]:
    step = solve(model.objective, "model", chunk=chunk, mesh=mesh)

    def one(params: Params) -> tuple[Params, State, Metrics]:
        key = jax.random.key(0)  # nothing is drawn
        progress, metrics = step.update(key, Progress(params, state, ()), batch)
        return progress.params, progress.state, metrics

    if jax.tree.leaves(stacked)[0].shape[0] == 1:
        # Products of matrices without an axis of one are faster.
        params, state, metrics = one(jax.tree.map(lambda leaf: leaf[0], stacked))
        params, metrics = jax.tree.map(lambda leaf: leaf[None], (params, metrics))
        return params, state, metrics
    return jax.vmap(one, out_axes=(0, None, 0))(stacked)


def _require_rise(
    model: Model,
    batch: Batch,
    history: list[np.ndarray],
    objective: np.ndarray,
    allowed: np.ndarray | None,
    before: Params,
    state: State,
) -> None:
    excess = objective if allowed is None else objective - history[-1] + allowed
    worst = int(np.argmin(excess))
    params = jax.tree.map(lambda leaf: leaf[worst], before)
    if not np.isfinite(objective).all():
        worst = int(np.argmin(np.isfinite(objective)))
        raise FellError(
            f"start {worst}: the objective is {objective[worst]} after {len(history)} updates.", params, state
        )
    if allowed is None or excess[worst] >= 0:
        return
    raise FellError(
        f"start {worst}: the objective fell by {history[-1][worst] - objective[worst]:.3g} to {objective[worst]:.12g} "
        f"at update {len(history)}, by more than rounding ({allowed[worst]:.1g}); EM never lowers it, so an M step or "
        "a density is wrong"
        + (", or float32 is too coarse for these data: try jax.enable_x64." if allowed[worst] > 1e-6 else ".")
        + "".join(f" At that update: {text}." for text in model.solver.remarks(params, batch)),
        params,
        state,
    )


def _best(
    model: Model,
    stacked: Params,
    state: State,
    batch: Batch,
    histories: np.ndarray,
    told: tuple[bool, tuple[float, ...], tuple[str, ...]],
    metrics: Metrics,
) -> Fit:
    converged, seconds, messages = told
    best = int(np.argmax(histories[-1]))
    params = jax.tree.map(lambda leaf: leaf[best], stacked)
    lost = _lost_digits(model, params, state, batch, float(metrics["rounding/objective"][best]))
    weights = batch.get("@weights")
    examples = float(len(batch[model.observed]) if weights is None else np.asarray(weights, np.float64).sum())
    return Fit(
        model,
        params,
        state,
        histories[:, best],
        histories,
        converged,
        examples,
        examples * math.prod(batch[model.observed].shape[1 : model.latent_axes]),
        _log_likelihood(model, params, state, batch, float(metrics["log_prob"][best]) * examples),
        model.solver.degrees(params),
        seconds,
        (*messages, *lost, *model.solver.remarks(params, batch)),
        batch[model.observed].shape[1:],
    )


def _log_likelihood(model: Model, params: Params, state: State, batch: Batch, fitted: float) -> float:
    """Return ``Σ log q(x)``: what was fitted at temperature 1, else the sum over the examples."""
    if model.likelihood is model.objective:
        return fitted
    log_prob = np.asarray(model.log_prob(params, state, batch[model.observed]), np.float64)
    return float(np.sum(log_prob * np.asarray(batch.get("@weights", 1.0), np.float64)))


def _lost_digits(model: Model, params: Params, state: State, batch: Batch, rounded: float) -> list[str]:
    """Compare the log-likelihood by features with that by densities, which do not cancel, on a few examples.

    It is said where they are further apart than a hundredth of a nat for each observation and each 100 nats, and an
    error beyond what is `rounded`, or beyond a hundredth of the whole.
    """
    few = batch[model.observed][:256]
    key = jax.random.key(0)  # nothing is drawn
    loss, _ = model.likelihood.players["model"].loss(key, params, state, {model.observed: few}, train=False)
    by_density, by_features = -float(loss), float(jnp.mean(model.log_prob(params, state, few)))
    apart = abs(by_density - by_features)
    small = 20 * float(rounding(np.float32(by_density), observations=math.prod(few.shape[1 : model.latent_axes])))
    if apart <= small:
        return []
    text = (
        f"the mean log-likelihood of {len(few)} examples is {by_features:.7g} nats by features and {by_density:.7g} by "
        f"densities: {few.dtype} has too few digits for these data; use jax.enable_x64, or a larger floor"
    )
    if not apart <= min(rounded, 0.01 * abs(by_density)):
        raise FellError(f"{text}.", params, state)
    return [text]


def _check_options(
    *,
    restarts: int,
    steps: int,
    chunk: int,
    tolerance: float,
    mesh: Mesh | None,
    observe: Callable[[int, Metrics], None] | None,
) -> None:
    for name, number in (("restarts", restarts), ("steps", steps), ("chunk", chunk)):
        require_integer(number, name)
    if mesh is not None:
        require_mesh(mesh, "fit")
    if observe is not None:
        require_function(observe, "observe", "(updates, metrics) -> None")
    require_number(tolerance, "tolerance", least=0, hint="it is in nats")

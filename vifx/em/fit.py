"""EM until it converges: several starts at once, the best kept, and what went wrong said."""

from __future__ import annotations

__all__ = ["fit"]

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from vifx.checks import require_function, require_integer, require_key, require_number
from vifx.core.types import Array, Batch, Key, Metrics, Params, PyTree, State
from vifx.data.full import Full
from vifx.em.fit_data import checked_data, counted
from vifx.em.fitted import Fit
from vifx.em.initial import Start, starts
from vifx.em.model import Data, Model, require_model
from vifx.em.reseed import reseeded
from vifx.em.sequences import for_data, steps_seen
from vifx.training import Diverged, Event, Interrupted, Progress, Step, TrainState, converged, several, solve
from vifx.training import fit as train
from vifx.training.layout import local
from vifx.training.metrics import Row, of_starts
from vifx.training.monotone import rounding
from vifx.training.sharding import require_mesh
from vifx.training.stop import last_gain


def fit(
    key: Key,
    model: Model,
    x: Data | Sequence[ArrayLike],
    *,
    start: Start | None = None,
    restarts: int = 1,
    steps: int = 1000,
    tolerance: float = 1e-5,
    weights: ArrayLike | None = None,
    chunk: int = 2048,
    store_features: bool = True,
    mesh: Mesh | None = None,
    observe: Callable[[int, Mapping[str, np.ndarray]], None] | None = None,
) -> Fit:
    """Fit a model by EM until the mean objective gains less than a tolerance.

    All starts run in one compiled program, `training.fit` of `training.solve`, and the best is kept. A component that
    nothing belongs to gets half of the largest one, ten times at most, and a message says so. The objective never falls
    but by rounding. A `Fit` is continued with ``start=(params, state)``; for runs that save checkpoints use
    `training.fit` itself.

    Args:
      key: random key for the starts.
      model: made by `mixture`, `hmm` or `lds`.
      x: ``[examples, *event]``, all of it; of a model that is given more, such as lengths, all of it by name. Sequences
        may be a list of arrays ``[steps, *event]``, of several lengths.
      start: how it starts, see `starts`; by default ``"k-means"``, of a continuous latent ``"random"``.
      restarts: how many starts. One that fails is left out, with a message, and the others are made again.
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
      training.Diverged: every start failed: the objective fell by more than rounding, is not finite, or its features
        have lost their digits; its `train_state` has the parameters of the last start before the update that lowered
        the objective.
    """
    require_key(key)
    require_model(model, "fit")
    _check_options(restarts=restarts, steps=steps, chunk=chunk, tolerance=tolerance, mesh=mesh, observe=observe)
    start = ("random" if model.components is None else "k-means") if start is None else start
    model, x = for_data(model, x, longest=model.steps)
    named, weights, start = counted(model, x, weights, start)
    source = Full(checked_data(model, named, weights))
    stacked, state = starts(jax.random.fold_in(key, 0), model, source.arrays, start, restarts)
    first = _of_start(stacked, 0)
    model.objective.check(first, state, source.arrays)
    if store_features:
        source = source.with_features(_features(model, state, source.arrays))
    monotone = not callable(model.inference.factor_of(model.latent).source.temperature)
    options = {"steps": steps + 1, "monotone": "objective" if monotone else None}  # the last one for its E step alone
    options["stop"] = converged("objective", tolerance=tolerance) if monotone and tolerance > 0 else None
    attempt = partial(_attempt, key, model, source, state, chunk=chunk, mesh=mesh, observe=observe, options=options)
    return _of_those_that_do_not_fail(attempt, model, stacked, source.arrays, restarts)


def _of_those_that_do_not_fail(
    attempt: Callable[[PyTree, list[int]], Fit], model: Model, stacked: PyTree, batch: Batch, restarts: int
) -> Fit:
    """Return the fit of all starts but those that fail, which are left out one by one.

    Raises:
      Diverged: if all fail.
    """
    left, failures = list(range(restarts)), []
    while True:
        try:
            fitted = attempt(_of_start(stacked, np.array(left)) if failures else stacked, left)
        except Diverged as error:
            at = _failed(error, len(left))
            sentence = error.sentence.removeprefix(f"start {at}: ")
            if len(left) == 1:
                failures.append(f"start {left[0]}: {sentence}" if failures else sentence)
                text = f"all {restarts} starts failed: {'; '.join(failures)}" if restarts > 1 else sentence
                raise _explained(error, text, left[0], model, batch) from error
            failures.append(f"start {left.pop(at)}: {sentence}")
        else:
            return replace(fitted, messages=(*(f"{text}; it was left out" for text in failures), *fitted.messages))


def _attempt(
    key: Key,
    model: Model,
    source: Full,
    state: State,
    stacked: PyTree,
    left: list[int],
    *,
    chunk: int,
    mesh: Mesh | None,
    observe: Callable[[int, Mapping[str, np.ndarray]], None] | None,
    options: Mapping[str, Any],
) -> Fit:
    """Fit the starts of these numbers, and return the best."""
    watch = _Watch(observe)
    try:
        fitted = train(
            jax.random.fold_in(jax.random.clone(key), 1),
            _step(model, chunk, mesh, len(left)),
            model.objective,
            source,
            log_every=1,
            initial=(_of_start(stacked, 0) if len(left) == 1 else stacked, state),
            mesh=mesh,
            observe=watch,
            **options,
        )
    except Interrupted as error:
        signal.raise_signal(error.signal)  # nothing is saved, so that there is nothing to go on with
        raise
    return _best(model, local(fitted.train_state), source.arrays, fitted.history, watch, left, bool(fitted.stopped))


def _failed(error: Diverged, starts: int) -> int:
    """Return which of several starts an error is of: where parameters alone are not finite, the first such one."""
    if starts > 1 and error.train_state is not None and "a parameter is not finite" in error.sentence:
        leaves = jax.tree.leaves(error.train_state.params)
        sound = np.all([np.isfinite(np.asarray(leaf)).reshape(starts, -1).all(axis=1) for leaf in leaves], axis=0)
        return int(np.argmin(sound))
    return error.start


class _Measured(NamedTuple):
    """The slot of `_measured`.

    Attributes:
      slot: the slot of the step inside.
      after: the parameters and the state that the next update measures.
      before: the parameters that the update before measured.
    """

    slot: PyTree
    after: tuple[Params, State]
    before: Params


def _measured(step: Step) -> Step:
    """Leave the parameters that the metrics are of: an M step counts from the next update on, after its E step."""

    def init(key: Key, params: Params, state: State) -> _Measured:
        return _Measured(step.init(key, params, state), (params, state), params)

    def update(key: Key, progress: Progress, batch: Batch) -> tuple[Progress, Metrics]:
        slot, (params, state), _ = progress.slot
        after, metrics = step.update(key, Progress(params, state, slot), batch)
        kept = _Measured(after.slot, (after.params, after.state), progress.params)
        return Progress(params, state, kept), metrics

    return Step(init, update, lambda transform: _measured(step.rebuild(transform)), step.batches)


@lru_cache(maxsize=32)
def _step(model: Model, chunk: int, mesh: Mesh | None, restarts: int) -> Step:
    """Return the step of a fit; fits of one model with the same options share it, and so one compiled program."""
    step = solve(model.objective, "model", chunk=chunk, mesh=mesh)
    if restarts > 1:  # products of matrices without an axis of one are faster
        step = several(step, restarts, best="objective")
    return _measured(reseeded(step, model, restarts))


class _Watch:
    """An observer of a run that keeps the seconds of its updates and passes on their metrics.

    Attributes:
      seconds: of each update, the first with its compilation.
    """

    def __init__(self, observe: Callable[[int, Mapping[str, np.ndarray]], None] | None) -> None:
        self.seconds: list[float] = []
        self._observe, self._last = observe, 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "log":
            self.seconds.append(event.seconds - self._last)
            if self._observe is not None:
                names = [name for name in event.metrics if name != "step" and not name.startswith("start")]
                self._observe(event.step - 1, {name: np.array(of_starts(event.metrics, name)) for name in names})
        self._last = event.seconds


def _of_start(stacked: PyTree, start: int | np.ndarray) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[start], stacked)


@partial(jax.jit, static_argnums=0)
def _features(model: Model, state: State, batch: Batch) -> Batch:
    return model.solver.features(state, batch)


def _explained(error: Diverged, sentence: str, start: int, model: Model, batch: Batch) -> Diverged:
    """Return the error of a fit whose last start failed: what is known of the parameters before its objective fell."""
    if error.train_state is None or not isinstance(error.train_state.slot, _Measured):
        return Diverged(error.step, sentence, start=start, train_state=error.train_state)
    params = error.train_state.slot.before
    remarks = "".join(f". At that update: {text}" for text in model.solver.remarks(params, batch))
    before = error.train_state._replace(params=params, slot=())
    return Diverged(error.step - 1, sentence + remarks, start=start, train_state=before)


def _best(
    model: Model, last: TrainState, batch: Batch, rows: list[Row], watch: _Watch, left: list[int], stopped: bool
) -> Fit:
    histories = np.array([of_starts(row, "objective") for row in rows])
    best, updates = int(np.argmax(histories[-1])), len(rows) - 1
    params = last.params if histories.shape[1] == 1 else _of_start(last.params, best)
    weights = batch.get("@weights")
    examples = float(len(batch[model.observed]) if weights is None else np.asarray(weights, np.float64).sum())
    messages = _messages(model, rows, left)
    if not stopped:
        gain = last_gain(reversed(rows), "objective")
        messages.append(f"not converged after {updates} updates: the last gain was {gain:.3g} nats")
    if any(empty := of_starts(rows[-1], f"empty/{model.latent}")):
        messages.append(f"empty states of {model.latent!r} at the end, by start: {', '.join(map(str, empty))}")
    messages += _lost_digits(model, last._replace(params=params), batch, rows[-1]["rounding/objective"], best)
    return Fit(
        model=model,
        params=params,
        state=last.state,
        history=histories[:, best],
        histories=histories,
        converged=stopped,
        examples=examples,
        observations=float(
            np.sum(steps_seen(model, batch) * np.asarray(1.0 if weights is None else weights, np.float64))
        ),
        log_likelihood=_log_likelihood(model, params, last.state, batch, rows[-1]["log_prob"] * examples),
        degrees=model.solver.degrees(params),
        seconds=tuple(watch.seconds),
        messages=(*messages, *model.solver.remarks(params, batch)),
        event=batch[model.observed].shape[1:],
    )


def _messages(model: Model, rows: list[Row], left: list[int]) -> list[str]:
    """Return which components each update but the last filled, in the starts of these numbers."""
    return [
        f"update {update}: start {left[start]}: component {filled} was empty and got half of component {gave}"
        for update, row in enumerate(rows[:-1], 1)
        for start, (filled, gave) in enumerate(
            zip(of_starts(row, f"reseeded/{model.latent}"), of_starts(row, f"split/{model.latent}"), strict=True)
        )
        if filled >= 0
    ]


def _log_likelihood(model: Model, params: Params, state: State, batch: Batch, fitted: float) -> float:
    """Return ``Σ log q(x)``: what was fitted at temperature 1, else the sum over the examples."""
    if model.likelihood is model.objective:
        return fitted
    log_prob = np.asarray(model.log_prob(params, state, model.data(batch)), np.float64)
    return float(np.sum(log_prob * np.asarray(batch.get("@weights", 1.0), np.float64)))


def _lost_digits(model: Model, found: TrainState, batch: Batch, rounded: float, best: int) -> list[str]:
    """Compare the log-likelihood by features with that by densities, which do not cancel, on a few examples.

    It is said where they are further apart than a hundredth of a nat for each observation and each 100 nats, and an
    error beyond what is `rounded`, or beyond a hundredth of the whole.
    """
    known = {name: batch[name][:256] for name in (model.observed, *model.given)}
    few, (params, state, _) = known[model.observed], found.progress
    by_density, by_features = map(float, _by_density_and_features(model, params, state, known))
    apart = abs(by_density - by_features)
    small = 20 * float(rounding(np.float32(by_density), observations=math.prod(few.shape[1 : model.latent_axes])))
    if apart <= small:
        return []
    text = (
        f"the mean log-likelihood of {len(few)} examples is {by_features:.7g} nats by features and {by_density:.7g} by "
        f"densities: {few.dtype} has too few digits for these data; use jax.enable_x64, or a larger floor"
    )
    if not apart <= min(rounded, 0.01 * abs(by_density)):
        raise Diverged(int(found.step) - 1, text, start=best, train_state=found)
    return [text]


@partial(jax.jit, static_argnums=0)
def _by_density_and_features(model: Model, params: Params, state: State, batch: Batch) -> tuple[Array, Array]:
    key = jax.random.key(0)  # nothing is drawn
    loss, _ = model.likelihood.players["model"].loss(key, params, state, batch, train=False)
    return -loss, jnp.mean(model.log_prob(params, state, model.data(batch)))


def _check_options(
    *,
    restarts: int,
    steps: int,
    chunk: int,
    tolerance: float,
    mesh: Mesh | None,
    observe: Callable[..., None] | None,
) -> None:
    for name, number in (("restarts", restarts), ("steps", steps), ("chunk", chunk)):
        require_integer(number, name)
    if mesh is not None:
        require_mesh(mesh, "fit")
    if observe is not None:
        require_function(observe, "observe", "(updates, metrics) -> None")
    require_number(tolerance, "tolerance", least=0, hint="it is in nats")

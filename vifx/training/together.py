"""Several runs of one experiment in one compiled program."""

from __future__ import annotations

__all__ = ["fit_together", "require_alike"]

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require, require_name
from vifx.core.types import PyTree
from vifx.training.chunk import advance_together, program
from vifx.training.course import Course, Fitted, fresh
from vifx.training.errors import Diverged
from vifx.training.interrupt import deferred_signals
from vifx.training.minibatch_sources import ResidentSource
from vifx.training.plan import Plan
from vifx.training.state import TrainState
from vifx.training.update import Advance

Ended: TypeAlias = Fitted | Diverged


def fit_together(runs: Sequence[Mapping[str, Any]]) -> list[Ended]:
    """Make several runs that differ by their keys and minibatches alone, in one program that is mapped over them.

    Each is the run that `fit` makes with the same arguments, up to the rounding of mapped operations, with its own
    directory, log, checkpoints, evaluations and rules, and `fit` can go on with it alone. A run that a rule stops, or
    that diverges, leaves the others alone.

        training.fit_together([{"key": jax.random.key(seed), "step": step, …, "directory": f"runs/{seed}"} for seed in
                               range(5)])

    Args:
      runs: the arguments of `fit`, by name. Examples must be resident and the same, and there is no mesh.

    Returns:
      What `fit` returns of each run, or the `Diverged` that it raises.

    Raises:
      ValueError: if the runs have different examples, steps, chunks or updates to go on from; there are several
        processes, a mesh or a stream.
      Interrupted: after a signal, when all are saved.
      Exception: those of `fit` from any of them.
    """
    fix = "give the arguments of fit of each run, by name"
    require(runs, Sequence, "fit_together: runs", "a sequence of mappings", fix)
    plans = [_plan(require(run, Mapping, "fit_together: runs", "a sequence of mappings", fix)) for run in runs]
    require_alike(plans)
    courses = [Course(plan, None) for plan in plans]
    with ExitStack() as stack:
        signalled = stack.enter_context(deferred_signals())
        for course in courses:
            stack.enter_context(course)
        _require_same_start(courses)
        for course in courses:
            course.start()
        diverged = _trained(courses, signalled)
        return [diverged[i] if i in diverged else course.end() for i, course in enumerate(courses)]


def _plan(arguments: Mapping[str, Any]) -> Plan:
    names = [field.name for field in fields(Plan)]
    for name in arguments:
        require_name(name, names, "argument of fit")
    return Plan(**arguments)


def _trained(courses: Sequence[Course], signalled: Callable[[], int | None]) -> dict[int, Diverged]:
    """Make the updates of every course, and return those that have diverged."""
    sources: list[Any] = [course.plan.source for course in courses]
    run_chunk: Advance = advance_together(courses[0].plan.step, sources)
    diverged: dict[int, Diverged] = {}
    states: TrainState = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(course.train_state for course in courses))
    while going := [i for i, course in enumerate(courses) if i not in diverged and course.goes_on]:
        states, metrics = run_chunk(states, courses[going[0]].at, courses[going[0]].length)
        parts, shares = _parts((states.progress, states.step), len(courses)), jax.device_get(metrics)
        for i in going:
            (params, state, slot), at = parts[i]
            train_state = TrainState(params, state, slot, courses[i].train_state.key, at)
            try:
                courses[i].after(train_state, {name: value[i] for name, value in shares.items()}, signalled)
            except Diverged as error:
                diverged[i] = error
    return diverged


@partial(jax.jit, static_argnums=1)
def _parts(several: PyTree, count: int) -> list[PyTree]:
    leaves, structure = jax.tree.flatten(several)
    return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(count)]


def require_alike(plans: Sequence[Plan]) -> None:
    """Check that runs differ by their keys and the order of their examples alone.

    Raises:
      ValueError: if not; the message says in what.
    """
    if not plans:
        raise ValueError("fit_together needs at least one run, got none.")
    if jax.process_count() > 1:
        raise ValueError("fit_together is for one process; make the runs one by one.")
    first = plans[0]
    for number, plan in enumerate(plans):
        where = f"run {number} of fit_together"
        if not isinstance(plan.source, ResidentSource):
            raise ValueError(f"{where} has a stream, whose minibatches are read one by one; use a resident source.")
        if plan.mesh is not None:
            raise ValueError(f"{where} has a mesh; leave it out, or make the runs one by one.")
        if plan.timetable() != first.timetable():
            raise ValueError(f"{where} has other updates or chunks than run 0: {plan.timetable()}.")
        if not _equal(plan.source.arrays, first.source.arrays):  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(f"{where} has other examples than run 0: its data depends on its seed, so make it alone.")
        if number and _program(plan) != _program(first):
            raise ValueError(f"{where} has another step than run 0: it depends on more than its key, so make it alone.")


def _equal(one: PyTree, other: PyTree) -> bool:
    same = jax.tree.structure(one) == jax.tree.structure(other)
    return same and all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def _require_same_start(courses: Sequence[Course]) -> None:
    places = sorted({course.at for course in courses})
    if len(places) > 1:
        raise ValueError(
            f"the runs of fit_together are after updates {', '.join(f'{at:,}' for at in places)}; give resume_from of "
            "a checkpoint that all have, or go on with them one by one."
        )


def _program(plan: Plan) -> str:
    source: Any = plan.source
    return program(plan.step, source, jax.eval_shape(fresh(plan), plan.key))

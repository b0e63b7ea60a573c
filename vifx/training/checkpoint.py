"""Checkpoints that are whole and checked, or are an error."""

from __future__ import annotations

__all__ = ["CheckpointError", "Checkpoints"]

import json
import math
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vifx.checks import require, require_integer
from vifx.core.types import PyTree
from vifx.training import hosts, stored_arrays
from vifx.training.checkpoint_scores import best_of, read_scores, record_scores
from vifx.training.checksums import damage, write_checksums
from vifx.training.errors import CheckpointError, HostsError
from vifx.training.layout import Layout, Rule
from vifx.training.lock import locked
from vifx.training.manifest import (
    WHOLE,
    Leaf,
    check_manifest,
    check_structure,
    describe,
    first_line,
    named_leaves,
    rebuild,
    verified,
)
from vifx.training.metrics import decode

_DELETED = ".deleted"  # behind the name of a checkpoint while its files go
_MARGIN = 1 << 20  # bytes that the bookkeeping of a checkpoint takes at most


class Checkpoints:
    """The checkpoints of one run: a directory with one subdirectory for each step, written by orbax.

    A checkpoint appears whole, by a rename, or not at all: a run killed while it saves has the
    one before. It goes by a rename, too, and what a killed run left of it goes when the next one
    begins. The SHA-256 of every file, and of every leaf with its path, shape and dtype, is
    stored and verified before it is used, so a damaged file is an error and never a value; nothing
    falls back to another checkpoint unasked. It can be read on any number of devices and processes.

    Use it as a context manager. A writer holds a lock that ends with its process; a reader
    (``write=False``) needs and changes nothing. Of several processes all write together, each the parts of divided
    arrays that it has, on a file system that they share; process 0 holds the lock and does the rest.

    A checkpoint is written while training goes on: what looks at the directory, the next `save` and the end of the
    context wait for it, and raise its error.

        with Checkpoints(directory, best="elbo") as checkpoints:
            checkpoints.save(100, train_state, {"elbo": 91.2})
            train_state = checkpoints.restore(train_state)

    Attributes:
      directory: where they are.
      config_hash: what identifies the run's configuration; a checkpoint with another is refused.
      keep: how many of the last checkpoints are kept, besides the best.
      best: the metric whose smallest value marks the best checkpoint, or with a minus sign in
        front, largest; a value that is not finite is never the best.

    Raises:
      CheckpointError: from entering, if the directory cannot be used or another process writes it.
      TypeError: if an argument is of another kind.
      ValueError: if `keep` is not positive.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        config_hash: str = "",
        keep: int = 2,
        best: str | None = None,
        write: bool = True,
    ) -> None:
        require(directory, (str, Path), "Checkpoints: directory", "a path", "give that of the run's checkpoints")
        require(config_hash, str, "Checkpoints: config_hash", "a text", "give what identifies the configuration")
        require_integer(keep, "Checkpoints: keep")
        if best is not None:
            require(
                best, str, "Checkpoints: best", "the name of a metric", "with a minus sign in front for the largest"
            )
        self.directory = Path(directory).absolute()
        self.config_hash, self.keep, self.best, self.write = config_hash, keep, best, write

    def __enter__(self) -> Checkpoints:
        self._saving: int | None = None
        with ExitStack() as stack:
            if self.write:
                stack.enter_context(locked(self.directory))
                hosts.broadcast(self._clean, f"cleaning {self.directory}")
                self._saver = stack.enter_context(stored_arrays.saver())
                stack.callback(self.wait)
            elif not self.directory.is_dir():
                raise CheckpointError(f"{self.directory}: there is no such directory; name that of a run")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, in order, damaged ones included."""
        self.wait()
        return self._steps()

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal())

    def save(self, step: int, tree: PyTree, metrics: Mapping[str, int | float] | None = None) -> None:
        """Begin to write a checkpoint; the arrays are copied before it returns.

        Once it is whole, checkpoints are deleted that are neither among the last `keep` nor the best.

        Raises:
          CheckpointError: if it, or the one before, cannot be written; those of before are untouched.
          HostsError: if another process does not save the same.
          ValueError: if there is one for this step.
        """
        if step in self.steps():
            raise ValueError(f"{self.directory / str(step)}: there is a checkpoint of step {step} already")
        leaves = named_leaves(tree)
        parts = self._gathered(step, leaves)
        manifest = describe(leaves, parts, step=step, config_hash=self.config_hash, metrics=metrics or {})
        data = {str(i): leaf.data for i, leaf in enumerate(leaves.values()) if leaf.data.size}
        self._require_space(step, sum(array.nbytes for array in data.values()))
        self._saving = step
        try:
            self._saver.save(self.directory / str(step), args=stored_arrays.items(data, manifest))
        except Exception as error:
            raise self._unwritten(error) from error

    def _gathered(self, step: int, leaves: Mapping[str, Leaf]) -> list[dict[str, str]]:
        """Return the checksums of the parts of each leaf, those of all processes; copies of one array must be equal."""
        mine = json.dumps([dict(leaf.parts) for leaf in leaves.values()])
        found: list[dict[str, str]] = [{} for _ in leaves]
        for other, text in enumerate(hosts.gathered(mine, f"saving update {step}")):
            for path, all_parts, parts in zip(leaves, found, json.loads(text), strict=True):
                if WHOLE in parts and all_parts.get(WHOLE, parts[WHOLE]) != parts[WHOLE]:
                    raise HostsError(f"{path} differs between process 0 and process {other}; start all with the same")
                all_parts.update(parts)
        return found

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is whole, and delete those that are no longer kept.

        Raises:
          CheckpointError: if it cannot be written; those of before are untouched.
        """
        if self._saving is None:
            return
        try:
            self._saver.wait_until_finished()
            if jax.process_index() == 0:
                write_checksums(self.directory / str(self._saving))
        except Exception as error:
            raise self._unwritten(error) from error
        self._saving = None
        if jax.process_index() == 0:
            self._prune(self._scores())

    def _unwritten(self, error: Exception) -> CheckpointError:
        step, self._saving = self._saving, None
        return CheckpointError(
            f"{self.directory / str(step)}: cannot be written ({first_line(error)}); free some space or choose "
            f"another directory. Checkpoints that are whole: {self._steps() or 'none'}"
        )

    def _prune(self, scores: Mapping[int, Mapping[str, int | float]]) -> None:
        steps = self.steps()
        kept = {*steps[-self.keep :], best_of(self.best, scores)}
        for step in steps:
            if step not in kept and self._readable(step):
                shutil.rmtree((self.directory / str(step)).rename(self.directory / f"{step}{_DELETED}"))
        record_scores(self.directory, {step: scores[step] for step in self.steps() if step in scores})

    def best_step(self) -> int | None:
        """Return the step with the best metric among those with a finite one, the latest of equals.

        It is known from when it was saved, so that damage since then does not make another one the best.

        Raises:
          CheckpointError: if it is no longer there.
        """
        found = best_of(self.best, self._scores())
        if found is not None and found not in self.steps():
            finding = f"{self.directory / str(found)}: the best checkpoint is gone"
            raise CheckpointError(finding, step=found, others=self._others(found))
        return found

    def _scores(self) -> dict[int, dict[str, int | float]]:
        recorded = read_scores(self.directory)
        # A process that is killed between saving and recording leaves a checkpoint that only knows itself.
        rest = [step for step in self.steps() if step not in recorded and self._readable(step)]
        return {**recorded, **{step: self.metrics(step) for step in rest}}

    def metrics(self, step: int) -> dict[str, int | float]:
        """Return the metrics that a checkpoint was saved with.

        Raises:
          CheckpointError: if there is no such checkpoint or its manifest is damaged.
        """
        return decode(self._manifest(step)["metrics"])

    def restore(
        self, template: PyTree, *, step: int | None = None, mesh: Mesh | None = None, sharding: Rule | None = None
    ) -> PyTree:
        """Return a checkpoint as a tree like `template`: the latest one, or that of `step`.

        Args:
          template: arrays, or each a `jax.ShapeDtypeStruct`: what the checkpoint must hold, to the letter.
          step: which; a damaged latest one is an error until an earlier one is named here.
          mesh: put the arrays on its devices, however many wrote them; on the default device without one.
          sharding: how they are divided over the mesh, as for `fit`.

        Raises:
          CheckpointError: if there is none, it is damaged, from a newer format or another config,
            or a leaf differs from the template in existence, shape or dtype.
        """
        layout = None if mesh is None and sharding is None else Layout.checked(mesh, sharding, "restore")
        step = self._latest() if step is None else step
        where, manifest = self.directory / str(step), self._sound_manifest(step)
        if manifest["config_hash"] != self.config_hash:
            raise CheckpointError(
                f"{where}: written with another config (hash {manifest['config_hash']!r}, expected "
                f"{self.config_hash!r}); go on with the config it was started with, or use a new directory"
            )
        check_structure(where, manifest, template)
        return rebuild(manifest, self._arrays(step, manifest), template, layout)

    def verify(self, step: int) -> dict[str, np.ndarray]:
        """Read a checkpoint whole, and return its arrays by path.

        Raises:
          CheckpointError: if there is none of this step, or a file or an array is not what was written.
        """
        return self._arrays(step, self._sound_manifest(step))

    def _sound_manifest(self, step: int) -> dict[str, Any]:
        where = self.directory / str(step)
        if (where / "manifest").is_dir() and (found := damage(where)):
            raise CheckpointError(f"{found}: damaged", step=step, others=self._others(step))
        return self._manifest(step)

    def set_aside(self, after: int) -> list[Path]:
        """Rename the checkpoints later than a step, so that a run may go on from there; return the new names.

        Of several processes all call it, and process 0 does it.
        """
        names = hosts.broadcast(lambda: list(map(str, self._set_aside(after))), f"setting aside in {self.directory}")
        return list(map(Path, names))

    def _set_aside(self, after: int) -> list[Path]:
        aside = []
        for step in [step for step in self.steps() if step > after]:
            names = (
                self.directory / f"{step}.set-aside{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000)))
            )
            aside.append((self.directory / str(step)).rename(next(name for name in names if not name.exists())))
        record_scores(self.directory, {step: metrics for step, metrics in self._scores().items() if step <= after})
        return aside

    def _latest(self) -> int:
        if steps := self.steps():
            return steps[-1]
        left = [path.name for path in self._half_written()]
        only = f" (only {left[0]!r}, which a killed run left half written)" if left else ""
        raise CheckpointError(f"{self.directory}: holds no checkpoint{only}; start the run anew")

    def _clean(self) -> None:
        """Delete what a killed run has left half written or half deleted."""
        for half in (*self._half_written(), *self.directory.glob(f"*{_DELETED}")):
            shutil.rmtree(half)

    def _half_written(self) -> list[Path]:
        return list(self.directory.glob("*.orbax-checkpoint-tmp*"))

    def _manifest(self, step: int) -> dict[str, Any]:
        where = self.directory / str(step)
        if step not in self.steps():
            raise CheckpointError(
                f"{self.directory}: has no checkpoint of step {step}; there are: {self.steps() or 'none'}"
            )
        try:
            manifest = json.loads((where / "manifest" / "metadata").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{where}: damaged or incomplete ({first_line(error)})", step=step, others=self._others(step)
            ) from error
        return check_manifest(where, manifest, step, self._others(step))

    def _require_space(self, step: int, needed: int) -> None:
        """Refuse before anything is written: a write that runs out of space is reported at length."""
        free = shutil.disk_usage(self.directory).free
        if free < needed + _MARGIN:
            raise CheckpointError(
                f"{self.directory / str(step)}: needs {needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are free; free "
                f"some space or choose another directory. Checkpoints that are whole: {self.steps() or 'none'}"
            )

    def _arrays(self, step: int, manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
        where = self.directory / str(step) / "state"
        stored = [str(i) for i, leaf in enumerate(manifest["leaves"]) if math.prod(leaf["shape"])]
        try:
            found = stored_arrays.read(where, stored)
        except Exception as error:
            raise CheckpointError(
                f"{where}: damaged or incomplete ({first_line(error)})", step=step, others=self._others(step)
            ) from error
        return verified(where.parent, manifest, found, self._others(step))

    def _readable(self, step: int) -> bool:
        """Say whether the manifest is whole; what is damaged is left for its owner to see, never deleted."""
        try:
            return self._manifest(step)["step"] == step
        except CheckpointError:
            return False

    def _others(self, step: int) -> list[int]:
        return [other for other in self.steps() if other != step]

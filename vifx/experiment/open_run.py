"""A run on disk, opened from Python: its config, joints and parameters, and what its model can do."""

from __future__ import annotations

__all__ = ["OpenRun", "open"]

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx import training
from vifx.checks import require, require_integer, require_name, require_number
from vifx.core.joint import Joint
from vifx.core.types import Batch, Params, State
from vifx.evaluation import Certificate
from vifx.experiment import run as runs
from vifx.experiment.building import Which, build, fit_run, saved_state
from vifx.experiment.certified import certified
from vifx.experiment.config import Config
from vifx.experiment.file import Experiment
from vifx.experiment.kept_data import as_seen, in_own_units
from vifx.experiment.model_functions import Drawn, bound, decoded, drawn, encoded, exact_log_prob
from vifx.experiment.rules import to_json
from vifx.experiment.run import Run
from vifx.training import Event, TrainState
from vifx.training.event import Observe, observers
from vifx.training.metrics import Row


def open(directory: str | Path, *, step: Which = "best", trust: bool = False) -> OpenRun:
    """Open a run directory that `vifx train` has made.

    Its experiment file is executed, under the conditions of `vifx evaluate`: it must lie in the run or in the working
    directory or have come with vifx, and be the one that was recorded, unless `trust` says that it may be any.

        run = vifx.open("runs/vae_digits-20260101-120000")
        codes = run.encode(run.examples("test")["x"])

    Args:
      directory: that of the run.
      step: whose parameters: "best", "last", or the number of an update with a checkpoint.
      trust: run whatever file the record names, as it is now.

    Raises:
      FileNotFoundError: if it is not a run directory, or its experiment file is gone.
      ValueError: if its record is damaged or its file is not trusted.
      CheckpointError: if there is no such checkpoint, or it is damaged.
    """
    require(directory, (str, Path), "open: directory", "a path", "give that of a run")
    require(trust, bool, "open: trust", "True or False", "leave it out to run only files that were recorded")
    run = runs.open_run(directory, trust=trust)
    return _opened(run, build(run.file, run.config), step)


def _opened(record: Run, experiment: Experiment, step: Which) -> OpenRun:
    if isinstance(step, str):
        require_name(step, ("best", "last"), "checkpoint")
    else:
        require_integer(step, "checkpoint")
    return OpenRun(record, experiment, training.evaluated(saved_state(record, experiment, step=step)))


@dataclass(frozen=True, repr=False)
class OpenRun:
    """A run, with the parameters of one of its checkpoints; made by `vifx.open`.

    Evidence is given, and returned, as the data set has it, and log-densities are of that: pixels are binarized or
    dequantized as in training, and the columns of a table, which the model sees standardized, have their own units.

    Attributes:
      record: where it lies, its experiment file and its config.
      experiment: what its `build` returned: objective, step, source, splits.
      train_state: the checkpoint; where the step keeps an average of the parameters, with the average.
    """

    record: Run
    experiment: Experiment
    train_state: TrainState

    def __repr__(self) -> str:
        return f"OpenRun({str(self.directory)!r}, {self.record.file.path.stem}, after {self.step:,} updates)"

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self.record.directory

    @property
    def config(self) -> Config:
        """Its config, an instance of the experiment's own class."""
        return self.record.config

    @property
    def inference(self) -> Joint:
        """The inference joint p(x, z)."""
        return self.experiment.inference

    @property
    def generative(self) -> Joint:
        """The generative joint q(x, z)."""
        return self.experiment.generative

    @property
    def params(self) -> Params:
        """The parameters, by network."""
        return self.train_state.params

    @property
    def state(self) -> State:
        """The state, by network."""
        return self.train_state.state

    @property
    def step(self) -> int:
        """After how many updates the parameters are."""
        return int(self.train_state.step)

    @property
    def steps(self) -> list[int]:
        """The updates that have a checkpoint."""
        with training.Checkpoints(self.record.checkpoints, write=False) as checkpoints:
            return checkpoints.steps()

    @property
    def history(self) -> list[Row]:
        """The rows of its log."""
        return training.read_metrics(self.directory / "metrics.jsonl")

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured at the end, on the test split; empty if nothing has been yet."""
        path = self.directory / "results.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}
        return {name: row["value"] for name, row in rows.items()}

    @property
    def figures(self) -> dict[str, Path]:
        """Its pictures, by name."""
        return {path.stem: path for path in sorted(self.record.figures.glob("*.png"))}

    def examples(self, split: Literal["train", "validation", "test"]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a split of its data by name, as `encode`, `log_prob` and `bound` take them.

        Raises:
          ValueError: if the run has no data, or no such split.
        """
        splits = self.experiment.splits
        if splits is None:
            raise ValueError(f"{self.record.file.path.stem} has no data set; its evidence is drawn as it is trained")
        found = getattr(splits, require_name(split, ("train", "validation", "test"), "split"))
        return {name: in_own_units(self.experiment, name, np.asarray(values)) for name, values in found.items()}

    def at(self, step: Which) -> OpenRun:
        """Return the run with the parameters of another checkpoint: "best", "last", or of an update.

        Raises:
          CheckpointError: if there is none, or it is damaged.
        """
        return _opened(self.record, self.experiment, step)

    def encode(self, x: ArrayLike | Mapping[str, ArrayLike], *, seed: int | None = None) -> Drawn:
        """Return the codes of examples: the mean of each latent given the evidence, its probabilities, or its value.

        Args:
          x: ``[examples, ...]``; evidence of several variables by name.
          seed: draws the latents instead.

        Returns:
          An array ``[examples, ...]``, or where there are several latents one by each name.

        Raises:
          ValueError: if the inference joint has no latent, or x is not what the model takes.
        """
        return encoded(self._model(), self._evidence(x), seed)

    def decode(self, z: ArrayLike | Mapping[str, ArrayLike], *, seed: int | None = None) -> Drawn:
        """Return the mean of the evidence given latents, or where there is none, as of a generator, its value.

        Args:
          z: ``[examples, ...]``; latents of several variables by name.
          seed: draws the evidence instead.

        Raises:
          ValueError: if the generative joint has no latent.
        """
        return decoded(self._model(), z, seed)

    def sample(self, n: int, *, temperature: float = 1.0, seed: int = 0) -> Drawn:
        """Draw from the model: images in [0, 1] ``[n, height, width, channels]``, or else values of the evidence.

        Args:
          n: how many.
          temperature: scales the standard deviation of the prior.
          seed: another one gives other draws.

        Raises:
          ValueError: if the generative joint needs evidence.
        """
        require_integer(n, "sample: n")
        require_number(temperature, "sample: temperature", above=0)
        require_integer(seed, "sample: seed", least=0)
        if self.experiment.sample is not None:
            return np.asarray(self.experiment.sample(jax.random.key(seed), self.params, self.state, n, temperature))
        return drawn(self._model(), n, temperature, seed)

    def log_prob(self, x: ArrayLike | Mapping[str, ArrayLike], *, seed: int = 0) -> NDArray[Any]:
        """Return log q(x) of each example, in nats, where it is exact; see `bound` where it is not.

        Args:
          x: ``[examples, ...]``; evidence of several variables by name.
          seed: of the noise with which pixels are dequantized, or a log-determinant is estimated.

        Raises:
          ValueError: if the model has no exact likelihood.
        """
        return exact_log_prob(self._model(), self._evidence(x), seed)

    def bound(self, x: ArrayLike | Mapping[str, ArrayLike], *, samples: int = 1, seed: int = 0) -> NDArray[Any]:
        """Return a lower bound on log q(x) of each example, in nats: the ELBO, or importance-weighted by `samples`.

        Args:
          x: ``[examples, ...]``; evidence of several variables by name.
          samples: draws of the latents for each example; the bound rises to log q(x) with their number.
          seed: of the draws.

        Raises:
          ValueError: if a factor that it needs has no density; the message says which.
        """
        require_integer(samples, "bound: samples")
        return bound(self._model(), self._evidence(x), samples, seed)

    def certify(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        *,
        noise: float | None = None,
        seed: int = 0,
        observe: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> Certificate:
        """Return an interval of log q(x), the mean over examples, in nats, and what each of its ends rests on.

        Args:
          x: ``[examples, ...]``; evidence of several variables by name.
          noise: σ of N(G(z), σ² I) for a generator, which has no density of its own.
          seed: of the annealing, and of the noise with which pixels are binarized or dequantized.
          observe: called with the number of examples that are done, and of all that there are.
          **settings: of `vifx.evaluation.certify`, such as ``temperatures=300``, ``chains=16``, ``widest=0.5``.

        Raises:
          ValueError: if no likelihood can be certified; the message says why.
        """
        require_integer(seed, "certify: seed", least=0)
        return certified(self._model(), self._evidence(x), seed, noise=noise, observe=observe, **settings)

    def resume(self, *, steps: int | None = None, observe: Observe = "progress") -> OpenRun:
        """Go on with the run from its last checkpoint, in this process, and return it with the last parameters.

        Args:
          steps: how many updates in all; those of the config if not given. Only a run whose schedules do not read
            `steps` can be extended here; see `vifx resume --change-schedule`.
          observe: as for `training.fit`.

        Raises:
          ValueError: if the run goes further already, its schedules read `steps`, or its file has changed.
          Exception: those of `training.fit`.
        """
        record = self.record
        if record.changed:
            raise ValueError(f"{record.file.path} has changed since the run was started; restore it, or start anew")
        if steps is not None and steps != record.config.steps:
            if record.reads_steps:
                raise ValueError(
                    f"a schedule of {record.file.path} reads `steps`, so that a longer run is another one; extend it "
                    "with vifx resume --steps N --change-schedule"
                )
            record = runs.extend(record, steps, at=max(self.steps, default=0))
        built = self.experiment if record is self.record else build(record.file, record.config)
        record = record.continued(at=max(self.steps, default=0))

        def begun(event: Event) -> None:
            if event.kind == "start" and record != self.record:
                runs.record(record)

        fit_run(record, built, observe=[begun, *observers(observe)])
        return _opened(record, built, "last")

    def _model(self) -> tuple[Experiment, Params, State]:
        return self.experiment, self.params, self.state

    def _evidence(self, x: ArrayLike | Mapping[str, ArrayLike]) -> Batch:
        names = list(dict.fromkeys(e for item in self.inference.factors for e in item.entries.values()))
        if not names:
            raise ValueError(f"{self.inference} has no evidence, so there is nothing to give")
        given = dict(x) if isinstance(x, Mapping) else {names[0]: x}
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"the evidence is {names}, and {missing} is missing; give a mapping of arrays by name")
        return {name: jnp.asarray(as_seen(self.experiment, name, given[name])) for name in names}

    def _repr_html_(self) -> str:
        """Show the run in a notebook: what it is, what was measured, and its first pictures."""
        rows = [f"<tr><td>{html.escape(name)}</td><td>{value:.5g}</td></tr>" for name, value in self.metrics.items()]
        title = f"{self.record.file.path.stem}, after {self.step:,} of {self.config.steps:,} updates"
        options = json.dumps(to_json(self.config), ensure_ascii=False)
        return (
            f"<h4>{html.escape(title)}</h4><p>{html.escape(str(self.inference))} against "
            f"{html.escape(str(self.generative))}<br><code>{html.escape(str(self.directory))}</code></p>"
            f"<table>{''.join(rows)}</table>{''.join(map(_picture, list(self.figures.values())[:4]))}"
            f"<details><summary>config</summary><code>{html.escape(options)}</code></details>"
        )


def _picture(path: Path) -> str:
    import base64

    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" style="max-width: 24em" src="data:image/png;base64,{content}">'

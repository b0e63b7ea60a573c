"""The log of metrics for Weights & Biases."""

from __future__ import annotations

__all__ = ["wandb_log"]

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vifx.checks import require
from vifx.training.event import Event


def wandb_log(directory: str | Path, *, config: Mapping[str, Any] | None = None, **settings: Any) -> _WandbLog:
    """Return an observer of `fit` that logs every metric to Weights & Biases, over updates.

    Whether it is sent is the user's own setting, as for every program that uses ``wandb``: ``WANDB_MODE=offline``
    keeps it in the folder. A resumed run goes on with the same run there, whose number follows from the folder's path.

        training.fit(key, step, objective, source, steps=1000, observe=training.wandb_log("runs/first", project="vae"))

    Args:
      directory: the folder of the run, into which ``wandb/`` goes.
      config: what is shown as the run's config.
      **settings: others of ``wandb.init``, such as ``project``.

    Raises:
      TypeError: if `directory` is not a path or `config` not a mapping.
      ImportError: if wandb is not installed.
    """
    require(directory, (str, Path), "wandb_log: directory", "a path", "give that of the run")
    if config is not None:
        require(config, Mapping, "wandb_log: config", "a mapping", "give options by name")
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        sentence = "wandb_log needs wandb, which is not installed; pip install 'vifx[wandb]'."
        raise ImportError(sentence) from error
    place = Path(directory).resolve()
    own = {
        "dir": str(directory),
        "id": hashlib.sha256(str(place).encode()).hexdigest()[:12],
        "name": place.name,
        "resume": "allow",
        "config": dict(config or {}),
    }
    return _WandbLog(wandb, own | settings)


class _WandbLog:
    def __init__(self, wandb: Any, settings: Mapping[str, Any]) -> None:
        self._wandb, self._settings = wandb, settings
        self._run: Any = None

    def __call__(self, event: Event) -> None:
        if jax.process_index() > 0:
            return
        if event.kind == "start":
            Path(self._settings["dir"]).mkdir(parents=True, exist_ok=True)
            self._run = self._wandb.init(**self._settings)
        elif event.kind == "log":
            values = {name: value for name, value in event.metrics.items() if name != "step"}
            self._run.log(values, step=event.step)
        elif event.kind == "alarm":
            self._run.alert(title="alarm", text=event.message)
        elif event.kind in ("end", "error") and self._run is not None:
            self._run.finish(exit_code=0 if event.kind == "end" else 1)
            self._run = None

"""The processes of a run, as the command sees them: process 0 writes and prints, the others follow."""

from __future__ import annotations

__all__ = ["distributed", "follow", "join", "require_same_run"]

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import jax
from rich.console import Console

import vifx
from vifx.cli.console import output
from vifx.experiment.config import Config
from vifx.experiment.file import ExperimentFile
from vifx.experiment.rules import flat, to_json
from vifx.training import hosts

_OPTION = "--distributed"


def distributed(arguments: Sequence[str]) -> str:
    """Return the value of ``--distributed``, before an experiment file is executed, which may compute.

    >>> distributed(["vae.py", "--distributed=off", "--latent", "8"])
    'off'
    """
    value = "auto"
    for word, after in zip(arguments, [*arguments[1:], ""], strict=bool(arguments)):
        if word == _OPTION:
            value = after
        elif word.startswith(f"{_OPTION}="):
            value = word.partition("=")[2]
    return value


def join(value: str) -> Console:
    """Join the processes that a value of ``--distributed`` or a launcher names, and return where this one prints.

    Raises:
      HostsError: if the others cannot be found.
    """
    joined = hosts.start(distributed=value)
    console = output(quiet=joined.index > 0)
    if joined.launcher:
        console.print(f"{joined}; {jax.device_count()} devices", markup=False)
    return console


def follow(make: Callable[[], Path], purpose: str) -> Path:
    """Return the path that process 0 makes."""
    return Path(hosts.broadcast(lambda: str(make()), purpose))


def require_same_run(file: ExperimentFile, config: Config) -> None:
    """Require that all processes have the same options, experiment file, versions and source of vifx.

    Raises:
      HostsError: if they have not; it names the first difference.
    """
    if jax.process_count() == 1:
        return
    values = {f"--{name}": json.dumps(value) for name, value in flat(to_json(config)).items()}
    values |= {f"version of {name}": metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpyro")}
    values[str(file.path)] = f"a file with SHA-256 {file.digest[:12]}"
    package = Path(str(vifx.__file__)).parent
    for path in sorted(package.rglob("*.py")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        values[f"vifx/{path.relative_to(package)}"] = f"a file with SHA-256 {digest[:12]}"
    fix = "start all with the same options and code, or each by itself with --distributed off"
    hosts.require_same(values, "the start of the command", fix=fix)

"""`vifx compile`: what a training step costs each device of a machine, which need not be there."""

from __future__ import annotations

__all__ = ["compile_command"]

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

_GIVEN = re.compile(r"--topology(?:=(.*))?")
_CPUS = re.compile(r"cpu[:-](\d+)", re.IGNORECASE)


def compile_command(arguments: Sequence[str]) -> None:
    """Compile one training step of an experiment for a topology, and print what it costs each device.

    Raises:
      UsageError: if the experiment cannot be built, or the topology is none.
      Failure: if the step cannot be compiled.
    """
    _before_jax(arguments)
    import_module("vifx.cli.costs").print_costs(arguments)


def _before_jax(arguments: Sequence[str]) -> None:
    """Say how many virtual CPU devices there are, which JAX reads when it is imported; none of another kind is needed.

    A process that has JAX already keeps the devices that it has.
    """
    found = [match for match in map(_GIVEN.fullmatch, arguments) if match]
    if not found or "jax" in sys.modules:
        return
    at = next(index for index, word in enumerate(arguments) if _GIVEN.fullmatch(word))
    name = found[0][1] if found[0][1] is not None else next(iter(arguments[at + 1 :]), "")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the compilers for absent devices warn that they are absent
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")  # several commands may compile; none takes a TPU
    if cpus := _CPUS.fullmatch(name):
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={cpus[1]}".strip()

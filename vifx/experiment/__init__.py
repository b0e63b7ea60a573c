"""Experiments: a config whose annotations are its rules, a file that builds from it, and its run on disk."""

from __future__ import annotations

__all__ = [
    "Config",
    "Experiment",
    "ExperimentFile",
    "Exported",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Rule",
    "export",
    "load",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.experiment.config import Config
    from vifx.experiment.export import Exported, export
    from vifx.experiment.file import Experiment, ExperimentFile, load
    from vifx.experiment.rules import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rule

make_lazy(__name__)

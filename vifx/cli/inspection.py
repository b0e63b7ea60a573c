"""`vifx explain` and `vifx data`: what an experiment means, and what it needs."""

from __future__ import annotations

__all__ = ["explain_command", "prepare_command"]

from collections.abc import Sequence
from dataclasses import replace

from vifx import data
from vifx.checks import ArgumentError
from vifx.cli.console import output
from vifx.cli.file_options import ExplainOptions
from vifx.cli.options import PrepareOptions
from vifx.cli.parse import UsageError
from vifx.cli.prepare import build, mistakes, parse_experiment
from vifx.core.explain import explain
from vifx.experiment.building import run_key
from vifx.training.chunk import first_batch

_NAMED = {"name": "NAME", "source": "--source", "directory": "--directory"}


def explain_command(arguments: Sequence[str]) -> None:
    """Print how an experiment's objective follows from its two joints; of its data only the shapes matter.

    Raises:
      UsageError: if the experiment cannot be built.
    """
    file, config, options = parse_experiment(arguments, "explain", ExplainOptions)
    with mistakes(file, debug=options.debug_checks):
        built = build(file, replace(config, data=config.data.outlined()))
        batch = first_batch(run_key(config), built.source)
        text = explain(built.objective, batch, style="latex" if options.latex else "text")
    output().print(text, markup=False, end="")


def prepare_command(options: PrepareOptions) -> None:
    """Prepare a data set: `vifx data prepare NAME`.

    Raises:
      UsageError: if there is no such data set, or it cannot be prepared.
    """
    with mistakes():
        try:
            folder = data.prepare(data.Config(**vars(options)))
        except ArgumentError as error:
            raise UsageError(error.naming(_NAMED.get(error.field, error.field))) from error
    output().print(f"{options.name} is prepared in {folder}", markup=False)

"""`vifx certify`: log q(x) of test examples from both sides, with what each side rests on."""

from __future__ import annotations

__all__ = ["certify_command"]

import dataclasses

from vifx.checks import ArgumentError
from vifx.cli.console import output
from vifx.cli.options import CertifyOptions, SavedOptions
from vifx.cli.parse import Failure, UsageError
from vifx.cli.prepare import failures
from vifx.cli.runs import reopen
from vifx.experiment.open_run import OpenRun

_NAMED = ("noise", "chains")  # the arguments that are checked once the model is known


def certify_command(options: CertifyOptions) -> None:
    """Print the interval of log q(x), with its sides, its budget and what speaks against it.

    Raises:
      UsageError: if it is not a run that has a checkpoint, it has no data, or an option does not fit its model.
      Failure: if no likelihood of its model can be certified, or the interval is unreliable.
    """
    console = output()
    run, built, train_state = reopen(options, console)
    opened = OpenRun(run, built, train_state)
    if built.splits is None:
        raise UsageError(f"{run.file.path.stem} has no test split, so there are no examples to certify")
    own = {entry.name for entry in dataclasses.fields(SavedOptions)} | {"examples"}
    settings = {name: value for name, value in vars(options).items() if name not in own}
    with failures(run.file, debug=options.debug_checks), console.status("annealing …") as status:
        examples = {name: array[: options.examples] for name, array in opened.examples("test").items()}

        def observe(done: int, whole: int) -> None:
            status.update(f"annealing: {done:,} of {whole:,} examples")

        try:
            found = opened.certify(examples, observe=observe, **settings)
        except ArgumentError as error:
            name = error.name.rpartition(" ")[2]
            if name not in _NAMED:
                raise
            raise UsageError(f"--{name} {error.sentence}") from error
    for line in (line for line in found.lines if not line.startswith("unreliable")):  # which the box says
        console.print(line, markup=False, highlight=False)
    if found.unreliable:
        raise Failure(f"unreliable: {found.unreliable}")

"""`vifx export`: a trained model as one file that plain JAX can run."""

from __future__ import annotations

__all__ = ["export_command"]

from typing import Any

from vifx.checks import ArgumentError
from vifx.cli.console import output
from vifx.cli.options import ExportOptions
from vifx.cli.parse import UsageError
from vifx.cli.prepare import failures
from vifx.cli.runs import reopen
from vifx.experiment.building import run_key
from vifx.experiment.export import export
from vifx.experiment.rules import to_json
from vifx.files import write_whole
from vifx.training.chunk import first_batch


def export_command(options: ExportOptions) -> None:
    """Write what a run can do (draw, encode, say how likely data is) as one file that needs only JAX.

    Raises:
      UsageError: if it is not a run that has a checkpoint, or its model needs a fixed number of examples.
      Failure: if the file cannot be written.
    """
    console = output()
    run, built, train_state = reopen(options, console)
    path = options.out or run.directory / "export.zip"
    table = None if built.splits is None else built.splits.info.standardization
    about = {
        "experiment": run.file.path.stem,
        "title": run.file.doc.partition("\n")[0],
        "inference": str(built.inference),
        "generative": str(built.generative),
        "config": to_json(run.config),
        "config_hash": run.config_hash,
        "step": int(train_state.step),
        "standardization": None if table is None else table._asdict(),
    }
    with failures(run.file, debug=options.debug_checks), console.status("tracing …"):
        batch = first_batch(run_key(run.config), built.source)
        joints = (built.inference, built.generative)
        sizes = {"samples": options.samples, "examples": options.examples, "about": about}
        try:
            exported = export(*joints, train_state.params, train_state.state, batch, **sizes)
        except ArgumentError as error:
            raise UsageError(error.naming(f"--{error.field}")) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, exported.content)
    for name, function in exported.manifest["functions"].items():
        console.print(_signature(name, function), markup=False, highlight=False)
    for name, reason in exported.manifest["left_out"].items():
        console.print(f"no {name}: {reason}", markup=False, highlight=False)
    console.print(
        f"{path}, {len(exported.content):,} bytes, for {', '.join(exported.manifest['platforms'])}", markup=False
    )


def _signature(name: str, function: dict[str, Any]) -> str:
    def listed(arrays: list[dict[str, Any]]) -> str:
        return ", ".join(f"{each['name']} {each['dtype']}[{', '.join(map(str, each['shape']))}]" for each in arrays)

    return f"{name}: {listed(function['inputs'])} → {listed(function['outputs'])}"

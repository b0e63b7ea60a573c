"""`vifx copy`: an experiment that came with vifx, as a file of one's own."""

from __future__ import annotations

__all__ = ["copy_command", "written"]

from pathlib import Path

from vifx.checks import nearest
from vifx.cli.console import output
from vifx.cli.options import CopyOptions
from vifx.cli.parse import UsageError
from vifx.experiment.shipped import shipped_folder


def copy_command(options: CopyOptions) -> None:
    """Write an experiment that came with vifx into the working directory, to be edited: `vifx copy NAME`.

    Raises:
      UsageError: if there is none of this name, or the file is there already.
    """
    shipped = {path.stem: path for path in sorted(shipped_folder().glob("*.py"))}
    name = options.name.removesuffix(".py")
    if name not in shipped:
        hint = nearest(name, shipped) or "; vifx list shows them"
        raise UsageError(f"no experiment of the name {options.name!r} came with vifx{hint}")
    path = options.out or Path(f"{name}.py")
    written(path, shipped[name].read_bytes())
    output().print(f"{path}: edit it, then: vifx train {path}", markup=False)


def written(path: Path, content: bytes) -> None:
    """Write a new file; one that is there is never overwritten.

    Raises:
      UsageError: if it is there already, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{str(path)!r} already exists and is left as it is; give another file with --out") from None
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}; give another file with --out") from error

"""The experiments that come with vifx: where they lie, and how a run records that it is of one of them."""

from __future__ import annotations

__all__ = ["command_name", "recorded_path", "resolved_path", "shipped_folder"]

from pathlib import Path

_PREFIX = "vifx:"


def shipped_folder() -> Path:
    """Return the folder of the experiments that came with vifx.

    In an installed package that is `vifx/shipped/`; in a clone, or an editable install of one, its `experiments/`.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "shipped"
    return inside if inside.is_dir() else package.parent / "experiments"


def recorded_path(path: Path) -> str:
    """Return how the record of a run names its experiment file: absolute, or `vifx:NAME.py` if it came with vifx.

    So a run of a shipped experiment does not depend on where vifx is installed. A relative path means a file of the
    working directory, also where that is a clone.
    """
    if path.is_absolute() and path.parent == shipped_folder():
        return f"{_PREFIX}{path.name}"
    return str(path.resolve())


def resolved_path(recorded: str) -> Path:
    """Return the experiment file that a record names: the inverse of `recorded_path`."""
    if recorded.startswith(_PREFIX):
        return shipped_folder() / Path(recorded.removeprefix(_PREFIX)).name
    return Path(recorded)


def command_name(path: Path) -> str:
    """Return what a file is called on the command line; of a shipped experiment the name alone, if that means it."""
    here = [folder / f"{path.stem}{ending}" for folder in (Path(), Path("experiments")) for ending in ("", ".py")]
    if path.is_absolute() and path.parent == shipped_folder() and not any(each.is_file() for each in here):
        return path.stem
    return str(path)

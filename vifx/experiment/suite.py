"""A benchmark: families of models on one data set, under one budget of time."""

from __future__ import annotations

__all__ = ["Family", "Suite", "read_suite", "suites"]

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vifx.checks import nearest

_SHIPPED = Path(__file__).parent / "suites"
_KEYS = {"title": str, "columns": list, "looks": int, "options": dict, "families": dict}
_LOOKS = 40
_OF_FAMILY = {"experiment": str, "options": dict, "steps": int}


class Family(NamedTuple):
    """One family of models.

    Attributes:
      name: what it is called.
      experiment: the experiment that trains it, a file or the name of one.
      words: the options of the experiment, as `vifx train` takes them.
      steps: the most updates, for what converges before its time is spent; None if the time decides.
    """

    name: str
    experiment: str
    words: Sequence[str]
    steps: int | None

    @property
    def folder(self) -> str:
        """The name of its folder: letters, digits and dashes."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())


class Suite(NamedTuple):
    """What is compared, and by what.

    Attributes:
      name: of its file, without the ending.
      title: a headline.
      columns: names of `COLUMNS`, in order.
      looks: how many times the validation split is looked at within the budget.
      families: what is trained.
    """

    name: str
    title: str
    columns: Sequence[str]
    looks: int
    families: Sequence[Family]


def suites() -> dict[str, str]:
    """Return the benchmarks that come with vifx, by name, with their headlines."""
    return {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for path in sorted(_SHIPPED.glob("*.toml"))
    }


def read_suite(name: str | Path) -> Suite:
    """Read a benchmark: one that comes with vifx, by name, or a TOML file of one's own.

    The file has a ``title``, ``columns``, perhaps the number of ``looks``, ``options`` of all families, such as
    ``"data.name" = "digits"``, and a table ``families`` with, for each, its ``experiment``, its own ``options`` and
    perhaps the most ``steps``.

    Raises:
      FileNotFoundError: if there is no such benchmark; the message has the names that there are.
      ValueError: if the file is not TOML, or has other entries; the message says which.
    """
    from vifx.experiment.comparison import COLUMNS  # not where names are listed: it takes a second

    path = Path(name)
    if not path.is_file():
        path = _SHIPPED / f"{name}.toml"
    if not path.is_file():
        known = [each.stem for each in sorted(_SHIPPED.glob("*.toml"))]
        raise FileNotFoundError(
            f"there is no benchmark {str(name)!r}{nearest(str(name), known)}; give a TOML file, or one of "
            f"{', '.join(known)}"
        )
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    _require(path, "the file", found, _KEYS, needed=("title", "columns", "families"))
    for column in found["columns"]:
        if column not in COLUMNS:
            raise ValueError(
                f"{path}: unknown column {column!r}{nearest(str(column), COLUMNS)}; there are: {', '.join(COLUMNS)}"
            )
    families = [_family(path, name, each, found.get("options", {})) for name, each in found["families"].items()]
    if len({family.folder for family in families}) < len(families) or not all(family.folder for family in families):
        raise ValueError(
            f"{path}: families must have names of letters and digits that differ, got {list(found['families'])}"
        )
    return Suite(path.stem, found["title"], found["columns"], found.get("looks", _LOOKS), families)


def _family(path: Path, name: str, found: Any, common: Mapping[str, Any]) -> Family:
    where = f"families.{name}"
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {where} must be a table with an experiment, got {found!r}")
    _require(path, where, found, _OF_FAMILY, needed=("experiment",))
    options = {**common, **found.get("options", {})}
    words = tuple(word for option, value in options.items() for word in _words(option, value))
    return Family(name, found["experiment"], words, found.get("steps"))


def _words(option: str, value: Any) -> list[str]:
    """Return an option as words: ``--hidden 256 256`` for a list, ``--remat`` or ``--no-remat`` for a choice."""
    if isinstance(value, bool):
        head, dot, tail = option.rpartition(".")
        return [f"--{option}" if value else f"--{head}{dot}no-{tail}"]
    return [f"--{option}", *map(str, value if isinstance(value, list) else [value])]


def _require(
    path: Path, where: str, found: Mapping[str, Any], known: Mapping[str, type], *, needed: Sequence[str]
) -> None:
    for key in needed:
        if key not in found:
            raise ValueError(f"{path}: {where} must have an entry {key!r}, found {', '.join(found) or 'nothing'}")
    for key, value in found.items():
        if key not in known:
            raise ValueError(
                f"{path}: {where} has an unknown entry {key!r}{nearest(key, known)}; there are: {', '.join(known)}"
            )
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise ValueError(f"{path}: {key} of {where} must be a {known[key].__name__}, got {value!r}")

"""A run on disk: `config.json`, `metrics.jsonl`, `checkpoints/`, `figures/`, `report.html`."""

from __future__ import annotations

__all__ = [
    "Extension",
    "Run",
    "Stretch",
    "create",
    "default_directory",
    "environment",
    "extend",
    "open_run",
    "record",
    "reproduction",
    "require_unused",
    "train_command",
]

import fcntl
import hashlib
import json
import platform
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vifx.experiment import file as files
from vifx.experiment.config import Config, identity
from vifx.experiment.file import ExperimentFile
from vifx.experiment.mesh import mesh_of
from vifx.experiment.programs import place_of_programs
from vifx.experiment.revision import git_revision
from vifx.experiment.rules import flat, from_json, to_json
from vifx.experiment.shipped import command_name, recorded_path, resolved_path, shipped_folder
from vifx.files import write_whole

_RECORDED = ("vifx", "jax", "jaxlib", "flax", "optax", "numpyro", "orbax-checkpoint", "numpy")


class Extension(NamedTuple):
    """More updates than a run was started with.

    Attributes:
      at: the update that it went on from.
      before: how many updates the run had in all.
      after: how many it has since.
    """

    at: int
    before: int
    after: int


class Stretch(NamedTuple):
    """Updates that were made in one place.

    Attributes:
      at: the update that it begins after.
      processes: how many there are.
      devices: how many they have, and of which kind.
      mesh: the axes that the examples and the parameters are divided over; None for one device.
    """

    at: int
    processes: int
    devices: str
    mesh: str | None

    @classmethod
    def here(cls, config: Config, *, at: int) -> Stretch:
        """Return the stretch that begins here and now."""
        mesh = mesh_of(config)
        axes = None if mesh is None else ",".join(f"{axis}={size}" for axis, size in mesh.shape.items())
        device = jax.devices()[0]
        devices = f"{1 if mesh is None else mesh.size} × {device.device_kind} ({device.platform})"
        return cls(at, jax.process_count(), devices, axes)


class Run(NamedTuple):
    """One run on disk.

    Attributes:
      directory: where everything of the run lies.
      file: the experiment file that it runs.
      config: its resolved config.
      changed: whether the experiment file has changed since the run was created.
      reads_steps: whether a schedule of the experiment reads `config.steps`, so that another number of them is
        another run from the first update on.
      extensions: by which it came to the steps of its config, in order.
      recorded: the text of its record when it was read.
      stretches: where its updates were made, in order.
    """

    directory: Path
    file: ExperimentFile
    config: Config
    changed: bool = False
    reads_steps: bool = False
    extensions: tuple[Extension, ...] = ()
    recorded: str = ""
    stretches: tuple[Stretch, ...] = ()

    def continued(self, *, at: int) -> Run:
        """Return the run with the stretch that begins here after update `at`, unless it is where the last one was."""
        here = Stretch.here(self.config, at=at)
        before = tuple(stretch for stretch in self.stretches if stretch.at < at)
        if before and before[-1]._replace(at=at) == here:
            return self._replace(stretches=before)
        return self._replace(stretches=(*before, here))

    @property
    def started(self) -> Config:
        """The config that a run of these first updates is started with."""
        first = self.extensions[0].before if self.extensions and self.reads_steps else self.config.steps
        return replace(self.config, steps=first)

    @property
    def identity(self) -> str:
        """What its checkpoints carry: that of the run as it was started."""
        return identity(self.started, steps=self.reads_steps)

    @property
    def config_hash(self) -> str:
        """What identifies the updates that it makes; where schedules read `steps`, its extensions count."""
        if not (self.extensions and self.reads_steps):
            return self.identity
        return hashlib.sha256(json.dumps([self.identity, self.extensions]).encode()).hexdigest()[:16]

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.directory / "checkpoints"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.directory / "figures"

    @property
    def report(self) -> Path:
        """The report, one self-contained HTML page."""
        return self.directory / "report.html"

    @property
    def record(self) -> Path:
        """The resolved config with what it ran on, as JSON."""
        return self.directory / "config.json"


def default_directory(file: ExperimentFile) -> Path:
    """Return `runs/<experiment>-<date>-<time>`, with a number behind it if that is taken."""
    base = Path("runs") / f"{file.path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (base, *(base.with_name(f"{base.name}-{n}") for n in range(2, 1000)))
    return next(directory for directory in candidates if not directory.exists())


def environment(file: ExperimentFile) -> dict[str, Any]:
    """Return what a run depends on besides its config: versions, git revision, and where compiled programs are kept."""
    return {
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _RECORDED},
        "git_revision": git_revision(file.path.resolve().parent),
        "compiled_programs": str(place_of_programs() or "nowhere"),
    }


def require_unused(directory: Path, *, but: str = "") -> None:
    """Refuse a directory that holds anything, but for a file of this name.

    Raises:
      FileExistsError: if it does; the message has the command that resumes the run in it.
    """
    if directory.is_dir() and all(path.name == but for path in directory.iterdir()):
        return
    if (directory / "config.json").is_file():
        raise FileExistsError(
            f"{str(directory)!r} already holds a run; continue it with: vifx resume {shlex.quote(str(directory))}"
        )
    if directory.exists():
        raise FileExistsError(f"{str(directory)!r} is not empty; give a new directory with --run")


def create(run: Run) -> None:
    """Make the directory of a run, new or empty, and write its `config.json`; of several processes, one does.

    Raises:
      FileExistsError: if the directory is in use; the message has the command that resumes it.
      OSError: if it cannot be written.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    claim = run.directory / ".claim"
    with claim.open("wb") as held:  # the lock of a process that is killed ends with it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(
                f"another process is creating a run in {str(run.directory)!r}; give another directory with --run"
            ) from None
        try:
            require_unused(run.directory, but=claim.name)
            record(run)
        finally:
            claim.unlink(missing_ok=True)


def open_run(directory: str | Path, *, trust: bool = False, tell: Callable[[str], None] | None = None) -> Run:
    """Read a run directory back: its config, and its experiment file, which is run.

    A `config.json` says itself which file that is. So unless `trust` says that it may be any, it must lie in the run or
    in the working directory or have come with vifx, and have the recorded SHA-256; both are looked at before it is run.

    Args:
      trust: run whatever file the record names, as it is now.

    Raises:
      FileNotFoundError: if it is not a run directory, or its experiment file is gone.
      ValueError: if `config.json` is damaged or was edited since the run was created, or the file is not trusted.
    """
    directory = Path(directory)
    record_path = directory / "config.json"
    if not record_path.is_file():
        raise FileNotFoundError(f"{str(directory)!r} is not a run directory: it has no config.json")
    try:
        text = record_path.read_text(encoding="utf-8")
        found = json.loads(text)
        path, digest = resolved_path(found["experiment"]["file"]), found["experiment"]["sha256"]
        tree, recorded_hash = found["config"], found["config_hash"]
        reads_steps = found["schedules_read_steps"]
        extensions = tuple(Extension(**extension) for extension in found["extensions"])
        stretches = tuple(Stretch(**stretch) for stretch in found["stretches"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record_path}: not the config of a run: {files.describe(error)}") from error
    if not isinstance(tree, dict):
        found = json.dumps(tree)
        raise ValueError(f"{record_path}: not the config of a run: its config must be an object, found {found}")
    path, source = files.read(path)
    changed = hashlib.sha256(source).hexdigest() != digest
    if not trust:
        _require_trusted(directory, path, changed)
    if tell is not None:
        tell(f"runs {path.resolve()}, {'changed since' if changed else 'as when'} the run was started")
    file = files.load(path, source)
    config = from_json(file.config, tree)
    run = Run(directory, file, config, changed, reads_steps, extensions, text, stretches)
    if run.config_hash != recorded_hash:
        raise ValueError(
            f"{record_path}: this config is not the one that the run was started with "
            f"(hash {run.config_hash}, expected {recorded_hash}); "
            "restore it, or start a new run with `vifx train`"
        )
    return run


def _require_trusted(directory: Path, path: Path, changed: bool) -> None:
    remedy = "look at it first; --trust runs it all the same"
    places = (directory.resolve(), Path.cwd(), shipped_folder())
    if not any(path.resolve().is_relative_to(place) for place in places):
        raise ValueError(
            f"{path.resolve()}, which the record of this run names, lies neither in the run nor in the "
            f"working directory; {remedy}"
        )
    if changed:
        raise ValueError(
            f"{path} has changed since the run was started: it does not have the SHA-256 that was "
            f"recorded; restore it, or {remedy}"
        )


def extend(run: Run, steps: int, *, at: int) -> Run:
    """Return the run with more `steps` to make; `record` writes it down.

    Raises:
      ValueError: if it already goes further.
    """
    if steps < run.config.steps:
        raise ValueError(f"--steps can only extend a run: it goes to {run.config.steps}; got {steps}")
    if steps == run.config.steps:
        return run
    extension = Extension(at, run.config.steps, steps)
    return run._replace(config=replace(run.config, steps=steps), extensions=(*run.extensions, extension))


def record(run: Run) -> None:
    """Write a run's `config.json`: its config, and what it runs on."""
    content = {
        "command": train_command(run),
        "experiment": {"file": recorded_path(run.file.path), "sha256": run.file.digest},
        "config": to_json(run.config),
        "config_hash": run.config_hash,
        "schedules_read_steps": run.reads_steps,
        "extensions": [extension._asdict() for extension in run.extensions],
        "stretches": [stretch._asdict() for stretch in run.stretches],
        **environment(run.file),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(run.record, text.encode())


def reproduction(run: Run) -> list[list[str]]:
    """Return the command lines that reproduce a run in a directory `RUN`, those of its extensions included.

    Where no schedule reads `steps`, the longer run is the extended one, and one command makes it.
    """
    first = train_command(run)
    if not (run.reads_steps and run.extensions):
        return [first]
    resumed = [
        ["vifx", "resume", "RUN", "--steps", str(after), "--from-step", str(at), "--change-schedule"]
        for at, _, after in run.extensions
    ]
    return [[*first, "--run", "RUN"], *resumed]


def train_command(run: Run) -> list[str]:
    """Return the command line that starts a run: the options that differ from the defaults."""
    default, mine = flat(to_json(run.file.config())), flat(to_json(run.started))
    options = [word for name, value in mine.items() if value != default[name] for word in _option(name, value)]
    return ["vifx", "train", command_name(run.file.path), *options]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        head, dot, tail = name.rpartition(".")
        return [f"--{name}" if value else f"--{head}{dot}no-{tail}"]
    return [f"--{name}", *map(str, value if isinstance(value, list) else [value])]

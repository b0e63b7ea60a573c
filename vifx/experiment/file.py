"""An experiment file: a frozen `Config` and one function `build(config) -> Experiment`."""

from __future__ import annotations

__all__ = ["Experiment", "ExperimentFile", "describe", "find", "load", "location", "read"]

import dataclasses
import difflib
import hashlib
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from vifx import data
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Key, Params, State
from vifx.evaluation.measure import Drawing, Measure, unmeasured
from vifx.experiment.config import Config
from vifx.experiment.shipped import shipped_folder
from vifx.training import Alarm, Step, Stop
from vifx.training.alarm import require_alarms

if TYPE_CHECKING:
    from vifx.reading import Answer, Question


@dataclass(frozen=True)
class Experiment:
    """What `build(config)` returns: everything that a run needs, and nothing that has run.

    Attributes:
      objective: what is minimized, by whom.
      step: the training step.
      source: where minibatches come from.
      splits: the train, validation and test arrays; None without data.
      inference: the inference joint.
      generative: the generative joint; `vifx sample` draws from it.
      monitor: `(key, params, state) -> {name: value}` on the validation split, during training. That of a split
        without examples, `unmeasured`, becomes None, and `best`, `stop` and alarms on what it would measure are left
        out.
      evaluate: `(key, params, state) -> {name: value}` on the test split, at the end.
      drawings: figures by file name, each `(key, params, state) -> Figure`.
      sample: `(key, params, state, n, temperature) -> images` in [0, 1], `[n, height, width, channels]`.
      answer: `(params, state, question) -> answers`, the best first; `vifx answer` asks it.
      best: the monitored metric whose smallest value marks the checkpoint to keep ("-name": largest).
      monotone: the name of a metric of the step that never falls; a run in which it does stops with an error.
      stop: a rule on the log that ends the run before `config.steps`, such as
        ``training.patience("validation/loss", evaluations=5)``; the command says why it ended.
      alarms: rules on the log of metrics; the command says when one goes off, and training goes on.
      curves: figures of metrics over updates: by file name, names of metrics or patterns such as
        ``"validation/*"``. Each metric gets a panel; one that the log does not have is left out.

    Raises:
      TypeError: if `alarms` holds something else, or the metrics of a figure are one text.
      ValueError: if a figure of `curves` has the name of another one.
    """

    objective: Objective
    step: Step
    source: Any
    splits: data.Dataset | None
    inference: Joint
    generative: Joint
    monitor: Measure | None = None
    evaluate: Measure | None = None
    drawings: Mapping[str, Drawing] = field(default_factory=dict)
    sample: Callable[[Key, Params, State, int, float], NDArray[Any]] | None = None
    answer: Callable[[Params, State, Question], Sequence[Answer]] | None = None
    best: str | None = None
    monotone: str | None = None
    stop: Stop | None = None
    alarms: Sequence[Alarm] = ()
    curves: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_alarms(self.alarms)
        if self.monitor is unmeasured:
            self._without_monitor()
        for name, metrics in self.curves.items():
            if isinstance(metrics, str):
                raise TypeError(f"curves[{name!r}] must be a sequence of metrics, got {metrics!r}; use [{metrics!r}]")
            if name in self.drawings or name in ("loss", "bound"):
                raise ValueError(f"curves[{name!r}] has the name of another figure of the run; rename it")

    def _without_monitor(self) -> None:
        object.__setattr__(self, "monitor", None)
        object.__setattr__(self, "alarms", [a for a in self.alarms if not a.metric.startswith("validation/")])
        if self.best is not None and self.best.removeprefix("-").startswith("validation/"):
            object.__setattr__(self, "best", None)
        if self.stop is not None and self.stop.metric.startswith("validation/"):
            object.__setattr__(self, "stop", None)


class ExperimentFile(NamedTuple):
    """An experiment file, loaded.

    Attributes:
      path: where it is.
      doc: its docstring.
      config: its `Config` class.
      build: its `build`.
      digest: SHA-256 of its content.
    """

    path: Path
    doc: str
    config: type[Config]
    build: Callable[[Any], Experiment]
    digest: str


def find(name: str | Path) -> Path:
    """Return the experiment file that a name means.

    It is the first that there is of: the name as a path, the same with `.py`, these in `experiments/` of the working
    directory, and the experiment of this name that came with vifx. If there is none, it is the name as a path.
    """
    path = Path(name)
    named = [path, path.with_name(f"{path.name}.py")] if path.name else [path]
    folders = [Path("experiments"), shipped_folder()] if path.name == str(path) else []
    candidates = (*named, *(folder / each for folder in folders for each in named))
    return next((each for each in candidates if each.is_file()), path)


def read(path: str | Path) -> tuple[Path, bytes]:
    """Return an experiment file's path and content, without running it.

    Raises:
      FileNotFoundError: if there is no such file; the message names the nearest one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"experiment file {str(path)!r} does not exist{_nearest_file(path)}")
    return path, path.read_bytes()


def load(path: str | Path, source: bytes | None = None) -> ExperimentFile:
    """Import an experiment file by its path, which runs it.

    Args:
      path: where it is.
      source: its content as `read` returned it, if it was looked at before.

    Raises:
      FileNotFoundError: if there is no such file; the message names the nearest one.
      ValueError: if the file cannot be imported (with file and line), or lacks `Config` or `build`.
    """
    path, source = read(path) if source is None else (Path(path), source)
    name = f"vifx_experiment_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{location(error, path)}: cannot import this experiment: {describe(error)}") from error
    config: Any = getattr(module, "Config", None)
    build: Any = getattr(module, "build", None)
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise ValueError(
            f"{path}: an experiment needs a frozen dataclass `class Config(experiment.Config)`; "
            f"found {'no Config' if config is None else repr(config)}"
        )
    _require_fields(path, config)
    if not callable(build):
        raise ValueError(f"{path}: an experiment needs a function `build(config) -> Experiment`; found none")
    return ExperimentFile(
        path, (module.__doc__ or "").strip(), config, module.build, hashlib.sha256(source).hexdigest()
    )


def _require_fields(path: Path, config: type[Config]) -> None:
    """Refuse a config class whose own annotations are not fields, or have no meaning."""
    if config is not Config and "__dataclass_fields__" not in vars(config):
        raise ValueError(
            f"{path}: Config is not a dataclass of its own, so its fields are not options; write "
            "@dataclass(frozen=True) above it"
        )
    for entry in dataclasses.fields(config):
        owner = next(cls for cls in config.__mro__ if entry.name in vars(cls).get("__annotations__", {}))
        hint = types.SimpleNamespace(__annotations__={entry.name: owner.__annotations__[entry.name]})
        try:
            typing.get_type_hints(hint, vars(sys.modules[owner.__module__]))
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            raise ValueError(
                f"{path}: the annotation of Config.{entry.name}, {entry.type!r}, has no meaning ({describe(error)}); "
                "import what it names, or correct it"
            ) from error


def describe(error: BaseException) -> str:
    """Return an error's message, with its type where the message alone does not say what is wrong."""
    text = str(error).strip()
    if isinstance(error, SyntaxError):
        text = f"invalid syntax: {error.msg}"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, SystemExit):
        text = f"it calls sys.exit({error.code!r}), which only a command may"
    elif isinstance(error, KeyError | AttributeError | NameError | ImportError) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text


def location(error: BaseException, path: Path) -> str:
    """Return "file:line" of the innermost frame of `error` in the file `path`, or nothing if there is none."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else ""


def _nearest_file(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    shown = {p.stem: p.stem for p in shipped_folder().glob("*.py")}
    shown |= {p.stem: str(p) for p in (*Path("experiments").glob("*.py"), *folder.glob("*.py"))}
    near = difflib.get_close_matches(path.stem, shown, 1)
    return f"; did you mean {shown[near[0]]!r}?" if near else ""

"""What the command shows: boxes and a progress bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

__all__ = [
    "alarm_line",
    "aligned",
    "boxed",
    "discard_output",
    "output",
    "plain_warnings",
    "require_output",
    "stop_line",
    "watch",
]

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from vifx.cli.parse import Failure
from vifx.training.progress_line import Pace, main_metrics

if TYPE_CHECKING:
    from vifx.training import Event


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Let `main` end the command; rich would exit with 1."""
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        """Print at once, and say of an error that it is the output's."""
        with _blaming_output():
            super().print(*objects, **options)
            self.file.flush()

    def __exit__(self, *exception: Any) -> None:
        """Write what was held back, and say of an error that it is the output's."""
        with _blaming_output():
            super().__exit__(*exception)


@contextlib.contextmanager
def _blaming_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"standard output cannot be written ({error.strerror}); send it elsewhere") from error


def require_output() -> None:
    """Require standard output, and see that no file which is opened takes the number of a closed standard stream.

    Else what a library prints would go into that file.

    Raises:
      Failure: if standard output is closed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    if sys.stdout is None:
        raise Failure("standard output is closed; send it somewhere, for instance with >/dev/null")


def discard_output() -> None:
    """Send what Python still holds for a standard output that is gone or full nowhere, or it complains at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def output(*, quiet: bool = False) -> Console:
    """Return a console for results: standard output, without colour in a pipe; a quiet one shows nothing."""
    return _Output(file=sys.stdout, highlight=False, soft_wrap=True, emoji=False, quiet=quiet)  # :train: is no picture


def boxed(message: str, *, title: str = "error", style: str = "red") -> None:
    """Show a message on standard error: in a box on a terminal, else as one line, "title: message"."""
    if sys.stderr is None:  # closed, so nobody would read the message
        return
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:  # wrapped lines would break paths and commands
        print(f"{title}: {' '.join(message.splitlines())}", file=sys.stderr)
        return
    console.print(Panel(Text(message), title=title, title_align="left", border_style=style, expand=False))


def alarm_line(step: int, message: str) -> str:
    """Return what an alarm says, behind the update at which it went off.

    >>> alarm_line(3000, "critic/accuracy above 0.99")
    'update 3,000: critic/accuracy above 0.99'
    """
    return f"update {step:,}: {message}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as lines with columns of one width, the first to the left and the others to the right.

    >>> print(aligned([["metric", "best"], ["fmd", "12.5"]]))
    metric  best
    fmd     12.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def stop_line(step: int, reason: str) -> str:
    """Return the line that says why a run ended before its last update.

    >>> stop_line(1200, "objective gained 4e-06 an update, less than 1e-05")
    'stopped after update 1,200: objective gained 4e-06 an update, less than 1e-05'
    """
    return f"stopped after update {step:,}: {reason}"


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show each warning inside as one line on standard error, "warning: message", without a place in the source."""

    def show(
        message: Warning | str,
        _category: type[Warning],
        _filename: str,
        _lineno: int,
        file: TextIO | None = None,
        _line: str | None = None,
    ) -> None:
        stream = sys.stderr if file is None else file
        if stream is not None:
            print(f"warning: {' '.join(str(message).split())}", file=stream)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def watch(console: Console, own: Sequence[str] = ()) -> Iterator[Callable[[Event], None]]:
    """Show training as it goes: a bar on a terminal, a line a log in a pipe; yields `fit`'s observer.

    Args:
      own: names or patterns of the metrics that the experiment names, the one of the best checkpoint first.
    """
    pace = Pace()
    if not console.is_terminal:
        yield lambda event: _plain(console, pace, event, own)
        return
    narrow = console.width < 100
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=12 if narrow else 24),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[metrics]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        TextColumn("[dim]{task.fields[pace]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console, transient=False, expand=True) as bar:
        task = bar.add_task("", total=None, metrics="compiling …", pace="")

        def show(event: Event) -> None:
            if event.kind == "log":
                pace.add(event)
                bar.update(task, metrics=main_metrics(event.metrics, own), pace=pace.describe(event, brief=narrow))
            elif event.kind == "alarm":
                console.print(alarm_line(event.step, event.message), markup=False, style="yellow")
            elif event.kind == "end" and event.message:
                console.print(stop_line(event.step, event.message), markup=False)
            elif event.kind == "start" and event.step == event.steps:
                bar.update(task, metrics="already done")
            bar.update(task, total=event.steps, completed=event.step)

        yield show


def _plain(console: Console, pace: Pace, event: Event, own: Sequence[str]) -> None:
    if event.kind == "log":
        pace.add(event)
        width = len(f"{event.steps:,}")
        line = (
            f"step {event.step:>{width},}/{event.steps:,}  {main_metrics(event.metrics, own)}  {pace.describe(event)}"
        )
    elif event.kind == "alarm":
        line = alarm_line(event.step, event.message)
    elif event.kind == "end" and event.message:
        line = stop_line(event.step, event.message)
    else:
        return
    console.print(line.rstrip(), markup=False)

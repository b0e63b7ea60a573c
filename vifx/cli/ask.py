"""`vifx answer`: answer the user's question from the user's passages."""

from __future__ import annotations

__all__ = ["answer"]

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vifx.cli.console import output
from vifx.cli.options import AnswerOptions
from vifx.cli.parse import UsageError
from vifx.cli.prepare import failures
from vifx.cli.runs import reopen
from vifx.reading import Answer, Passage, Question


def answer(options: AnswerOptions) -> None:
    """Print the answers of a trained reader with their scores, and the passages with the answers marked.

    Raises:
      UsageError: if the question or a passage is empty or cannot be read, it is not a run that has a checkpoint, or the
        experiment does not answer questions.
    """
    if not options.question.strip():
        raise UsageError("--question must be a question, got an empty text")
    if not options.passages:
        raise UsageError("--passages must be at least one text file, got none")
    passages = tuple(Passage(_passage(path)) for path in options.passages)
    console = output()
    run, built, train_state = reopen(options, Console(stderr=True) if options.json else console)
    if built.answer is None:
        raise UsageError(f"{run.file.path}: this experiment has no `answer`, so it answers no questions")
    question = Question("asked", options.question, passages)
    with failures(run.file, debug=options.debug_checks):
        found = list(built.answer(train_state.params, train_state.state, question))[: options.best]
    if options.json:
        rows = [dataclasses.asdict(each) for each in found]
        console.print(json.dumps({"question": options.question, "answers": rows}, ensure_ascii=False), soft_wrap=True)
        return
    _print(found, options.passages, passages, console)


def _print(found: Sequence[Answer], paths: Sequence[Path], passages: Sequence[Passage], console: Console) -> None:
    console.print()
    if not found:
        console.print("no answer: no piece of the passages reaches the threshold", markup=False)
    for rank, each in enumerate(found, start=1):
        console.print(f"{rank}. {each.text}  (score {each.score:.3f})", markup=False, style="bold" if rank == 1 else "")
    best = {place.passage: place for place in found[0].places} if found else {}
    for i, (path, passage) in enumerate(zip(paths, passages, strict=True)):
        place = best.get(i)
        score = f"{place.score:.3f}" if place else "no answer"
        console.print(f"\n{path} ({score})", markup=False, style="dim")
        text = passage.text.rstrip()
        if place is None:
            console.print(Text(text))
        else:
            marked = Text.assemble(text[: place.start], ("⟦", "bold"), (text[place.start : place.end], "bold green"))
            console.print(marked.append("⟧", "bold").append(text[place.end :]))


def _passage(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--passages must be text files, one a passage: {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--passages must be text files in UTF-8: {path} ({error.reason}); convert it") from error
    if not text.strip():
        raise UsageError(f"--passages must be texts, and {path} is empty; leave it out")
    return text

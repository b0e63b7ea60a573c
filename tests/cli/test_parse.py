"""Parsing: values arrive as they were given, and mistakes name the nearest spelling."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tyro

from vifx.cli import parse as module
from vifx.cli.parse import UsageError, nearest, option_names, parse
from vifx.training.progress_line import duration


@dataclass(frozen=True)
class Inner:
    """Inside."""

    name: str = "a"
    count: int = 1


@dataclass(frozen=True)
class Outer:
    """Outside."""

    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    kind: Literal["round", "square"] = "round"
    place: Path | None = None
    fast: bool = False
    inner: Inner = field(default_factory=Inner)
    last: int | None = None
    least: float | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, got {self.rate}")


@dataclass(frozen=True)
class Place:
    """An argument without an option."""

    row: tyro.conf.Positional[int]


def read(*arguments: str) -> Outer:
    return parse(Outer, arguments, prog="prog", description="")


def test_values_arrive():
    assert read() == Outer()
    found = read("--rate", "2e-3", "--sizes", "3", "4", "5", "--place", "a b/ü", "--fast", "--inner.count", "7")
    assert found == Outer(0.002, (3, 4, 5), "round", Path("a b/ü"), True, Inner("a", 7))
    assert read("--kind=square").kind == "square"
    assert read("--place", "None").place is None


MISTAKES = [
    (["--rat", "1"], "unknown option '--rat'; did you mean '--rate'?"),
    (["--count", "1"], "unknown option '--count'; did you mean '--inner.count'?"),
    (["--zzzzzz"], "unknown option '--zzzzzz' (see"),
    (["word"], "unexpected argument 'word' (see"),
    (["--rate", "x"], "--rate: expected a number; got 'x' (see"),
    (["--inner.count", "1.0"], "--inner.count: expected an integer; got '1.0' (see"),
    (["--sizes", "1", "b"], "--sizes: cannot read '1', 'b' (see"),
    (["--last", "b"], "--last: expected an integer or None; got 'b' (see"),
    (["--least", "b"], "--least: expected a number or None; got 'b' (see"),
    (["--kind", "sqare"], "--kind must be one of round, square; got 'sqare'; did you mean 'square'? (see"),
    (["--rate"], "--rate needs a value (see"),
    (["--rate", "-1"], "rate must not be negative, got -1.0 (see"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(arguments, message):
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("(see prog --help)")


def test_every_rewording_is_of_words_that_tyro_has(monkeypatch):
    """Where a version of tyro says a mistake in other words, ours would silently be lost."""
    said, reworded = [], module._reworded
    monkeypatch.setattr(module, "_reworded", lambda message: said.append(message) or reworded(message))
    for arguments, _ in [*MISTAKES, ([], "")]:
        with contextlib.suppress(UsageError):
            read(*arguments)
    with contextlib.suppress(UsageError):
        parse(Place, ["x"], prog="prog", description="")
    for pattern in (module._CHOICE, *(pattern for pattern, _ in module._REWORDED)):
        assert any(pattern.search(message) for message in said), (pattern.pattern, said)


def test_option_names():
    assert list(option_names(Outer)) == [
        *("--rate", "--sizes", "--kind", "--place", "--fast", "--inner.name", "--inner.count", "--last", "--least"),
    ]
    assert nearest("trian", ["train", "resume"]) == "; did you mean 'train'?"
    assert nearest("xyz", ["train", "resume"]) == ""


def test_duration():
    assert [duration(s) for s in (0, 7.4, 61, 3600, 86399)] == ["0:00", "0:07", "1:01", "1:00:00", "23:59:59"]

"""Text as windows of characters: the docstrings of Python's standard library, or a file."""

from __future__ import annotations

__all__ = ["Alphabet", "alphabet", "read_text", "spelled", "standard_library"]

import ast
import hashlib
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vifx.checks import ArgumentError, require, require_array, require_integer
from vifx.data.data_config import check_validation
from vifx.data.dataset import Dataset, Info

LENGTH = 64
"""Characters in a window."""
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Alphabet(NamedTuple):
    """The characters that a model knows: `alphabet` makes it.

    Attributes:
      characters: the characters by their index; the first stands for all that are not in the alphabet.

    Example:
      >>> import numpy as np
      >>> letters = Alphabet("�ab")
      >>> letters.project(np.array([[98, 97, 120]])).tolist()
      [[2, 1, 0]]
      >>> letters.restore(np.array([[2, 1]]))
      ['ba']
    """

    characters: str

    def project(self, codes: np.ndarray) -> np.ndarray:
        """Return code points of any shape as indices, int32; 0 for a character that is not in the alphabet."""
        order = np.argsort(np.array([ord(character) for character in self.characters[1:]], np.int32))
        known = np.array([ord(character) for character in self.characters[1:]], np.int32)[order]
        place = np.clip(np.searchsorted(known, codes), 0, len(known) - 1)
        return np.where(known[place] == codes, order[place] + 1, 0).astype(np.int32)

    def restore(self, indices: np.ndarray) -> list[str]:
        """Return rows of indices ``[examples, length]`` as texts."""
        return ["".join(self.characters[index] for index in row) for row in np.asarray(indices)]


def alphabet(codes: np.ndarray, *, least: int = 10) -> Alphabet:
    """Return the characters that occur often enough in a text, the most frequent first, behind the unknown one.

    Args:
      codes: code points, integers of any shape, of the training split.
      least: how often a character must occur.

    Raises:
      TypeError: if `codes` is not an array of integers, or `least` not an integer.
      ValueError: if no character occurs so often.

    >>> letters = alphabet(np.array([[97, 98, 97, 99]]), least=1)
    >>> letters.project(np.array([97, 120])).tolist(), letters.restore(np.array([[1, 0]]))
    ([1, 0], ['a\ufffd'])
    """
    codes = np.asarray(require_array(codes, "alphabet: codes"))
    if codes.dtype.kind not in "iu":
        raise TypeError(
            f"alphabet: codes must be code points as integers, got {codes.dtype}; give x of the data 'text'"
        )
    require_integer(least, "alphabet: least")
    found, counts = np.unique(codes, return_counts=True)
    enough = counts >= least
    if not enough.any():
        raise ValueError(f"alphabet: no character occurs least={least} times; give more text, or a smaller number")
    order = np.lexsort((found[enough], -counts[enough]))
    return Alphabet(_UNKNOWN + "".join(map(chr, found[enough][order])))


def spelled(splits: Dataset, letters: Alphabet) -> Dataset:
    """Return a text's code points ``x`` as indices of an alphabet, the test windows in a random order.

    So the first of them are from the whole stretch of the text.

    Args:
      splits: windows of code points.
      letters: the alphabet.

    Raises:
      TypeError: if `splits` is not a dataset, or `letters` not an alphabet.
    """
    require(splits, Dataset, "spelled: splits", "a dataset", "give that of load(Config('text'))")
    require(letters, Alphabet, "spelled: letters", "an Alphabet", "make one with alphabet(splits.train['x'])")
    train, validation, test = (
        {**split, "x": letters.project(split["x"])} for split in (splits.train, splits.validation, splits.test)
    )
    order = np.random.RandomState(0).permutation(len(test["x"]))
    test = {name: array[order] for name, array in test.items()}
    return Dataset(train, validation, test, replace(splits.info, high=len(letters.characters) - 1))


def read_text(source: str | None, *, validation: int | float, test: int | float) -> Dataset:
    """Return a text as windows of 64 characters, one after the other, the remainder left out.

    ``x`` has code points, int32 ``[examples, 64]``; every run of spaces and line ends is one space. The splits are
    stretches of the text: first the training split, then validation, last the test. Windows chosen at random
    would have their neighbours in the training split, and much of a text is said again nearby.

    Args:
      source: a text file in UTF-8; None for the docstrings of the standard library (see `standard_library`).
      validation: how much of the rest is held out for validation, a fraction below 1 or a number of windows.

    Raises:
      ValueError: if there is no such file, it is not a text in UTF-8 or is shorter than two windows, or nothing is left
        to train on.
    """
    text = standard_library() if source is None else _file(source)
    if len(text) < 2 * LENGTH:
        sentence = f"must be a text of at least {2 * LENGTH} characters, got {len(text)} in {source!r}"
        raise ArgumentError("source", sentence, value=source)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.int32)
    x = codes[: len(codes) // LENGTH * LENGTH].reshape(-1, LENGTH)
    rest, tested = _end(x, test, "test")
    train, held = _end(rest, validation, "validation")
    what = "docstrings of the standard library of this Python" if source is None else Path(source).name
    note = f"{len(codes):,} characters, {what}"
    return Dataset({"x": train}, {"x": held}, {"x": tested}, Info("text", (LENGTH,), None, 0, 0x10FFFF, (), (note,)))


def standard_library() -> str:
    """Return the docstrings of the modules of Python's standard library, each once, one space between any two.

    They are those of the modules, classes and functions of the files ``*.py`` that lie directly in the library's folder
    and whose name has no underscore in front; nothing is imported. They come in the order of their SHA-256, so that
    every stretch of the text has docstrings of all modules. The text is a function of the Python version: 3.11 has some
    750,000 characters, and its modules are not those of 3.13.

    Raises:
      ValueError: if this Python has no such files.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    found: set[str] = set()
    for path in sorted(folder.glob("[!_]*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(_spaced(ast.get_docstring(node, clean=False) or ""))
    found.discard("")
    if not found:
        raise ValueError(
            f"{folder}: expected the modules of the standard library, found none; give a text file (source)"
        )
    return " ".join(sorted(found, key=lambda each: hashlib.sha256(each.encode()).digest()))


def _end(x: np.ndarray, share: int | float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows without the last ones, and the last ones."""
    check_validation(share, name=name)
    count = int(share * len(x) + 0.5) if isinstance(share, float) else share
    if count >= len(x):
        raise ArgumentError(name, f"must leave windows to train on, got {share} of {len(x)}; lower it", value=share)
    return x[: len(x) - count], x[len(x) - count :]


def _file(source: str) -> str:
    path = Path(source).expanduser()
    if not path.is_file():
        raise ArgumentError("source", f"must be a text file, got {source!r}, which is not one", value=source)
    try:
        return _spaced(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ArgumentError(
            "source", f"must be a text file in UTF-8, got {source!r} ({error})", value=source
        ) from error


def _spaced(text: str) -> str:
    return " ".join(text.split())

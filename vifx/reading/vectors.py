"""Word vectors from a text file of word2vec's format."""

from __future__ import annotations

__all__ = ["Vectors", "read_vectors"]

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vifx.reading.tokens import normalized
from vifx.reading.vocabulary import Vocabulary


class Vectors(NamedTuple):
    """A vector for every id of a vocabulary.

    Attributes:
      array: float32 ``[ids, dimensions]``; zero for padding, for the unknown token and for words that the file lacks.
      found: how many words of the vocabulary the file has.
    """

    array: NDArray[np.float32]
    found: int


def read_vectors(path: str | Path, vocabulary: Vocabulary) -> Vectors:
    """Read the vectors of the words of a vocabulary from a text file.

    Each line is a word and its numbers, separated by spaces, as word2vec, GloVe and fastText write them; a first line
    ``words dimensions`` is skipped. Words are compared as `normalized`, and the first line of a word counts.

    Args:
      path: the file, in UTF-8.
      vocabulary: the vocabulary whose words are read; the rest of the file is skipped.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a line has another number of dimensions, something else than a finite number, or is not UTF-8 (with
        file and line), or no word of the vocabulary is found.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a text file of word vectors, found none; give another path")
    array: NDArray[np.float32] | None = None
    seen: set[str] = set()
    with path.open(encoding="utf-8", errors="strict") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, start=1):
                word, *numbers = line.rstrip("\n").rstrip(" ").split(" ")
                if number == 1 and len(numbers) == 1 and word.isdigit() and numbers[0].isdigit():
                    continue
                array = np.zeros((len(vocabulary), len(numbers)), np.float32) if array is None else array
                if len(numbers) != array.shape[1] or not numbers:
                    expected = f"a word and {array.shape[1]} numbers" if array.shape[1] else "a word and its numbers"
                    raise ValueError(f"{path}, line {number}: expected {expected}, found {len(numbers)} after {word!r}")
                name = normalized(word)
                if name in seen or name not in vocabulary:
                    continue
                seen.add(name)
                array[vocabulary.ids([name])[0]] = _numbers(numbers, path, number)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number + 1}: expected UTF-8, found {error.reason}; convert it") from error
    if array is None or not seen:
        known = f"the {len(vocabulary) - 2} words of the vocabulary"
        raise ValueError(f"{path}: expected vectors of {known}, found none of them; give another file")
    return Vectors(array, len(seen))


def _numbers(texts: list[str], path: Path, line: int) -> NDArray[np.float32]:
    try:
        found = np.array(texts, np.float32)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}; expected numbers after the word") from error
    if not np.isfinite(found).all():
        wrong = texts[int(np.argmin(np.isfinite(found)))]
        raise ValueError(f"{path}, line {line}: expected finite numbers, found {wrong}")
    return found

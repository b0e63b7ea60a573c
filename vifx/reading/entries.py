"""JSON files, whose mistakes are reported with file, line and field."""

from __future__ import annotations

__all__ = ["Entry", "read_json"]

import gzip
import json
import json.scanner
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A value inside of a JSON file.

    Attributes:
      value: the value itself.
      path: the keys and indices that lead to it.
      file: the file that it is in.
      line: the line at which its document begins; 1 except in files of one document per line.
    """

    value: Any
    path: tuple[str | int, ...]
    file: Path
    line: int = 1

    def field(self, name: str) -> Entry:
        """Return a field of an object.

        Raises:
          ValueError: if it is not an object, or has no such field.
        """
        if not isinstance(self.value, dict):
            raise self.wrong("must be an object")
        if name not in self.value:
            raise self.wrong(f"must have the field {name!r}, and has {sorted(self.value)}")
        return self._replace(value=self.value[name], path=(*self.path, name))

    def items(self) -> Iterator[Entry]:
        """Yield the items of a list.

        Raises:
          ValueError: if it is not a list.
        """
        if not isinstance(self.value, list):
            raise self.wrong("must be a list")
        return (self._replace(value=item, path=(*self.path, i)) for i, item in enumerate(self.value))

    def text(self, *, empty: bool = False) -> str:
        """Return a string.

        Raises:
          ValueError: if it is not a string, or has nothing in it.
        """
        if not isinstance(self.value, str):
            raise self.wrong("must be a string")
        if not empty and not self.value.strip():
            raise self.wrong("must not be empty")
        return self.value

    def integer(self) -> int:
        """Return an integer.

        Raises:
          ValueError: if it is not one.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong("must be an integer")
        return self.value

    def wrong(self, sentence: str) -> ValueError:
        """Return the error that says where this is, what rule it breaks, and what it is."""
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")
        shown = json.dumps(self.value, ensure_ascii=False)
        shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
        return ValueError(f"{self.file}, line {self._line()}: {where or 'the document'} {sentence}, got {shown}")

    def _line(self) -> int:
        """Return the line at which the innermost object around this begins, from a second, slower reading."""
        text = _text(self.file)
        if self.line > 1 or self.file.name.endswith((".jsonl", ".jsonl.gz")):
            return self.line
        starts: dict[int, int] = {}
        kept: list[Any] = []  # whose identities are the keys of `starts`
        decoder: Any = json.JSONDecoder()

        def parse_object(position: tuple[str, int], *arguments: Any) -> tuple[Any, int]:
            value, end = json.decoder.JSONObject(position, *arguments)  # pyright: ignore[reportAttributeAccessIssue]
            starts[id(value)] = position[1]
            kept.append(value)
            return value, end

        decoder.parse_object = parse_object
        decoder.scan_once = json.scanner.py_make_scanner(decoder)  # pyright: ignore[reportAttributeAccessIssue]
        value, start = decoder.decode(text), 0
        for key in (*self.path, None):
            start = starts.get(id(value), start)
            if key is not None:
                value = value[key]
        return text.count("\n", 0, start) + 1


def read_json(file: str | Path) -> list[Entry]:
    """Read the documents of a JSON file: one, or one a line where its name ends in ``.jsonl`` or ``.jsonl.gz``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not JSON in UTF-8, with file, line and column.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: expected a JSON file of questions, found none; give another path")
    text = _text(file)
    if not file.name.endswith((".jsonl", ".jsonl.gz")):
        return [Entry(_document(text, file, 1), (), file)]
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    return [Entry(_document(line, file, number), (), file, number) for number, line in lines]


def _text(file: Path) -> str:
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return raw.decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{file}: expected JSON in UTF-8, found {error}; convert it or fetch it again") from error


def _document(text: str, file: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{file}, line {error.lineno + line - 1}, column {error.colno}"
        raise ValueError(f"{where}: {error.msg}; expected JSON") from error

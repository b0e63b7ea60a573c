"""Checksums: of arrays, and of a directory's files in the format of ``sha256sum``."""

from __future__ import annotations

__all__ = ["checksum", "damage", "write_checksums"]

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

_NAME = "sha256"


def write_checksums(directory: Path) -> None:
    """Write the checksum of every file in a directory to its file ``sha256``, at once or not at all."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != _NAME)
    temporary = directory / f"{_NAME}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{_checksum(path)}  {path.relative_to(directory).as_posix()}\n" for path in files)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / _NAME)


def damage(directory: Path) -> str:
    """Say which file is not what it was when the directory was sealed; "" if none or never sealed.

    Raises:
      OSError: if a file cannot be read.
    """
    if not (directory / _NAME).is_file():
        return ""
    for line in (directory / _NAME).read_bytes().decode(errors="replace").splitlines():
        checksum, _, name = line.partition("  ")
        path = directory / name.replace("\0", "?")
        if not name or not path.is_file():
            return f"{path} is missing"
        if _checksum(path) != checksum:
            return f"{path} has another checksum than when it was written"
    return ""


def checksum(arrays: Sequence[ArrayLike]) -> str:
    """Return the SHA-256 of arrays, one after the other."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

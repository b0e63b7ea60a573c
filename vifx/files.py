"""Files that appear whole."""

from __future__ import annotations

__all__ = ["write_whole"]

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by a rename, so that `path` holds the old content or the new one and never a part of it.

    The content is on the disk before the rename, and a write that fails leaves nothing behind.

    Raises:
      OSError: if it cannot be written; its `filename` is `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error

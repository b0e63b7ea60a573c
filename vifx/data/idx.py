"""The IDX format of the MNIST family of datasets."""

from __future__ import annotations

__all__ = ["read_idx", "read_labelled_images"]

import difflib
import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from vifx.checks import require

GZIP_MAGIC = b"\x1f\x8b"
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Element types by the third byte of the magic number; all are big-endian."""
_MOST_AXES = 32


def read_idx(path: str | Path) -> np.ndarray:
    """Read one IDX file, plain or gzipped, as an array in native byte order.

    The layout is: two zero bytes, one byte for the element type, one byte for the number of axes, a
    big-endian 32-bit size per axis, then the elements in row-major order and nothing after.

    Raises:
      TypeError: if `path` is not a path.
      ValueError: if the file is missing or is not exactly that, naming the file, what was expected,
        what was found and what to do.
    """
    path = Path(require(path, (str, Path), "read_idx: path", "a path", "name one file"))
    if not path.is_file():
        raise ValueError(f"{path}: expected an IDX file, found none; check the name")
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise _malformed(path, "an IDX magic number 00 00 <type 08-0e> <axes>", content[:4].hex(" ") or "no bytes")
    dtype, axes = np.dtype(DTYPES[content[2]]), content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise _malformed(path, f"a header of {header} bytes for {axes} axes", f"{len(content)} bytes")
    shape = struct.unpack(f">{axes}I", content[4:header])
    if axes > _MOST_AXES or math.prod(max(size, 1) for size in shape) >= 2**31:
        found = f"{axes} axes of {', '.join(map(str, shape[:4]))}{', …' if axes > 4 else ''}"
        raise _malformed(path, f"a header of at most {_MOST_AXES} axes and 2³¹ elements", found)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - header != expected:
        raise _malformed(path, f"{expected} bytes for shape {shape} of {dtype.name}", f"{len(content) - header}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def read_labelled_images(
    folder: str | Path, prefix: str, *, classes: int, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read `<prefix>-images-idx3-ubyte` and `<prefix>-labels-idx1-ubyte`, each with or without `.gz`.

    The names may have a dot before `idx`, as in `train-images.idx3-ubyte`.

    Args:
      shape: the height and width that the images must have, if any will not do.

    Returns:
      uint8 images `[examples, height, width, 1]` and int32 labels `[examples]`.

    Raises:
      ValueError: if the folder or a file is missing (with the nearest name that there is) or malformed, if the two
        counts disagree, if there are no examples, if the images have another shape, or if a label is not in
        `0 .. classes - 1`.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of the IDX files, found none; check its path")
    image_path = _find(folder, f"{prefix}-images", "idx3-ubyte")
    label_path = _find(folder, f"{prefix}-labels", "idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    for path, array, axes in ((image_path, images, 3), (label_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != axes:
            raise _malformed(path, f"unsigned bytes with {axes} axes", f"{array.dtype} with {array.ndim} axes")
    if len(images) != len(labels):
        found = f"{len(labels)} labels for {len(images)} images"
        raise _malformed(label_path, f"one label for each image of {image_path.name}", found)
    if images.size == 0:
        raise _malformed(image_path, "at least one image", f"shape {images.shape}")
    if shape is not None and images.shape[1:] != shape:
        found = "×".join(map(str, images.shape[1:]))
        raise _malformed(image_path, f"images of {shape[0]}×{shape[1]} pixels", found)
    if labels.max() >= classes:
        row = int(np.argmax(labels >= classes))
        raise _malformed(label_path, f"labels in 0 .. {classes - 1}", f"label {labels[row]} at example {row}")
    return images[..., None], labels.astype(np.int32)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise _malformed(path, "a complete gzip stream", f"{len(content)} bytes that end in: {error}") from error


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}{ending}" for separator in "-." for ending in (".gz", "")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = [path.name for path in folder.iterdir() if path.is_file()]
    near = difflib.get_close_matches(names[1], there, 1)
    found = f"{near[0]!r}, which is nearest; rename it if it is this file" if near else "none like it; check the folder"
    raise ValueError(f"{folder}: expected {', '.join(names[:-1])} or {names[-1]}, found {found}")


def _malformed(path: Path, expected: str, found: str) -> ValueError:
    return ValueError(f"{path}: expected {expected}, found {found}; fetch the file again")

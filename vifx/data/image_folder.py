"""A folder of images: PNG and JPEG files as 8-bit arrays of one shape, decoded when they are read."""

from __future__ import annotations

__all__ = ["ENDINGS", "FolderImages", "eight_bit", "fitted", "image_files", "open_folder"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vifx.checks import ArgumentError

ENDINGS = (".png", ".jpg", ".jpeg")
"""Of the files that are read, in either case."""
_GREY = frozenset({"1", "L", "LA", "La", "I", "F"})


class FolderImages:
    """Random access to the images of some files, each decoded when it is asked for.

    An example is ``{"x": image}``, uint8 ``[height, width, channels]``, with its class ``"y"`` where there are classes.

    Attributes:
      files: where they are.
      shape: (height, width, channels) of an image.

    Args:
      files: see above.
      labels: the class of each file, or None.
      shape: see above; with 1 channel images become grey, with 3 they become red, green and blue.
      fit: whether an image is cut and scaled to the shape; otherwise it must have it.
    """

    def __init__(
        self, files: Sequence[Path], labels: Sequence[int] | None, shape: tuple[int, int, int], *, fit: bool
    ) -> None:
        self.files, self.shape = tuple(files), shape
        self._labels, self._fit = labels, fit

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Mapping[str, NDArray[Any]]:
        path = self.files[index]
        x = _decoded(path, self.shape[2], size=self.shape[0] if self._fit else None)
        if x.shape != self.shape:
            raise _mixed(path, x.shape, self.files[0], self.shape)
        return {"x": x} if self._labels is None else {"x": x, "y": np.asarray(self._labels[index], np.int32)}


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a folder and below it, in the order of their paths; hidden ones are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def open_folder(folder: Path, files: Sequence[Path], size: int | None) -> tuple[FolderImages, tuple[str, ...]]:
    """Look at the headers of all images, and return access to them with the names of their classes.

    Images are grey if all of them are, and otherwise have three channels. The classes are the subfolders, by the
    alphabet, if every image lies in one.

    Args:
      folder: where they are.
      files: which of its files, such as `image_files` returns.
      size: the height and width that images are cut and scaled to (see `fitted`); as they are if None.

    Raises:
      ValueError: if a file is no image, or without `size` they do not all have one height and width.
    """
    if not files:
        others = sorted({path.suffix.lower() or "none" for path in folder.rglob("*") if path.is_file()})
        found = f"only the endings {', '.join(others)}" if others else "an empty folder"
        raise ValueError(f"{folder}: expected images ({', '.join(ENDINGS)}), found {found}")
    sizes, grey = [], True
    for path in files:
        with _opened(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # lies on its side
            sizes.append(image.size if turned else image.size[::-1])
            grey = grey and (image.mode in _GREY or image.mode.startswith("I;16"))
    channels = 1 if grey else 3
    shape = (size, size, channels) if size else (*sizes[0], channels)
    if size is None:
        for path, each in zip(files, sizes, strict=True):
            if each != sizes[0]:
                raise _mixed(path, (*each, channels), files[0], shape)
    parts = [path.relative_to(folder).parts for path in files]
    classes = tuple(sorted({part[0] for part in parts})) if all(len(part) > 1 for part in parts) else ()
    labels = [classes.index(part[0]) for part in parts] if classes else None
    return FolderImages(files, labels, shape, fit=size is not None), classes


def eight_bit(values: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Return pixels as 8-bit shades: 16 bits v as 255·v / 65535, real numbers v in [0, 1] as 255·v, both rounded.

    Bits become 0 and 255, and 8-bit shades stay as they are.

    Raises:
      ValueError: if they are of another type, or real numbers outside of [0, 1].
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return np.rint(values.astype(np.float32) / 257).astype(np.uint8)
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            found = f"{np.nanmin(values):g} to {np.nanmax(values):g}" if np.isfinite(values).all() else "others"
            raise ValueError(f"{what}: expected images of real numbers in [0, 1], found {found}; scale them first")
        return np.rint(255 * values.astype(np.float64)).astype(np.uint8)
    raise ValueError(
        f"{what}: expected images of 8 or 16 bits without sign, of bits, or of real numbers in [0, 1], found "
        f"{values.dtype}; convert them first"
    )


def fitted(image: Image.Image, size: int) -> Image.Image:
    """Return an image of one height and width: its largest square in the middle, scaled by Lanczos' filter."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def _decoded(path: Path, channels: int, *, size: int | None) -> NDArray[np.uint8]:
    """Return the pixels of a file, upright, without alpha, in 8 bits, ``[height, width, channels]``."""
    with _opened(path) as opened:
        try:
            image = ImageOps.exif_transpose(opened)
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(path, error) from error
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_sixteen(np.asarray(image), path))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
        image = image if size is None else fitted(image, size)
        return np.array(image, np.uint8).reshape(image.height, image.width, channels)


def _sixteen(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if values.dtype.kind == "i" and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)
    return eight_bit(values, str(path))


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=("PNG", "JPEG"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: expected a whole PNG or JPEG image, found: {error}; replace or remove it")


def _mixed(path: Path, found: Sequence[int], first: Path, expected: Sequence[int]) -> ArgumentError:
    def said(shape: Sequence[int]) -> str:
        return f"{shape[0]}×{shape[1]}"

    return ArgumentError(
        "size",
        f"must be given where images differ in height or width: {first.name} is {said(expected)} and {path.name} "
        f"{said(found)}; such as 32, to which each is cut and scaled",
        value=None,
    )

"""The config of a data set: which one, and where it is."""

from __future__ import annotations

__all__ = ["Config", "check_validation", "chosen_features"]

import math
import re
from dataclasses import dataclass
from pathlib import Path

from vifx.checks import ArgumentError, require_integer

PAIR = re.compile(r"\s*(\w+)\s*=\s*([^\s=]+)\s*")
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)?")


@dataclass(frozen=True)
class Config:
    """The data of an experiment; every field can be given on the command line.

    Raises:
      TypeError: if a field has the wrong type.
      ValueError: if a field is out of its range.

    Example:
      >>> from vifx import data
      >>> data.load(data.Config("digits", validation=300))
      Dataset(digits: train 1,137, validation 300, test 360; x uint8[8, 8, 1], y int32[])
    """

    name: str = "digits"
    """`digits`, `fashion_mnist`, a table of KEEL such as `optdigits` or `twonorm`, a generated data set such as `ring`,
    `text`, or any dataset prepared by TFDS, such as `mnist` or `celeb_a`."""
    path: str | None = None
    """A file or a folder of one's own, in place of `name`, which becomes the last part of it: `.npy` or `.npz`, a table
    (`.csv`, `.tsv`, `.parquet`), or a folder of PNG and JPEG images, whose subfolders are classes."""
    columns: str | None = None
    """Of a table: which of its columns x has, as `age,height`; all but the label if not given."""
    label: str | None = None
    """The column of a table, or the array of an `.npz` file, that holds the classes y; none if not given."""
    standardize: bool = True
    """Whether the columns of a table have mean 0 and standard deviation 1 over the training rows. Samples are given in
    the table's own units all the same."""
    size: int | None = None
    """Height and width of images of one's own: the middle square of each is scaled to it; as they are if not given."""
    batch_size: int = 128
    """Examples in a minibatch, over all devices."""
    validation: int | float = 0.1
    """How much of the training split is held out: a fraction below 1, or a number of examples."""
    test: int | float = 0.2
    """How much of the training split is the test split of a dataset that has none, prepared or `text`: a fraction below
    1, or a number of examples."""
    split_seed: int = 0
    """Chooses which training examples are held out, and draws the generated datasets."""
    features: str | None = None
    """Which features of a prepared dataset are which variables, as `x=image,y=label`; found by their types if not
    given."""
    directory: str | None = None
    """Where prepared data lies; else `$VIFX_DATA`, else the user's cache."""
    source: str | None = None
    """A folder of raw files (IDX for `fashion_mnist`, `.dat` for a table of KEEL), read only when data has to be
    prepared; of `text` the file."""
    streaming: bool = False
    """Whether minibatches of the training split are read as they are needed, rather than gathered from a copy of it on
    the device; they are the same. Prepared data is then never in memory as a whole."""
    workers: int = 0
    """Processes that read a stream, for examples whose decoding in Python takes long; 0 for threads."""
    allow_download: bool = False
    """Whether a dataset that is not prepared may be fetched from the network."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, got {self.name!r}")
        self._check_own()
        if self.path is None and not NAME.fullmatch(self.name):
            raise self.refused("name", f"must be a dataset such as 'digits' or 'builder/config', got {self.name!r}")
        for field, least in (("batch_size", 1), ("split_seed", 0)):
            require_integer(getattr(self, field), field, least=least, most=2**32 - 1, owner=self)
        if not isinstance(self.streaming, bool):
            raise TypeError(f"streaming must be True or False, got {self.streaming!r}")
        require_integer(self.workers, "workers", least=0, owner=self)
        if self.workers and not self.streaming:
            raise self.refused("workers", f"must be 0 unless data is streamed (streaming), got {self.workers}")
        check_validation(self.validation, owner=self)
        check_validation(self.test, name="test", owner=self)
        if self.test == 0:
            raise self.refused("test", "must hold out examples, got 0; give a fraction or a number of examples")
        chosen_features(self.features)
        for field in ("directory", "source"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{field} must be a path as a string or None, got {value!r}")
            if value == "":
                raise self.refused(field, "must not be empty; leave it out for the default")

    def _check_own(self) -> None:
        """Check the fields of one's own data, and let `name` be that of the file or the folder."""
        for field in ("path", "columns", "label"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{field} must be a string or None, got {value!r}")
            if value is not None and not value.strip():
                raise self.refused(field, "must not be empty; leave it out")
        if not isinstance(self.standardize, bool):
            raise TypeError(f"standardize must be True or False, got {self.standardize!r}")
        if self.size is not None:
            require_integer(self.size, "size", least=1, most=65_535, owner=self)
        own = {"columns": None, "label": None, "size": None, "standardize": True}
        if self.path is None:
            for field, unset in own.items():
                if getattr(self, field) != unset:
                    value = getattr(self, field)
                    raise self.refused(field, f"must be left out without a path of one's own data, got {value!r}")
            return
        for field in ("features", "source"):
            if getattr(self, field) is not None:
                raise self.refused(field, f"must be left out with a path, {self.path!r}, got {getattr(self, field)!r}")
        object.__setattr__(self, "name", Path(self.path).expanduser().absolute().name or self.path)

    def outlined(self) -> Config:
        """Return a config whose data has the same variables and shapes and is there at once, if there is one."""
        from vifx.data.outline import outlined

        return outlined(self)

    def require_resident(self, why: str) -> None:
        """Check that the data is not to be streamed, which what is trained does not allow.

        Args:
          why: the reason, as a sentence.

        Raises:
          ValueError: if it is.
        """
        if self.streaming:
            raise self.refused("streaming", f"must be left out here: {why}")

    def refused(self, field: str, sentence: str) -> ArgumentError:
        """Return the error about the value of a field: its name, then the sentence."""
        return ArgumentError(field, sentence, value=getattr(self, field), owner=self)


def chosen_features(features: object) -> dict[str, str]:
    """Return by variable the feature that ``"x=image,y=label"`` names; none of None.

    Raises:
      TypeError: if it is not a string.
      ValueError: if it is not such a list, names a variable twice, or has no `x`.
    """
    if features is None:
        return {}
    if not isinstance(features, str):
        raise TypeError(f"features must be a string such as 'x=image,y=label' or None, got {features!r}")
    pairs = [PAIR.fullmatch(part) for part in features.split(",")]
    found = {pair[1]: pair[2] for pair in pairs if pair is not None}
    if len(found) < len(pairs) or "x" not in found:
        raise ArgumentError(
            "features",
            "must be variables with their features, each once and x among them, such as 'x=image,y=label'; "
            f"got {features!r}",
            value=features,
        )
    return found


def check_validation(validation: object, *, name: str = "validation", owner: object = None) -> None:
    """Check that a part to hold out is a fraction in [0, 1) or a count of examples.

    Args:
      owner: the config that has it as a field, if there is one.

    Raises:
      TypeError: if it is not a number.
      ValueError: if it is out of range.
    """
    if isinstance(validation, bool) or not isinstance(validation, (int, float)):
        raise TypeError(f"{name} must be a fraction or a number of examples, got {validation!r}")
    if isinstance(validation, float) and not (math.isfinite(validation) and 0 <= validation < 1):
        sentence = f"as a fraction must be at least 0 and below 1, got {validation}; give an integer for a number"
        raise ArgumentError(name, f"{sentence} of examples", value=validation, owner=owner)
    if isinstance(validation, int) and validation < 0:
        sentence = f"as a number of examples must not be negative, got {validation}"
        raise ArgumentError(name, sentence, value=validation, owner=owner)

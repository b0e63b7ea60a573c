"""Noise in place of data sets of which only the shapes matter, so that nothing has to be prepared."""

from __future__ import annotations

__all__ = ["Outline", "outlined"]

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from vifx.data.data_config import Config
from vifx.data.dataset import Dataset, Info, Split, hold_out
from vifx.data.tables import KNOWN

_IMAGES = tuple(map(str, range(10)))
_SETS = MappingProxyType(
    {"digits": ((8, 8, 1), _IMAGES), "fashion_mnist": ((28, 28, 1), _IMAGES)}
    | {name: (known.shape, known.label_names) for name, known in KNOWN.items()}
)
_EXAMPLES = 1000


@dataclass(frozen=True)
class Outline(Config):
    """The config of a data set in whose place `load` returns noise of the same shapes and types."""

    def draw(self) -> Dataset:
        """Return labelled noise, 8-bit images or rows of real numbers, with as many held out as the config says."""
        shape, names = _SETS[self.name]
        held = self.validation if isinstance(self.validation, int) else 0
        sizes = (_EXAMPLES + self.batch_size + held, _EXAMPLES)
        train, test = (_noise(size, shape, len(names)) for size in sizes)
        train, validation = hold_out(train, self.validation, self.split_seed)
        low, high = (0.0, 255.0) if len(shape) == 3 else (-np.inf, np.inf)
        return Dataset(train, validation, test, Info(self.name, shape, len(names), low, high, names))


def outlined(config: Config) -> Config:
    """Return a config that loads noise, if the shapes of its data set are known; else itself."""
    return Outline(**vars(config)) if config.path is None and config.name in _SETS else config


def _noise(size: int, shape: tuple[int, ...], classes: int) -> Split:
    generator = np.random.default_rng(size)
    if len(shape) == 3:
        x = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
    else:
        x = generator.standard_normal((size, *shape), dtype=np.float32)
    return {"x": x, "y": (np.arange(size) % classes).astype(np.int32)}

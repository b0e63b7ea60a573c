"""Data sets of which only the shapes matter: noise in their place, so that nothing has to be prepared."""

from __future__ import annotations

__all__ = ["Outline", "outlined"]

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from vifx.data.config import Config
from vifx.data.dataset import Dataset, Info, Split, hold_out

_SHAPES = MappingProxyType({"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1)})
_CLASSES, _EXAMPLES = 10, 1000


@dataclass(frozen=True)
class Outline(Config):
    """The config of a data set that `load` gives noise of the same shapes and types for."""

    def draw(self) -> Dataset:
        """Return labelled 8-bit images of noise, with as many held out as the config says."""
        shape = _SHAPES[self.name]
        held = self.validation if isinstance(self.validation, int) else 0
        train, test = (_noise(size, shape) for size in (_EXAMPLES + self.batch_size + held, _EXAMPLES))
        train, validation = hold_out(train, self.validation, self.split_seed)
        names = tuple(map(str, range(_CLASSES)))
        return Dataset(train, validation, test, Info(self.name, shape, _CLASSES, 0.0, 255.0, names))


def outlined(config: Config) -> Config:
    """Return a config that loads noise, if the shapes of its data set are known; else itself."""
    return Outline(**vars(config)) if config.name in _SHAPES else config


def _noise(size: int, shape: tuple[int, ...]) -> Split:
    x = np.random.default_rng(size).integers(0, 256, (size, *shape), dtype=np.uint8)
    return {"x": x, "y": (np.arange(size) % _CLASSES).astype(np.int32)}

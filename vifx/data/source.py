"""The source of minibatches that a config of data asks for."""

from __future__ import annotations

__all__ = ["source"]

from collections.abc import Mapping

import numpy as np

from vifx.checks import require
from vifx.data.data_config import Config
from vifx.data.resident import Resident
from vifx.data.streaming import Streaming
from vifx.data.transforms import Transform


def source(
    split: Mapping[str, np.ndarray], config: Config, *, seed: int, transform: Transform | None = None
) -> Resident | Streaming:
    """Return the minibatches of a split: `Resident`, or with `config.streaming` a `Streaming` with the same ones.

    Args:
      split: what is trained on, such as ``load(config).train``.
      config: has batch_size, streaming and workers.
      seed: with the epoch, decides the order.
      transform: applied to each minibatch inside jit: ``(key, batch) -> batch``.

    Raises:
      TypeError: if `config` is not a `Config`, or as `Resident` and `Streaming`.
      ValueError: as `Resident` and `Streaming`.

    >>> config = Config(batch_size=2, streaming=True)
    >>> stream = source({"x": np.arange(10)}, config, seed=0).batches(0)
    >>> resident = source({"x": np.arange(10)}, Config(batch_size=2), seed=0)
    >>> next(stream)["x"].tolist() == resident.window(0, 1).order[:2].tolist()
    True
    """
    require(config, Config, "source: config", "a data.Config", "give that of the experiment")
    if not config.streaming:
        return Resident(split, config.batch_size, seed, transform)
    return Streaming(split, config.batch_size, seed, transform, workers=config.workers)

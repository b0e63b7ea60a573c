"""Sources that worker processes can load, which the modules of tests themselves are not."""

from __future__ import annotations

import os
import time

import numpy as np


class Refused(Exception):
    """An error that cannot be pickled: its class wants two arguments."""

    def __init__(self, index, reason):
        super().__init__(f"example {index} is {reason}")


class Slow:
    """Examples that are decoded one by one, some of which raise, or end the process.

    `broken` has by index an exception's class and arguments.
    """

    def __init__(self, size, *, broken=(), fatal=(), seconds=0.0):
        self.size, self.broken, self.fatal, self.seconds = size, broken, fatal, seconds

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        time.sleep(self.seconds)
        if index in self.fatal:
            os._exit(3)
        if index in self.broken:
            kind, *arguments = self.broken[index]
            raise kind(*arguments)
        return {"x": np.full((2,), index, np.int32), "process": np.int32(os.getpid())}


class Unreadable:
    """What can be pickled and not loaded."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"x": np.int32(index)}

    def __reduce__(self):
        return _lost, ()


def _lost():
    raise ModuleNotFoundError("No module named 'mine'")

"""The mode of a network, training or evaluation, by the names that the libraries have for it."""

from __future__ import annotations

__all__ = ["MODES", "in_mode", "is_nnx"]

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from flax import linen

if TYPE_CHECKING:
    from flax import nnx  # imported by whoever makes a module of it

MODES = {
    "train": True,
    "training": True,
    "is_training": True,
    "update_stats": True,
    "deterministic": False,
    "use_running_average": False,
}
"""What the libraries call the mode, with the value that means training."""


def in_mode(call: Callable[..., Any], *, train: bool) -> dict[str, bool]:
    """Return the keywords that put a call into training or evaluation mode, by the names that it has for them.

    These are ``train``, ``training``, ``is_training`` and ``update_stats``, and inverted ``deterministic`` and
    ``use_running_average``.

    Args:
      call: a function, or a module, whose ``__call__`` is meant.

    >>> in_mode(lambda x, deterministic: x, train=True)
    {'deterministic': False}
    """
    function = type(call).__call__ if isinstance(call, linen.Module) or is_nnx(call) else call
    keywords = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters
    return {
        name: train == training
        for name, training in MODES.items()
        if name in parameters and parameters[name].kind in keywords
    }


def is_nnx(what: object) -> TypeGuard[nnx.Module]:
    """Say whether it is an NNX module, which nothing is as long as nobody has imported NNX."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(what, nnx.Module)

"""The kernels among a network's parameters, and networks found by name."""

from __future__ import annotations

__all__ = ["Where", "chosen", "floating", "path_name", "replaced", "select"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from vifx.checks import require_name
from vifx.core.types import Array, Params, PyTree

Where: TypeAlias = Callable[[str], bool]
"""Says of a parameter's path, such as ``"body/Dense_0/kernel"``, whether a constraint applies to it."""

_NAMES = ("kernel", "embedding")


def select(params: PyTree, where: Where | None, function: str) -> dict[str, Array]:
    """Return the kernels of one network by path.

    They are the floating leaves of two or more axes: those called ``kernel`` or ``embedding``, or those that
    `where` accepts.

    Raises:
      ValueError: if there is none; the message starts with `function` and has the paths that there are.
    """
    leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    wanted = where or (lambda path: path.rpartition("/")[2] in _NAMES)
    found = {path: leaf for path, leaf in leaves.items() if floating(leaf) and leaf.ndim >= 2 and wanted(path)}
    if not found:
        raise ValueError(
            f"{function}: the network must have a kernel, a parameter of two or more axes called 'kernel' or "
            f"'embedding' or accepted by where=; its parameters are {sorted(leaves) or 'none'}"
        )
    return found


def replaced(params: PyTree, kernels: Mapping[str, Array]) -> PyTree:
    """Return `params` with the leaves at the paths of `kernels` replaced."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: kernels.get(path_name(path), leaf), params)


def chosen(params: Params, networks: str | Sequence[str], function: str) -> dict[str, PyTree]:
    """Return the parameters of the named networks.

    Raises:
      ValueError: if no network is named, or one that is not in `params`; the message has the nearest name.
    """
    names = (networks,) if isinstance(networks, str) else tuple(networks)
    if not names:
        raise ValueError(f"{function}: networks must name at least one network, got none")
    there = [name for name in params if "@" not in name]
    return {require_name(name, there, "network"): params[name] for name in names}


def floating(leaf: Any) -> bool:
    """Return whether `leaf` is an array of floats."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def path_name(path: tuple[Any, ...]) -> str:
    """Return a leaf's path as text: ``"Dense_0/kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")

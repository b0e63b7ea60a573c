"""Projections of parameters after an update."""

from __future__ import annotations

__all__ = ["clipped", "spectrally_projected"]

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, Params, PyTree
from vifx.lipschitz.kernels import Where, chosen, floating, replaced, select


def clipped(networks: str | Sequence[str], limit: float) -> Callable[[Params], Params]:
    """Return the projection ``w ← clip(w, −limit, limit)`` of every parameter of some networks, biases included.

    It bounds the Lipschitz constant by a number that depends on the widths, and does not set it. For
    ``training.constrained(step, update=clipped("critic", 0.01))``.

    Args:
      networks: a network's name, or several.
      limit: the largest absolute value.

    Raises:
      ValueError: `limit` is not positive; or, from the projection, a network is unknown.

    Reference: Arjovsky et al., Wasserstein GAN, 2017.
    """
    require_number(limit, "clipped: limit", above=0)

    def clip(leaf: Array) -> Array:
        return jnp.clip(leaf, -limit, limit) if floating(leaf) else leaf

    def project(params: Params) -> Params:
        trees: dict[str, PyTree] = chosen(params, networks, "clipped")
        return {**params, **{name: jax.tree.map(clip, tree) for name, tree in trees.items()}}

    return project


def spectrally_projected(
    networks: str | Sequence[str], limit: float, *, where: Where | None = None
) -> Callable[[Params], Params]:
    """Return the map ``W ← W / max(1, ‖W‖₂ / limit)`` of the kernels of some networks.

    The norm is that of the kernel as a matrix ``[everything else, features]``, by a singular value decomposition, so
    that it holds exactly after every update; kernels below the limit stay as they are. For
    ``training.constrained(step, update=...)``.

    Args:
      networks: a network's name, or several.
      limit: the largest norm.
      where: says of a path, such as ``"Dense_0/kernel"``, whether that parameter is projected; by default those
        called ``kernel`` or ``embedding`` are.

    Raises:
      ValueError: `limit` is not positive; or, from the map, a network is unknown or has no kernel.

    Reference: Gouk et al., Regularisation of Neural Networks by Enforcing Lipschitz Continuity, 2021.
    """
    require_number(limit, "spectrally_projected: limit", above=0)

    def scaled(kernel: Array) -> Array:
        matrix = kernel.reshape(-1, kernel.shape[-1])
        matrix = matrix.astype(matrix.dtype if matrix.dtype.itemsize >= 4 else jnp.float32)
        norm = jnp.linalg.svd(matrix, compute_uv=False)[0]
        return kernel / jnp.maximum(norm / limit, 1.0).astype(kernel.dtype)

    def project(params: Params) -> Params:
        moved = {
            name: replaced(tree, {path: scaled(w) for path, w in select(tree, where, "spectrally_projected").items()})
            for name, tree in chosen(params, networks, "spectrally_projected").items()
        }
        return {**params, **moved}

    return project

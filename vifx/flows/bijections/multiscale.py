"""Multi-scale flows: blocks at every resolution, with half of the channels split off in between."""

from __future__ import annotations

__all__ = ["last_scale", "multiscale", "of_images"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.checks import require_integer
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.actnorm import standardizing
from vifx.flows.bijections.chain import chain
from vifx.flows.bijections.flatten import flatten
from vifx.flows.bijections.split_off import split_off
from vifx.flows.bijections.squeeze import squeeze
from vifx.flows.checked import checked


def multiscale(
    block: Callable[[int], Bijection],
    levels: int,
    *,
    body: Callable[[int], Any] | None = None,
    head: Callable[[int], Any] | None = None,
) -> Bijection:
    """Map images to vectors in `levels` resolutions: squeeze, apply a block, and split off half of the channels.

    ``f_l = split_off(f_{l+1}) ∘ block(l) ∘ squeeze``, down to the last level, ``last_scale ∘ block ∘ squeeze``, where
    nothing more is split off. The result is one vector ``[examples, height · width · channels]`` for a base such as
    ``standard_normal(elements)``, the last scale first, with ``log|det|`` of the whole map in nats.

    Args:
      block: maps the level, 0 for the finest, to a bijection that keeps the shape of images with ``height / 2^(l+1)``
        rows and ``2^(l+2) · channels`` channels.
      levels: how many resolutions, at least 1.
      body: maps the level to the `body` of `split_off`; None for the channels that stay.
      head: the `head` of `split_off`.

    Raises:
      ValueError: `levels` is below 1; from `init`, a height or width that ``2^levels`` does not divide,
        or parameters that are not finite on the first batch.
      TypeError: a block is not a `Bijection`.

    References: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803; Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows
    >>> bijection = multiscale(lambda level: flows.actnorm(), 2)
    >>> x = jax.random.normal(jax.random.key(0), (10, 4, 8, 1))
    >>> params, state = bijection.init(jax.random.key(1), x)
    >>> bijection.forward(params, state, x)[0].shape
    (10, 32)
    """
    require_integer(levels, "multiscale: levels")

    def scale(level: int) -> Bijection:
        if level == levels - 1:
            return chain(squeeze(), block(level), last_scale())
        rest = scale(level + 1)
        return chain(squeeze(), block(level), split_off(rest, None if body is None else body(level), head=head))

    return of_images("multiscale", scale(0), levels)


def of_images(name: str, whole: Bijection, halvings: int) -> Bijection:
    """Check the images with which a multi-scale flow is initialized, and the parameters that result.

    Returns:
      The same bijection, whose `init` raises ValueError for images that cannot be halved so often, and for
      parameters that are not finite, as a channel without variance makes them.
    """
    factor = 2**halvings

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        if x.ndim != 4 or x.shape[1] % factor or x.shape[2] % factor:
            raise ValueError(
                f"{name}: needs images [examples, height, width, channels] whose height and width are divisible by "
                f"2^{halvings} = {factor}, got {list(x.shape)}; pad or crop the images, or take fewer levels."
            )
        params, state = whole.init(key, x, given)
        _check_finite(name, params)
        return params, state

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return whole.forward(params, state, x, given, key=key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return whole.inverse(params, state, z, given, key=key)

    return checked(name, init, forward, inverse)


def _check_finite(name: str, params: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if isinstance(leaf, Tracer):
            return
        invalid = np.argwhere(~np.isfinite(np.asarray(leaf)))
        if len(invalid):
            raise ValueError(
                f"{name}: params{jax.tree_util.keystr(path)} is not finite at {list(map(int, invalid[0]))} after "
                "initialization on the first batch; in an actnorm, whose last index is the channel, that is a channel "
                "without variance. Dequantize the data (vifx.data.dequantize), or initialize on more examples."
            )


def last_scale() -> Bijection:
    """Standardize what is left by a learned mean and scale of every element: ``z = (flat(x) − μ) / σ``.

    ``log|det ∂z/∂x| = −Σ log σ`` in nats; it starts as ``μ = 0``, ``σ = 1``. With a standard normal base it is the
    diagonal Gaussian prior of the coarsest scale of a multi-scale flow. Events of any shape become vectors.
    """

    def init(_key: Key, x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {"mean": jnp.zeros(x.shape[1], x.dtype), "log_scale": jnp.zeros(x.shape[1], x.dtype)}, {}

    return chain(flatten(), standardizing("last_scale", init))

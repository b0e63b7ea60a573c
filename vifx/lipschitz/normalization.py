"""Spectral normalization: a network that divides each of its kernels by its spectral norm."""

from __future__ import annotations

__all__ = ["normalized_params", "spectral_normalization"]

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.lipschitz.kernels import Where, replaced, select
from vifx.lipschitz.linear_maps import Convolution, Linear, Norm, linear_maps
from vifx.lipschitz.norm import advance, estimate, random_unit

_VECTORS = 0x5BEC  # folded into init's key, so that the network's own draws are the same as without the constraint
_FIRST = 16  # rounds at initialization, since the first estimate would be far too small otherwise


def spectral_normalization(
    network: Any,
    *,
    iterations: int = 1,
    norm: Norm = "reshaped",
    coefficient: float = 1.0,
    where: Where | None = None,
    maps: Mapping[str, Convolution] | None = None,
) -> Net:
    """Replace each kernel W of a network by ``coefficient · W / σ(W)`` wherever the network is applied.

    σ(W) is the power iteration's estimate of ``‖W‖₂``. Its vector is kept in the state: training mode moves it by
    `iterations` rounds and returns it, evaluation mode uses it as it is. The gradient flows through the quotient
    with the vectors held fixed, ``∇σ(W) = u vᵀ``. The parameters are the network's own, made by the same key; the
    state is ``{"network": its state, "vectors": {path: u}}``, so checkpoints have the vectors.

    The estimate is never above ``‖W‖₂``, so a layer's norm comes down *to* `coefficient` from above as the vectors
    converge; `lipschitz_bound` of `normalized_params` says where it is. A kernel that is zero is left as it is (its
    gradient is that of W), and jumps to norm `coefficient` after its first update: initialize such layers otherwise.

    Args:
      network: a `Net`, a Linen module or an NNX module.
      iterations: rounds of the power iteration in each application in training mode.
      norm: ``"reshaped"`` is that of the kernel as a matrix ``[height · width · channels, features]``, the published
        form; on a large feature map the convolution's own norm is between 1 and √(height · width) times it (for random
        3×3 kernels 1.4 to 2 with as many features as channels, up to 2.8 with more), so that this form does not bound
        it. ``"operator"`` is the norm of the convolution
        on its feature map, which `maps` describes. For dense kernels both are the same.
      coefficient: the norm that each layer gets.
      where: says of a path, such as ``"Conv_0/kernel"``, whether that parameter is normalized; by default those
        called ``kernel`` or ``embedding`` are.
      maps: for the operator norm, a `Convolution` for each kernel of four axes, by the path of its layer, such as
        ``"Conv_0"``.

    Raises:
      ValueError: a hyperparameter is out of its range; or, from `init`, `maps` does not fit the network, or the
        network has no kernel.

    Reference: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """
    net, function = as_net(network), "spectral_normalization"
    require_integer(iterations, f"{function}: iterations")
    require_number(coefficient, f"{function}: coefficient", above=0)
    linear_maps({}, norm, maps if norm == "reshaped" else None, function)

    def layers(params: PyTree) -> dict[str, tuple[Array, Linear]]:
        return _layers(params, norm, where, maps, function)

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        start = jax.random.fold_in(key, _VECTORS)
        params, state = net.init(key, *inputs)
        vectors = {}
        for path, (kernel, linear) in layers(params).items():
            own = jax.random.fold_in(start, zlib.crc32(path.encode()))
            vectors[path] = advance(kernel, linear, random_unit(own, linear, kernel.dtype), _FIRST)
        return params, {"network": state, "vectors": vectors}

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        vectors, kernels = state["vectors"], layers(params)
        if train:
            vectors = {path: advance(*kernels[path], vectors[path], iterations) for path in kernels}
        divided = replaced(params, _divided(kernels, vectors, coefficient))
        output, inner = net.apply(divided, state["network"], *inputs, key=key, train=train)
        return output, {"network": inner, "vectors": vectors}

    return Net(init, apply)


def normalized_params(
    params: PyTree,
    state: PyTree,
    *,
    norm: Norm = "reshaped",
    coefficient: float = 1.0,
    where: Where | None = None,
    maps: Mapping[str, Convolution] | None = None,
) -> PyTree:
    """Return the parameters with which a spectrally normalized network is evaluated, for certificates and plots.

    Args:
      params: one network's parameters.
      state: its state, with the vectors.
      norm: as it was given to `spectral_normalization`, and so are `coefficient`, `where` and `maps`.

    Raises:
      ValueError: they do not fit the network.
    """
    kernels = _layers(params, norm, where, maps, "normalized_params")
    if not isinstance(state, Mapping) or set(state.get("vectors", {})) != set(kernels):
        raise ValueError(
            f"normalized_params: the state must have the vectors of {sorted(kernels)}; give the state of a network "
            "made by spectral_normalization, and the same where="
        )
    return replaced(params, _divided(kernels, state["vectors"], coefficient))


def _layers(
    params: PyTree, norm: Norm, where: Where | None, maps: Mapping[str, Convolution] | None, function: str
) -> dict[str, tuple[Array, Linear]]:
    kernels = select(params, where, function)
    linear = linear_maps(kernels, norm, maps, function)
    return {path: (kernel, linear[path]) for path, kernel in kernels.items()}


def _divided(
    layers: Mapping[str, tuple[Array, Linear]], vectors: Mapping[str, Array], coefficient: float
) -> dict[str, Array]:
    """Divide each kernel by its norm, in the vectors' precision; a kernel of norm zero stays."""

    def divided(kernel: Array, linear: Linear, output: Array) -> Array:
        value = estimate(kernel, linear, output).value
        usable = value > jnp.finfo(value.dtype).tiny
        factor = jnp.where(usable, coefficient / jnp.where(usable, value, 1.0), 1.0)
        return (kernel.astype(value.dtype) * factor).astype(kernel.dtype)

    return {path: divided(*layer, vectors[path]) for path, layer in layers.items()}

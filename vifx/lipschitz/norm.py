"""The largest singular value by power iteration."""

from __future__ import annotations

__all__ = ["SpectralNorm", "advance", "estimate", "random_unit", "spectral_norm"]

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vifx.checks import require_integer
from vifx.core.types import Array, Key
from vifx.lipschitz.linear_maps import Convolution, Linear, convolution, reshaped


class SpectralNorm(NamedTuple):
    """An estimate of ``‖W‖₂`` and the unit vectors that attain it.

    Attributes:
      value: ``⟨W v, u⟩``, a scalar, never above ``‖W‖₂`` but for rounding.
      input: v, the direction in the layer's input.
      output: u, the direction in its output.
    """

    value: Array
    input: Array
    output: Array


def spectral_norm(key: Key, kernel: Array, *, iterations: int, convolution: Convolution | None = None) -> SpectralNorm:
    """Estimate ``‖W‖₂ = max ‖W v‖ / ‖v‖``, the largest singular value of a layer, by power iteration.

    ``v ← Wᵀu / ‖Wᵀu‖, u ← W v / ‖W v‖`` from a random u; a fixed start, such as all ones, may be orthogonal to the
    top direction and never find it. The estimate is a lower bound that grows with the iterations; its error falls
    as ``(σ₂/σ₁)^(4 · iterations)``, that of v and u as ``(σ₂/σ₁)^(2 · iterations)``. v and u are constants for
    differentiation, so the gradient is ``u vᵀ``, that of ``‖W‖₂`` once converged. For a square W this is in general
    not the largest ``|eigenvalue|``, which for ``[[0, 1], [0, 0]]`` is 0 where the norm is 1.

    Args:
      kernel: ``[..., features]``, of two or more axes, read as the matrix ``[everything else, features]``.
      iterations: rounds of the iteration, at least 1.
      convolution: how a kernel ``[height, width, channels, features]`` is applied; then the norm is that of the
        whole convolution, zero padding included, and v and u are feature maps.

    Raises:
      ValueError: if `kernel` has fewer than two axes, `iterations` is not positive, or `convolution` does not fit.
    """
    if kernel.ndim < 2:
        raise ValueError(f"spectral_norm: kernel must have two or more axes, but its shape is {kernel.shape}")
    require_integer(iterations, "spectral_norm: iterations")
    linear = reshaped(kernel.shape) if convolution is None else _convolution(kernel.shape, convolution)
    fixed = lax.stop_gradient(kernel)
    output = advance(fixed, linear, random_unit(key, linear, kernel.dtype), iterations)
    return estimate(kernel, linear, output)


_convolution = convolution


def random_unit(key: Key, linear: Linear, dtype: jnp.dtype) -> Array:
    """Draw a direction of the output, uniformly; at least in single precision."""
    return _unit(jax.random.normal(key, linear.output_shape, dtype if dtype.itemsize >= 4 else jnp.float32))


def advance(kernel: Array, linear: Linear, output: Array, iterations: int) -> Array:
    """Return u after some rounds of the iteration; where W maps it to zero it stays as it is.

    All in the precision of u, without gradients.
    """
    kernel = lax.stop_gradient(kernel).astype(output.dtype)

    def once(_: int, u: Array) -> Array:
        return _unit(linear.forward(kernel, _unit(linear.adjoint(kernel, u))), u)

    return lax.fori_loop(0, iterations, once, lax.stop_gradient(output), unroll=iterations <= 4)


def estimate(kernel: Array, linear: Linear, output: Array) -> SpectralNorm:
    """Return ``‖Wᵀu‖`` and its vectors, for u fixed: the gradient with respect to W is ``u vᵀ``."""
    kernel, output = kernel.astype(output.dtype), lax.stop_gradient(output)
    fixed = lax.stop_gradient(kernel)
    direction = _unit(linear.adjoint(fixed, output))
    return SpectralNorm(jnp.sum(kernel * linear.outer(kernel, direction, output)), direction, output)


def _unit(x: Array, otherwise: Array | None = None) -> Array:
    """Scale to norm 1; return `otherwise` (zero by default) in place of a vector of norm zero."""
    norm = jnp.linalg.norm(x.reshape(-1))
    usable = norm > jnp.finfo(x.dtype).tiny
    scaled = x / jnp.where(usable, norm, jnp.ones_like(norm))
    return jnp.where(usable, scaled, jnp.zeros_like(x) if otherwise is None else otherwise)

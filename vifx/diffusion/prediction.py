"""What a denoiser says of ``z = α x + σ ε``, in each of the four ways to say it."""

from __future__ import annotations

__all__ = ["Prediction", "Predicts"]

from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.diffusion.noise_schedule import NoiseLevel, beside

Predicts: TypeAlias = Literal["noise", "data", "v", "score"]
"""What the output of a denoiser is: ε, x, ``v = (α ε − σ x)/√(α² + σ²)`` or the score ``∇ log p(z) = −ε/σ``."""


class Prediction(NamedTuple):
    """One prediction of the noise and of the data in z; the properties are conversions of the same value.

    Attributes:
      output: what the network returned, ``[rows, *event]``.
      predicts: what that is.
      z: where, ``[rows, *event]``.
      level: α and σ there, ``[rows]``.
    """

    output: Array
    predicts: Predicts
    z: Array
    level: NoiseLevel

    @property
    def data(self) -> Array:
        """``x̂ = (z − σ ε̂)/α``."""
        if self.predicts == "data":
            return self.output
        alpha, sigma, norm = self._scales()
        if self.predicts == "v":  # without the division, which loses where there is much noise
            return (alpha * self.z / norm - sigma * self.output) / norm
        return (self.z - sigma * self.noise) / alpha

    @property
    def noise(self) -> Array:
        """``ε̂ = (z − α x̂)/σ``."""
        alpha, sigma, norm = self._scales()
        match self.predicts:
            case "noise":
                return self.output
            case "data":
                return (self.z - alpha * self.output) / sigma
            case "v":
                return (sigma * self.z / norm + alpha * self.output) / norm
        return -sigma * self.output

    @property
    def v(self) -> Array:
        """``v̂ = (α ε̂ − σ x̂)/√(α² + σ²)``."""
        if self.predicts == "v":
            return self.output
        alpha, sigma, norm = self._scales()
        return (alpha * self.noise - sigma * self.data) / norm

    @property
    def score(self) -> Array:
        """``−ε̂/σ``, the gradient of the log-density of z."""
        return self.output if self.predicts == "score" else -self.noise / self._scales()[1]

    def squared_error(self, x: Array, noise: Array) -> Array:
        """Return ``‖ε − ε̂‖²`` of the true x and ε, ``[rows]``, from what the network returned itself.

        ``ε − ε̂ = −(α/σ)(x − x̂) = (α/√(α² + σ²))(v − v̂) = −σ (s − ŝ)``: no difference of near numbers but the one.
        """
        alpha, sigma, norm = self._scales()
        match self.predicts:
            case "noise":
                error = noise - self.output
            case "data":
                error = (x - self.output) * (alpha / sigma)
            case "v":
                error = ((alpha * noise - sigma * x) / norm - self.output) * (alpha / norm)
            case "score":
                error = noise + sigma * self.output
        return jnp.sum(error.reshape(error.shape[0], -1) ** 2, axis=1)

    def _scales(self) -> tuple[Array, Array, Array]:
        return (
            beside(self.level.alpha, self.z),
            beside(self.level.sigma, self.z),
            beside(self.level.norm, self.z),
        )

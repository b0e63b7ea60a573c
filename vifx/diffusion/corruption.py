"""What replaces the elements of categorical data: a mask, or any of their values."""

from __future__ import annotations

__all__ = ["Corruption", "absorbing", "uniform"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vifx.checks import ArgumentError, require_integer
from vifx.core.types import Array, Key
from vifx.diffusion.survival import Shape, Survival, survival_of
from vifx.grey import pixel_of, shade_of


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Each element by itself keeps its value up to t with the probability α(t), and else has one drawn from π.

    So ``P(z_t = y | x) = α_t 1[y = x] + (1 − α_t) π(y)``, and from s to t > s the same holds with ``α_t/α_s``. Make one
    with `absorbing` or `uniform`.

    Attributes:
      classes: K; data are the integers 0, …, K − 1.
      survival: α(t).
      masks: whether π is all on one more state, the mask K; otherwise it is uniform over the classes.
    """

    classes: int
    survival: Survival
    masks: bool

    @property
    def label(self) -> str:
        """Its name and its settings."""
        return f"{'absorbing' if self.masks else 'uniform'}({self.classes}, survival={self.survival.label!r})"

    @property
    def states(self) -> int:
        """How many states an element of z has: K, and one more if there is a mask."""
        return self.classes + self.masks

    @property
    def end(self) -> Array:
        """α(1): what survives to the last time."""
        return self.survival.grid(2)[1]

    def values(self, x: Array) -> Array:
        """Return data as they are in z, int32; of 8-bit images, uint8, the numbers of their shades.

        Raises:
          TypeError: if they are not integers.
          ValueError: if one is not a class or a shade, where it can be seen.
        """
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(
                f"{self.label}: data must be integers from 0 to {self.classes - 1}, got {x.dtype}{list(x.shape)}"
            )
        images = x.dtype == jnp.uint8
        if not isinstance(x, Tracer):
            seen = np.asarray(x)
            fits = self.pixels(shade_of(seen.astype(np.int32), self.classes)) == seen
            outside = ~(fits if images else (seen >= 0) & (seen < self.classes))
            if outside.any():
                value, most = int(seen[outside][0]), self.classes - 1
                shades = f"8-bit pixels in {self.classes} shades, nearest to 255 k/{most}, or int32 classes"
                rule = shades if images else f"integers from 0 to {most}"
                raise ArgumentError(self.label, f"data must be {rule}, got {value}", value=value)
        z = x.astype(jnp.int32)
        return shade_of(z, self.classes) if images else z

    def pixels(self, z: Any) -> Any:
        """Return the 8-bit pixels of shades ``0 … K − 1``: those nearest to ``255 k/(K − 1)``, uint8."""
        return pixel_of(z, self.classes).astype(np.uint8)

    def log_resting(self, z: Array, dtype: jnp.dtype) -> Array:
        """Return ``log π(z)``, elementwise."""
        if self.masks:
            return jnp.where(z == self.classes, 0.0, -jnp.inf).astype(dtype)
        return jnp.full(z.shape, -np.log(self.classes), dtype)

    def log_mixed(self, log_data: Array, z: Array, alpha: Array) -> Array:
        """Return ``log(α P(x = z) + (1 − α) π(z))``, elementwise.

        Args:
          log_data: ``log P(x = z)`` of what z is made from, in the shape of z; −∞ at the mask.
          z: states.
          alpha: what survives, of a shape that broadcasts to z's.
        """
        kept, drawn = jnp.log(alpha) + log_data, jnp.log1p(-alpha) + self.log_resting(z, log_data.dtype)
        one, other = kept > -jnp.inf, drawn > -jnp.inf
        # Where one of them is impossible there is no sum, whose gradient would be undefined.
        both = jnp.logaddexp(jnp.where(one, kept, 0), jnp.where(other, drawn, 0))
        return jnp.where(one & other, both, jnp.where(one, kept, drawn))

    def corrupted(self, key: Key, x: Array, alpha: Array) -> Array:
        """Draw z from x: the value itself with the probability α, which broadcasts to x, and else from π."""
        survives, anew = jax.random.split(key)
        lost = jax.random.uniform(survives, x.shape, alpha.dtype) < 1 - alpha
        return jnp.where(lost, self.resting(anew, x.shape, x.dtype), x)

    def resting(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw states from π."""
        if self.masks:
            return jnp.full(shape, self.classes, dtype)
        return jax.random.randint(key, shape, 0, self.classes, dtype)


def absorbing(classes: int, *, survival: Shape | Callable[[Array], Array] = "linear") -> Corruption:
    """Elements become the mask, the state `classes`, and stay so: masked diffusion.

    Args:
      classes: K ≥ 2; data are integers from 0 to K − 1.
      survival: α(t), the probability that an element is not masked yet: ``"linear"``, ``"cosine"``, ``"quadratic"``, or
        a function of times that decreases from 1 at 0, elementwise, made of JAX's functions. What is left of it at 1,
        which need not be 0, is a term of the bound.

    Raises:
      TypeError: `classes` is not an integer, or `survival` is neither a word nor a function.
      ValueError: K < 2; or a survival that is not 1 at 0, leaves [0, 1], or does not decrease.

    References: Austin et al. (2021), Structured denoising diffusion models in discrete state-spaces, arXiv:2107.03006;
    Shi et al. (2024), arXiv:2406.04329; Sahoo et al. (2024), arXiv:2406.07524.

    Example:
      >>> absorbing(27).states
      28
    """
    require_integer(classes, "absorbing: classes", least=2)
    return Corruption(classes=classes, survival=survival_of(survival, "absorbing: survival"), masks=True)


def uniform(classes: int, *, survival: Shape | Callable[[Array], Array] = "cosine") -> Corruption:
    """Elements become any of the K classes, each as likely as the others, their own too.

    Args:
      classes: K ≥ 2; data are integers from 0 to K − 1.
      survival: α(t), the probability that an element has not been drawn anew; as in `absorbing`.

    Raises:
      TypeError: `classes` is not an integer, or `survival` is neither a word nor a function.
      ValueError: K < 2; or a survival that is not 1 at 0, leaves [0, 1], or does not decrease.

    References: Austin et al. (2021), arXiv:2107.03006; Schiff et al. (2024), arXiv:2412.10193, for continuous time.

    Example:
      >>> uniform(27).states
      27
    """
    require_integer(classes, "uniform: classes", least=2)
    return Corruption(classes=classes, survival=survival_of(survival, "uniform: survival"), masks=False)

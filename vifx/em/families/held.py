"""Parameters of a family that are known and do not move."""

from __future__ import annotations

__all__ = ["Held"]

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from vifx.checks import require_array, require_name
from vifx.core.types import Array, PyTree


class Held:
    """Which parameters of a family are known, and their values: no M step and no optimizer sees them.

    Args:
      family: its name, for messages.
      fixed: the values by parameter name; None for none.
      shapes: of every parameter; None for one of any shape, and for an axis of any size.

    Raises:
      ValueError: a name is unknown, a value has another shape, or is not finite.
      TypeError: a value is not an array.
    """

    def __init__(
        self,
        family: str,
        fixed: Mapping[str, ArrayLike] | None,
        shapes: Mapping[str, tuple[int | None, ...] | None],
    ) -> None:
        self._family = family
        self._values: dict[str, np.ndarray] = {}
        for name, value in (fixed or {}).items():
            shape = shapes[require_name(name, shapes, f"parameter of {family} to hold fixed")]
            array = np.asarray(require_array(value, f"{family}: fixed[{name!r}]"))
            fits = shape is None or (
                len(array.shape) == len(shape)
                and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
            )
            if not fits or not np.all(np.isfinite(array)):
                wanted = "[" + ", ".join("…" if size is None else str(size) for size in shape or ()) + "]"
                what = f"shape {list(array.shape)}" if not fits else "values that are not finite"
                raise ValueError(f"{family}: fixed[{name!r}] must be finite numbers {wanted}, got {what}.")
            self._values[name] = array

    def __contains__(self, name: str) -> bool:
        """Return whether a parameter is known."""
        return name in self._values

    def __bool__(self) -> bool:
        """Return whether any parameter is known."""
        return bool(self._values)

    def all(self, params: PyTree) -> dict[str, Array]:
        """Return all parameters, those that are known among them, in the dtype of the others."""
        dtype = jnp.result_type(*params.values()) if params else jnp.result_type(float)
        return {**params, **{name: jnp.asarray(value, dtype) for name, value in self._values.items()}}

    def check(self, params: Mapping[str, Array]) -> None:
        """Check that values have the shapes of parameters that were made for the data.

        Raises:
          ValueError: one has another shape.
        """
        for name, value in self._values.items():
            if value.shape != params[name].shape:
                raise ValueError(
                    f"{self._family}: fixed[{name!r}] must have the shape {list(params[name].shape)} for these data, "
                    f"got {list(value.shape)}."
                )

    def free(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters without those that are known."""
        return {name: value for name, value in params.items() if name not in self._values}

"""The multilayer perceptron."""

from __future__ import annotations

__all__ = ["MLP"]

from collections.abc import Sequence

import flax.linen as nn

from vifx.core.types import Array
from vifx.networks.layers import Activation, Norm, join, normalize


class MLP(nn.Module):
    """Dense layers ``h ← dropout(activation(norm(h W + b)))`` on the joined parents.

    Parents of any shape are flattened and put side by side, so that ``MLP((400,))(x, y)`` conditions on both;
    labels and 8-bit pixels first become floats by the `inputs` of `Conditional`.

    Attributes:
      features: the width of each hidden layer.
      outputs: the width of a last affine layer, for a network that is used without a head (a critic's logit);
        None for no such layer.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.
      dropout: the probability that a hidden unit is dropped in training.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, DiagonalNormal, MLP
      >>> network = Conditional(MLP((256, 256)), DiagonalNormal((16,)))
      >>> print(vifx.factor("z | x", network, name="encoder"))
      encoder(z | x)
    """

    features: Sequence[int]
    outputs: int | None = None
    activation: Activation = nn.relu
    norm: Norm = None
    dropout: float = 0.0

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to ``[examples, features]``."""
        h = join(*parents)
        for width in self.features:
            h = self.activation(normalize(nn.Dense(width)(h), self.norm, train=train))
            h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return h if self.outputs is None else nn.Dense(self.outputs)(h)

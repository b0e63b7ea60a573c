"""Heads: the last affine layer, from features to a distribution over an event.

Features are ``[examples, ...]``. Where they form a map of the event's own size (a decoder's feature map under an
image, or a vector under a vector), parameters are read off place by place, by a 1×1 convolution; otherwise from
all features flattened. Distributions have the examples as batch and declare the event.
"""

from __future__ import annotations

__all__ = [
    "BernoulliHead",
    "CategoricalHead",
    "DiagonalNormal",
    "DiscretizedLogisticHead",
    "GaussianChainHead",
    "MixtureOfLogisticsHead",
    "NormalFixedScale",
    "NormalGlobalScale",
]

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_number
from vifx.core.types import Array
from vifx.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    GaussianChain,
    MixtureOfDiscretizedLogistics,
    Normal,
)
from vifx.distributions.kalman import smoothed
from vifx.distributions.linear_evidence import LinearEvidence
from vifx.networks.layers import positive


def _parameters(features: Array, event_shape: Sequence[int], count: int) -> Array:
    """Map features by a dense layer to `count` numbers per element: ``[examples, *event_shape, count]``.

    To be called inside a compact module.
    """
    event_shape = tuple(event_shape)
    if event_shape and features.shape[1:-1] == event_shape[:-1]:
        outputs = nn.Dense(event_shape[-1] * count)(features)
    else:
        outputs = nn.Dense(math.prod(event_shape) * count)(features.reshape(features.shape[0], -1))
    return outputs.reshape(features.shape[0], *event_shape, count)


class DiagonalNormal(nn.Module):
    """``N(μ(h), diag σ(h)²)``, both affine in the features, σ by ``m + (1 − m) softplus(· + log(e − 1))``.

    Attributes:
      event_shape: the shape of one value.
      minimum: m, the bound below σ.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, DiagonalNormal, MLP
      >>> network = Conditional(MLP((64,)), DiagonalNormal((16,)))
      >>> print(vifx.factor("z | x", network, name="encoder"))
      encoder(z | x)
    """

    event_shape: Sequence[int]
    minimum: float = 1e-3

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the normal of each example."""
        loc, raw = jnp.moveaxis(_parameters(features, self.event_shape, 2), -1, 0)
        return Normal(loc, positive(raw, self.minimum)).to_event(len(self.event_shape))


class NormalFixedScale(nn.Module):
    """``N(μ(h), scale² I)`` with a given standard deviation: squared error over 2 scale², with its constant.

    Attributes:
      event_shape: the shape of one value.
      scale: the standard deviation, positive.

    Raises:
      ValueError: if `scale` is not positive.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, MLP, NormalFixedScale
      >>> network = Conditional(MLP((64,)), NormalFixedScale((3,), 0.5))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    event_shape: Sequence[int]
    scale: float

    def __post_init__(self) -> None:
        """Check the scale."""
        require_number(self.scale, "scale", above=0)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the normal of each example."""
        loc = _parameters(features, self.event_shape, 1)[..., 0]
        return Normal(loc, jnp.full_like(loc, self.scale)).to_event(len(self.event_shape))


class NormalGlobalScale(nn.Module):
    """``N(μ(h), σ² I)`` with one learned σ for all elements and examples, initially 1.

    Attributes:
      event_shape: the shape of one value.
      minimum: the bound m below σ, which is ``m + (1 − m) softplus(r + log(e − 1))`` of the parameter r.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, MLP, NormalGlobalScale
      >>> network = Conditional(MLP((64,)), NormalGlobalScale((3,)))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    event_shape: Sequence[int]
    minimum: float = 1e-3

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the normal of each example."""
        loc = _parameters(features, self.event_shape, 1)[..., 0]
        raw = self.param("raw_scale", nn.initializers.zeros_init(), ())
        scale = jnp.broadcast_to(positive(raw, self.minimum).astype(loc.dtype), loc.shape)
        return Normal(loc, scale).to_event(len(self.event_shape))


class BernoulliHead(nn.Module):
    """Independent binary elements, their logits affine in the features.

    Attributes:
      event_shape: the shape of one value.

    Example:
      >>> import vifx
      >>> from vifx.networks import BernoulliHead, Conditional, MLP
      >>> network = Conditional(MLP((64,)), BernoulliHead((8, 8, 1)))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    event_shape: Sequence[int]

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the Bernoulli of each example."""
        logits = _parameters(features, self.event_shape, 1)[..., 0]
        return Bernoulli(logits).to_event(len(self.event_shape))


class CategoricalHead(nn.Module):
    """A finite label, or independent finite elements, their logits affine in the features.

    Attributes:
      classes: the number of values.
      event_shape: the shape of one value; ``()`` for a single label.

    Example:
      >>> import vifx
      >>> from vifx.networks import CategoricalHead, Conditional, MLP
      >>> network = Conditional(MLP((64,)), CategoricalHead(10))
      >>> print(vifx.factor("y | x", network, name="classifier"))
      classifier(y | x)
    """

    classes: int
    event_shape: Sequence[int] = ()

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the categorical of each example."""
        logits = _parameters(features, self.event_shape, self.classes)
        return Categorical(logits).to_event(len(self.event_shape))


class DiscretizedLogisticHead(nn.Module):
    """Independent 8-bit pixels: `DiscretizedLogistic` with location and log-scale affine in the features.

    The log-scale is bounded below smoothly, ``b + softplus(r − b)`` with b = −7: a thousandth of the half range,
    an eighth of a bin.

    Attributes:
      event_shape: the shape of one image.
      shades: how many shades of grey it has, such as `vifx.data.shades_of` returns.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, DiscretizedLogisticHead, MLP
      >>> network = Conditional(MLP((64,)), DiscretizedLogisticHead((8, 8, 1)))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    event_shape: Sequence[int]
    shades: int = 256

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the pixels' distribution for each example."""
        loc, raw = jnp.moveaxis(_parameters(features, self.event_shape, 2), -1, 0)
        return DiscretizedLogistic(loc, _bounded_log_scale(raw), shades=self.shades).to_event(len(self.event_shape))


class MixtureOfLogisticsHead(nn.Module):
    """Independent 8-bit pixels: `MixtureOfDiscretizedLogistics`, log-scales bounded as in `DiscretizedLogisticHead`.

    Attributes:
      event_shape: the shape of one image.
      components: logistics per element.
      shades: as for `DiscretizedLogisticHead`.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, MLP, MixtureOfLogisticsHead
      >>> network = Conditional(MLP((64,)), MixtureOfLogisticsHead((8, 8, 1), components=3))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    event_shape: Sequence[int]
    components: int = 5
    shades: int = 256

    @nn.compact
    def __call__(self, features: Array) -> numpyro.Distribution:
        """Return the pixels' distribution for each example."""
        outputs = _parameters(features, self.event_shape, 3 * self.components)
        logits, loc, raw = jnp.split(outputs, 3, axis=-1)
        mixture = MixtureOfDiscretizedLogistics(logits, loc, _bounded_log_scale(raw), shades=self.shades)
        return mixture.to_event(len(self.event_shape))


class GaussianChainHead(nn.Module):
    """A Gaussian chain that features of every step pull: ``p(z) ∝ c(z) Π_t exp(−½ ‖(z_t − μ_t) / σ_t‖²)``.

    μ_t and σ_t are affine in the features of step t; c is a chain ``z_1 ~ N(m, P)``, ``z_{t+1} = A z_t + b + L ε`` of
    parameters. The product is a Gaussian chain again, by the Kalman smoother. As an encoder it is a posterior that
    knows how the steps hang together, structured variational inference, and its divergence from a Gaussian chain is a
    closed form.

    Attributes:
      latent: D, the size of a state.
      minimum: the bound m below σ and the diagonal of L, ``m + (1 − m) softplus(· + log(e − 1))``.

    References:
      Johnson, Duvenaud, Wiltschko, Datta & Adams (2016), Composing graphical models with neural networks for structured
      representations and fast inference; Archer et al. (2015), Black box variational inference for state space models.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, GatedStack, GaussianChainHead
      >>> network = Conditional(GatedStack(16, (1, 2)), GaussianChainHead(2))
      >>> print(vifx.factor("z | x", network, name="encoder"))
      encoder(z | x)
    """

    latent: int
    minimum: float = 1e-3

    @nn.compact
    def __call__(self, features: Array) -> GaussianChain:
        """Return the chain of each sequence, of features ``[sequences, T, features]``.

        Raises:
          ValueError: if the features have no axis of time.
        """
        if features.ndim != 3:
            raise ValueError(
                f"GaussianChainHead: features must be [sequences, T, features], got shape {list(features.shape)}; give "
                "a body that keeps the steps."
            )
        size, shape = self.latent, (*features.shape[:2], self.latent)
        loc, raw = jnp.split(nn.Dense(2 * size)(features), 2, axis=-1)
        zeros = nn.initializers.zeros_init()

        def matrix(name: str) -> Array:
            each = self.param(name, zeros, (size, size)).astype(loc.dtype)
            return jnp.tril(each, -1) + jnp.diag(positive(jnp.diagonal(each), self.minimum))

        prior = GaussianChain(
            self.param("initial_loc", zeros, (size,)).astype(loc.dtype),
            matrix("initial_scale"),
            self.param("transition", lambda *_: 0.9 * jnp.eye(size)).astype(loc.dtype),
            self.param("offset", zeros, (size,)).astype(loc.dtype),
            matrix("scale"),
            shape[1],
        )
        pull = 1 / positive(raw, self.minimum)
        identity = jnp.broadcast_to(jnp.eye(size, dtype=loc.dtype), (*shape, size))
        return smoothed(prior, LinearEvidence(pull[..., None] * identity, pull * loc, jnp.zeros(shape[:2], loc.dtype)))[
            1
        ]


def _bounded_log_scale(raw: Array) -> Array:
    """Map real numbers to log-scales above −7: ``−7 + softplus(r + 7)``."""
    return -7.0 + jax.nn.softplus(raw + 7.0)

"""Deep convolutional generators and critics, with and without batch normalization."""

from __future__ import annotations

__all__ = ["DCGANCritic", "DCGANFeatures", "DCGANGenerator"]

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from vifx.core.types import Array, Key
from vifx.networks.conv import check_image, seed
from vifx.networks.convolution import Conv, ConvTranspose
from vifx.networks.critics import check_leak, logit
from vifx.networks.inputs import enter
from vifx.networks.layers import Activation, Initializer, Norm, join, normalize

_SCALE = 0.02


def _scale_init(key: Key, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> Array:
    """Draw the scales of a normalization from ``N(1, 0.02²)``."""
    return 1.0 + _SCALE * jax.random.normal(key, tuple(shape), dtype)


class DCGANGenerator(nn.Module):
    """Latents to images in [−1, 1]: a dense layer to a small map, then 4×4 transposed convolutions of stride 2.

    Every layer but the last is normalized and rectified; the last has neither and ends in `final`.

    Attributes:
      size: height and width of the images, divisible by ``2 ** len(channels)``.
      channels: channels at each size before the image's, from small to large: ``(128, 64)`` grows 7×7×128 to
        14×14×64 to 28×28; 8×8 digits do with ``(64, 32)``, 64×64 images usually take ``(512, 256, 128, 64)``.
      outputs: channels of the image.
      norm: ``"batch"``, ``"layer"`` or None.
      activation: the nonlinearity.
      final: the map to pixels.
      kernel_init: initializer of all kernels. Without a norm the customary ``N(0, 0.02²)`` makes small signals,
        and ``lecun_normal()`` keeps them.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    Reference: Radford, Metz & Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks, 2016.

    >>> from vifx.networks import OneHot
    >>> generator = DCGANGenerator(inputs=(None, OneHot(10)))  # of a latent and a label
    """

    size: Sequence[int] = (28, 28)
    channels: Sequence[int] = (128, 64)
    outputs: int = 1
    norm: Norm = "batch"
    activation: Activation = nn.relu
    final: Activation = jnp.tanh
    kernel_init: Initializer = nn.initializers.normal(_SCALE)
    inputs: Sequence[nn.Module | None] = ()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to images ``[examples, height, width, outputs]``."""
        use_bias = self.norm is None  # a normalization has a shift of its own
        features = join(*enter(self.inputs, parents))
        h = seed(features, self.size, self.channels, use_bias=use_bias, kernel_init=self.kernel_init)
        h = self.activation(normalize(h, self.norm, train=train, scale_init=_scale_init))
        for width in self.channels[1:]:
            h = ConvTranspose(width, use_bias=use_bias, kernel_init=self.kernel_init)(h)
            h = self.activation(normalize(h, self.norm, train=train, scale_init=_scale_init))
        return self.final(ConvTranspose(self.outputs, kernel_init=self.kernel_init)(h))


class DCGANFeatures(nn.Module):
    """Images to features: per entry of `channels` one 4×4 convolution of stride 2 and a leaky rectifier.

    The first layer is not normalized. Further parents are repeated over the pixels, as channels of the image.

    Attributes:
      channels: output channels of each layer; each halves the height and width, rounded up.
      norm: ``"batch"``, ``"layer"`` or None, from the second layer on.
      leak: slope of the rectifier below zero.
      kernel_init: initializer of all kernels.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = DCGANFeatures((16, 32))
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 1)))
      >>> result.shape
      (4, 128)
    """

    channels: Sequence[int] = (64, 128)
    norm: Norm = None
    leak: float = 0.2
    kernel_init: Initializer = nn.initializers.normal(_SCALE)

    def __post_init__(self) -> None:
        """Check the slope."""
        check_leak(self.leak)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: Array, *parents: Array, train: bool = False) -> Array:
        """Map images ``[examples, height, width, channels]`` to ``[examples, features]``."""
        check_image(image)
        h = image
        if parents:
            image, vector = promote_dtype(image, join(*parents))
            maps = jnp.broadcast_to(vector[:, None, None], (*image.shape[:3], vector.shape[-1]))
            h = jnp.concatenate([image, maps], axis=-1)
        for index, width in enumerate(self.channels):
            norm = self.norm if index else None
            h = Conv(width, 4, stride=2, use_bias=norm is None, kernel_init=self.kernel_init)(h)
            h = nn.leaky_relu(normalize(h, norm, train=train, scale_init=_scale_init), self.leak)
        return join(h)


class DCGANCritic(nn.Module):
    """One logit of an image: `DCGANFeatures` and a dense layer, ``[examples, h, w, c] → [examples]``.

    Attributes:
      channels: output channels of each layer; each halves the height and width, rounded up.
      norm: ``"batch"``, ``"layer"`` or None, from the second layer on. Batch normalization makes the logits of a
        batch depend on each other, which a gradient penalty must not have.
      leak: slope of the rectifier below zero.
      kernel_init: initializer of all kernels.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    Reference: as `DCGANGenerator`.

    >>> from vifx.networks import Pixels
    >>> critic = DCGANCritic((64, 128), inputs=(Pixels(),))
    """

    channels: Sequence[int] = (64, 128)
    norm: Norm = None
    leak: float = 0.2
    kernel_init: Initializer = nn.initializers.normal(_SCALE)
    inputs: Sequence[nn.Module | None] = ()

    def __post_init__(self) -> None:
        """Check the slope."""
        check_leak(self.leak)
        super().__post_init__()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map images, and further parents, to logits ``[examples]``, which estimate a log-ratio in nats."""
        features = DCGANFeatures(self.channels, self.norm, self.leak, self.kernel_init)
        return logit(features(*enter(self.inputs, parents), train=train), kernel_init=self.kernel_init)

"""The networks that compute the parameters of couplings of images."""

from __future__ import annotations

__all__ = ["ConvConditioner", "ZeroConv"]

import flax.linen as nn
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.networks.conv import check_image
from vifx.networks.convolution import Conv
from vifx.networks.layers import Activation, join


class ConvConditioner(nn.Module):
    """Images to feature maps of the same height and width: a 3×3 convolution, then a 1×1 one or residual blocks.

    The first parent is the image; further ones, such as one-hot classes, are flattened, and a linear map of them is
    added to the first feature map at every pixel.

    Without blocks it is the body of Glow's couplings, whose last layer is the head ``ZeroConv(outputs)``; with blocks,
    ``h + conv(act(conv(act(h))))`` with a second convolution that starts at zero, a residual network as in RealNVP, but
    with neither batch nor weight normalization.

    Attributes:
      hidden: channels of each layer.
      blocks: residual blocks in place of the 1×1 convolution; 0 for none.
      activation: the nonlinearity.

    References: Kingma & Dhariwal (2018), arXiv:1807.03039; Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.
    """

    hidden: int = 64
    blocks: int = 0
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, image: Array, *parents: Array) -> Array:
        """Map images ``[examples, height, width, channels]`` to ``[examples, height, width, hidden]``."""
        check_image(image)
        # A truncated normal, which he_normal draws, takes four times as long to compile.
        kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        h = Conv(self.hidden, kernel_init=kernel_init)(image)
        if parents:
            bias = Conv(self.hidden, 1, use_bias=False, kernel_init=kernel_init, name="Parents")
            h = h + jnp.broadcast_to(bias(join(*parents)[:, None, None]), h.shape)
        if not self.blocks:
            return self.activation(Conv(self.hidden, 1, kernel_init=kernel_init)(self.activation(h)))
        for _ in range(self.blocks):
            branch = Conv(self.hidden, kernel_init=kernel_init)(self.activation(h))
            h = h + ZeroConv(self.hidden)(self.activation(branch))
        return self.activation(h)


class ZeroConv(nn.Module):
    """A convolution whose kernel and bias start at zero: the last layer of what must start as the identity.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.

    Reference: Kingma & Dhariwal (2018), arXiv:1807.03039.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = ZeroConv(6)
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 3)))
      >>> result.shape
      (4, 8, 8, 6)
    """

    features: int
    kernel_size: int = 3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[examples, height, width, channels]`` to `features` channels."""
        return Conv(self.features, self.kernel_size, kernel_init=nn.initializers.zeros_init())(x)

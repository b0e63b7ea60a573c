"""The shipped Flax Linen modules.

Parents are positional, with the examples as first axis; modules with batch statistics or dropout take ``train``.
``Conditional(body, head)`` makes a distribution of any body and head:

>>> encoder = Conditional(MLP((400, 400)), DiagonalNormal((32,)))
"""

from __future__ import annotations

__all__ = [
    "MLP",
    "BernoulliHead",
    "CategoricalHead",
    "Conditional",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "ConvTranspose",
    "DiagonalNormal",
    "DiscretizedLogisticHead",
    "MixtureOfLogisticsHead",
    "NormalFixedScale",
    "NormalGlobalScale",
    "OneHot",
    "Pixels",
    "ResidualBlock",
    "ResidualDecoder",
    "ResidualEncoder",
    "convolve",
    "convolve_transpose",
]

from vifx.networks.conditional import Conditional
from vifx.networks.conv import ConvDecoder, ConvEncoder
from vifx.networks.convolution import Conv, ConvTranspose, convolve, convolve_transpose
from vifx.networks.heads import (
    BernoulliHead,
    CategoricalHead,
    DiagonalNormal,
    DiscretizedLogisticHead,
    MixtureOfLogisticsHead,
    NormalFixedScale,
    NormalGlobalScale,
)
from vifx.networks.inputs import OneHot, Pixels
from vifx.networks.mlp import MLP
from vifx.networks.residual import ResidualBlock, ResidualDecoder, ResidualEncoder

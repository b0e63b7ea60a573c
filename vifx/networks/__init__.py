"""The shipped Flax Linen modules.

Parents are positional, with the examples as first axis; modules with batch statistics or dropout take ``train``.
``Conditional(body, head)`` makes a distribution of any body and head:

>>> encoder = Conditional(MLP((400, 400)), DiagonalNormal((32,)))

and ``Critic(body)`` a critic of any body: one logit per example.

>>> critic = Critic(MLP((400, 400)))

`ConvConditioner` and `ZeroConv` are the body and the head of a flow's couplings of images. `GatedStack` and
`AttentionPooling` take sequences of several lengths with a mask. `autoregressive(GatedSymbols(classes))` is a decoder
of sequences of symbols, each given those before it, and `MaskedGrid` the body of one over a grid. `vamp_prior` makes an
encoder that is also a prior. `PointDenoiser` and `UNet` are denoisers.
`around` puts a normal distribution around what a network returns.
"""

from __future__ import annotations

__all__ = [
    "MLP",
    "AttentionPooling",
    "BernoulliHead",
    "CategoricalHead",
    "Conditional",
    "Conv",
    "ConvConditioner",
    "ConvDecoder",
    "ConvEncoder",
    "ConvTranspose",
    "Critic",
    "DCGANCritic",
    "DCGANFeatures",
    "DCGANGenerator",
    "DiagonalNormal",
    "DiscretizedLogisticHead",
    "FourierFeatures",
    "GatedConv",
    "GatedStack",
    "GatedSymbols",
    "GaussianChainHead",
    "MapDecoder",
    "MapEncoder",
    "MaskedGrid",
    "MixtureOfLogisticsHead",
    "NormalFixedScale",
    "NormalGlobalScale",
    "NormalMixture",
    "OneHot",
    "PairCritic",
    "Pixels",
    "PointDenoiser",
    "ProjectionCritic",
    "ResidualBlock",
    "ResidualDecoder",
    "ResidualEncoder",
    "SNResNetCritic",
    "SNResNetFeatures",
    "SNResNetGenerator",
    "Transformer",
    "UNet",
    "ZeroConv",
    "add_positions",
    "around",
    "autoregressive",
    "convolve",
    "convolve_transpose",
    "decoder_body",
    "encoder_body",
    "image_critic",
    "image_generator",
    "sinusoids",
    "time_features",
    "vamp_prior",
]

from vifx.networks.around import around
from vifx.networks.body_and_head import Conditional
from vifx.networks.by_shape import decoder_body, encoder_body, image_critic, image_generator
from vifx.networks.code_maps import MapDecoder, MapEncoder
from vifx.networks.conv import ConvDecoder, ConvEncoder
from vifx.networks.convolution import Conv, ConvTranspose, convolve, convolve_transpose
from vifx.networks.critics import Critic, PairCritic, ProjectionCritic
from vifx.networks.dcgan import DCGANCritic, DCGANFeatures, DCGANGenerator
from vifx.networks.denoisers import PointDenoiser, UNet, time_features
from vifx.networks.fourier import FourierFeatures
from vifx.networks.gated import GatedConv, GatedStack
from vifx.networks.heads import (
    BernoulliHead,
    CategoricalHead,
    DiagonalNormal,
    DiscretizedLogisticHead,
    GaussianChainHead,
    MixtureOfLogisticsHead,
    NormalFixedScale,
    NormalGlobalScale,
)
from vifx.networks.image_coupling import ConvConditioner, ZeroConv
from vifx.networks.inputs import OneHot, Pixels
from vifx.networks.masked_grid import MaskedGrid
from vifx.networks.mixture_priors import NormalMixture, vamp_prior
from vifx.networks.mlp import MLP
from vifx.networks.pooling import AttentionPooling
from vifx.networks.positions import add_positions, sinusoids
from vifx.networks.residual_blocks import ResidualBlock, ResidualDecoder, ResidualEncoder
from vifx.networks.sequence_decoder import GatedSymbols, autoregressive
from vifx.networks.spectral_resnet import SNResNetCritic, SNResNetFeatures, SNResNetGenerator
from vifx.networks.transformer import Transformer

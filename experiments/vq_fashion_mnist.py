"""Vector quantization of Fashion-MNIST: a VQ-VAE or finite scalar quantization, with a prior of the codes.

Source:   van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning, arXiv:1711.00937;
          Mentzer et al. (2023), Finite scalar quantization, arXiv:2309.15505.
Command:  vifx train experiments/vq_fashion_mnist.py
          vifx train experiments/vq_fashion_mnist.py --quantization finite_scalar
Hardware: 2 CPU cores, about 3 minutes beside other work, which is short: it has not converged.
Metric:   −ELBO 320.1 nats on the test split, binarized once with a fixed seed; 45 of 64 codes by their perplexity.

The prior, a gated PixelCNN over the grid, learns from the codes as they are found: they are integers, so that its
gradient does not reach the encoder, and training it beside the codes is its second stage begun early.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, evaluation, networks, quantization, training
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, NonNegativeFloat, PositiveInt, autoencoder
from vifx.experiment.rules import PositiveFloat


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 800
    evaluate_every: PositiveInt | None = 400
    learning_rate: PositiveFloat = 2e-3
    likelihood: autoencoder.Likelihood = "bernoulli"
    """Of a pixel: black or white, drawn anew for every minibatch, or one of the images' shades."""
    quantization: Literal["vector", "finite_scalar"] = "vector"
    """Learned codes, or the points of a lattice."""
    codes: PositiveInt = 64
    """How many learned codes there are."""
    features: PositiveInt = 8
    """Numbers of a learned code."""
    levels: tuple[PositiveInt, ...] = (4, 4, 4)
    """Levels of each axis of the lattice."""
    commitment: NonNegativeFloat = 0.25
    """Weight of the commitment to learned codes."""
    revive: PositiveInt = 50
    """Updates without a use after which a learned code is put elsewhere."""
    channels: tuple[PositiveInt, ...] = (16, 32)
    """Channels of the encoder's convolutions, each of which halves the image; the decoder's backwards."""
    prior_features: PositiveInt = 32
    """Numbers of each place in the prior of the codes."""
    prior_depth: PositiveInt = 4
    """Layers of the prior of the codes."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative) with the commitment, and the codebook's turn."""
    splits = data.load(config.data)
    pixels = autoencoder.pixels(splits, config.likelihood)
    height, width, _ = splits.info.shape
    grid = tuple(math.ceil(size / 2 ** len(config.channels)) for size in (height, width))
    learned = config.quantization == "vector"
    features = config.features if learned else len(config.levels)
    encoder = config.net(networks.MapEncoder(config.channels, features, inputs=(pixels.read,)))
    quantizer = (
        quantization.vector(encoder, (*grid, features), codes=config.codes)
        if learned
        else quantization.finite_scalar(encoder, grid, levels=config.levels)
    )
    decoder = config.net(networks.Conditional(networks.MapDecoder(config.channels[::-1]), pixels.head))
    body = networks.MaskedGrid(quantizer.total, grid, config.prior_features, config.prior_depth)
    prior = networks.autoregressive(config.net(body), length=math.prod(grid), classes=quantizer.total)

    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("k | x", quantizer.numbers, name="codes"),
        vifx.factor("z | x", quantizer, name="codes"),
    )
    generative = vifx.Joint(
        vifx.factor("k", prior, name="prior"),
        vifx.factor("z | k", quantizer.lookup, name="codes"),
        vifx.factor("x | z", decoder, name="decoder"),
    )
    objective = vifx.kl(inference, generative)
    if learned:
        objective = objective + quantization.commitment(inference, weight=config.commitment)
    step = training.optimize(objective, optax.adam(config.learning_rate))
    if learned:
        step = training.in_turn(step, quantization.codebook_turn(inference, revive=config.revive))
    built = autoencoder.experiment(
        config,
        splits,
        inference,
        generative,
        objective,
        pixels=pixels.kind,
        best="-validation/elbo",
        drawn=("samples", "reconstructions"),
    )
    test = splits.test if pixels.kind == "shades" else data.fixed_binarization(splits.test, 0)
    measure = both(
        evaluation.monitor_loss(vifx.kl(inference, generative), test),
        quantization.measure_usage(inference, test),
    )
    return dataclasses.replace(built, step=step, evaluate=measure)

"""Hierarchical variational autoencoder on Fashion-MNIST, with any number of latent levels.

Source:   Sønderby et al. (2016), Ladder variational autoencoders, arXiv:1602.02282, compares the two directions.
Command:  vifx train experiments/hvae_fashion_mnist.py
          vifx train experiments/hvae_fashion_mnist.py --direction bottom_up --latents 32 16 8
Hardware: 2 CPU cores, about 4 minutes, most of them for the bounds.
Metric:   −ELBO 236.6 and IWAE-1000 232.4 nats on the test split, binarized once with a fixed seed.

The generative joint goes from the top level z_L down to x. The encoder goes the same way, z_L first and each level
given the one above and x (top_down), or from x upwards, each level given the one below (bottom_up).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, networks
from vifx.core.factor import Factor
from vifx.experiment import Experiment, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 10_742
    """How many updates to make: 25 epochs by default."""
    evaluate_every: PositiveInt | None = 1000
    likelihood: autoencoder.Likelihood = "bernoulli"
    """Of a pixel: black or white, drawn anew for every minibatch, or one of the images' shades."""
    latents: tuple[PositiveInt, ...] = (32, 16)
    """Dimensions of z1, z2, … from the pixels upwards."""
    direction: Literal["top_down", "bottom_up"] = "top_down"
    """The order in which the encoder draws the levels."""
    warm_up: PositiveInt = 2000
    """Updates over which the weight of every KL term grows from 0 to 1."""
    hidden: tuple[PositiveInt, ...] = (400, 400)
    """Widths of the hidden layers of every network."""
    bound_examples: PositiveInt | None = 10_000
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.latents) < 2:
            raise ValueError(f"latents needs at least two levels, such as 32 16; got {self.latents}")


def build(config: Config) -> Experiment:
    """Build the two joints level by level, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    pixels = autoencoder.pixels(splits, config.likelihood)
    sizes = {f"z{level}": size for level, size in enumerate(config.latents, start=1)}
    top = f"z{len(sizes)}"
    neighbours = list(zip(["x", *sizes], sizes, strict=False))  # ("x", "z1"), ("z1", "z2"), …

    def given(variable: str, parents: str, name: str) -> Factor:
        head = pixels.head if variable == "x" else networks.DiagonalNormal((sizes[variable],))
        read = [pixels.read if parent == "x" else None for parent in parents.split(", ")]
        network = networks.Conditional(networks.MLP(config.hidden), head, inputs=read)
        return vifx.factor(f"{variable} | {parents}", config.net(network), name=name)

    if config.direction == "bottom_up":
        encoders = [given(above, below, f"encoder_{above}") for below, above in neighbours]
    else:
        encoders = [given(top, "x", f"encoder_{top}")]
        encoders += [given(below, f"{above}, x", f"encoder_{below}") for below, above in neighbours[:0:-1]]
    inference = vifx.Joint(vifx.evidence("x"), *encoders)
    generative = vifx.Joint(
        vifx.factor(top, vifx.standard_normal(sizes[top])),
        *(given(below, above, f"decoder_{below}") for below, above in reversed(neighbours)),
    )
    warm_up = optax.linear_schedule(0.0, 1.0, config.warm_up)
    objective = vifx.kl(inference, generative, weights={f"kl/{latent}": warm_up for latent in sizes})
    return autoencoder.experiment(
        config,
        splits,
        inference,
        generative,
        objective,
        pixels=pixels.kind,
        latent=top,
        best="-validation/elbo",  # the loss has other weights while it warms up
        drawn=("samples", "reconstructions", "levels", "codes"),
    )

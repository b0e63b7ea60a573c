"""f-VAE on Fashion-MNIST, the article's model: a Gaussian encoder in the coordinates of a flow.

``F_x(u) = F(σ₁(x)u + E(x))`` with ``q(x|z) = N(G(F⁻¹(z)), σ₂²)`` is, in the coordinates v = F⁻¹(z), a VAE whose prior
is the flow: ``p(v|x) = N(E(x), σ₁(x)²)`` and ``q(x|v) = N(G(v), σ₂²)``.

Source:   Su and Wu (2018), f-VAEs: improve VAEs with conditional flows, arXiv:1809.05861.
Command:  vifx train experiments/fvae_fashion_mnist.py
          vifx train experiments/fvae_fashion_mnist.py --flow none
Hardware: 2 CPU cores, about 70 seconds.
Metric:   FMD 10.7 and coverage 0.83 on the test split, 10,000 samples, ELBO 584.6 nats; without the flow, at as
          many updates, 68.2, 0.12 and 575.6.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, evaluation, flows, games, networks, training
from vifx.data import images
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    steps: PositiveInt = 8000
    evaluate_every: PositiveInt | None = 1000
    flow: Literal["prior", "none"] = "prior"
    """Whether the prior of v is a flow; none is the plain VAE."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    latent: PositiveInt = 16
    """Dimension of v."""
    depth: PositiveInt = 8
    """Couplings in the flow."""
    scale: PositiveFloat = 0.1
    """Standard deviation σ₂ of a pixel given its mean."""
    hidden: tuple[PositiveInt, ...] = (512, 512)
    """Widths of the hidden layers of encoder and decoder."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    body = networks.MLP(config.hidden)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)))
    decoder = networks.Conditional(body, networks.NormalFixedScale(splits.info.shape, config.scale))
    encoder, decoder = (config.net(net) for net in (encoder, decoder))
    base, flow = (
        vifx.standard_normal(config.latent),
        flows.realnvp(depth=config.depth, hidden=(128, 128), remat=config.remat),
    )
    prior = vifx.transformed("v", base, flow, name="prior") if config.flow == "prior" else vifx.factor("v", base)

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("v | x", encoder, name="encoder"))
    generative = vifx.Joint(prior, vifx.factor("x | v", decoder, name="decoder"))
    objective = vifx.kl(inference, generative)
    step = training.optimize(objective, optax.adam(config.learning_rate))
    model = games.Assembly(inference, generative, objective)
    built = generator.images(config, splits, model, step, low=0.0, latent="v", drawn=("samples", "reconstructions"))
    bounds = evaluation.measure_bounds(inference, generative, images.scaled(splits.test), samples=(1,), latent="v")
    return dataclasses.replace(
        built,
        monitor=evaluation.monitor_loss(objective, images.scaled(splits.validation)),
        evaluate=both(bounds, built.evaluate),
        best="validation/loss",
        alarms=(),
        curves={},
    )

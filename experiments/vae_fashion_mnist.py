"""Variational autoencoder on Fashion-MNIST, black and white or in 256 shades of grey.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
Command:  vifx train experiments/vae_fashion_mnist.py
          vifx train experiments/vae_fashion_mnist.py --likelihood discretized_logistic
Hardware: 2 CPU cores, about 2 minutes, the bounds included.
Metric:   −ELBO 238.2 and IWAE-1000 234.8 nats on the test split, binarized once with a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, nets, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, variational


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 10_742
    """How many updates to make: 25 epochs by default."""
    log_every: PositiveInt = 100
    """Updates between two lines of metrics."""
    evaluate_every: PositiveInt | None = 1000
    """Updates between two evaluations on the validation split; the best is kept."""
    likelihood: Literal["bernoulli", "discretized_logistic"] = "bernoulli"
    """Of a pixel: black or white, drawn anew for every minibatch, or one of 256 shades."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    latent: PositiveInt = 32
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (400, 400)
    """Widths of the hidden layers of encoder and decoder."""
    bound_examples: PositiveInt = 10_000
    """Test images for the importance-weighted bounds, which take most of the evaluation's time."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    validation, test = splits.validation, splits.test
    if config.likelihood == "bernoulli":
        validation, test = (data.fixed_binarization(split, 0) for split in (validation, test))
        transform, white, inputs = data.binarize(), 1.0, (None,)
        head = networks.BernoulliHead(splits.info.shape)
    else:
        transform, white, inputs = None, 255.0, (networks.Pixels(),)
        head = networks.DiscretizedLogisticHead(splits.info.shape)

    body = networks.MLP(config.hidden)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs)
    decoder = networks.Conditional(body, head)
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    sample = variational.sampler(generative, white=white)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.Resident(splits.train, config.data.batch_size, config.seed, transform),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=variational.monitor(objective, validation),
        evaluate=variational.bounds(inference, generative, test, examples=config.bound_examples),
        drawings={
            "samples": variational.draw_samples(sample),
            "reconstructions": variational.draw_reconstructions(
                inference, generative, test, originals=splits.test["x"], white=white
            ),
            "traversal": variational.draw_traversal(inference, generative, test, white=white),
            "codes": variational.draw_codes(inference, test),
        },
        sample=sample,
        best="validation/loss",
    )

"""Importance-weighted autoencoder on black and white Fashion-MNIST: the bound with K samples is trained.

Source:   Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
Command:  vifx train experiments/iwae_fashion_mnist.py
Hardware: 2 CPU cores, about 50 minutes.
Metric:   −ELBO 251.9 and IWAE-1000 232.7 nats on the test split, binarized once with a fixed seed.
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
    evaluate_every: PositiveInt | None = 2000
    """Updates between two evaluations on the validation split; the best is kept."""
    samples: PositiveInt = 50
    """K, the draws per example."""
    gradient: Literal["reparameterized", "sticking_the_landing", "doubly_reparameterized"] = "reparameterized"
    """The gradient estimator."""
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
    """Build the two joints, the importance-weighted bound, and what to measure and draw."""
    splits = data.load(config.data)
    validation, test = (data.fixed_binarization(split, 0) for split in (splits.validation, splits.test))

    body = networks.MLP(config.hidden)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)))
    decoder = networks.Conditional(body, networks.BernoulliHead(splits.info.shape))
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.importance_weighted(inference, generative, samples=config.samples, gradient=config.gradient)
    sample = variational.sampler(generative)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.binarize()),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=variational.monitor(objective, validation),
        evaluate=variational.bounds(inference, generative, test, examples=config.bound_examples),
        drawings={
            "samples": variational.draw_samples(sample),
            "reconstructions": variational.draw_reconstructions(
                inference, generative, test, originals=splits.test["x"]
            ),
            "traversal": variational.draw_traversal(inference, generative, test),
            "codes": variational.draw_codes(inference, test),
        },
        sample=sample,
        best="validation/loss",
    )

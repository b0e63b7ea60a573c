"""Variational autoencoder on scikit-learn's 8×8 handwritten digits.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
Command:  vifx train experiments/vae_digits.py
Hardware: 2 CPU cores, MINUTES.
Metric:   −ELBO NELBO nats on the test digits, binarized once with a fixed seed.

Pixels are probabilities: training draws black and white digits from them anew for every minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

import vifx
from vifx import data, nets, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, variational


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 5000
    """How many updates to make."""
    evaluate_every: PositiveInt | None = 250
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    latent: PositiveInt = 8
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the hidden layers of encoder and decoder."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    digits = data.load(config.data)
    validation, test = (data.fixed_binarization(split, 0) for split in (digits.validation, digits.test))

    encoder = networks.Conditional(networks.MLP(config.hidden), networks.DiagonalNormal((config.latent,)))
    decoder = networks.Conditional(networks.MLP(config.hidden), networks.BernoulliHead(digits.info.shape))
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    sample = variational.sampler(generative)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.Resident(digits.train, config.data.batch_size, config.seed, data.binarize()),
        splits=digits,
        inference=inference,
        generative=generative,
        monitor=variational.monitor(objective, validation),
        evaluate=variational.bounds(inference, generative, test),
        drawings={
            "samples": variational.draw_samples(sample),
            "reconstructions": variational.draw_reconstructions(
                inference, generative, test, originals=digits.test["x"]
            ),
            "traversal": variational.draw_traversal(inference, generative, test),
            "codes": variational.draw_codes(inference, test),
        },
        sample=sample,
        best="validation/loss",
    )

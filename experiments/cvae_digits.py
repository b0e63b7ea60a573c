"""Class-conditional variational autoencoder on scikit-learn's 8×8 handwritten digits.

Source:   Sohn, Lee and Yan (2015), Learning structured output representation using deep conditional
          generative models.
Command:  vifx train experiments/cvae_digits.py
Hardware: 2 CPU cores, about half a minute.
Metric:   −ELBO 160.5 and IWAE-1000 156.4 nats on the test digits given their classes, in 256 shades of grey.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
import optax

import vifx
from vifx import data, nets, networks, training
from vifx.core.types import Batch
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, variational


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 100
    """Updates between two checkpoints, the best of which is measured and drawn."""
    evaluate_every: PositiveInt | None = 100
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    latent: PositiveInt = 8
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the hidden layers of encoder and decoder."""
    bound_examples: PositiveInt | None = None
    """Test images for the importance-weighted bounds; all of them if None."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints given the class y, KL(inference ‖ generative), and what to measure and draw."""
    digits = data.load(config.data)
    classes = digits.info.classes or 1
    label = networks.OneHot(classes)

    body = networks.MLP(config.hidden)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs=(networks.Pixels(), label))
    decoder = networks.Conditional(body, networks.DiscretizedLogisticHead(digits.info.shape), inputs=(None, label))
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x", "y"), vifx.factor("z | x, y", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.evidence("y"),
        vifx.factor("z", vifx.standard_normal(config.latent)),
        vifx.factor("x | z, y", decoder, name="decoder"),
    )
    objective = vifx.kl(inference, generative)

    def in_turn(n: int) -> Batch:
        return {"y": jnp.arange(n) % classes}

    sample = variational.sampler(generative, white=255.0, evidence=in_turn)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.Resident(digits.train, config.data.batch_size, config.seed),
        splits=digits,
        inference=inference,
        generative=generative,
        monitor=variational.monitor(objective, digits.validation),
        evaluate=variational.bounds(inference, generative, digits.test, examples=config.bound_examples),
        drawings={
            "samples": variational.draw_samples(
                sample, n=8 * classes, columns=classes, title="Samples, one class a column"
            ),
            "styles": variational.draw_shared(
                generative,
                "z",
                columns=classes,
                title="Samples, one z a row and one class a column",
                white=255.0,
                evidence=in_turn,
            ),
            "reconstructions": variational.draw_reconstructions(inference, generative, digits.test, white=255.0),
            "traversal": variational.draw_traversal(inference, generative, digits.test, white=255.0),
        },
        sample=sample,
        best="validation/loss",
    )

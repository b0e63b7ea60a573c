"""Adversarially learned inference on Fashion-MNIST: images and codes against samples and latents.

Source:   Dumoulin et al. (2017), arXiv:1606.00704; Su (2018), GAN as variational inference, arXiv:1807.05936.
Command:  vifx train experiments/ali_fashion_mnist.py
          vifx train experiments/ali_fashion_mnist.py --form truncated
Hardware: 2 CPU cores, about 5 minutes, which is short: it has not converged.
Metric:   FMD 106.7 and coverage 0.10 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, games, nets, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, adversarial, variational
from vifx.experiment.features import feature_network


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 800
    """How many times both players take their turns."""
    checkpoint_every: PositiveInt = 400
    """Updates between two checkpoints, the best of which is measured and drawn."""
    evaluate_every: PositiveInt | None = 400
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 32
    """Dimension of z."""
    form: Literal["nonsaturating", "minimax", "truncated"] = "nonsaturating"
    """What the model minimizes; "truncated" is the published shortening, no descent direction for the encoder."""
    decay: PositiveFloat = 0.999
    """Of the average of the parameters, which is what is measured and drawn."""
    quality_examples: PositiveInt = 10_000
    """Test images and samples that the quality is measured on."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, both of which move, the labelled KL between them, and what to measure and draw."""
    splits = data.load(config.data)
    test = {**splits.test, "x": splits.test["x"].astype("float32") / 127.5 - 1}
    encoder = networks.Conditional(networks.ConvEncoder((32, 64)), networks.DiagonalNormal((config.latent,)))
    generator = networks.DCGANGenerator(splits.info.shape[:2], (128, 64))
    critic = networks.PairCritic(networks.DCGANFeatures((64, 128)), networks.MLP((256,)), (256,))
    encoder, generator, critic = (nets.in_precision(net, config.precision) for net in (encoder, generator, critic))
    model = games.ali(encoder, generator, critic, prior=vifx.standard_normal(config.latent), form=config.form)
    step = training.optimize(model.objective, optax.adam(config.learning_rate, b1=0.5))
    step = training.averaged(step, config.decay)

    sample = adversarial.sampler(model.generative)
    features = lambda: feature_network(config.data)  # noqa: E731
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.normalize()),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=adversarial.image_quality(sample, splits.validation, features, n=2000),
        evaluate=adversarial.image_quality(
            sample, splits.test, features, n=config.quality_examples, train=splits.train
        ),
        drawings={
            "samples": variational.draw_samples(sample),
            "reconstructions": variational.draw_reconstructions(model.inference, model.generative, test, black=-1.0),
            "codes": variational.draw_codes(model.inference, test),
            "interpolation": adversarial.draw_interpolation(model.generative),
        },
        sample=sample,
        best="validation/fmd",
        alarms=adversarial.alarms(monitored=("fmd", "coverage")),
        curves=adversarial.CURVES,
    )

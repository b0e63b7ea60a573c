"""Wasserstein autoencoder with a kernel in the critic's place, on scikit-learn's 8×8 handwritten digits.

Source:   Tolstikhin et al. (2018), Wasserstein auto-encoders, arXiv:1711.01558.
Command:  vifx train experiments/wae_digits.py
Hardware: 2 CPU cores, about a minute.
Metric:   FMD 25.8 and coverage 0.64 on the test split, 360 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

import vifx
from vifx import data, games, nets, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, adversarial, variational
from vifx.experiment.features import feature_network


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 3000
    """How many updates to make."""
    evaluate_every: PositiveInt | None = 500
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    latent: PositiveInt = 8
    """Dimension of z."""
    scale: PositiveFloat = 0.2
    """Standard deviation σ of a pixel given its mean: the reconstruction weighs 1/2σ²."""
    weight: PositiveFloat = 10.0
    """Of the squared maximum mean discrepancy."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the hidden layers of encoder and decoder."""
    quality_examples: PositiveInt = 360
    """Test images and samples that the quality is measured on."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, the kernel discrepancy of z with reconstruction, and what to measure and draw."""
    splits = data.load(config.data)
    test = {**splits.test, "x": splits.test["x"].astype("float32") / 255}
    encoder = networks.MLP(config.hidden, outputs=config.latent)
    decoder = networks.Conditional(
        networks.MLP(config.hidden), networks.NormalFixedScale(splits.info.shape, config.scale)
    )
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))
    inference = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = config.weight * vifx.mmd(inference, generative, on="z") + vifx.reconstruction(inference, generative)
    model = games.Assembly(inference, generative, objective)
    step = training.optimize(model.objective, optax.adam(config.learning_rate))

    sample = adversarial.sampler(model.generative, low=0.0)
    features = lambda: feature_network(config.data)  # noqa: E731
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.normalize(low=0.0)),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=adversarial.image_quality(sample, splits.validation, features, n=len(splits.validation["x"])),
        evaluate=adversarial.image_quality(
            sample, splits.test, features, n=config.quality_examples, train=splits.train
        ),
        drawings={
            "samples": variational.draw_samples(sample),
            "reconstructions": variational.draw_reconstructions(
                model.inference, model.generative, test, originals=splits.test["x"], white=1.0
            ),
            "codes": variational.draw_codes(model.inference, test),
        },
        sample=sample,
        best="validation/fmd",
        curves={"training": ("mmd/z", "nll/x", "validation/fmd", "validation/coverage")},
    )

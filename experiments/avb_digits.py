"""Adversarial variational Bayes on scikit-learn's 8×8 handwritten digits: an implicit posterior.

Source:   Mescheder et al. (2017), Adversarial variational Bayes, arXiv:1701.04722.
Command:  vifx train experiments/avb_digits.py
Hardware: 2 CPU cores, about half a minute.
Metric:   FMD 26.7 and coverage 0.57 on the test split, 360 samples.
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

    steps: PositiveInt = 4000
    """How many times both players take their turns."""
    evaluate_every: PositiveInt | None = 500
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 5e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 8
    """Dimension of z."""
    noise: PositiveInt = 16
    """Dimension of the noise that the encoder turns into a posterior."""
    scale: PositiveFloat = 0.2
    """Standard deviation σ of a pixel given its mean."""
    critic_turns: PositiveInt = 2
    """Minibatches that the critic sees in its turn."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the hidden layers of all networks."""
    quality_examples: PositiveInt = 360
    """Test images and samples that the quality is measured on."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, the z term of their KL by a critic on (x, z), and what to measure and draw."""
    splits = data.load(config.data)
    test = {**splits.test, "x": splits.test["x"].astype("float32") / 255}
    body = networks.MLP(config.hidden)
    encoder = networks.MLP(config.hidden, outputs=config.latent)
    decoder = networks.Conditional(body, networks.NormalFixedScale(splits.info.shape, config.scale))
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))
    prior = vifx.factor("z", vifx.standard_normal(config.latent))
    # z = E(x, u) with noise u: its density given x exists, but nobody knows it.
    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("u", vifx.standard_normal(config.noise)),
        vifx.implicit("z | x, u", encoder, name="encoder"),
    )
    generative = vifx.Joint(prior, vifx.factor("x | z", decoder, name="decoder"))
    # The critic estimates log q(z)/p(z|x); the model's KL(p(z|x) ‖ q(z)) is its reverse KL.
    posterior = vifx.adversarial(
        inference,
        vifx.Joint(vifx.evidence("x"), prior),
        networks.Critic(body),
        on=("x", "z"),
        divergence="reverse_kl",
        form="minimax",
        critic_divergence="labelled_kl",
    )
    explained = vifx.Joint(
        *generative.factors[:1], vifx.factor("u", vifx.standard_normal(config.noise)), generative.factors[1]
    )
    objective = posterior + vifx.reconstruction(inference, explained)
    model = games.Assembly(inference, generative, objective)
    optimizer = optax.adam(config.learning_rate, b1=0.5)
    step = training.optimize(model.objective, optimizer, turns={"critic": config.critic_turns})

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
        alarms=adversarial.alarms(monitored=("fmd", "coverage")),
        curves=adversarial.CURVES,
    )

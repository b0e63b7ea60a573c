"""Latent diffusion of Fashion-MNIST: a variational autoencoder whose prior is a diffusion, end to end or in two stages.

Source:   Vahdat, Kreis and Kautz (2021), Score-based generative modeling in latent space, arXiv:2106.05931; Rombach et
          al. (2022), High-resolution image synthesis with latent diffusion models, arXiv:2112.10752.
Command:  vifx train experiments/latent_diffusion_fashion_mnist.py
          vifx train experiments/latent_diffusion_fashion_mnist.py --no-end-to-end
Hardware: 2 CPU cores, about 3 minutes beside other work.
Metric:   −ELBO 236.3 nats on the test split, binarized once with a fixed seed; the VAE without a diffusion has 238.2.

The code e of an image is evidence for a path z from e to noise, and the generative joint comes back: from noise to
z_0, to e, to the image. Their KL is one number, the bound of the whole. In two stages the autoencoder learns with a
standard normal prior and then stays as it is; the diffusion learns its codes all along, and does not move them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import optax

import vifx
from vifx import data, diffusion, evaluation, networks, training
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 8000
    evaluate_every: PositiveInt | None = 1000
    end_to_end: bool = True
    """Whether everything learns at once; otherwise the autoencoder alone, which stops after half of the updates."""
    latent: PositiveInt = 16
    """Dimension of e."""
    hidden: tuple[PositiveInt, ...] = (300, 300)
    denoiser: tuple[PositiveInt, ...] = (256, 256, 256)
    """Widths of the hidden layers of the denoiser."""
    start: float = -6.0
    """log σ²/α² of the noise at e itself."""
    decay: PositiveFloat = 0.999
    """Of the average of the parameters, which is what is measured and drawn."""
    sampler_steps: PositiveInt = 32
    """Steps of the samples."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    body, pixels = networks.MLP(config.hidden), autoencoder.pixels(splits, "bernoulli")
    encoder = config.net(networks.Conditional(body, networks.DiagonalNormal((config.latent,))))
    decoder = config.net(networks.Conditional(body, pixels.head))
    schedule = diffusion.linear_log_snr(start=config.start, end=5.0)
    reverse = diffusion.reverse(
        config.net(networks.PointDenoiser(config.denoiser)),
        schedule,
        (config.latent,),
        predicts="v",
        sampler=diffusion.heun(steps=config.sampler_steps),
    )
    code = vifx.factor("e | x", encoder, name="encoder")
    image = vifx.factor("x | e", decoder, name="decoder")
    path = vifx.factor("z | e", diffusion.forward(schedule))
    back = [vifx.factor("z", reverse, name="denoiser"), vifx.factor("e | z", diffusion.normal(schedule))]

    inference = vifx.Joint(vifx.evidence("x"), code, path)
    generative = vifx.Joint(*back, image)
    objective = vifx.kl(inference, generative)
    adam = optax.adam(config.learning_rate)
    step = training.optimize(objective, adam)
    if not config.end_to_end:
        normal = vifx.factor("e", vifx.standard_normal(config.latent))
        plain = vifx.kl(vifx.Joint(vifx.evidence("x"), code), vifx.Joint(normal, image), name="plain")
        stops = optax.adam(optax.piecewise_constant_schedule(config.learning_rate, {config.steps // 2: 0.0}))
        alone = optax.partition(
            {"moves": adam, "stays": optax.set_to_zero()},
            lambda params: {name: "moves" if name == "denoiser" else "stays" for name in params},
        )
        step = training.in_turn(training.descend(plain, "model", stops), training.descend(objective, "model", alone))
    built = autoencoder.experiment(
        config,
        splits,
        inference,
        generative,
        objective,
        pixels=pixels.kind,
        latent="e",
        best="-validation/elbo",
        drawn=("samples", "reconstructions"),
    )
    test = data.fixed_binarization(splits.test, 0)
    measure = evaluation.monitor_loss(objective, test)
    return dataclasses.replace(built, step=training.averaged(step, config.decay), evaluate=measure)

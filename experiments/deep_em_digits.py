"""Deep EM on binarized 8×8 handwritten digits: a finite latent, a neural decoder and the exact posterior.

Source:   Neal and Hinton (1998), A view of the EM algorithm that justifies incremental, sparse, and other variants.
Command:  vifx train experiments/deep_em_digits.py
Hardware: 2 CPU cores, about a quarter of a minute.
Metric:   log q(x) −22.97 nats on the test digits; a Bernoulli mixture with as many components has −23.08.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

import vifx
from vifx import data, em, evaluation, networks, training
from vifx.data import images
from vifx.evaluation import exact_likelihood
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, em_model


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many turns to make, each on a minibatch."""
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    learning_rate: PositiveFloat = 3e-3
    """Step size of Adam."""
    inner: PositiveInt = 1
    """Updates of the decoder in one M step, all with the posterior of before the first."""
    components: PositiveInt = 32
    """How many states the latent has."""
    hidden: tuple[PositiveInt, ...] = (64, 128)
    """Widths of the hidden layers of the decoder; the first one embeds the states."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=256))
    """Which data set of grey images, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the joint with a neural decoder, its exact posterior, and what to measure and draw."""
    grey = data.load(config.data)
    splits, restore = images.binarized(grey), images.Pixels(grey.info.shape).restore
    states = networks.OneHot(config.components)
    decoder = networks.Conditional(
        networks.MLP(config.hidden), networks.BernoulliHead(splits.info.shape), inputs=(states,)
    )
    generative = vifx.Joint(
        vifx.factor("z", em.categorical(config.components), name="prior"),
        vifx.factor("x | z", config.net(decoder), name="decoder"),
    )
    model = em.Model.of(generative, config.components, anchored=config.inner > 1)
    inference, objective = model.inference, model.objective

    # The prior has a closed form, by statistics that are averaged over minibatches; the decoder descends.
    prior = training.solve(objective, "model", networks=("prior",), rate=training.cappe_moulines())
    adam = em_model.only(optax.adam(config.learning_rate), "decoder")
    step = training.in_turn(prior, training.optimize(objective, adam, updates={"model": config.inner}))

    plain = em.mixture(em.bernoulli, config.components, prior=em.Beta(1.1, 1.1))
    return Experiment(
        objective=objective,
        step=step,
        source=data.source({"x": splits.train["x"]}, config.data, seed=config.seed),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=exact_likelihood.monitor_exact_likelihood(model, splits.validation),
        evaluate=exact_likelihood.measure_exact_likelihood(model, splits, plain=plain),
        drawings=em_model.mixture_drawings(model, restore, splits, grey.test["x"]),
        sample=evaluation.DecodedImages(generative, restore, mean=False).sample,
        best="validation/loss",
    )

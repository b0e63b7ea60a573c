"""Experiments with a reader: their options, the reader in two forms, and what is measured, drawn and answered."""

from __future__ import annotations

__all__ = ["Config", "experiment"]

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import optax

from vifx import data, reading, training
from vifx.checks import ArgumentError
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.evaluation import monitor_loss
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.rules import NonNegativeFloat, PositiveFloat, PositiveInt
from vifx.reading import Form, Vectors
from vifx.reading.asked import answerer, draw_heat_maps, measure_answers
from vifx.training import Step
from vifx.variational import focal, kl

if TYPE_CHECKING:
    pass

_GIVEN = ("question", "passage", "features")
_FORMS = {"article": reading.ARTICLE, "code": reading.CODE}


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with a reader have in common."""

    form: Literal["article", "code"] = "article"
    """The reader of the article (noise on the gates, positions, hand features, dropped tokens, Adam) or that of its
    author's later code (dropout on the gates, rectified Adam, an average of the parameters)."""
    loss: Literal["likelihood", "focal"] = "likelihood"
    """The negative log-likelihood, or the focal loss of the published readers, which is not a likelihood."""
    hand_features: bool | None = None
    """Whether tokens get their eight hand features; None: as the form says."""
    gated: bool = True
    """Whether convolutions have gates; otherwise they are residual with a rectifier."""
    question_dilations: tuple[PositiveInt, ...] = (1, 2, 1)
    """Steps between the taps of the question's convolutions, layer by layer."""
    passage_dilations: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 1)
    """Steps between the taps of the passage's convolutions, layer by layer."""
    features: PositiveInt = 64
    """Numbers per token of every layer."""
    vectors: str | None = None
    """A text file of word vectors; learned from scratch if not given."""
    frozen: bool = True
    """Whether given vectors stay as they are."""
    learning_rate: PositiveFloat = 2e-3
    """Step size; it falls to 0 along a cosine."""
    average: PositiveFloat | None = None
    """Decay of the average of the parameters, which is what is measured and asked; None: as the form says."""
    dropped_tokens: NonNegativeFloat | None = None
    """The probability with which training takes a token of a passage for an unknown one; None: as the form says."""
    dropped_asked_tokens: NonNegativeFloat | None = None
    """Likewise of a question."""
    dropped_answers: NonNegativeFloat = 0.0
    """The probability with which training takes an answer for none."""
    spliced: bool = False
    """Whether to train on pairs of passages, joined and cropped, too."""
    threshold: NonNegativeFloat = 0.1
    """An answer's start and end need a probability above it."""
    longest: PositiveInt = 12
    """The most tokens of an answer."""
    data: reading.Config = field(default_factory=reading.Config)
    """Which questions, and how they are read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dropped_tokens", "dropped_asked_tokens", "dropped_answers", "threshold", "average"):
            value = getattr(self, name)
            if value is not None and not value < 1:
                raise ArgumentError(name, f"must be a probability below 1, got {value}", value=value, owner=self)


def experiment(config: Config) -> Experiment:
    """Return the experiment: two joints that differ in who explains the answers, a reader, and what to ask it."""
    loaded, form = reading.load(config.data, splice=config.spliced), _FORMS[config.form]
    inference = Joint(evidence(*_GIVEN, "answer"))
    vectors = None if config.vectors is None else reading.read_vectors(config.vectors, loaded.vocabulary)
    reader = config.net(_reader(config, form, len(loaded.vocabulary), vectors))
    generative = Joint(evidence(*_GIVEN), factor(f"answer | {', '.join(_GIVEN)}", reader, name="reader"))
    objective = focal(inference, generative) if config.loss == "focal" else kl(inference, generative)
    splits, decoding = _noted(loaded.dataset, vectors), {"longest": config.longest, "threshold": config.threshold}
    transform = data.compose(
        reading.drop_tokens(_given(config.dropped_tokens, form.dropped_tokens), variables=("passage",)),
        reading.drop_tokens(_given(config.dropped_asked_tokens, form.dropped_asked_tokens), variables=("question",)),
        reading.drop_answers(config.dropped_answers),
    )
    return Experiment(
        objective=objective,
        step=_step(config, form, objective),
        source=data.source(splits.train, config.data, seed=config.seed, transform=transform),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=monitor_loss(objective, splits.validation),
        evaluate=measure_answers(generative, loaded.test, unit=config.data.unit, **decoding),
        drawings=draw_heat_maps(generative, loaded.test),
        answer=answerer(generative, loaded, **decoding),
        best="validation/loss",
    )


T = TypeVar("T")


def _given(option: T | None, otherwise: T) -> T:
    """Return an option, or what the form says where it is None."""
    return otherwise if option is None else option


def _noted(splits: data.Dataset, vectors: Vectors | None) -> data.Dataset:
    """Return the splits with a note on how many words have a vector."""
    if vectors is None:
        return splits
    note = f"{vectors.found:,} of {len(vectors.array) - 2:,} words have a vector in the file"
    return replace(splits, info=replace(splits.info, notes=(*splits.info.notes, note)))


def _reader(config: Config, form: Form, words: int, vectors: Vectors | None) -> reading.Reader:
    return reading.Reader(
        words,
        config.features,
        config.question_dilations,
        config.passage_dilations,
        noise=form.noise,
        dropout=form.dropout,
        positions=form.positions,
        hand_features=_given(config.hand_features, form.hand_features),
        gated=config.gated,
        vectors=None if vectors is None else vectors.array,
        frozen=config.frozen,
    )


def _step(config: Config, form: Form, objective: Objective) -> Step:
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    step = training.optimize(objective, form.optimizer(rate))
    average = _given(config.average, form.average)
    return step if average is None else training.averaged(step, average)

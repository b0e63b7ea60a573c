"""Experiments with a generator: of images, judged in the features of a classifier, and of points that have modes."""

from __future__ import annotations

__all__ = ["CURVES", "Config", "PointConfig", "alarms", "falling_penalties", "images", "points", "rows"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import optax

from vifx import data, evaluation, lipschitz, training
from vifx.checks import require_integer, require_name
from vifx.core.objective import Schedule
from vifx.data import Dataset
from vifx.data.images import scaled
from vifx.evaluation import DecodedImages, features_of
from vifx.evaluation.decoded_images import Drawn
from vifx.evaluation.measure import Drawing
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.rules import NonNegativeInt, PositiveFloat, PositiveInt
from vifx.games import Assembly, Penalty
from vifx.training import Alarm, Step

CURVES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "training": ("critic/accuracy", "critic/saturation", "*_at_least", "*_estimate"),
        "quality": (
            *("validation/modes", "validation/high_quality", "validation/counts_kl"),
            *("validation/fmd", "validation/frechet", "validation/coverage", "validation/density"),
            *("validation/precision", "validation/recall"),
        ),
    }
)
"""For `Experiment.curves`: what the critic sees, and the monitored quality of samples."""

_SATURATED = (
    "the critic tells nearly every sample apart, so that its logits hardly say where to move; constrain it "
    "(vifx.lipschitz: spectral normalization, r1), give it fewer turns or a smaller learning rate"
)
_COLLAPSED = "look at the samples, and try a smaller learning rate or the proximal term"
_FALLEN: Mapping[str, tuple[Literal["fallen", "risen"], float, str]] = MappingProxyType(
    {
        "modes": ("fallen", 0.7, f"the generator has lost modes that it had; {_COLLAPSED}"),
        "high_quality": ("fallen", 0.5, f"half of the good samples have left the modes; {_COLLAPSED}"),
        "coverage": ("fallen", 0.5, f"half of the data that samples came near to is left out; {_COLLAPSED}"),
        "recall": ("fallen", 0.5, f"half of the data that the samples spanned is left out; {_COLLAPSED}"),
        "fmd": ("risen", 2.0, f"the samples are twice as far from the data as they were; {_COLLAPSED}"),
    }
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with a generator of images have in common."""

    steps: PositiveInt = 4000
    """How many times both players take their turns."""
    learning_rate: PositiveFloat = 5e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 8
    """Dimension of z."""
    quality_examples: NonNegativeInt = 10_000
    """Test images, or rows of a table, and as many samples, that the quality of samples is measured on at the end."""


def images(
    config: Config,
    splits: Dataset,
    model: Assembly,
    step: Step,
    *,
    low: float = -1.0,
    latent: str = "z",
    classes: int | None = None,
    drawn: Sequence[Drawn] = ("samples", "interpolation"),
) -> Experiment:
    """Return the experiment of a generator of images, whose samples are compared with data.

    Args:
      splits: images ``x``, uint8.
      low: the value of a black pixel, where a white one has 1.
      classes: of a model given labels ``y``, how many there are.
      drawn: which of the drawings of `DecodedImages`.
    """
    test, features = scaled(splits.test, low=low), partial(features_of, config.data)
    restore = evaluation.unscaled(low, 1.0)
    shown = DecodedImages(model.generative, restore, latent, classes, model.inference, test, splits.test["x"])
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.source(splits.train, config.data, seed=config.seed, transform=data.normalize(low=low)),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=evaluation.measure_image_quality(shown.sample, splits.validation, features, n=2000),
        drawings=shown.drawings(*drawn),
        sample=shown.sample,
        best="validation/fmd",
        alarms=alarms(monitored=("fmd", "coverage")),
        curves=CURVES,
    )


def rows(config: Config, splits: Dataset, model: Assembly, step: Step) -> Experiment:
    """Return the experiment of a generator of the rows of a table, which are compared with rows of the data.

    Args:
      splits: real numbers ``x``, ``[examples, columns]``.
    """
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.source(splits.train, config.data, seed=config.seed),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=evaluation.measure_rows(model.generative, splits.validation),
        drawings={"columns": evaluation.draw_columns(model.generative, splits)},
        best="validation/frechet",
        alarms=alarms(monitored=("coverage",)),
        curves=CURVES,
    )


@dataclass(frozen=True)
class PointConfig(BaseConfig):
    """The options that experiments with a generator of points have in common."""

    steps: PositiveInt = 12_000
    """How many times both players take their turns."""
    log_every: PositiveInt = 500
    """Updates between two lines of metrics; also the length of one compiled scan."""
    checkpoint_every: PositiveInt = 1000
    """Updates between two checkpoints; the best is measured and drawn."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam at the start, for both players; it falls to 0 along a cosine."""
    latent: PositiveInt = 4
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    """Widths of the hidden layers of the generator."""
    critic_hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the hidden layers of the critic."""
    penalty: PositiveFloat = 0.1
    """Weight of R1 and R2, the critic's squared gradient at data and at samples, at the start."""
    last_penalty: PositiveFloat = 0.002
    """The same at the end of the first 70 % of the updates; it falls exponentially."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""


def falling_penalties(config: PointConfig) -> tuple[tuple[Schedule, Penalty], ...]:
    """Return R1 and R2, both with a weight that falls from `penalty` to `last_penalty` over 70 % of the updates."""
    share = config.last_penalty / config.penalty
    weight = optax.exponential_decay(config.penalty, int(0.7 * config.steps), share, end_value=config.last_penalty)
    return (weight, lipschitz.r1(1.0)), (weight, lipschitz.r2(1.0))


def points(config: PointConfig, model: Assembly, *, turns: int = 1, updates: int = 1) -> Experiment:
    """Return the experiment of a generator of points of the plane, whose data has modes that are known.

    Args:
      model: the joints and their objective; where the inference joint has a latent z, its codes are drawn.
    """
    splits, modes = data.load(config.data), data.modes(config.data.name)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, turns * config.steps), b1=0.0, b2=0.99)
    step = training.optimize(model.objective, optimizer, turns={"model": turns}, updates={"model": updates})
    drawings: dict[str, Drawing] = {"modes": evaluation.draw_modes(model.generative, modes)}
    if "z" in model.inference.variables:
        drawings["codes"] = evaluation.draw_codes(model.inference, {"x": splits.test["x"]})
    return Experiment(
        objective=model.objective,
        step=training.averaged(step, config.decay),
        source=data.source(splits.train, config.data, seed=config.seed),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=evaluation.measure_modes(model.generative, modes),
        evaluate=evaluation.measure_modes(model.generative, modes, n=10_000),
        drawings=drawings,
        best="-validation/high_quality",
        alarms=alarms(modes=len(modes.centres)),
        curves=CURVES,
    )


def alarms(*, monitored: Sequence[str] = ("modes",), modes: int | None = None, name: str = "") -> tuple[Alarm, ...]:
    """Return the usual alarms of adversarial training.

    * ``critic/saturation`` above 0.95 in 5 rows: the odds of 19 samples in 20 are above 99 to 1. There the
      saturating loss has no gradient left, and the direction of the others says little of the data. A critic that
      is ahead for a few rows is not a failure, so that five are asked for. Games whose critic is not a log ratio,
      such as ``"wasserstein"``, do not have this metric.
    * ``modes`` below 0.7 of the most so far in 2 rows. A count on thousands of samples has little noise, but a mode
      may be lost for one row and found again.
    * ``high_quality``, ``coverage`` and ``recall`` below half of the largest so far in 2 rows, and ``fmd`` above
      twice the smallest: they vary more from row to row than counts do.
    * with `modes`, fewer than half of them in 5 rows: the generator collapsed before there was anything to lose.

    Args:
      monitored: what `Experiment.monitor` measures of these.
      name: of the objective, as in `vifx.adversarial`.

    Raises:
      ValueError: if there is no alarm for a name in `monitored`, or `modes` is not positive.
    """
    if isinstance(monitored, str):
        raise ValueError(f"monitored must be a sequence of names, got {monitored!r}; use [{monitored!r}]")
    if modes is not None:
        require_integer(modes, "modes")
    saturation = f"{name}/critic/saturation" if name else "critic/saturation"
    found = [Alarm(saturation, "above", 0.95, rows=5, meaning=_SATURATED)]
    for metric in monitored:
        kind, limit, meaning = _FALLEN[require_name(metric, _FALLEN, "metric in monitored")]
        found.append(Alarm(f"validation/{metric}", kind, limit, rows=2, meaning=meaning))
    if modes is not None:
        few = f"fewer than half of the {modes} modes of the data are generated; {_COLLAPSED}"
        found.append(Alarm("validation/modes", "below", modes / 2, rows=5, meaning=few))
    return tuple(found)

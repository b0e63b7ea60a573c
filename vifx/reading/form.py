"""The two forms of the DGCNN reader: as it was published, and as its author programmed it later."""

from __future__ import annotations

__all__ = ["ARTICLE", "CODE", "Form"]

from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Form(NamedTuple):
    """The settings in which the two forms of the reader differ.

    `ARTICLE` is the published one: noise on the gates, positions, the eight hand features, and Adam; it is trained on
    other evidence, too (`drop_tokens`, whose rates the article does not give and are ours here, `splice` and
    `drop_answers`), and is an ensemble (`folds`, `ensemble`). `CODE` is what its author programmed later: dropout on
    the gates, neither positions nor hand features, rectified Adam and the average of the parameters, on the evidence
    itself. Both share the dilations, 1-2-1 for the question and 1-2-4-8-16-1 for the passage, the focal loss with
    α = 0.25 and γ = 2 (`vifx.focal`), the threshold 0.1 and answers of at most 12 tokens (`answers`); these numbers are
    the code's.

    Attributes:
      noise: a of the uniform noise on the gates, in training.
      dropout: of the gates, in training.
      positions: how many sines and cosines of its position a token gets.
      hand_features: whether a token gets its `features`.
      optimizer: makes an optimizer of a learning rate or a schedule.
      average: the decay of the average of the parameters (`training.averaged`); None for none.
      dropped_tokens: the probability with which training takes a token of a passage for an unknown one.
      dropped_asked_tokens: the same for a question.

    References: Su, DGCNN, 2018, kexue.fm/archives/5409, and its code, 2019, kexue.fm/archives/6906.

    >>> CODE.dropout, CODE.average
    (0.1, 0.9999)
    """

    noise: float
    dropout: float
    positions: int
    hand_features: bool
    optimizer: Callable[[Any], optax.GradientTransformation]
    average: float | None
    dropped_tokens: float
    dropped_asked_tokens: float


ARTICLE = Form(
    noise=0.1,
    dropout=0.0,
    positions=16,
    hand_features=True,
    optimizer=optax.adam,
    average=None,
    dropped_tokens=0.15,
    dropped_asked_tokens=0.3,
)
"""As it was published in 2018."""

CODE = Form(
    noise=0.0,
    dropout=0.1,
    positions=0,
    hand_features=False,
    optimizer=optax.radam,
    average=0.9999,
    dropped_tokens=0.0,
    dropped_asked_tokens=0.0,
)
"""As its author programmed it in 2019."""

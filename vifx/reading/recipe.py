"""The two forms of the DGCNN reader: as it was published, and as its author programmed it later."""

from __future__ import annotations

__all__ = ["ARTICLE", "CODE", "Recipe"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax
from numpy.typing import NDArray

from vifx.data import Transform, compose
from vifx.reading.augment import drop_answers, drop_tokens
from vifx.reading.reader import Reader


@dataclass(frozen=True)
class Recipe:
    """How a reader is made, trained and read: what the two forms differ in, and what they share.

    `ARTICLE` is the published one: noise on the gates, positions, the eight hand features, three augmentations (tokens
    dropped, passages joined and cropped, answers dropped), Adam, an ensemble. `CODE` is what its author programmed
    later: dropout on the gates, no positions and no features, no augmentation, rectified Adam, the average of the
    parameters, one model. They share the dilations, the focal loss and the decoding, whose numbers are those of the
    code. Of the augmentations the article gives no rates; those here are ours.

    Attributes:
      noise: a of the uniform noise on the gates, in training.
      dropout: of the gates, in training.
      positions: how many sines and cosines of its position a token gets.
      hand_features: whether a token gets its `features`.
      optimizer: makes an optimizer of a learning rate or a schedule.
      dropped_tokens: the probability with which a token becomes unknown, in training.
      dropped_answers: the probability with which an answer is taken for none, in training.
      spliced: whether joined and cropped passages (`splice`) are further evidence.
      members: readers of an ensemble, one for each fold of the training questions (`folds`).
      average: the decay of the average of the parameters (`training.averaged`); None for none.
      question_dilations: of the question's convolutions.
      passage_dilations: of the passage's convolutions.
      alpha: the weight of starts and ends in the focal loss (`vifx.focal`).
      gamma: how much less easy tokens count in it.
      threshold: the probability that a start and an end need.
      longest: the most tokens of an answer.

    References: Su, DGCNN, 2018, kexue.fm/archives/5409, and its code, 2019, kexue.fm/archives/6906.

    >>> CODE.passage_dilations, CODE.longest
    ((1, 2, 4, 8, 16, 1), 12)
    """

    noise: float
    dropout: float
    positions: int
    hand_features: bool
    optimizer: Callable[[Any], optax.GradientTransformation]
    dropped_tokens: float
    dropped_answers: float
    spliced: bool
    members: int
    average: float | None
    question_dilations: tuple[int, ...] = (1, 2, 1)
    passage_dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 1)
    alpha: float = 0.25
    gamma: float = 2.0
    threshold: float = 0.1
    longest: int = 12

    def reader(
        self, words: int, features: int, *, vectors: NDArray[np.floating] | None = None, frozen: bool = True
    ) -> Reader:
        """Return the reader.

        Args:
          words: how many ids of tokens there are.
          features: numbers per token of every layer.
          vectors: of the tokens; None for learned ones.
          frozen: whether given vectors stay as they are.
        """
        return Reader(
            words,
            features,
            self.question_dilations,
            self.passage_dilations,
            noise=self.noise,
            dropout=self.dropout,
            positions=self.positions,
            hand_features=self.hand_features,
            vectors=vectors,
            frozen=frozen,
        )

    def transform(self) -> Transform:
        """Return what drops tokens and answers of a minibatch in training."""
        return compose(drop_tokens(self.dropped_tokens), drop_answers(self.dropped_answers))


ARTICLE = Recipe(
    noise=0.1,
    dropout=0.0,
    positions=32,
    hand_features=True,
    optimizer=optax.adam,
    dropped_tokens=0.1,
    dropped_answers=0.1,
    spliced=True,
    members=6,
    average=None,
)
"""As it was published in 2018."""

CODE = Recipe(
    noise=0.0,
    dropout=0.1,
    positions=0,
    hand_features=False,
    optimizer=optax.radam,
    dropped_tokens=0.0,
    dropped_answers=0.0,
    spliced=False,
    members=1,
    average=0.9999,
)
"""As its author programmed it in 2019."""

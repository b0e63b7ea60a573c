"""A two-sample test by a classifier: whether anything that it can see tells two sets of rows apart."""

from __future__ import annotations

__all__ = ["TwoSample", "classifier_two_sample_test"]

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vifx.evaluation.feature_rows import feature_rows, require_equal_size


class TwoSample(NamedTuple):
    """How well a classifier tells two sets of rows apart on rows that it was not trained on.

    Attributes:
      accuracy: its share of right answers on held-out rows; ½ for equal distributions, 1 for disjoint ones.
      p_value: how often as many fair coins are as right as that or more: small where the distributions differ.
      examples: the number of held-out rows, of both sets together.
    """

    accuracy: float
    p_value: float
    examples: int

    @property
    def null_error(self) -> float:
        """The standard deviation of the accuracy for equal distributions, ``½ / √examples``."""
        return 0.5 / math.sqrt(self.examples)


def classifier_two_sample_test(a: ArrayLike, b: ArrayLike, *, classifier: Any = None, seed: int = 0) -> TwoSample:
    """Test whether two sets of rows come from one distribution, by a classifier on held-out rows (C2ST).

    It is trained on a random half of either set, and classifies the other half. For equal distributions its answers
    there are fair coins whatever it has learned, so that the p-value is the binomial tail ``P(Bin(n, ½) ≥ right)``.
    (The mean over cross-validated folds would use every row and has no such law: the classifiers share rows, and at
    the level 0.05 one in eleven pairs of equal sets would be told apart.) The test is one-sided, and sees only what
    the classifier sees: a large p-value is not evidence of equality.

    Args:
      a: rows ``[n, features]``, of raw data or of features; images are flattened.
      b: as many rows.
      classifier: one of scikit-learn's, untrained; by default the ⌊√n⌋ nearest of the n rows trained on, standardized,
        which sees any difference if n is large enough.
      seed: of the choice of the halves.

    Raises:
      ValueError: if the sets differ in size or have fewer than four rows each.

    Reference: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 2017.
    """
    from scipy.stats import binom
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    a, b = feature_rows(a, "a"), feature_rows(b, "b")
    require_equal_size(a, b, "a", "b", least=4)
    generator, half = np.random.default_rng(seed), len(a) // 2
    one, other = (rows[generator.permutation(len(rows))] for rows in (a, b))
    labels, held_out = np.repeat([0, 1], half), np.repeat([0, 1], len(a) - half)
    neighbours = KNeighborsClassifier(int(math.sqrt(2 * half)))
    model: Any = make_pipeline(StandardScaler(), neighbours) if classifier is None else clone(classifier)
    model.fit(np.concatenate([one[:half], other[:half]]), labels)
    right = int(np.sum(model.predict(np.concatenate([one[half:], other[half:]])) == held_out))
    n = len(held_out)
    return TwoSample(right / n, float(binom.sf(right - 1, n, 0.5)), n)

"""How much of the labels the codes hold: nearest-neighbour and linear-probe accuracy, by scikit-learn."""

from __future__ import annotations

__all__ = ["linear_probe_accuracy", "nearest_neighbour_accuracy"]

import numpy as np
from numpy.typing import ArrayLike

from vifx.checks import require_number


def nearest_neighbour_accuracy(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike
) -> float:
    """Return the accuracy of the Euclidean 1-nearest-neighbour classifier on codes ``[n, latent]``."""
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(n_neighbors=1)
    classifier.fit(np.asarray(train_codes), np.asarray(train_labels))
    return float(classifier.score(np.asarray(test_codes), np.asarray(test_labels)))


def linear_probe_accuracy(
    train_codes: ArrayLike,
    train_labels: ArrayLike,
    test_codes: ArrayLike,
    test_labels: ArrayLike,
    *,
    regularization: float = 1e-3,
) -> float:
    """Return the accuracy of multinomial logistic regression on standardized codes ``[n, latent]``.

    Minimizes the mean negative log-likelihood in nats plus ``½ regularization ‖W‖²``.
    Standardization uses the training codes' mean and standard deviation alone.

    Raises:
      ValueError: if `regularization` is not positive.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    require_number(regularization, "regularization", above=0)
    train_codes, train_labels = np.asarray(train_codes), np.asarray(train_labels)
    # scikit-learn minimizes C times the summed loss plus the penalty.
    strength = 1 / (regularization * len(train_codes))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    classifier.fit(train_codes, train_labels)
    return float(classifier.score(np.asarray(test_codes), np.asarray(test_labels)))

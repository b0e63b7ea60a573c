"""Whether each latent of a code stands for one factor that the data was generated from: MIG and DCI."""

from __future__ import annotations

__all__ = ["Dci", "Mig", "dci", "measure_disentanglement", "mig"]

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Split
from vifx.evaluation.latents import encode
from vifx.evaluation.measure import Measure
from vifx.evaluation.table import Noted


class Mig(NamedTuple):
    """The mutual information gap, and what it is made of.

    Attributes:
      score: the mean gap over factors, 0 to 1.
      gaps: of each factor, ``[factors]``.
      information: of each latent with each factor, in nats, ``[latent, factors]``.
      entropy: of each factor, in nats, ``[factors]``.
    """

    score: float
    gaps: NDArray[np.float64]
    information: NDArray[np.float64]
    entropy: NDArray[np.float64]


class Dci(NamedTuple):
    """Disentanglement, completeness and informativeness.

    Attributes:
      disentanglement: how far each latent is important for one factor alone, weighted by importance, 0 to 1.
      completeness: how far each factor needs one latent alone, the mean over factors, 0 to 1.
      informativeness: how well the factors are predicted on held-out codes, the mean over factors of the accuracy of
        classes and of R² of numbers: 1 at best, and below 0 where a mean would be better.
      importance: of each latent for each factor, columns of sum 1, ``[latent, factors]``.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: NDArray[np.float64]


def mig(codes: ArrayLike, factors: Mapping[str, ArrayLike], *, bins: int = 20) -> Mig:
    """Return the mutual information gap: for each factor, how much more its best latent knows of it than the second.

    ``1/K Σ_k (I(z_{j₁}; v_k) − I(z_{j₂}; v_k)) / H(v_k)`` with the two latents of the largest information. Latents, and
    factors that are real numbers, are divided into bins of equal mass, so that the score does not change where a latent
    is transformed monotonically. Information from counts is too large by about ``(bins − 1)²/2n`` nats, the same for
    both latents: let n be some thousands.

    Args:
      codes: such as means of posteriors, ``[n, latent]``, of two latents or more.
      factors: by name, ``[n]``: integers are classes, real numbers are divided into bins.
      bins: how many.

    Raises:
      TypeError: if `bins` is not an integer.
      ValueError: if there are fewer than two latents, no factor, a factor does not vary or has another length.

    Reference: Chen, Li, Grosse and Duvenaud, Isolating sources of disentanglement in VAEs, 2018.
    """
    codes, columns = _checked(codes, factors)
    require_integer(bins, "bins", least=2)
    latents = [_binned(codes[:, index], bins) for index in range(codes.shape[1])]
    divided = [_binned(column, bins) for column in columns]
    information = np.array([[_information(z, v) for v in divided] for z in latents])
    entropy = np.array([_information(v, v) for v in divided])
    ordered = np.sort(information, axis=0)
    gaps = (ordered[-1] - ordered[-2]) / entropy
    return Mig(float(gaps.mean()), gaps, information, entropy)


def dci(codes: ArrayLike, factors: Mapping[str, ArrayLike], *, seed: int = 0) -> Dci:
    """Return disentanglement, completeness and informativeness by the importance of each latent in predicting factors.

    A random forest predicts each factor from the codes, on three quarters of the examples, and R is the importance of
    each latent in it. With ``P`` the rows of R over their sums, a latent's disentanglement is ``1 − H(P_i)/log K``, and
    the mean over latents weighs by importance; completeness is the same of the columns, with ``log L``.

    Args:
      codes: such as means of posteriors, ``[n, latent]``, of two latents or more.
      factors: by name, ``[n]``, two or more: integers are classes, real numbers are predicted as numbers.
      seed: of the forests and of the choice of the examples.

    Raises:
      ValueError: if there are fewer than two latents or factors, a factor does not vary or has another length.

    Reference: Eastwood and Williams, A framework for the quantitative evaluation of disentangled representations, 2018.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    codes, columns = _checked(codes, factors, least=2)
    order = np.random.default_rng(seed).permutation(len(codes))
    train, test = order[: 3 * len(codes) // 4], order[3 * len(codes) // 4 :]
    importance, scores = [], []
    for column in columns:
        kind: Any = RandomForestClassifier if column.dtype.kind in "iub" else RandomForestRegressor
        forest = kind(n_estimators=20, min_samples_leaf=5, max_features=1.0, random_state=seed)
        forest.fit(codes[train], column[train])
        importance.append(forest.feature_importances_)
        scores.append(forest.score(codes[test], column[test]))
    shares = np.array(importance).T
    weights = shares.sum(axis=1) / shares.sum()
    return Dci(
        disentanglement=float(weights @ _one_sided(shares)),
        completeness=float(_one_sided(shares.T).mean()),
        informativeness=float(np.mean(scores)),
        importance=shares,
    )


def measure_disentanglement(
    inference: Joint, split: Split, factors: Mapping[str, ArrayLike], *, latent: str = "z", examples: int = 5000
) -> Measure:
    """Measure ``mig``, and ``dci/disentanglement``, ``dci/completeness`` and ``dci/informativeness``, of mean codes.

    Args:
      inference: evidence and encoder.
      split: what the encoder reads.
      factors: what the examples of the split were generated from, as `mig` takes it.
      latent: the variable that is encoded.
      examples: how many of them.
    """
    few = {name: array[:examples] for name, array in split.items()}
    known = {name: np.asarray(column)[:examples] for name, column in factors.items()}
    note = f"of {', '.join(known)}; {len(few['x']):,} examples"

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        codes = encode(key, inference, params, state, few, variable=latent).mean
        found = dci(codes, known)
        return {
            "mig": Noted(mig(codes, known).score, note),
            "dci/disentanglement": found.disentanglement,
            "dci/completeness": found.completeness,
            "dci/informativeness": found.informativeness,
        }

    return measure


def _one_sided(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one less the entropy of each row over that of equal shares; 0 for a row without any."""
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[1]), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return 1 + np.sum(shares * logs, axis=1) / np.log(shares.shape[1])


def _binned(column: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """Return the class of each integer, or the bin of each real number, of as equal a mass as ties allow."""
    if column.dtype.kind in "iub":
        return np.unique(column, return_inverse=True)[1]
    edges = np.quantile(column, np.arange(1, bins) / bins)
    return np.unique(np.searchsorted(edges, column, side="right"), return_inverse=True)[1]


def _information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Return the mutual information of two columns of counts from 0, in nats."""
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    joint = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns) / len(a)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    held = joint > 0
    return float(np.sum(joint[held] * np.log(joint[held] / apart[held])))


def _checked(
    codes: ArrayLike, factors: Mapping[str, ArrayLike], *, least: int = 1
) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"codes must be [n, latent] with two latents or more, got shape {codes.shape}.")
    if len(factors) < least:
        raise ValueError(f"factors must be at least {least}, got {list(factors)}.")
    columns = {name: np.asarray(column) for name, column in factors.items()}
    for name, column in columns.items():
        if column.shape != codes.shape[:1]:
            raise ValueError(f"factors[{name!r}] must be [{len(codes)}], one per code, got shape {column.shape}.")
        if len(column) and (column == column[0]).all():
            raise ValueError(f"factors[{name!r}] must vary over the examples, got {column[0]} alone; leave it out.")
    return codes, list(columns.values())

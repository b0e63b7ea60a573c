"""What the latents hold: active units, divergence per latent, aggregated posterior, labels, codes and their figure."""

from __future__ import annotations

__all__ = [
    "Codes",
    "active_units",
    "aggregated_posterior",
    "draw_codes",
    "encode",
    "kl_per_latent",
    "latent_scatter",
    "linear_probe_accuracy",
    "manifold_codes",
    "nearest_neighbour_accuracy",
    "normal_quantiles",
    "principal_components",
    "traversal_codes",
]

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer, require_number
from vifx.core.joint import Joint
from vifx.core.types import Array, Batch, Key, Params, State
from vifx.data import Split
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.measure import Drawing
from vifx.evaluation.style import STYLE, chart, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINT = 6.0  # the area of a dot, in square points
DRAWS = 100
"""How many draws the moments of a posterior without a closed form are taken over."""


class Codes(NamedTuple):
    """The posterior of one latent at each example, each ``[examples, latent]``.

    Attributes:
      mean: ``E[z|x]``; for a deterministic encoder the code itself, for a flow the mean of 100 draws.
      variance: ``Var[z|x]``; zero for a deterministic encoder, that of the draws for a flow.
      sample: one draw of ``z | x``.
    """

    mean: NDArray[Any]
    variance: NDArray[Any]
    sample: NDArray[Any]


def encode(
    key: Key,
    inference: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    variable: str = "z",
    batch_size: int = 500,
) -> Codes:
    """Return mean, variance and one sample of ``variable | parents`` for every example of a split.

    Further latents that `variable` depends on are sampled once per example.

    Args:
      key: gives one key per example.
      inference: evidence and encoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis.
      variable: the latent.
      batch_size: examples at a time.

    Raises:
      ValueError: if `inference` has no such latent, or the entries of `split` disagree in length.
    """
    if variable in inference.observed or variable not in inference.variables:
        latents = [name for name in inference.variables if name not in inference.observed]
        raise ValueError(f"variable must be a latent of {inference}, one of {latents}, got {variable!r}.")
    return Codes(*in_batches(key, partial(_codes, inference, variable), params, state, split, batch_size=batch_size))


@partial(jax.jit, static_argnums=(0, 1))
def _codes(inference: Joint, variable: str, rows: Rows) -> tuple[Array, Array, Array]:
    def one(key: Key, example: Batch) -> tuple[Array, Array, Array]:
        drawn = inference.sample(key, rows.params, rows.state, example)
        value, conditional = drawn.values[variable], drawn.conditionals[variable]
        if not hasattr(conditional, "log_prob"):
            return value, jnp.zeros_like(value), value
        if hasattr(conditional, "mean") and hasattr(conditional, "variance"):
            return conditional.mean, conditional.variance, value
        draws = conditional.sample(jax.random.fold_in(key, 0), (DRAWS,))
        return jnp.mean(draws, axis=0), jnp.var(draws, axis=0, ddof=1), value

    return rows.each(one)


def active_units(mean: ArrayLike) -> NDArray[Any]:
    """Return the activity ``Var_x E[z|x]`` of each latent, ``[latent]``, from means ``[examples, latent]``.

    A latent counts as active above 0.01 (Burda et al. 2016, section 5.2): ``(active_units(mean) >
    0.01).sum()``.
    """
    return np.var(_matrix(mean, "mean"), axis=0, ddof=1)


def kl_per_latent(mean: ArrayLike, variance: ArrayLike) -> NDArray[Any]:
    """Return ``E_x KL(N(μ, σ²) ‖ N(0, 1))`` of each latent in nats, ``[latent]``.

    ``½ (μ² + σ² − log σ² − 1)``, for a diagonal Gaussian encoder and a standard normal prior alone.

    Args:
      mean: ``[examples, latent]``.
      variance: ``[examples, latent]``, positive.
    """
    mean, variance = _matrix(mean, "mean"), _matrix(variance, "variance")
    return np.mean(0.5 * (mean**2 + variance - np.log(variance) - 1), axis=0)


def aggregated_posterior(mean: ArrayLike, variance: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean ``[latent]`` and covariance ``[latent, latent]`` of ``p(z) = E_x p(z|x)``.

    ``Cov z = Cov_x E[z|x] + E_x Cov[z|x]`` with diagonal ``Cov[z|x]``: under a standard normal prior a
    good encoder has mean 0 and covariance near the identity.

    Args:
      mean: ``[examples, latent]``.
      variance: ``[examples, latent]``.
    """
    mean, variance = _matrix(mean, "mean"), _matrix(variance, "variance")
    centred = mean - mean.mean(axis=0)
    return mean.mean(axis=0), centred.T @ centred / len(mean) + np.diag(variance.mean(axis=0))


def principal_components(codes: ArrayLike, *, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Project codes ``[n, latent]`` on their first principal components.

    Returns:
      The projections ``[n, count]`` and each component's share of the variance ``[count]``. Signs
      are such that each component's largest loading is positive, so that equal codes give equal
      figures.

    Raises:
      ValueError: if `count` is not from 1 to the number of latents.
    """
    codes = _matrix(codes, "codes")
    if not 1 <= count <= codes.shape[1]:
        raise ValueError(f"count must be from 1 to the {codes.shape[1]} latents, got {count}.")
    centred = codes - codes.mean(axis=0)
    spectrum, vectors = np.linalg.eigh(centred.T @ centred)
    spectrum, vectors = spectrum[::-1][:count], vectors[:, ::-1][:, :count]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    total = np.sum(centred**2)
    return centred @ vectors, spectrum / total if total > 0 else np.zeros(count)


def normal_quantiles(count: int, *, tail: float = 0.02) -> NDArray[Any]:
    """Return `count` standard normal quantiles at equally spaced levels from `tail` to ``1 - tail``.

    Raises:
      ValueError: if `count` is below 2 or `tail` not between 0 and ½.

    >>> normal_quantiles(3).round(3).tolist()
    [-2.054, 0.0, 2.054]
    """
    from scipy.special import ndtri

    require_integer(count, "count", least=2)
    require_number(tail, "tail", above=0, below=0.5)
    return ndtri(np.linspace(tail, 1 - tail, count))


def traversal_codes(origin: ArrayLike, dimensions: Sequence[int], values: ArrayLike) -> NDArray[Any]:
    """Return codes ``[rows, columns, latent]``: row `r` moves latent ``dimensions[r]`` of `origin` alone.

    Args:
      origin: the code to start from, ``[latent]``.
      dimensions: the latent that each row moves.
      values: the value that each column puts it to.

    Raises:
      ValueError: if `origin` has no such latent.
    """
    origin, values = np.asarray(origin), np.asarray(values)
    bad = [d for d in dimensions if not 0 <= d < len(origin)]
    if bad:
        raise ValueError(f"dimensions must index the {len(origin)} latents of origin, got {bad[0]}.")
    codes = np.tile(origin, (len(dimensions), len(values), 1))
    for row, dimension in enumerate(dimensions):
        codes[row, :, dimension] = values
    return codes


def manifold_codes(values: ArrayLike) -> NDArray[Any]:
    """Return a grid of codes ``[side, side, 2]`` with ``[r, c] = (values[c], values[r])``."""
    values = np.asarray(values)
    return np.stack(np.meshgrid(values, values), axis=-1)


def latent_scatter(codes: ArrayLike, labels: ArrayLike | None = None, *, title: str = "Latent codes") -> Figure:
    """Draw codes in the plane, coloured by label.

    With more than two latents the axes are the first two principal components, and say so with the
    share of the variance. Each class also carries its label at its median, so that colour is not
    the only cue.

    Args:
      codes: ``[n, latent]``.
      labels: ``[n]``, of at most ten classes; without them one colour is used.
      title: above, on the left.

    Raises:
      ValueError: if `codes` has fewer than two latents, labels do not match, or there are more than
        ten classes.
    """
    codes = np.asarray(codes, dtype=np.float64)
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"codes must be [n, latent] with at least two latents, got shape {codes.shape}.")
    names = ("z₀", "z₁")
    if codes.shape[1] > 2:
        latents = codes.shape[1]
        codes, shares = principal_components(codes, count=2)
        names = tuple(
            f"{rank} principal component of {latents} latents ({share:.0%} of variance)"
            for rank, share in zip(("first", "second"), shares, strict=True)
        )
    figure, axes = chart(title, names[0], names[1], width=6.2, height=5.4)
    axes.grid(visible=False)
    axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(*codes.T, s=_POINT, color=STYLE.lines[0], alpha=0.6, linewidths=0)
    else:
        _scatter_classes(axes, codes, np.asarray(labels))
    return figure


def _scatter_classes(axes: Axes, codes: NDArray[Any], labels: NDArray[Any]) -> None:
    from matplotlib.patheffects import withStroke

    classes = np.unique(labels)
    palette = STYLE.classes
    if labels.shape != codes.shape[:1]:
        raise ValueError(f"labels must be [{len(codes)}], one per code, got shape {labels.shape}.")
    if len(classes) > len(palette):
        raise ValueError(
            f"labels must have at most {len(palette)} classes to stay distinguishable, got {len(classes)}."
        )
    # One artist with interleaved points: no class hides another by being drawn last.
    colours = np.array(palette)[np.searchsorted(classes, labels)]
    axes.scatter(*codes.T, s=_POINT, c=colours.tolist(), alpha=0.75, linewidths=0)
    for colour, label in zip(palette, classes, strict=False):
        axes.scatter([], [], s=28, color=colour, label=str(label))
        x, y = np.median(codes[labels == label], axis=0)
        look = {"fontsize": 12, "fontweight": "bold", "color": STYLE.text, "ha": "center", "va": "center"}
        axes.text(x, y, str(label), path_effects=[withStroke(linewidth=3, foreground="white")], **look)
    legend(axes, columns=len(classes))


def draw_codes(inference: Joint, split: Split, *, latent: str = "z") -> Drawing:
    """Draw the mean codes of a `latent` for the first 2,000 examples in the plane, coloured by their labels ``y``."""
    few = {name: array[:2000] for name, array in split.items()}
    return lambda key, params, state: latent_scatter(
        encode(key, inference, params, state, few, variable=latent).mean, few.get("y")
    )


def _matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) == 0:
        raise ValueError(f"{name} must be [examples, latent] with at least one example, got shape {matrix.shape}.")
    return matrix


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

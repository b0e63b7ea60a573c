"""The exact likelihood of a density: of real values, and of the pixels of images, in nats and bits per dimension.

Images are uint8 and become real numbers by `data.dequantize`; `shades` says how many shades of grey they have, and the
likelihoods are those of the pixels.
"""

from __future__ import annotations

__all__ = ["bits_per_dim", "gaussian_nll", "measure_gaussian", "measure_likelihood", "monitor_likelihood", "nll"]

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx import data, flows
from vifx.checks import require_integer
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Split
from vifx.data.rows import length, read
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Measure, unmeasured

_BATCH = 500
_NETWORK = 2**32 - 1  # folded in for the networks, where no example's index is


def bits_per_dim(nll: ArrayLike, event_shape: Sequence[int], *, offset: float = 0.0) -> NDArray[Any]:
    """Convert negative log-likelihoods in nats per example to bits per dimension.

    ``(nll / D + offset) / log 2`` with ``D`` the number of elements of an event. `offset` is in
    nats per dimension: 0 for probabilities of 8-bit pixels (and any discrete event), ``log 256``
    for a density of dequantized 8-bit pixels on [0, 1), which makes it a bound on theirs.

    Args:
      nll: any shape, nats per example.
      event_shape: the shape of one example.
      offset: nats per dimension.

    Returns:
      Bits per dimension, in the shape of `nll`.

    Raises:
      ValueError: if an event has no element.

    >>> import math
    >>> float(bits_per_dim(0.0, (28, 28), offset=math.log(256)))  # the uniform density on [0, 1)
    8.0
    """
    dimensions = math.prod(event_shape)
    if dimensions < 1:
        raise ValueError(f"event_shape must have at least one element, got {tuple(event_shape)}.")
    return (np.asarray(nll, dtype=np.float64) / dimensions + offset) / math.log(2)


def gaussian_nll(train: ArrayLike, test: ArrayLike) -> NDArray[np.float64]:
    """Return the negative log-likelihood of test points under the full Gaussian that fits the training points best.

    ``−log N(x; μ, Σ)`` with the mean μ and the covariance Σ (divided by n) of the training points, in double precision.

    Args:
      train: ``[examples, dimensions]``, more examples than dimensions.
      test: ``[n, dimensions]``.

    Returns:
      ``[n]``, in nats.

    Raises:
      ValueError: if the points are not matrices of one width, or the covariance is singular.

    >>> import math
    >>> nll = gaussian_nll([[-1.0], [1.0]], [[0.0]])
    >>> math.isclose(nll[0], 0.5 * math.log(2 * math.pi))
    True
    """
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or 0 in train.shape:
        raise ValueError(
            f"train and test must be [examples, dimensions] with the same dimensions, got {train.shape} and "
            f"{test.shape}; flatten images first."
        )
    mean = train.mean(axis=0)
    centred = train - mean
    covariance = centred.T @ centred / len(train)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"train has a singular covariance ({len(train)} examples, {train.shape[1]} dimensions); give more "
            "examples, and no dimension that is constant or a combination of others (dequantize pixels)."
        ) from error
    standard = np.linalg.solve(factor, (test - mean).T)
    log_scale = np.log(np.diag(factor)).sum()
    return 0.5 * np.sum(standard**2, axis=0) + log_scale + 0.5 * train.shape[1] * np.log(2 * np.pi)


def nll(
    key: Key,
    generative: Joint,
    params: Params,
    state: State,
    split: Split,
    *,
    shades: int | None = None,
    batch_size: int = _BATCH,
) -> NDArray[Any]:
    """Return ``−log q(x)`` of every example in nats, ``[examples]``, of images with one draw of the noise.

    Args:
      state: one entry per network; networks run in evaluation mode.
      shades: shades of grey of images, uint8, that are dequantized; None for real values.
    """
    return in_batches(key, partial(_nll_rows, generative, shades), params, state, split, batch_size=batch_size)


def measure_likelihood(generative: Joint, split: Split, *, shades: int | None = None, draws: int = 4) -> Measure:
    """Measure the negative log-likelihood of a split, with its 95 % interval.

    ``nll/x`` is that of the split's values, exact. For images x is (k + u)/shades, uniform dequantization of the pixels
    k; then it is averaged over draws of u, and bounds that of the pixels from above (Jensen):
    ``−log P(k) ≤ E_u[−log q(x)] + D log shades``, which is ``nll/pixels``, and in bits per dimension ``bits_per_dim``.
    A uniform density on [0, 1) scores ``log₂ shades``, 8 for 256.

    Args:
      generative: of which the split has every variable.
      split: usually the test split.
      shades: shades of grey of images, uint8; None for real values.
      draws: of the noise u.

    Raises:
      TypeError: `draws` is not an integer.
      ValueError: it is not positive.

    References:
      Theis, van den Oord & Bethge (2016), arXiv:1511.01844.
    """
    count = require_integer(draws, "draws") if shades is not None else 1
    weights = split.get(WEIGHTS)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        keys = [jax.random.fold_in(key, draw) for draw in range(count)]
        each = [nll(own, generative, params, state, split, shades=shades) for own in keys]
        mean = np.mean(np.asarray(each, np.float64), axis=0)
        if shades is None:
            return {"nll/x": Estimate(mean, weights=weights).noted("−log density, exact", digits=4)}
        shape = split["x"].shape[1:]
        bound = f"upper bound, {count} dequantization{'s' if count > 1 else ''} averaged"
        pixels = mean + math.prod(shape) * math.log(shades)
        return {
            "bits_per_dim": Estimate(_bits(mean, shape, shades), weights=weights).noted(bound, digits=3),
            "nll/pixels": Estimate(pixels, weights=weights).noted(bound, digits=1),
            "nll/x": Estimate(mean, "−log density of the dequantized values", weights),
        }

    return measure


def monitor_likelihood(
    generative: Joint, split: Split, *, shades: int | None = None, seed: int = 0, batch_size: int = _BATCH
) -> Measure:
    """Measure ``loss``, the negative log-likelihood in nats, and for images ``bits_per_dim``, of a validation split.

    The noise u of images is the same at every evaluation, so that two differ by the parameters alone.

    Args:
      generative: of which the split has every variable.
      split: usually the validation split.
      shades: shades of grey of images, uint8; None for real values.
      seed: seed of the noise u.
      batch_size: examples at a time.
    """
    if not len(next(iter(split.values()))):
        return unmeasured

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del key
        noise = jax.random.key(seed)
        values = {"loss": nll(noise, generative, params, state, split, shades=shades, batch_size=batch_size)}
        if shades is not None:
            values["bits_per_dim"] = _bits(values["loss"], split["x"].shape[1:], shades)
        return {name: Estimate(each, weights=split.get(WEIGHTS)) for name, each in values.items()}

    return measure


def measure_gaussian(train: Split, test: Split, *, shades: int = 256, alpha: float = 1e-6) -> Measure:
    """Measure what a full-covariance Gaussian on the logits of dequantized pixels reaches: ``bits_per_dim/gaussian``.

    Args:
      train: images, uint8, to the first 20,000 of which it is fitted in closed form.
      test: images, uint8.
      shades: shades of grey.
      alpha: α of the logits.
    """
    bijection = flows.chain(flows.logit(alpha=alpha), flows.flatten())

    @jax.jit
    def logits(key: Key, pixels: Array) -> tuple[Array, Array]:
        x = data.dequantize(shades=shades)(jax.random.fold_in(key, 0), {"x": pixels})["x"]
        params, state = bijection.init(jax.random.fold_in(key, 1), x)
        return bijection.forward(params, state, x)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del params, state
        first = read(train, np.arange(min(20_000, length(train))))["x"]
        fitted, _ = logits(jax.random.fold_in(key, 0), jnp.asarray(first))
        z, log_det = logits(jax.random.fold_in(key, 1), jnp.asarray(test["x"]))
        bits = _bits(gaussian_nll(fitted, z) - np.asarray(log_det), test["x"].shape[1:], shades)
        found = Estimate(bits, weights=test.get(WEIGHTS)).noted("a Gaussian on the logits, for comparison", digits=3)
        return {"bits_per_dim/gaussian": found}

    return measure


def _bits(nll: NDArray[Any], shape: Sequence[int], shades: int) -> NDArray[Any]:
    return bits_per_dim(nll, shape, offset=math.log(shades))


@partial(jax.jit, static_argnums=(0, 1))
def _nll_rows(generative: Joint, shades: int | None, rows: Rows) -> Array:
    network = jax.random.fold_in(jax.random.fold_in(rows.key, _NETWORK), rows.indices[0])
    # Each example has a key of its own, so that its noise does not depend on the batch it is in.
    batch = rows.batch if shades is None else rows.each(data.dequantize(shades=shades))
    values = {name: batch[name] for name in generative.variables}
    return -jnp.asarray(sum(generative.log_prob(rows.params, rows.state, values, key=network).values()))

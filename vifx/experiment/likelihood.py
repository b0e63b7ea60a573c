"""What a model with a density measures: the likelihood of real values, and of the pixels of images.

Each function returns a function of (key, params, state), as `Experiment` takes them. Images are uint8 and become real
numbers by `data.dequantize`; `shades` says how many shades of grey they have, and the likelihoods are those of
the pixels.
"""

from __future__ import annotations

__all__ = ["gaussian", "likelihood", "monitor"]

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx import data, evaluation, flows
from vifx.checks import require_integer
from vifx.core.examples import WEIGHTS
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Split
from vifx.evaluation import Estimate
from vifx.evaluation.batches import example_keys, in_batches
from vifx.experiment.file import Measure, unmeasured

_BATCH = 500
_NETWORK = 2**32 - 1  # folded in for the networks, where no example's index is


def likelihood(
    generative: Joint, split: Split, *, shades: int | None = None, draws: int = 4, batch_size: int = _BATCH
) -> Measure:
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
      batch_size: examples at a time.

    Raises:
      ValueError: `draws` is below 1.

    References:
      Theis, van den Oord & Bethge (2016), arXiv:1511.01844.
    """
    require_integer(draws, "likelihood: draws")
    count = 1 if shades is None else draws

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        each = [
            _nll(jax.random.fold_in(key, draw), generative, shades, params, state, split, batch_size)
            for draw in range(count)
        ]
        nll = np.mean(np.asarray(each, np.float64), axis=0)
        if shades is None:
            return {"nll/x": _noted(nll, split, "−log density, exact", 4)}
        shape = split["x"].shape[1:]
        bound = f"upper bound, {count} dequantization{'s' if count > 1 else ''} averaged"
        return {
            "bits_per_dim": _noted(_bits(nll, shape, shades), split, bound, 3),
            "nll/pixels": _noted(nll + math.prod(shape) * math.log(shades), split, bound, 1),
            "nll/x": Estimate(nll, "−log density of the dequantized values", split.get(WEIGHTS)),
        }

    return measure


def monitor(
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
        nll = _nll(jax.random.key(seed), generative, shades, params, state, split, batch_size)
        values = {"loss": nll}
        if shades is not None:
            values["bits_per_dim"] = _bits(nll, split["x"].shape[1:], shades)
        return {name: Estimate(each, weights=split.get(WEIGHTS)) for name, each in values.items()}

    return measure


def gaussian(train: Split, test: Split, *, shades: int = 256, alpha: float = 1e-6, examples: int = 20_000) -> Measure:
    """Measure what a full-covariance Gaussian on the logits of dequantized pixels reaches: ``bits_per_dim/gaussian``.

    Args:
      train: images, uint8, to which it is fitted in closed form.
      test: images, uint8.
      shades: shades of grey.
      alpha: α of the logits.
      examples: how many training images to take, at most.
    """
    bijection = flows.chain(flows.logit(alpha=alpha), flows.flatten())

    @jax.jit
    def logits(key: Key, pixels: Array) -> tuple[Array, Array]:
        x = data.dequantize(shades=shades)(jax.random.fold_in(key, 0), {"x": pixels})["x"]
        params, state = bijection.init(jax.random.fold_in(key, 1), x)
        return bijection.forward(params, state, x)

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        del params, state
        fitted, _ = logits(jax.random.fold_in(key, 0), jnp.asarray(train["x"][:examples]))
        z, log_det = logits(jax.random.fold_in(key, 1), jnp.asarray(test["x"]))
        bits = _bits(evaluation.gaussian_nll(fitted, z) - np.asarray(log_det), test["x"].shape[1:], shades)
        return {"bits_per_dim/gaussian": _noted(bits, test, "a Gaussian on the logits, for comparison", 3)}

    return measure


def _bits(nll: NDArray[Any], shape: Sequence[int], shades: int) -> NDArray[Any]:
    return evaluation.bits_per_dim(nll, shape, offset=math.log(shades))


def _noted(values: NDArray[Any], split: Split, what: str, digits: int) -> Estimate:
    weights = split.get(WEIGHTS)
    low, high = (f"{end:.{digits}f}".replace("-", "−") for end in Estimate(values, weights=weights).interval)
    return Estimate(values, f"{what}; 95 % interval {low} to {high}", weights)


def _nll(
    key: Key,
    generative: Joint,
    shades: int | None,
    params: Params,
    state: State,
    split: Split,
    batch_size: int,
) -> NDArray[Any]:
    return in_batches(key, partial(_nll_rows, generative, shades), params, state, split, batch_size=batch_size)


@partial(jax.jit, static_argnums=(0, 1))
def _nll_rows(
    generative: Joint,
    shades: int | None,
    key: Key,
    params: Params,
    state: State,
    batch: Mapping[str, Array],
    indices: Array,
) -> Array:
    network = jax.random.fold_in(jax.random.fold_in(key, _NETWORK), indices[0])
    if shades is not None:
        transform = data.dequantize(shades=shades)

        # Each example has a key of its own, so that its noise does not depend on the batch it is in.
        def one(own: Key, example: Mapping[str, Array]) -> Mapping[str, Array]:
            single = transform(own, {name: value[None] for name, value in example.items()})
            return {name: value[0] for name, value in single.items()}

        batch = jax.vmap(one)(example_keys(key, indices), dict(batch))
    values = {name: batch[name] for name in generative.variables}
    terms = generative.log_prob(params, state, values, key=network)
    return -jnp.asarray(sum(terms.values()))

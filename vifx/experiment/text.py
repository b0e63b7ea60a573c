"""What experiments on text measure and draw: nats a character beside two other models, samples and reconstructions.

Each function returns a function of (key, params, state), as `Experiment` takes them.
"""

from __future__ import annotations

__all__ = ["draw_reconstructions", "draw_samples", "mapped", "measured"]

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from vifx import data, evaluation
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Alphabet, Dataset, Split
from vifx.evaluation import Estimate
from vifx.evaluation.batches import in_batches
from vifx.experiment.file import Drawing, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HELD = 300
"""Validation windows on which n-grams are chosen, at most."""


def mapped(splits: Dataset, letters: Alphabet) -> Dataset:
    """Return a text's code points ``x`` as indices of an alphabet, the test windows in a random order.

    So the first of them are from the whole stretch of the text.

    Args:
      splits: windows of code points.
      letters: the alphabet.
    """
    train, validation, test = (
        {**split, "x": letters.project(split["x"])} for split in (splits.train, splits.validation, splits.test)
    )
    order = np.random.RandomState(0).permutation(len(test["x"]))
    test = {name: array[order] for name, array in test.items()}
    info = dataclasses.replace(splits.info, high=len(letters.characters) - 1)
    return data.Dataset(train, validation, test, info)


def measured(bounds: Measure, plain: Joint, splits: Dataset, *, classes: int, bound: str) -> Measure:
    """Measure nats a character of a test split: of a latent-variable model, of a plain language model, of n-grams.

    ``nll/character`` is an upper bound on that of the model with latents, by its importance-weighted bound. For
    comparison ``nll/character/plain`` is that of a model without latents, exact, and ``nll/character/ngram`` that of
    interpolated Kneser–Ney n-grams, whose order and discount are chosen on 300 validation windows. All three are of the
    windows that the bound was taken on, and predict the first character of a window without any before it. Where there
    are no validation windows, there are no n-grams.

    Args:
      bounds: `variational.bounds` of the model, which are kept.
      plain: a joint of ``x`` alone with a density.
      splits: windows ``x`` ``[examples, length]``; those of the bound are the first of the test split.
      classes: how many symbols there are.
      bound: the name of the bound in `bounds`, such as ``"iwae/100"``.
    """
    length = splits.test["x"].shape[1]

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = bounds(key, params, state)
        best = found[bound]
        if not isinstance(best, Estimate):
            raise TypeError(f"measured: bound must be an Estimate with a value an example, got {bound!r}, a number")
        few = splits.test["x"][: len(best.values)]
        note = f"upper bound, by {bound}, of {len(few):,} windows"
        exact = _nll(jax.random.fold_in(key, 1), plain, params, state, {"x": few})
        mine = {
            "nll/character": Estimate(-np.asarray(best.values, np.float64) / length, note),
            "nll/character/plain": Estimate(exact / length, "exact, of a model of the same size without latents"),
        }
        if len(splits.validation["x"]):
            held = splits.validation["x"][:_HELD]
            model = evaluation.kneser_ney(splits.train["x"], held, classes=classes)
            words = f"exact, of {model.order}-grams with discount {model.discount:g}, Kneser–Ney"
            mine["nll/character/ngram"] = Estimate(model.nll(few) / length, words)
        return {**found, **mine}

    return measure


def draw_samples(generative: Joint, letters: Alphabet, *, n: int = 12, title: str = "Samples") -> Drawing:
    """Draw `n` texts from the model as lines, under a `title`.

    Args:
      generative: prior and decoder.
      letters: of ``x``.
      n: how many.
      title: above, on the left.
    """

    @jax.jit
    def sample(key: Key, params: Params, state: State) -> Array:
        return generative.sample(key, params, state, examples=n).values["x"]

    def draw(key: Key, params: Params, state: State) -> Figure:
        texts = letters.restore(np.asarray(sample(key, params, state)))
        return evaluation.text_lines([[text] for text in texts], title=title)

    return draw


def draw_reconstructions(
    inference: Joint,
    generative: Joint,
    split: Split,
    letters: Alphabet,
    *,
    n: int = 6,
    title: str = "Test windows, and two draws of the decoder from their latents",
) -> Drawing:
    """Draw the first `n` windows, each above two texts that the decoder draws from one draw of its latents.

    Args:
      inference: evidence and encoder.
      generative: prior and decoder.
      split: windows ``x``, usually of the test split.
      letters: of ``x``.
      n: how many.
      title: above, on the left.
    """
    few = {"x": jnp.asarray(split["x"][:n])}

    @jax.jit
    def drawn(key: Key, params: Params, state: State) -> Array:
        values = inference.sample(jax.random.fold_in(key, 0), params, state, few).values
        latents = {name: value for name, value in values.items() if name not in inference.observed}
        texts = [
            generative.sample(jax.random.fold_in(key, 1 + i), params, state, {}, fixed=latents).values["x"]
            for i in range(2)
        ]
        return jnp.stack(texts, axis=1)

    def draw(key: Key, params: Params, state: State) -> Figure:
        texts = np.asarray(drawn(key, params, state))
        originals = letters.restore(np.asarray(few["x"]))
        groups = [[original, *letters.restore(pair)] for original, pair in zip(originals, texts, strict=True)]
        return evaluation.text_lines(groups, labels=("text", "drawn", "drawn"), title=title)

    return draw


def _nll(key: Key, joint: Joint, params: Params, state: State, split: Split) -> np.ndarray:
    @jax.jit
    def rows(key: Key, params: Params, state: State, batch: Mapping[str, Array], indices: Array) -> Array:
        del key, indices
        return -jnp.asarray(sum(joint.log_prob(params, state, {"x": batch["x"]}).values()))

    return np.asarray(in_batches(key, rows, params, state, {"x": split["x"]}, batch_size=200), np.float64)

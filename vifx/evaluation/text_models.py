"""Models of text: nats a character beside two other models, the n-grams to beat among them, and texts as figures."""

from __future__ import annotations

__all__ = ["KneserNey", "draw_text_reconstructions", "draw_texts", "kneser_ney", "measure_characters", "text_lines"]

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.data import Alphabet, Dataset, Split
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.likelihood import nll
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.style import STYLE, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Context: TypeAlias = tuple[int, ...]
Table: TypeAlias = Mapping[Context, Mapping[int, int]]
_START = -1
"""What stands in front of a sequence; it never follows anything."""


class KneserNey(NamedTuple):
    """An n-gram model with interpolated Kneser–Ney smoothing; `kneser_ney` fits one.

    ``P_k(c | h) = max(N(hc) − D, 0)/N(h·) + D·|{c' : N(hc') > 0}|/N(h·) · P_{k−1}(c | h′)`` where h′ is the context h
    without its first symbol, and ``P_0`` is uniform. N are counts for the longest contexts; for shorter ones they are
    the numbers of different symbols in front. The first symbols of a sequence have its start in their context.

    Attributes:
      discount: D, what is taken from every count.
      classes: how many symbols there are.
      counts: N of the symbols that follow a context, for contexts of 0, 1, …, n − 1 symbols.
    """

    discount: float
    classes: int
    counts: Sequence[Table]

    @property
    def order(self) -> int:
        """How many symbols an n-gram has: n."""
        return len(self.counts)

    def probs(self, before: Sequence[int]) -> NDArray[np.float64]:
        """Return the probability of every symbol after the first ones of a sequence, ``[classes]``."""
        context = (*(_START,) * (self.order - 1), *before)
        return np.array([self._prob(context, symbol) for symbol in range(self.classes)])

    def nll(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return ``−log P(x)`` of whole sequences, in nats.

        Args:
          x: symbols, integers ``[examples, length]``.

        Returns:
          ``[examples]``.
        """
        rows = _padded(x, self.order - 1)
        return np.array(
            [
                -sum(
                    math.log(self._prob(row[at - self.order + 1 : at], row[at]))
                    for at in range(self.order - 1, len(row))
                )
                for row in rows
            ]
        )

    def _prob(self, context: Context, symbol: int) -> float:
        found = 1 / self.classes
        for size, table in enumerate(self.counts):
            if following := table.get(context[len(context) - size :]):
                total = sum(following.values())
                found *= self.discount * len(following) / total
                found += max(following.get(symbol, 0) - self.discount, 0) / total
        return found


def kneser_ney(
    train: ArrayLike,
    validation: ArrayLike,
    *,
    classes: int,
    orders: Sequence[int] = (4, 5, 6, 7, 8, 9),
    discounts: Sequence[float] = (0.7, 0.8, 0.9),
) -> KneserNey:
    """Fit the n-gram model whose order and discount have the least negative log-likelihood on validation sequences.

    Args:
      train: symbols ``0 … classes − 1``, integers ``[examples, length]``, which are counted.
      validation: others.
      classes: how many symbols there are.
      orders: the n to try.
      discounts: the D to try.

    Raises:
      ValueError: `orders` has a number below 1, a discount is not between 0 and 1, or a value is not a symbol.

    References:
      Kneser & Ney (1995); Chen & Goodman (1999), An empirical study of smoothing techniques for language modeling.

    >>> model = kneser_ney([[0, 1, 0, 1]], [[0, 1]], classes=2, orders=(2,), discounts=(0.5,))
    >>> model.probs([0]).round(3).tolist()
    [0.167, 0.833]
    """
    if not orders or min(orders) < 1:
        raise ValueError(f"kneser_ney: orders must be at least one number, all from 1 on, got {list(orders)}")
    if not discounts or not all(0 < discount < 1 for discount in discounts):
        raise ValueError(f"kneser_ney: discounts must lie between 0 and 1, got {list(discounts)}")
    for name, x in (("train", np.asarray(train)), ("validation", np.asarray(validation))):
        if x.ndim != 2 or x.dtype.kind not in "iu" or not x.size or x.min() < 0 or x.max() >= classes:
            raise ValueError(f"kneser_ney: {name} must be integers 0 … {classes - 1} [examples, length], got {x.dtype}")
    raw, continued = _tables(_padded(train, max(orders) - 1), max(orders))
    models = [
        KneserNey(discount, classes, [*continued[: order - 1], raw[order - 1]])
        for order, discount in itertools.product(orders, discounts)
    ]
    return min(models, key=lambda model: model.nll(validation).sum())


def _tables(rows: Sequence[Context], order: int) -> tuple[list[Table], list[Table]]:
    """Return for contexts of 0 … order − 1 symbols how often a symbol follows, and how many symbols are in front."""
    grams: list[Counter[Context]] = [
        Counter(row[at - size : at + 1] for row in rows for at in range(order - 1, len(row))) for size in range(order)
    ]
    different = [Counter(gram[1:] for gram in longer) for longer in grams[1:]]
    return [_by_context(each) for each in grams], [_by_context(each) for each in different]


def _by_context(grams: Mapping[Context, int]) -> Table:
    found: dict[Context, dict[int, int]] = {}
    for gram, count in grams.items():
        found.setdefault(gram[:-1], {})[gram[-1]] = count
    return found


def _padded(x: ArrayLike, starts: int) -> list[Context]:
    return [(*(_START,) * starts, *row) for row in np.asarray(x).tolist()]


_HELD = 300
"""Validation windows on which n-grams are chosen, at most."""
_LINE, _GAP = 0.2, 0.1
"""Inches of a line, and between two groups."""


def measure_characters(bounds: Measure, plain: Joint | None, splits: Dataset, *, classes: int, bound: str) -> Measure:
    """Measure nats a character of a test split: of a latent-variable model, of a plain language model, of n-grams.

    ``nll/character`` is an upper bound on that of the model with latents, by its importance-weighted bound. For
    comparison ``nll/character/plain`` is that of a model without latents, exact, and ``nll/character/ngram`` that of
    interpolated Kneser–Ney n-grams, whose order and discount are chosen on 300 validation windows. All three are of the
    windows that the bound was taken on, and predict the first character of a window without any before it. Where there
    are no validation windows, there are no n-grams.

    Args:
      bounds: `measure_bounds` of the model, which are kept.
      plain: a joint of ``x`` alone with a density; None for no such comparison.
      splits: windows ``x`` ``[examples, length]``; those of the bound are the first of the test split.
      bound: the name of the bound in `bounds`, such as ``"iwae/100"``.
    """
    length = splits.test["x"].shape[1]

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = bounds(key, params, state)
        best = found[bound]
        if not isinstance(best, Estimate):
            raise TypeError(f"bound must be an Estimate with a value an example, got {bound!r}, a number")
        few = splits.test["x"][: len(best.values)]
        note = f"upper bound, by {bound}, of {len(few):,} windows"
        mine = {"nll/character": Estimate(-np.asarray(best.values, np.float64) / length, note)}
        if plain is not None:
            exact = nll(jax.random.fold_in(key, 1), plain, params, state, {"x": few}, batch_size=200).astype(np.float64)
            words = "exact, of a model of the same size without latents"
            mine["nll/character/plain"] = Estimate(exact / length, words)
        if len(splits.validation["x"]):
            held = splits.validation["x"][:_HELD]
            model = kneser_ney(splits.train["x"], held, classes=classes)
            words = f"exact, of {model.order}-grams with discount {model.discount:g}, Kneser–Ney"
            mine["nll/character/ngram"] = Estimate(model.nll(few) / length, words)
        return {**found, **mine}

    return measure


def draw_texts(generative: Joint, letters: Alphabet, *, n: int = 12) -> Drawing:
    """Draw `n` texts from the model as lines; `letters` are those of ``x``."""

    @jax.jit
    def sample(key: Key, params: Params, state: State) -> Array:
        return generative.sample(key, params, state, examples=n).values["x"]

    def draw(key: Key, params: Params, state: State) -> Figure:
        texts = letters.restore(np.asarray(sample(key, params, state)))
        return text_lines([[text] for text in texts], title="Samples")

    return draw


def draw_text_reconstructions(
    inference: Joint, generative: Joint, split: Split, letters: Alphabet, *, n: int = 6
) -> Drawing:
    """Draw the first `n` windows, each above two texts that the decoder draws from one draw of its latents.

    Args:
      split: windows ``x``, usually of the test split.
      letters: of ``x``.
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
        title = "Test windows, and two draws of the decoder from their latents"
        return text_lines(groups, labels=("text", "drawn", "drawn"), title=title)

    return draw


def text_lines(groups: Sequence[Sequence[str]], *, labels: Sequence[str] = (), title: str = "") -> Figure:
    """Draw texts as lines of one width, in groups with space between them.

    What a character of the font does not show, such as a line end, is drawn as a space.

    Args:
      groups: of lines that belong together, from top to bottom.
      labels: what each line of a group is, drawn in front; none by default.
      title: above, on the left.

    Raises:
      ValueError: there is no line, or a group has not one line for each label.
    """
    if not groups or not all(groups):
        raise ValueError(f"text_lines: groups must each have a line, got {[len(group) for group in groups]}")
    if labels and any(len(group) != len(labels) for group in groups):
        raise ValueError(f"text_lines: groups must have {len(labels)} lines, one a label, got {list(map(len, groups))}")
    height = sum(len(group) * _LINE + _GAP for group in groups) + 0.5
    widest = max(len(line) for group in groups for line in group)
    before = 0.15 + 0.09 * max((len(label) for label in labels), default=0)
    width = before + 0.076 * widest + 0.2
    figure = canvas(width, height)
    figure.text(0.15 / width, 1 - 0.12 / height, title, va="top", **STYLE.heading)
    top = height - 0.5
    for group in groups:
        for index, line in enumerate(group):
            shown = "".join(character if character.isprintable() else " " for character in line).replace("$", r"\$")
            place = {"y": top / height, "va": "top", "fontsize": STYLE.label_size}
            if labels:
                figure.text(0.15 / width, s=labels[index], color=STYLE.muted, **place)
            color = STYLE.text if index == 0 else STYLE.lines[0]
            figure.text(before / width, s=shown, color=color, family="monospace", **place)
            top -= _LINE
        top -= _GAP
    return figure

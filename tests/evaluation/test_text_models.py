"""Nats a character of models and of n-grams, and figures of texts, each against its own definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import data
from vifx.core.nets import from_functions
from vifx.data import Dataset, Info
from vifx.evaluation import Estimate, KneserNey, kneser_ney, text_lines, text_models

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.integers(0, 3, (40, 8)).astype(np.int32)
SPLITS = Dataset({"x": ROWS[:20]}, {"x": ROWS[20:30]}, {"x": ROWS[30:]}, Info("text", (8,), None, 0, 2))
LOGITS = jnp.asarray([0.0, 1.0, -0.5])


def flat():
    """Every symbol is drawn by itself."""
    net = from_functions(
        lambda key: {}, lambda params: vifx.distributions.Categorical(jnp.broadcast_to(LOGITS, (8, 3))).to_event(1)
    )
    return vifx.Joint(vifx.factor("x", net, name="plain"))


def measured(splits, bounds):
    measure = text_models.measure_characters(lambda *_: bounds, flat(), splits, classes=3, bound="iwae/2")
    return measure(jax.random.key(0), {"plain": {}}, {"plain": {}})


def test_nats_are_divided_by_the_characters():
    bounds = {"iwae/2": Estimate(np.linspace(-20.0, -10.0, 4)), "active_units": 3.0}
    found = measured(SPLITS, bounds)
    assert found["active_units"] == 3.0
    assert found["nll/character"].mean == pytest.approx(15 / 8, rel=1e-12)
    assert found["nll/character"].note == "upper bound, by iwae/2, of 4 windows"
    log_probs = np.asarray(jax.nn.log_softmax(LOGITS), np.float64)
    assert found["nll/character/plain"].mean == pytest.approx(-log_probs[SPLITS.test["x"][:4]].mean(), rel=1e-6)
    ngrams = kneser_ney(SPLITS.train["x"], SPLITS.validation["x"], classes=3).nll(SPLITS.test["x"][:4])
    assert found["nll/character/ngram"].mean == pytest.approx(ngrams.mean() / 8, rel=1e-12)
    without = measured(Dataset(SPLITS.train, {"x": ROWS[:0]}, SPLITS.test, SPLITS.info), bounds)
    assert "nll/character/ngram" not in without


def test_a_bound_without_values_is_refused():
    with pytest.raises(TypeError, match="bound must be an Estimate with a value an example, got 'iwae/2', a number"):
        measured(SPLITS, {"iwae/2": -3.0})


def test_reconstructions_show_the_windows_and_the_draws_of_their_latents():
    """An encoder and a decoder that copy: every draw is the window itself."""
    letters = data.Alphabet("?abc")
    window = jnp.asarray(ROWS[:2] + 1)
    inference = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", lambda x: x.astype(float)))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(8)), vifx.implicit("x | z", lambda z: z.astype(jnp.int32))
    )
    draw = text_models.draw_text_reconstructions(inference, generative, {"x": np.asarray(window)}, letters, n=2)
    lines = [each.get_text() for each in draw(jax.random.key(0), {}, {}).texts]
    expected = letters.restore(np.asarray(window))
    assert lines[2::2] == [each for each in expected for _ in range(3)]


def test_samples_are_texts_of_the_model():
    letters = data.Alphabet("?ab")
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(1)),
        vifx.implicit("x | z", lambda z: jnp.broadcast_to(jnp.asarray([1, 2, 0]), (len(z), 3))),
    )
    lines = [
        each.get_text() for each in text_models.draw_texts(generative, letters, n=4)(jax.random.key(0), {}, {}).texts
    ]
    assert lines == ["Samples", *["ab?"] * 4]


def test_lines_are_drawn_in_order_with_their_labels():
    figure = text_lines([["a $1 text", "its draw\n"], ["other", "$"]], labels=("text", "drawn"), title="Title")
    drawn = [(text.get_text(), text.get_position()) for text in figure.texts]
    assert [text for text, _ in drawn] == [
        *("Title", "text", r"a \$1 text", "drawn", "its draw "),
        *("text", "other", "drawn", r"\$"),
    ]
    heights = [place[1] for _, place in drawn]
    assert heights == sorted(heights, reverse=True)
    assert 0 < heights[-1] < heights[0] < 1
    gap, line = heights[4] - heights[5], heights[2] - heights[4]
    assert gap == pytest.approx(1.5 * line, rel=1e-6)
    assert {place[0] for text, place in drawn if text in ("text", "drawn")} == {drawn[0][1][0]}


@pytest.mark.parametrize(
    ("groups", "labels", "message"),
    [
        ([], (), r"groups must each have a line, got \[\]"),
        ([["a"], []], (), r"groups must each have a line, got \[1, 0\]"),
        ([["a"], ["b", "c"]], ("one",), r"groups must have 1 lines, one a label, got \[1, 2\]"),
    ],
)
def test_groups_without_lines(groups, labels, message):
    with pytest.raises(ValueError, match=message):
        text_lines(groups, labels=labels)


CLASSES = 4
DRAWS = np.random.default_rng(0)
TRAIN = (DRAWS.integers(0, CLASSES, (20, 12)) * DRAWS.integers(0, 2, (20, 12))).astype(np.int32)
OTHER = DRAWS.integers(0, CLASSES, (6, 12))


def fitted(order, discount):
    return kneser_ney(TRAIN, OTHER, classes=CLASSES, orders=(order,), discounts=(discount,))


def by_the_formula(order, discount, context, symbol, top=True):
    """P_k(c | h), the counts made anew for every question; starts of sequences are −1."""
    if order == 0:
        return 1 / CLASSES
    rows = [[-1] * 5 + row for row in TRAIN.tolist()]
    places = [(row, at) for row in rows for at in range(5, len(row))]
    context = list(context)[len(context) - order + 1 :]

    def count(following):
        matching = [(row, at) for row, at in places if row[at - order + 1 : at + 1] == [*context, following]]
        return len(matching) if top else len({row[at - order] for row, at in matching})

    counts = [count(each) for each in range(CLASSES)]
    shorter = by_the_formula(order - 1, discount, context[1:], symbol, top=False)
    if not sum(counts):
        return shorter
    kinds = sum(each > 0 for each in counts)
    return max(counts[symbol] - discount, 0) / sum(counts) + discount * kinds / sum(counts) * shorter


@pytest.mark.parametrize(("order", "discount"), [(1, 0.5), (2, 0.7), (3, 0.3), (4, 0.9)])
def test_probabilities_are_those_of_the_formula_and_sum_to_one(order, discount):
    model = fitted(order, discount)
    assert (model.order, model.discount) == (order, discount)
    for before in ([], [0], [3, 3], [1, 0, 2], [0, 0, 0, 0, 1]):
        found = model.probs(before)
        assert found.sum() == pytest.approx(1, rel=1e-12)
        context = [-1] * 5 + before
        expected = [by_the_formula(order, discount, context, symbol) for symbol in range(CLASSES)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_nll_of_a_sequence_is_the_sum_over_its_symbols():
    model = fitted(3, 0.7)
    expected = [-sum(np.log(model.probs(row[:at])[row[at]]) for at in range(len(row))) for row in OTHER.tolist()]
    np.testing.assert_allclose(model.nll(OTHER), expected, rtol=1e-12)


def test_order_and_discount_are_those_that_are_best_on_validation():
    tried = [fitted(order, discount) for order in (1, 2, 3) for discount in (0.4, 0.8)]
    best = min(tried, key=lambda model: model.nll(OTHER).sum())
    found = kneser_ney(TRAIN, OTHER, classes=CLASSES, orders=(1, 2, 3), discounts=(0.4, 0.8))
    assert (found.order, found.discount) == (best.order, best.discount)
    np.testing.assert_allclose(found.nll(OTHER), best.nll(OTHER), rtol=1e-12)
    assert isinstance(found, KneserNey)


def test_a_chain_is_learned_to_its_entropy():
    """From many symbols of a known chain, bigrams come near its entropy rate and unigrams do not."""
    table = np.array([[0.9, 0.1], [0.2, 0.8]])
    generator = np.random.default_rng(1)
    x = np.zeros((600, 20), int)
    x[:, 0] = generator.integers(0, 2, 600)
    for at in range(1, 20):
        x[:, at] = generator.random(600) > table[x[:, at - 1], 0]
    rate = -sum(p * table[i] @ np.log(table[i]) for i, p in enumerate((2 / 3, 1 / 3)))
    bigrams, unigrams = (
        kneser_ney(x[:500], x[500:], classes=2, orders=(order,)).nll(x[500:]).mean() / 20 for order in (2, 1)
    )
    assert bigrams == pytest.approx(rate, rel=0.1)
    assert unigrams > 1.3 * rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orders": (0, 2)}, r"orders must be at least one number, all from 1 on, got \[0, 2\]"),
        ({"discounts": (0.5, 1.0)}, r"discounts must lie between 0 and 1, got \[0.5, 1.0\]"),
        ({"classes": 3}, "train must be integers 0 … 2"),
        ({"validation": np.full((2, 3), 9)}, "validation must be integers 0 … 3"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        kneser_ney(TRAIN, options.pop("validation", OTHER), **{"classes": CLASSES, **options})

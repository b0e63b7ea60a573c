"""Kneser–Ney n-grams: they sum to one, and equal a plain program that counts as the formula says."""

from __future__ import annotations

import numpy as np
import pytest

from vifx.evaluation import KneserNey, kneser_ney

CLASSES = 4
GENERATOR = np.random.default_rng(0)
TRAIN = (GENERATOR.integers(0, CLASSES, (20, 12)) * GENERATOR.integers(0, 2, (20, 12))).astype(np.int32)
OTHER = GENERATOR.integers(0, CLASSES, (6, 12))


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

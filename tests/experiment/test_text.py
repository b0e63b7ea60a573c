"""Nats a character: of the model, of a language model and of n-grams, each against its own definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import data
from vifx.core.nets import from_functions
from vifx.data import Dataset, Info
from vifx.evaluation import Estimate, kneser_ney
from vifx.experiment import text

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
    measure = text.measured(lambda *_: bounds, flat(), splits, classes=3, bound="iwae/2")
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


def test_texts_are_mapped_to_the_alphabet_of_the_training_split():
    codes = GENERATOR.integers(97, 100, (30, 8)).astype(np.int32)
    parts = [{"x": codes[:10]}, {"x": codes[10:10]}, {"x": codes[10:]}]
    splits = Dataset(*parts, Info("text", (8,), None, 0, 0x10FFFF))
    letters = data.alphabet(splits.train["x"], least=1)
    found = text.mapped(splits, letters)
    assert sorted(letters.restore(found.test["x"])) == sorted("".join(map(chr, row)) for row in codes[10:])
    assert letters.restore(found.train["x"]) == ["".join(map(chr, row)) for row in codes[:10]]
    assert not np.array_equal(found.test["x"], letters.project(codes[10:]))
    assert found.info.high == 3
    assert found.validation["x"].shape == (0, 8)


def test_reconstructions_show_the_windows_and_the_draws_of_their_latents():
    """An encoder and a decoder that copy: every draw is the window itself."""
    letters = data.Alphabet("?abc")
    window = jnp.asarray(ROWS[:2] + 1)
    inference = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", lambda x: x.astype(float)))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(8)), vifx.implicit("x | z", lambda z: z.astype(jnp.int32))
    )
    draw = text.draw_reconstructions(inference, generative, {"x": np.asarray(window)}, letters, n=2)
    lines = [each.get_text() for each in draw(jax.random.key(0), {}, {}).texts]
    expected = letters.restore(np.asarray(window))
    assert lines[2::2] == [each for each in expected for _ in range(3)]


def test_samples_are_texts_of_the_model():
    letters = data.Alphabet("?ab")
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(1)),
        vifx.implicit("x | z", lambda z: jnp.broadcast_to(jnp.asarray([1, 2, 0]), (len(z), 3))),
    )
    lines = [each.get_text() for each in text.draw_samples(generative, letters, n=4)(jax.random.key(0), {}, {}).texts]
    assert lines == ["Samples", *["ab?"] * 4]

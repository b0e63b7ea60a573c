"""The hand features of a reader: a thousand questions with a passage of 300 tokens each in ten seconds of one core."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vifx import reading

pytestmark = pytest.mark.benchmark
_SECONDS, _PAIRS, _TOKENS = 10.0, 1000, 300


def test_a_thousand_pairs() -> None:
    words = ["".join(letters) for letters in np.random.default_rng(0).choice(list("abcdefghij"), (3000, 5))]
    draw = np.random.default_rng(1)
    pairs = [
        (reading.tokenize(" ".join(draw.choice(words, 12))), reading.tokenize(" ".join(draw.choice(words, _TOKENS))))
        for _ in range(_PAIRS)
    ]
    begun = time.process_time()
    for question, passage in pairs:
        reading.features(question, [passage])
    took = time.process_time() - begun
    print(f"\n{_PAIRS:,} questions with a passage of {_TOKENS} tokens: {took:.1f} s of one core")
    assert took < _SECONDS

"""Texts as tokens."""

from __future__ import annotations

import numpy as np
import pytest

from vifx import reading

TEXT = "  The Nile's length (6,650 km) – don't forget; état-major № 3.5m!"


def test_tokens_know_where_they_stand() -> None:
    tokens = reading.tokenize(TEXT)
    assert [TEXT[a:b] for a, b in zip(tokens.starts, tokens.ends, strict=True)] == [
        *("The", "Nile's", "length", "(", "6,650", "km", ")", "–", "don't", "forget", ";"),
        *("état-major", "№", "3.5", "m", "!"),
    ]
    assert tokens.names[0] == "the"
    assert tokens.names[12] == "no"  # NFKC
    assert tokens.span(4, 5) == "6,650 km"


@pytest.mark.parametrize("text", ["白云山坐落在广州", "ラーメンが好き", "ภาษาไทย"])
def test_scripts_without_spaces_are_read_character_by_character(text: str) -> None:
    assert list(reading.tokenize(text).names) == list(text)


def test_mixed_scripts() -> None:
    assert reading.tokenize("主峰海拔382米, about 382m").names == (*"主峰海拔", "382", "米", ",", "about", "382", "m")


def test_characters_leave_out_spaces_alone() -> None:
    tokens = reading.tokenize("a b\tC\n!", unit="characters")
    assert tokens.names == ("a", "b", "c", "!")
    assert tokens.starts.tolist() == [0, 2, 4, 6]


def test_covering_finds_the_tokens_that_characters_touch() -> None:
    tokens = reading.tokenize("one two  three")
    assert tokens.covering(4, 7) == (1, 1)
    assert tokens.covering(5, 10) == (1, 2)
    assert tokens.covering(7, 9) is None


def test_width_case_and_apostrophes_make_no_difference() -> None:
    assert reading.tokenize("ＷＥＢ Straße don’t").names == ("web", "strasse", "don't")


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="text must be a string"):
        reading.tokenize(b"text")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="unit must be one of words, characters; got 'lines'"):
        reading.tokenize("text", unit="lines")  # pyright: ignore[reportArgumentType]


def test_no_token() -> None:
    tokens = reading.tokenize(" \n")
    assert len(tokens) == 0
    assert tokens.starts.dtype == np.int32

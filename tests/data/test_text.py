"""Text as windows of characters, against the text itself."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from vifx.data import Config, Dataset, Info, alphabet, load, prepare, spelled
from vifx.data.text import standard_library

WORDS = "Ein kürzer Text 文字 with   spaces\nand\tlines. " * 40


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(WORDS, encoding="utf-8")
    return path


def texts(x):
    return ["".join(map(chr, row)) for row in x]


def test_a_file_is_cut_into_windows_and_split_without_loss(file):
    dataset = load(Config("text", source=str(file), test=7, validation=3))
    spaced = " ".join(WORDS.split())
    windows = [spaced[at : at + 64] for at in range(0, len(spaced) - 63, 64)]
    parts = [texts(split["x"]) for split in (dataset.train, dataset.validation, dataset.test)]
    assert [len(part) for part in parts] == [len(windows) - 10, 3, 7]
    assert [window for part in parts for window in part] == windows  # in the order of the text
    assert dataset.train["x"].dtype == np.int32
    assert dataset.info.notes == (f"{len(spaced):,} characters, text.txt",)


@pytest.mark.thorough
def test_the_default_is_the_docstrings_of_the_standard_library():
    text = standard_library()
    assert len(text) > 300_000
    assert "  " not in text
    assert "\n" not in text
    for name in ("argparse", "textwrap"):
        module = ast.parse((Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8"))
        assert " ".join(ast.get_docstring(module).split()) in text
    assert text == standard_library()


def test_the_alphabet_has_the_frequent_characters_and_one_for_all_others(file):
    codes = np.array([[ord(each) for each in "abbcccéé"]])
    letters = alphabet(codes, least=2)
    assert letters.characters == "\ufffdcbé"
    np.testing.assert_array_equal(letters.project(codes), [[0, 2, 2, 1, 1, 1, 3, 3]])
    np.testing.assert_array_equal(letters.project(np.array([0, ord("ê"), 0x10FFFF])), [0, 0, 0])
    assert letters.restore(letters.project(codes)) == ["\ufffdbbcccéé"]
    train = load(Config("text", source=str(file))).train["x"]
    letters = alphabet(train, least=1)
    assert letters.restore(letters.project(train)) == texts(train)
    assert sorted(letters.characters[1:]) == sorted(set("".join(texts(train))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: load(Config("text", source=str(folder / "none.txt"))), "source must be a text file, got "),
        (lambda folder: load(Config("text", source=str(folder / "short.txt"))), "at least 128 characters, got 3 in"),
        (lambda folder: load(Config("text", source=str(folder / "bytes.txt"))), r"source must be a text file in UTF-8"),
        (lambda folder: load(Config("text", test=10**6)), "test must leave windows to train on, got 1000000 of"),
        (lambda folder: prepare(Config("text")), "text is read each time it is loaded"),
        (lambda folder: alphabet(np.array([[1, 2, 3]]), least=2), "no character occurs least=2 times"),
    ],
)
def test_what_is_no_text(tmp_path, call, message):
    (tmp_path / "short.txt").write_text("abc")
    (tmp_path / "bytes.txt").write_bytes(b"\xff" * 200)
    with pytest.raises(ValueError, match=message):
        call(tmp_path)


def test_codes_are_integers():
    with pytest.raises(TypeError, match="codes must be code points as integers, got float64"):
        alphabet(np.zeros((2, 2)))


def test_texts_are_mapped_to_the_alphabet_of_the_training_split():
    codes = np.random.default_rng(0).integers(97, 100, (30, 8)).astype(np.int32)
    parts = [{"x": codes[:10]}, {"x": codes[10:10]}, {"x": codes[10:]}]
    splits = Dataset(*parts, Info("text", (8,), None, 0, 0x10FFFF))
    letters = alphabet(splits.train["x"], least=1)
    found = spelled(splits, letters)
    assert sorted(letters.restore(found.test["x"])) == sorted("".join(map(chr, row)) for row in codes[10:])
    assert letters.restore(found.train["x"]) == ["".join(map(chr, row)) for row in codes[:10]]
    assert not np.array_equal(found.test["x"], letters.project(codes[10:]))
    assert found.info.high == 3
    assert found.validation["x"].shape == (0, 8)

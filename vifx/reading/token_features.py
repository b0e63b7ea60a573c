"""Eight features of the tokens of a passage that no network has to learn."""

from __future__ import annotations

__all__ = ["FEATURES", "edit_distances", "features", "jaccard_similarities"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require
from vifx.reading.tokens import Tokens

FEATURES = (
    "match/word",
    "co-occurrence/word",
    "jaccard/word",
    "edit/word",
    "match/character",
    "co-occurrence/character",
    "jaccard/character",
    "edit/character",
)
"""The names of the features, in their order."""

_BITS = 64
_ONE = np.uint64(1)
_HIGH = np.uint64(_BITS - 1)


def features(question: Tokens, passages: Sequence[Tokens]) -> list[NDArray[np.float32]]:
    """Return eight features of every token of the passages of a question, ``[tokens, 8]`` for each passage.

    At word level, of token t of a passage:

    * `match`: 1 if the token is in the question, else 0.
    * `co-occurrence`: the share of the question's other passages that have the token; 0 if there is no other one.
    * `jaccard`: ``|Q ∩ W| / |Q ∪ W|`` of the sets of the question's tokens and of the window's, W.
    * `edit`: the Levenshtein distance from the question to the window, divided by the length of the question.

    The window is as long as the question, n tokens, and begins ⌊(n − 1)/2⌋ before t; what it has outside of the passage
    is dropped. At character level the same is computed for every character that is not a space, and a token gets the
    mean over its characters. Tokens are compared as `normalized`.

    Args:
      question: its tokens, at least one.
      passages: the passages that were found for it.

    Raises:
      TypeError: if something is not `Tokens`.
      ValueError: if the question or a passage is empty.
    """
    for name, tokens in (("question", question), *((f"passages[{i}]", each) for i, each in enumerate(passages))):
        if not len(require(tokens, Tokens, name, "Tokens", "call tokenize(text)")):
            raise ValueError(f"{name} must have a token, got the text {tokens.text!r}; leave empty texts out")
    words = _level([question.names, *(passage.names for passage in passages)])
    parts = [_characters(tokens) for tokens in (question, *passages)]
    characters = _level([characters for characters, _ in parts])
    joined = []
    for word, character, (_, starts) in zip(words, characters, parts[1:], strict=True):
        lengths = np.diff(np.append(starts, len(character)))[:, None]
        joined.append(np.concatenate([word, np.add.reduceat(character, starts, axis=0) / lengths], axis=1))
    return [each.astype(np.float32) for each in joined]


def jaccard_similarities(question: NDArray[np.integer], passage: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return ``|Q ∩ W| / |Q ∪ W|`` for the window around every token of a passage, float64 ``[tokens]``.

    Args:
      question: ids of the question's tokens, ``[n]``.
      passage: ids of the passage's tokens, ``[tokens]``; equal ids are equal tokens.
    """
    size, (first, last) = len(passage), _windows(len(question), len(passage))
    unique = np.unique(question)
    counts = np.zeros((len(unique), size + 1), np.int32)
    np.cumsum(passage[None] == unique[:, None], axis=1, out=counts[:, 1:])
    common = (counts[:, last] > counts[:, first]).sum(axis=0)
    # A token of a window is a new one if its previous occurrence is before the window.
    order = np.argsort(passage, kind="stable")
    previous = np.full(size, -1)
    same = passage[order[1:]] == passage[order[:-1]]
    previous[order[1:][same]] = order[:-1][same]
    distinct = np.zeros(size, np.int64)
    for offset in range(len(question)):
        at = first + offset
        inside = at < last
        distinct += inside & (previous[np.minimum(at, size - 1)] < first)
    return common / (len(unique) + distinct - common)


def edit_distances(question: NDArray[np.integer], passage: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the Levenshtein distance from the question to the window around every token, integers ``[tokens]``.

    All windows advance together, one column of the dynamic program a step, whose differences are bits of 64-bit words.
    References: Myers, A fast bit-vector algorithm for approximate string matching, 1999; Hyyrö, Explaining and
    extending the bit-parallel approximate string matching algorithm of Myers, 2001.

    Args:
      question: ids of the question's tokens, ``[n]``.
      passage: ids of the passage's tokens, ``[tokens]``; equal ids are equal tokens.
    """
    length, size = len(question), len(passage)
    masks = _masks(question, passage)
    blocks = len(masks)
    last_bit = np.uint64((length - 1) % _BITS)
    positive = np.full((blocks, size), ~np.uint64(0))
    negative = np.zeros((blocks, size), np.uint64)
    distance = np.full(size, length)
    before = (length - 1) // 2
    for offset in range(length):
        # Token t + offset − before of window t; the windows for which it is inside of the passage.
        low, high = max(0, before - offset), min(size, size + before - offset)
        if low >= high:
            continue
        windows, tokens = slice(low, high), slice(low + offset - before, high + offset - before)
        up, down = np.ones(high - low, np.uint64), np.zeros(high - low, np.uint64)
        for block in range(blocks):
            p, n, equal = positive[block, windows], negative[block, windows], masks[block, tokens]
            x = equal | n
            equal = equal | down
            h = (((equal & p) + p) ^ p) | equal
            rises, falls = n | ~(h | p), p & h
            bit = last_bit if block == blocks - 1 else _HIGH
            next_up, next_down = (rises >> bit) & _ONE, (falls >> bit) & _ONE
            rises, falls = (rises << _ONE) | up, (falls << _ONE) | down
            positive[block, windows], negative[block, windows] = falls | ~(x | rises), rises & x
            up, down = next_up, next_down
        distance[windows] += up.astype(np.int64) - down.astype(np.int64)
    return distance


def _level(texts: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
    """Return four features ``[tokens, 4]`` of all texts but the first, which is the question."""
    names = {name: id_ for id_, name in enumerate(dict.fromkeys(name for text in texts for name in text))}
    question, *passages = (np.array([names[name] for name in text]) for text in texts)
    has = np.zeros((len(passages), len(names)))
    for row, passage in zip(has, passages, strict=True):
        row[passage] = 1
    others = max(len(passages) - 1, 1)
    asked = np.zeros(len(names))
    asked[question] = 1
    return [
        np.stack(
            [
                asked[passage],
                (has[:, passage].sum(axis=0) - 1) / others,
                jaccard_similarities(question, passage),
                edit_distances(question, passage) / len(question),
            ],
            axis=1,
        )
        for passage in passages
    ]


def _characters(tokens: Tokens) -> tuple[str, NDArray[np.intp]]:
    """Return the characters of the tokens, and at which of them each token starts."""
    lengths = [len(name) for name in tokens.names]
    return "".join(tokens.names), np.cumsum([0, *lengths[:-1]])


def _windows(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first token of each window and the one after its last, as far as they are inside of the passage."""
    start = np.arange(size) - (length - 1) // 2
    return np.maximum(start, 0), np.minimum(start + length, size)


def _masks(question: NDArray[np.integer], passage: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return in the bits of ``[blocks, tokens]`` at which places of the question each token of the passage is."""
    blocks = -(-len(question) // _BITS)
    masks = np.zeros((blocks, len(passage)), np.uint64)
    for place, token in enumerate(question):
        masks[place // _BITS] |= (passage == token).astype(np.uint64) << np.uint64(place % _BITS)
    return masks

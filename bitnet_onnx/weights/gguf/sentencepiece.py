"""SentencePiece as a BPE of the tokenizers package: scores become an order of merges.

Knows tokens, types and scores; knows no file. SentencePiece, and llama.cpp, join the two neighbours
whose joined token has the highest score, the leftmost of several; BPE those of the first merge in a
list. So the list holds each way to cut a token in two, by the token's score. A character that is
not a token becomes the tokens of its bytes, ``<0x00>`` to ``<0xFF>``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

__all__ = ["BLANK", "Tie", "merges_by_score", "sentencepiece"]

BLANK = "\u2581"  # stands for " "


class Tie(Exception):
    """Two tokens (its arguments) of the same score: which is joined first depends on the text."""


def merges_by_score(
    vocabulary: Iterable[str], joined: Iterable[tuple[str, float]]
) -> list[list[str]]:
    """Return the merges that make the tokens ``joined``, by their scores; raise Tie.

    Of the same score the longest left part comes first. So a run of one character is joined from
    its left end, as LLaMA's runs of blanks are, which all have the same score.
    """
    parts = frozenset(vocabulary)
    merges: list[list[str]] = []
    used: set[str] = set()  # parts of the merges so far
    ranked = sorted(joined, key=lambda pair: -pair[1])
    for _, group in groupby(ranked, key=lambda pair: pair[1]):
        pairs = [
            [token[:i], token[i:]]
            for token, _ in group
            for i in range(1, len(token))
            if token[:i] in parts and token[i:] in parts
        ]
        used.update(part for pair in pairs for part in pair)
        _refuse_ties(pairs, used)
        merges += sorted(pairs, key=lambda pair: -len(pair[0]))
    return merges


def _refuse_ties(pairs: list[list[str]], used: set[str]) -> None:
    """Raise Tie for two tokens that can overlap, or of which one can be joined further at once."""
    tokens = dict.fromkeys(left + right for left, right in pairs)
    if len(tokens) < 2:
        return
    runs = {token for token in tokens if len(set(token)) == 1}
    begins = defaultdict(set)
    for left, right in pairs:
        begins[left].add(left + right)
    for left, right in pairs:
        token = left + right
        alike = {run for run in runs if run[0] == token[0]} if token in runs else {token}
        if others := begins.get(right, set()) - alike:
            raise Tie(token, min(others))
    for token in tokens.keys() - runs:
        if token in used:
            raise Tie(token, next(other for other in tokens if other != token))


def sentencepiece(
    vocabulary: dict[str, int],
    merges: Sequence[Sequence[str]],
    unknown: str | None,
    space_prefix: bool,
) -> dict[str, Any]:
    """Return normalizer, decoder and model of a tokenizer.json."""
    prefix = [{"type": "Prepend", "prepend": BLANK}] if space_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space_prefix else []
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                *prefix,
                {"type": "Replace", "pattern": {"String": " "}, "content": BLANK},
            ],
        },
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }

"""Sequences of tokens that are preferred, avoided, or completed only once.

Knows ids and scores of one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import GenerationConfig
from .past import Past, Processor, forbid, inside

__all__ = ["NoRepeat", "SequenceBias", "bad_words", "encoder_no_repeat", "no_repeat",
           "sequence_bias"]  # fmt: skip

Pairs = Sequence[tuple[tuple[int, ...], float]]


class SequenceBias(Processor):
    """Adds a bias to the last token of each sequence whose other tokens are the last ids."""

    def __init__(self, name: str, pairs: Pairs) -> None:
        self._name = name
        # The sums of float32 are in the order of transformers: by length, then as given.
        lengths = list(dict.fromkeys(len(ids) for ids, _ in pairs))
        lengths.sort(key=lambda length: length > 1)
        self._pairs = [pair for length in lengths for pair in pairs if len(pair[0]) == length]
        self._tokens = [token for ids, _ in pairs for token in ids]
        self._longest = max(lengths)

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        inside(self._name, self._tokens, scores.size)
        end = tuple(past.ids[-self._longest :].tolist())
        sums: dict[int, np.float32] = {}
        with np.errstate(over="ignore"):  # an infinite score is said where it is chosen
            for ids, bias in self._pairs:
                before = ids[:-1]
                if not before or end[-len(before) :] == before:
                    sums[ids[-1]] = sums.get(ids[-1], np.float32(0)) + np.float32(bias)
            for token, added in sums.items():
                scores[token] += added
        return scores


class NoRepeat(Processor):
    """Forbids a token that completes ``size`` ids which occurred in this order before."""

    def __init__(self, size: int, prompt_only: bool) -> None:
        self._size, self._prompt_only = size, prompt_only

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        text, size = past.given if self._prompt_only else past.ids, self._size
        if len(text) < size or len(past) + 1 < size:
            return scores
        windows = np.lib.stride_tricks.sliding_window_view(text, size)
        begun = past.ids[len(past) + 1 - size :]
        return forbid(scores, windows[(windows[:, :-1] == begun).all(axis=1), -1])


def sequence_bias(config: GenerationConfig) -> SequenceBias | None:
    pairs: Any = config.sequence_bias
    return SequenceBias("sequence_bias", pairs) if pairs else None


def bad_words(config: GenerationConfig) -> SequenceBias | None:
    """Return the bias of minus infinity; a word of one eos token is left out."""
    words = dict.fromkeys(map(tuple, config.bad_words_ids or ()), -np.inf)
    pairs = [pair for pair in words.items() if pair[0] not in {(e,) for e in config.eos_token_ids}]
    return SequenceBias("bad_words_ids", pairs) if pairs else None


def no_repeat(config: GenerationConfig) -> NoRepeat | None:
    size = config.no_repeat_ngram_size
    return NoRepeat(size, False) if size else None


def encoder_no_repeat(config: GenerationConfig) -> NoRepeat | None:
    size = config.encoder_no_repeat_ngram_size
    return NoRepeat(size, True) if size else None

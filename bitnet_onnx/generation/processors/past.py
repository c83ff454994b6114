"""The ids of one sequence, as processors look back at them.

Knows ids; does not know logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import GenerationError

__all__ = ["Past", "Processor", "forbid", "inside"]


class Past:
    """The ids of one sequence, the first ``prompt`` of which were given.

    All that a processor knows of the past is here, so a sequence whose last ids are taken back is
    one that never had them.
    """

    def __init__(self, prompt: Sequence[int] = ()) -> None:
        self._ids = np.empty(max(64, 2 * len(prompt)), dtype=np.int64)
        self._length = 0
        self.add(prompt)
        self.prompt = len(prompt)

    def __len__(self) -> int:
        return self._length

    @property
    def ids(self) -> np.ndarray:
        """All ids [length]; valid until the next change."""
        return self._ids[: self._length]

    @property
    def given(self) -> np.ndarray:
        """The ids of the prompt."""
        return self._ids[: self.prompt]

    @property
    def new(self) -> np.ndarray:
        """The ids that were chosen."""
        return self._ids[self.prompt : self._length]

    def add(self, ids: Sequence[int]) -> None:
        """Append ids."""
        end = self._length + len(ids)
        if end > len(self._ids):
            grown = np.empty(2 * end, dtype=np.int64)
            grown[: self._length] = self.ids
            self._ids = grown
        self._ids[self._length : end] = ids
        self._length = end

    def append(self, token: int) -> None:
        """Append one id."""
        if self._length == len(self._ids):
            self.add([token])
        else:
            self._ids[self._length] = token
            self._length += 1

    def truncate(self, length: int) -> None:
        """Keep the first ``length`` ids."""
        assert self.prompt <= length <= self._length
        self._length = length

    def copy(self) -> Past:
        """Return the same sequence, which goes its own way."""
        copied = Past(self.ids.tolist())
        copied.prompt = self.prompt
        return copied


class Processor:
    """Changes the scores of the next id: logits, or log-probabilities in a search of beams."""

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        """Return float32 scores [vocab] for the id after ``past``.

        The argument is the caller's own copy: it may be changed and returned.
        """
        raise NotImplementedError


def forbid(scores: np.ndarray, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """Set the scores of tokens to minus infinity; a token beyond the vocabulary has no score."""
    found = np.asarray(tokens, dtype=np.int64)
    scores[found[found < scores.size]] = -np.inf
    return scores


def inside(name: str, tokens: Sequence[int], vocab: int) -> None:
    """Raise GenerationError where a token of an option has no score."""
    if max(tokens) >= vocab:
        raise GenerationError(f"{name} holds the id {max(tokens)}, expected 0 to {vocab - 1}")

"""The answers that a search of groups or with forced words has found, as transformers 4 keeps them.

transformers 5 rewrote beam search and left these two searches as they were. Knows ids and scores of
one prompt; does not know how sequences are continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import GenerationConfig
from ..largest import best
from ..rows import FinishReason

__all__ = ["Chosen", "Hypotheses", "chosen_of"]


@dataclass(frozen=True)
class _Hypothesis:
    score: float
    ids: list[int]
    reason: FinishReason


class Hypotheses:
    """The best ``size`` answers."""

    def __init__(self, config: GenerationConfig, size: int, limit: int) -> None:
        """limit: the largest number of new tokens."""
        self._config, self._size, self._limit = config, size, limit
        self._kept: list[_Hypothesis] = []
        self._worst = 1e9
        self.done = False

    def add(self, total: float, ids: list[int], reason: FinishReason) -> None:
        """Keep new ids whose log-probabilities add up to a total, if they are among the best."""
        score = self._score(total, len(ids))
        full = len(self._kept) == self._size
        if full and score <= self._worst:
            return
        self._kept.append(_Hypothesis(score, ids, reason))
        if full:
            order = sorted(range(len(self._kept)), key=lambda place: self._kept[place].score)
            self._worst = self._kept[order[1]].score
            del self._kept[order[0]]
        else:
            self._worst = min(score, self._worst)

    def settle(self, highest: float, length: int) -> None:
        """Set ``done`` where no sequence of a length and of this total at most becomes better."""
        if self.done or len(self._kept) < self._size:
            return
        early = self._config.early_stopping
        if early == "never" and self._config.length_penalty > 0:
            length = self._limit
        self.done = early is True or self._worst >= self._score(highest, length)

    def _score(self, total: float, length: int) -> float:
        with np.errstate(all="ignore"):  # a huge penalty makes an infinite divisor, or 0
            return float(np.float64(total) / np.float64(length) ** self._config.length_penalty)

    @staticmethod
    def answers(every: Sequence[Hypotheses]) -> list[tuple[list[int], FinishReason, float]]:
        """Return ids, reason and score of all answers, the best one first; of equals, the last."""
        found = sorted((h for each in every for h in each._kept), key=lambda h: h.score)
        return [(h.ids, h.reason, float(np.float32(h.score))) for h in reversed(found)]


@dataclass
class Chosen:
    """The sequences that go on: their scores, whose continuations they are, and the new ids."""

    scores: np.ndarray
    beams: list[int]
    tokens: list[int]


def chosen_of(
    scores: np.ndarray, count: int, eos: Sequence[int], ended: Callable[[int, float], None]
) -> Chosen:
    """Choose which continuations go on, from scores [sequences, vocab] and their best ``count``.

    ended(sequence, score) is told of those that end, unless they rank below the sequences' number.
    """
    size, vocab = scores.shape
    flat, found = scores.ravel(), Chosen(np.empty(0, np.float32), [], [])
    going = list[np.float32]()
    for rank, place in enumerate(best(flat, count).tolist()):
        beam, token = divmod(place, vocab)
        if token in eos:
            if rank < size:
                ended(beam, float(flat[place]))
            continue
        going.append(flat[place])
        found.beams.append(beam)
        found.tokens.append(token)
        if len(going) == size:
            break
    found.scores = np.array(going, np.float32)
    return found

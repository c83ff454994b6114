"""Lead a group of beams away from the tokens that the groups before it chose in the same step.

Knows the tokens of one step; does not know the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .past import Past, Processor

__all__ = ["Diversity"]


class Diversity(Processor):
    """scores -= penalty * (how often the groups before chose the token)."""

    def __init__(self, penalty: float) -> None:
        self._penalty, self._tokens = penalty, list[int]()

    def forget(self) -> None:
        """Begin a step."""
        self._tokens = []

    def avoid(self, tokens: Sequence[int]) -> None:
        """Take what a group chose."""
        self._tokens += tokens

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        tokens, counts = np.unique(np.array(self._tokens, np.int64), return_counts=True)
        inside = tokens < scores.size
        with np.errstate(over="ignore"):  # minus infinity is a token that is not chosen
            scores[tokens[inside]] -= np.float32(self._penalty) * counts[inside].astype(np.float32)
        return scores

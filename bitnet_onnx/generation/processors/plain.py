"""Processors that do not look at the past: tokens that are never chosen, and repaired scores.

Knows scores of one position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import GenerationConfig
from .past import Past, Processor, forbid

__all__ = ["Normalized", "log_softmax", "normalized", "remove_invalid", "suppress"]


class Suppress(Processor):
    """Forbids tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = np.array(tokens, dtype=np.int64)

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        return forbid(scores, self._tokens)


class RemoveInvalid(Processor):
    """NaN becomes 0; infinities become the largest and the least number."""

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        return np.asarray(np.nan_to_num(scores, copy=False))


class Normalized(Processor):
    """Scores become log-probabilities; where every token is forbidden, all stay so."""

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        if scores.max() == -np.inf:
            return scores
        return log_softmax(scores).astype(np.float32)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return log-probabilities in float64."""
    found = scores.astype(np.float64)
    found -= found.max()
    found -= np.log(np.exp(found).sum())
    return found


def suppress(config: GenerationConfig) -> Suppress | None:
    return Suppress(config.suppress_tokens) if config.suppress_tokens else None


def remove_invalid(config: GenerationConfig) -> RemoveInvalid | None:
    return RemoveInvalid() if config.remove_invalid_values else None


def normalized(config: GenerationConfig) -> Normalized | None:
    return Normalized() if config.renormalize_logits else None

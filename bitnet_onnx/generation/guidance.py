"""Classifier-free guidance: an answer is led away from that to another prompt.

Knows the logits of one position of two sequences.
"""

from __future__ import annotations

import numpy as np

from .processors.plain import log_softmax

__all__ = ["guided"]


def guided(logits: np.ndarray, away: np.ndarray, scale: float) -> np.ndarray:
    """Return float32 scores: scale * (p - q) + q of the log-probabilities p and q.

    ``away`` are the logits of the sequence that is led away from. The sums are in float64, so they
    differ from transformers', which are in float32, by its rounding: 1e-6 of the largest summand.
    """
    unguided = log_softmax(away)
    return np.asarray(scale * (log_softmax(logits) - unguided) + unguided).astype(np.float32)

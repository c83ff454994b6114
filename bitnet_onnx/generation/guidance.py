"""Classifier-free guidance: an answer is led away from that to another prompt.

Knows the logits of one position of two sequences.
"""

from __future__ import annotations

import numpy as np

from ..errors import GenerationError
from .processors.plain import log_softmax

__all__ = ["guided"]


def guided(logits: np.ndarray, away: np.ndarray, scale: float) -> np.ndarray:
    """Return float32 scores: scale * (p - q) + q of the log-probabilities p and q.

    ``away`` are the logits of the sequence that is led away from. The sums are in float64, so they
    differ from transformers', which are in float32, by its rounding: 1e-6 of the largest summand.
    """
    unguided, wide = log_softmax(away), log_softmax(logits)
    with np.errstate(over="ignore"):  # said below
        found = np.asarray(scale * (wide - unguided) + unguided).astype(np.float32)
    if np.isinf(found.max()) and np.isfinite(wide).all():
        raise GenerationError(
            f"guidance_scale is {scale:g}, which makes a score infinite, expected a number nearer"
            " to 1"
        )
    return found

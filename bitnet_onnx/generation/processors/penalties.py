"""Tokens that occurred become less likely: in the prompt, in the answer, or in both.

Knows ids and scores of one position.
"""

from __future__ import annotations

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from .past import Past, Processor

__all__ = ["Occurrence", "Repetition", "encoder_repetition", "occurrence", "repetition"]


class Repetition(Processor):
    """A negative score times the penalty, another one by it, for each token that occurred."""

    def __init__(self, name: str, given: float, penalty: float, prompt_only: bool) -> None:
        self._name, self._given, self._prompt_only = name, given, prompt_only
        with np.errstate(over="ignore"):  # said below
            self._penalty = np.float32(penalty)

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        seen = past.given if self._prompt_only else past.ids
        said = scores[seen]
        with np.errstate(all="ignore"):  # said below
            changed = np.where(said < 0, said * self._penalty, said / self._penalty)
        # Minus infinity is a token that is never chosen.
        if (broken := np.isfinite(said) & ~(changed < np.inf)).any():
            raise GenerationError(
                f"{self._name} is {self._given:g}, which makes a logit of {said[broken][0]:g} "
                "infinite, expected a number nearer to 1"
            )
        scores[seen] = changed
        return scores


class Occurrence(Processor):
    """OpenAI's: scores -= count * frequency + (count > 0) * presence, of the new tokens.

    The penalty of a token is computed in float64 and subtracted in float32.
    """

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        tokens, counts = np.unique(past.new, return_counts=True)
        with np.errstate(over="ignore"):  # an infinite score is said where it is chosen
            penalty = counts * self._frequency + self._presence
            scores[tokens] -= penalty.astype(np.float32)
        return scores


def repetition(config: GenerationConfig) -> Repetition | None:
    penalty = config.repetition_penalty
    return Repetition("repetition_penalty", penalty, penalty, False) if penalty != 1 else None


def encoder_repetition(config: GenerationConfig) -> Repetition | None:
    """Return the penalty of the prompt's tokens, which is one below 1: they become likelier."""
    penalty, name = config.encoder_repetition_penalty, "encoder_repetition_penalty"
    return Repetition(name, penalty, 1 / penalty, True) if penalty != 1 else None


def occurrence(config: GenerationConfig) -> Occurrence | None:
    presence, frequency = config.presence_penalty, config.frequency_penalty
    return Occurrence(presence, frequency) if presence or frequency else None

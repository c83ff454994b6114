"""When a sequence may begin and end: tokens that its length forbids, forces or makes likelier.

Knows the length of one sequence and scores of one position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from .past import Past, Processor, forbid, inside

__all__ = ["begin_suppress", "exponential_decay", "forced_bos", "forced_eos", "least_length"]


class LeastLength(Processor):
    """Forbids eos below a length."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        config = self._config
        new = config.min_new_tokens  # goes before min_length
        least = config.min_length if new is None else past.prompt + new
        return forbid(scores, config.eos_token_ids) if len(past) < least else scores


class Forced(Processor):
    """Leaves only the forced tokens at one length."""

    def __init__(self, name: str, tokens: Sequence[int], config: GenerationConfig) -> None:
        self._name, self._tokens, self._config = name, list(tokens), config

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        length = 1
        if self._name == "forced_eos_token_id":
            length = past.prompt + self._config.limit(past.prompt) - 1
        if len(past) == length:
            inside(self._name, self._tokens, scores.size)
            scores.fill(-np.inf)
            scores[self._tokens] = 0
        return scores


class ExponentialDecay(Processor):
    """eos += |eos| * (factor ** n - 1), n tokens past the start."""

    def __init__(self, start: int, factor: float, eos: Sequence[int]) -> None:
        self._start, self._factor, self._eos = start, factor, np.unique(eos)

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        steps = len(past) - past.prompt - self._start
        if steps <= 0:
            return scores
        eos = self._eos[self._eos < scores.size]
        said = scores[eos]
        largest = np.finfo(np.float32).max
        try:
            growth = min(self._factor**steps - 1, float(largest))
        except OverflowError:
            growth = float(largest)
        with np.errstate(all="ignore"):
            # What overflows is the largest number, so that eos is chosen, as with infinity.
            changed = np.minimum(said + np.abs(said) * np.float32(growth), largest)
        scores[eos] = np.where(np.isfinite(said), changed, said)
        return scores


class BeginSuppress(Processor):
    """Forbids tokens as the first new one; after a forced bos, as the second."""

    def __init__(self, tokens: Sequence[int], bos_is_forced: bool) -> None:
        self._tokens, self._bos_is_forced = list(tokens), bos_is_forced

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        begin = past.prompt + (past.prompt <= 1 and self._bos_is_forced)
        return forbid(scores, self._tokens) if len(past) == begin else scores


def least_length(config: GenerationConfig) -> LeastLength | None:
    acts = config.eos_token_ids and (config.min_length or config.min_new_tokens)
    return LeastLength(config) if acts else None


def forced_bos(config: GenerationConfig) -> Forced | None:
    token = config.forced_bos_token_id
    return None if token is None else Forced("forced_bos_token_id", [token], config)


def forced_eos(config: GenerationConfig) -> Forced | None:
    tokens = config.forced_eos_token_id
    if not isinstance(tokens, tuple) or not tokens:
        return None
    return Forced("forced_eos_token_id", tokens, config)


def exponential_decay(config: GenerationConfig) -> ExponentialDecay | None:
    if config.exponential_decay_length_penalty is None:
        return None
    if not config.eos_token_ids:
        raise GenerationError(
            "exponential_decay_length_penalty is given, but no token ends an answer, expected "
            "eos_token_id"
        )
    start, factor = config.exponential_decay_length_penalty
    return ExponentialDecay(int(start), factor, config.eos_token_ids)


def begin_suppress(config: GenerationConfig) -> BeginSuppress | None:
    tokens = config.begin_suppress_tokens
    return BeginSuppress(tokens, config.forced_bos_token_id is not None) if tokens else None

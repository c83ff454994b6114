"""Tokens that the options forbid at a step, as transformers' processors forbid them.

Knows the ids of one sequence and its length; does not know probabilities.
"""

from __future__ import annotations

import numpy as np

from ..errors import GenerationError
from .config import GenerationConfig

__all__ = ["Bans"]


class Bans:
    """Sets the logits of forbidden tokens to minus infinity.

    In transformers' order: no_repeat_ngram_size, bad_words_ids, min_length and min_new_tokens,
    forced_eos_token_id, suppress_tokens, begin_suppress_tokens.
    """

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config
        self._eos = list(config.eos_token_ids)
        # A bad word of one eos token is left out, as in transformers.
        words = map(tuple, config.bad_words_ids or ())
        self._words = [word for word in words if word not in {(eos,) for eos in self._eos}]
        self.active = bool(
            config.no_repeat_ngram_size
            or self._words
            or (self._eos and (config.min_length or config.min_new_tokens))
            or config.forced_eos_token_id is not None
            or config.suppress_tokens
            or config.begin_suppress_tokens
        )

    def apply(self, logits: np.ndarray, ids: list[int], prompt: int) -> np.ndarray:
        """Return logits [vocab] for the id after ``ids``, whose first ``prompt`` are given.

        Raises GenerationError where no token is left.
        """
        config, logits = self._config, logits.copy()
        banned = self._of_repeated(ids) + self._of_words(ids, logits.size)
        if config.min_new_tokens is None:
            least = config.min_length
        else:
            least = prompt + config.min_new_tokens
        if len(ids) < least:
            banned += self._eos
        _ban(logits, banned)
        if config.forced_eos_token_id is not None and len(ids) == prompt + config.limit(prompt) - 1:
            forced = [t for t in config.forced_eos_token_id if t < logits.size]  # type: ignore[union-attr]
            logits.fill(-np.inf)
            logits[forced] = 0
        _ban(logits, list(config.suppress_tokens or ()))
        if len(ids) == prompt:
            _ban(logits, list(config.begin_suppress_tokens or ()))
        if logits.max() == -np.inf:
            raise GenerationError(
                f"the options forbid every token after {len(ids)} tokens, expected one to be left",
                hint="loosen no_repeat_ngram_size, bad_words_ids, suppress_tokens or the lengths",
            )
        return logits

    def _of_repeated(self, ids: list[int]) -> list[int]:
        size = self._config.no_repeat_ngram_size
        if not size or len(ids) + 1 < size:
            return []
        begun = ids[len(ids) + 1 - size :]
        starts = range(len(ids) + 1 - size)
        return [ids[i + size - 1] for i in starts if ids[i : i + size - 1] == begun]

    def _of_words(self, ids: list[int], vocab: int) -> list[int]:
        for word in self._words:
            if max(word) >= vocab:
                raise GenerationError(
                    f"bad_words_ids holds the id {max(word)}, expected 0 to {vocab - 1}"
                )
        return [word[-1] for word in self._words if _ends_with(ids, word[:-1])]


def _ends_with(ids: list[int], end: tuple[int, ...]) -> bool:
    return not end or tuple(ids[-len(end) :]) == end


def _ban(logits: np.ndarray, tokens: list[int]) -> None:
    logits[[token for token in tokens if token < logits.size]] = -np.inf

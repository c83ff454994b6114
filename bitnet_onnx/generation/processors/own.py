"""The caller's own functions as processors: which tokens may come next, and any other change.

Knows callables and scores of one position. What a function raises goes to its caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import GenerationError
from ...runtime.integers import integers
from ..extras import Extras
from .past import Past, Processor

__all__ = ["Own", "PrefixAllowed", "own", "prefix_allowed"]


class PrefixAllowed(Processor):
    """Forbids every token that ``allowed(prompt_number, ids)`` does not return.

    Where each allowed token is forbidden already, all of them are equally likely, as in
    transformers.
    """

    def __init__(self, allowed: Callable[[int, list[int]], Sequence[int]], prompt: int) -> None:
        self._allowed, self._prompt = allowed, prompt

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        tokens = self._tokens(past, scores.size)
        found = np.full_like(scores, -np.inf)
        found[tokens] = scores[tokens]
        if found.max() == -np.inf:
            found[tokens] = 0
        return found

    def _tokens(self, past: Past, vocab: int) -> list[int]:
        name = "prefix_allowed_tokens_fn"
        returned: Any = self._allowed(self._prompt, past.ids.tolist())
        try:
            tokens = integers("token id", returned)
        except GenerationError as error:
            raise GenerationError(f"{name} returned no list of token ids: {error}") from None
        if not tokens or min(tokens) < 0 or max(tokens) >= vocab:
            found = f"the id {max(tokens, key=abs)}" if tokens else "no token"
            raise GenerationError(
                f"{name} returned {found} after {len(past)} tokens, expected ids from 0 to "
                f"{vocab - 1}"
            )
        return tokens


class Own(Processor):
    """A caller's ``processor(ids, scores)``."""

    def __init__(self, change: Callable[[list[int], np.ndarray], Any]) -> None:
        self._change = change

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        returned = self._change(past.ids.tolist(), scores)
        try:
            with np.errstate(over="ignore"):  # an infinite score is said where it is chosen
                found = np.asarray(returned, dtype=np.float32)
        except (TypeError, ValueError):
            found = np.empty(0, dtype=np.float32)
        if found.shape != scores.shape:
            shape = list(found.shape) if isinstance(returned, np.ndarray) else type(returned)
            raise GenerationError(
                f"a function of logits_processor returned {shape}, expected scores [{scores.size}]"
            )
        return found


def prefix_allowed(extras: Extras, prompt: int) -> PrefixAllowed | None:
    allowed = extras.prefix_allowed_tokens_fn
    return None if allowed is None else PrefixAllowed(allowed, prompt)


def own(extras: Extras) -> list[Own]:
    return [Own(change) for change in extras.processors]

"""The count of tokens, and their log-probabilities, as OpenAI writes them.

Knows the scheduler's events and pieces of tokens; does not know HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...generation.rows import GenerationResult
from ...text.pieces import Pieces
from ..batching.requests import Token

__all__ = ["LegacyLogprobs", "chat_logprobs", "usage_of"]


def usage_of(prompts: Iterable[int], results: Sequence[GenerationResult]) -> dict[str, Any]:
    """Return the usage of a request: the tokens of its prompts, once each, and of all answers."""
    prompt = sum(prompts)
    new = sum(len(result.ids) for result in results)
    cached = sum(result.cached_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": min(cached, prompt)},
    }


def chat_logprobs(tokens: Iterable[Token], pieces: Pieces) -> dict[str, Any]:
    """Return the logprobs of a chat's choice."""

    def entry(token: int, logprob: float | None) -> dict[str, Any]:
        raw = pieces.raw(token)
        return {"token": pieces.text(token), "logprob": logprob, "bytes": list(raw)}

    return {
        "content": [
            {
                **entry(token.id, token.logprob),
                "top_logprobs": [entry(*likely) for likely in token.top],
            }
            for token in tokens
        ],
        "refusal": None,
    }


class LegacyLogprobs:
    """The logprobs of a completion's choice: four lists, beside each other."""

    def __init__(self, pieces: Pieces, hidden: frozenset[int]) -> None:
        """hidden: ids that the text of the choice leaves out."""
        self._pieces, self._hidden, self._offset = pieces, hidden, 0

    def of(
        self, tokens: Sequence[tuple[int, float | None, Sequence[tuple[int, float]]]]
    ) -> dict[str, Any]:
        """Return the lists of the next tokens."""
        texts, offsets, tops = [], [], []
        for token, logprob, top in tokens:
            text = self._pieces.text(token)
            texts.append(text)
            offsets.append(self._offset)
            self._offset += 0 if token in self._hidden else len(text)
            tops.append(None if logprob is None else self._top(top, token, logprob))
        return {
            "tokens": texts,
            "token_logprobs": [logprob for _, logprob, _ in tokens],
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def _top(
        self, top: Sequence[tuple[int, float]], token: int, logprob: float
    ) -> dict[str, float]:
        """Return texts with log-probabilities; of two tokens with one text, the likelier one."""
        found: dict[str, float] = {}
        for number, value in [*top, (token, logprob)]:
            found.setdefault(self._pieces.text(number), value)
        return found

"""The rows of a batch: their prompts, chosen ids, and why they end.

Knows ids, options and time; does not know the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np

from ..errors import GenerationError
from ..runtime.integers import Ids, integers
from .config import GenerationConfig
from .extras import Extras
from .guidance import guided
from .leases import SessionLike
from .processors.past import Past
from .sampling import Drawn, Sampler

__all__ = ["GenerationResult", "Prompt", "Row", "checked_prompt", "rows_of"]

FinishReason = Literal["stop", "length", "stop_string", "time", "criteria"]
Prompt = Ids


@dataclass
class GenerationResult:
    """The result of one prompt; ``ids`` are the new ids, including the eos that ended them.

    prompt_tokens are the ids of the prompt. finish_reason is "stop" after an eos, "length" at
    the limit of length or when the context is full, "stop_string" when the caller stopped the row,
    "time" after max_time, "criteria" after a function of stopping_criteria, and None while the row
    runs.
    """

    prompt_tokens: int
    ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    """Tokens of the prompt that were found in the cache and not computed again."""
    prefill_seconds: float = 0.0
    """Seconds to the first new id; the rows of a batch share them."""
    decode_seconds: float = 0.0
    """Seconds from the first new id to the last."""
    drafted_tokens: int = 0
    """Drafts that were checked."""
    accepted_tokens: int = 0
    """Of them, those that were kept."""
    score: float | None = None
    """Of a search of beams: the sum of the ids' log-probabilities, divided by their number to the
    power of length_penalty; transformers calls them ``sequences_scores``."""


class Row:
    """One running sequence of a batch; ``number`` is its place among the results."""

    def __init__(
        self,
        prompt: list[int],
        config: GenerationConfig,
        extras: Extras | None = None,
        *,
        number: int = 0,
        prompt_number: int = 0,
        away: list[int] | None = None,
    ) -> None:
        """prompt_number: which of the prompts it continues. away: what guidance leads away from."""
        self.prompt, self.number, self.away, self._config = prompt, number, away, config
        self.prompt_number = prompt_number
        self._extras = extras or Extras()
        self.result = GenerationResult(prompt_tokens=len(prompt))
        self.limit, self._eos = config.limit(len(prompt)), frozenset(config.eos_token_ids)
        self._sampler = Sampler(config, number, self._extras, prompt_number)
        self._sampler.observe(prompt)

    @property
    def done(self) -> bool:
        return self.result.finish_reason is not None

    @property
    def left(self) -> int:
        """The number of ids until the limit of length."""
        return self.limit - len(self.result.ids)

    @property
    def past(self) -> Past:
        """The ids of the prompt and those that were chosen."""
        return self._sampler.past

    def lasts(self, context: int) -> bool:
        """Return whether another id has room, which needs a position in each of its sequences."""
        longest = max(len(self.prompt), len(self.away or ()))
        return longest + len(self.result.ids) < context

    def take(
        self,
        logits: np.ndarray,
        away: np.ndarray | None,
        last: bool,
        start: float,
        draft: tuple[int, Drawn] | None = None,
    ) -> int:
        """Choose the next id; the last one of a full context needs no position.

        away: the logits of the sequence that guidance leads away from. start: when the batch began.
        draft: an id that was drawn for this place, and from what.
        """
        if away is not None and self._config.guidance_scale is not None:
            logits = guided(logits, away, self._config.guidance_scale)
        sampler = self._sampler
        token = sampler.sample(logits) if draft is None else sampler.accept(logits, *draft)
        return self._add(token, last, start)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores [vocab] of greedy decoding; -inf is a token that is not chosen."""
        return self._sampler.scores(logits)

    def choose(self, token: int, last: bool, start: float) -> int:
        """Take an id that a strategy chose from the scores."""
        self._sampler.choose(token)
        return self._add(token, last, start)

    def _add(self, token: int, last: bool, start: float) -> int:
        self.result.ids.append(token)
        self.result.finish_reason = self.reason(self.result.ids, last, start)
        return token

    def reason(self, ids: list[int], last: bool, start: float) -> FinishReason | None:
        """Return why new ids end where they do; None where they can go on."""
        if ids[-1] in self._eos:
            return "stop"
        if last or len(ids) == self.limit:
            return "length"
        if self._config.max_time is not None and perf_counter() - start > self._config.max_time:
            return "time"
        if any(ended([*self.prompt, *ids], None) for ended in self._extras.criteria):
            return "criteria"
        return None

    def stop(self) -> None:
        if self.result.finish_reason != "stop":  # an eos keeps its reason, whatever its text
            self.result.finish_reason = "stop_string"


def rows_of(
    session: SessionLike,
    prompts: Sequence[Prompt],
    config: GenerationConfig,
    extras: Extras | None = None,
) -> list[Row]:
    """Return ``num_return_sequences`` rows for each prompt, in the order of the results.

    Raises GenerationError for a prompt that the session cannot hold.
    """
    extras = extras or Extras()
    _check_cache(session, config)
    given = [checked_prompt(session, prompt, f"prompt {i}") for i, prompt in enumerate(prompts)]
    away = _away(session, given, config, extras)
    each = config.num_return_sequences
    return [
        Row(
            prompt,
            config,
            extras,
            number=number * each + copy,
            prompt_number=number,
            away=away[number],
        )
        for number, prompt in enumerate(given)
        for copy in range(each)
    ]


def _check_cache(session: SessionLike, config: GenerationConfig) -> None:
    """Refuse a kind of cache that the session does not have."""
    asked, held = config.cache_implementation, getattr(session, "cache_implementation", None)
    if asked is not None and held is not None and asked != held:
        raise GenerationError(
            f"cache_implementation is {asked!r} for a session with the cache {held!r}, expected "
            "the same one",
            hint=f"open a session that has it: load(artifact, cache={asked!r})",
        )


def _away(
    session: SessionLike, prompts: list[list[int]], config: GenerationConfig, extras: Extras
) -> list[list[int]] | list[None]:
    """Return what guidance leads away from: the last token of a prompt, where nothing is given."""
    found = extras.negative_prompts(config, len(prompts))
    if found is not None:
        return [checked_prompt(session, ids, f"negative prompt {i}") for i, ids in enumerate(found)]
    return [prompt[-1:] for prompt in prompts] if config.guides else [None] * len(prompts)


def checked_prompt(session: SessionLike, ids: Prompt, name: str = "prompt 0") -> list[int]:
    """Return the ids of a prompt that fits; raise GenerationError otherwise."""
    try:
        found = integers("token id", ids)
    except GenerationError as error:
        raise GenerationError(f"{name} is not a sequence of integers: {error}") from None
    if not found:
        raise GenerationError(f"{name} is empty, expected at least one token")
    outside = [token for token in found if not 0 <= token < session.vocab_size]
    if outside:
        raise GenerationError(
            f"{name} holds the id {outside[0]}, expected 0 to {session.vocab_size - 1}",
            hint="use the tokenizer that belongs to this artifact",
        )
    if len(found) > session.context_length:
        raise GenerationError(
            f"{name} has {len(found)} tokens, expected at most the context of "
            f"{session.context_length}",
            hint="shorten the prompt, or export the model with a longer context if it has one",
        )
    return found

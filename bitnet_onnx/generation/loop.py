"""The loop: it continues prompts of ids, one id at a time, for one sequence or a batch.

Knows ids, sessions and when to stop; does not know text or ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal, Protocol

import numpy as np

from ..errors import GenerationError
from ..runtime.integers import Ids, integers
from .config import GenerationConfig
from .sampling import Sampler

__all__ = ["GenerationResult", "LeaseLike", "SessionLike", "TokenStream", "generate", "stream"]

FinishReason = Literal["stop", "length", "stop_string"]
Prompt = Ids


class LeaseLike(Protocol):
    """The steps of a session that the loop has claimed."""

    @property
    def batch_size(self) -> int: ...

    @property
    def lengths(self) -> Sequence[int]:
        """The number of cached positions of each row."""

    def ids(self, row: int = 0) -> Sequence[int]:
        """Return the ids of a row that the cache holds."""

    def reset(self, batch_size: int = 1) -> None: ...

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Append ids to the row and return the logits [vocab] after the last id."""

    def prefill_rows(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        """Append ids to every row and return the logits [batch, vocab] after the last ones."""

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """Append one id to every row; return logits [batch, vocab], valid until the next call."""

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep the first ``length`` positions of the row."""

    def release(self) -> None:
        """End the lease."""


class SessionLike(Protocol):
    """The part of a session that the loop needs; ``runtime.session.Session`` has it."""

    vocab_size: int
    context_length: int
    """Positions that a row can hold."""

    def claim(self) -> LeaseLike:
        """Take the session over as it is."""


@dataclass
class GenerationResult:
    """The result of one prompt; ``ids`` are the new ids, including the eos that ended them.

    prompt_tokens are the ids of the prompt. finish_reason is "stop" after an eos, "length" at
    the limit of length or when the context is full, "stop_string" when the caller stopped the row,
    and None while the row runs.
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


class _Row:
    """One running sequence of a batch: that of the prompt of this number."""

    def __init__(self, prompt: list[int], config: GenerationConfig, number: int = 0) -> None:
        self.prompt, self.number = prompt, number
        self.result = GenerationResult(prompt_tokens=len(prompt))
        self._limit, self._eos = config.limit(len(prompt)), frozenset(config.eos_token_ids)
        self._sampler = Sampler(config, number)
        self._sampler.observe(prompt)

    @property
    def done(self) -> bool:
        return self.result.finish_reason is not None

    @property
    def length(self) -> int:
        """The number of its tokens, the prompt's included; all are cached after a step."""
        return self.result.prompt_tokens + len(self.result.ids)

    def take(self, logits: np.ndarray, context_is_full: bool) -> int:
        """Choose the next id; in a full context it is the last and needs no position."""
        token = self._sampler.sample(logits)
        self.result.ids.append(token)
        if token in self._eos:
            self.result.finish_reason = "stop"
        elif context_is_full or len(self.result.ids) == self._limit:
            self.result.finish_reason = "length"
        return token

    def stop(self) -> None:
        if self.result.finish_reason != "stop":  # an eos keeps its reason, whatever its text
            self.result.finish_reason = "stop_string"


def generate(
    session: SessionLike,
    prompts: Sequence[Prompt],
    config: GenerationConfig | None = None,
    *,
    on_token: Callable[[int, int], bool | None] | None = None,
) -> list[GenerationResult]:
    """Continue all prompts in one batch; result i belongs to prompt i.

    Each row gets the ids that it would get alone, bit for bit. With a seed this holds for row 0
    only, since the rows draw different numbers. The rows of the session are in the order of the
    prompts' lengths, the longest first. on_token(row, id) sees each id as it is chosen; a
    true return value ends that row with "stop_string". Raises GenerationError, and SessionError
    when another user takes the session over.
    """
    config = config or GenerationConfig()
    ids = [_checked_prompt(session, prompt, row) for row, prompt in enumerate(prompts)]
    if not ids:
        return []
    rows = [_Row(prompt, config, number) for number, prompt in enumerate(ids)]
    results = [row.result for row in rows]
    rows.sort(key=lambda row: len(row.prompt), reverse=True)  # those of one length share calls
    lease = session.claim()
    try:
        lease.reset(len(rows))
        for row, token in _steps(lease, rows, session.context_length):
            if on_token is not None and on_token(row.number, token):
                row.stop()
    finally:
        lease.release()
    return results


def stream(
    session: SessionLike, ids: Prompt, config: GenerationConfig | None = None
) -> TokenStream:
    """Continue one prompt, id by id; nothing is computed before the first id is asked for.

    The beginning that the prompt shares with the session's cache is not computed again. Raises the
    errors of ``generate``.
    """
    prompt = _checked_prompt(session, ids, 0)
    return TokenStream(session, _Row(prompt, config or GenerationConfig()))


class TokenStream(Iterator[int]):
    """The ids of one running sequence; ``result`` grows with them.

    The stream holds the session from the first id to the last, or until it is closed. When another
    user takes the session over in between, the next id raises SessionError.
    """

    def __init__(self, session: SessionLike, row: _Row) -> None:
        self._row = row
        self._ids = self._run(session)
        self.result = row.result

    def __next__(self) -> int:
        return next(self._ids)

    def stop(self) -> None:
        """End the sequence after the last id, since its text completed a stop string."""
        self._row.stop()

    def close(self) -> None:
        """End the sequence here and release the session."""
        self._ids.close()

    def _run(self, session: SessionLike) -> Generator[int, None, None]:
        lease = session.claim()
        try:
            self.result.cached_tokens = _reuse(lease, self._row.prompt)
            for _, token in _steps(lease, [self._row], session.context_length):
                yield token
        finally:
            lease.release()


def _reuse(lease: LeaseLike, prompt: list[int]) -> int:
    """Keep the beginning that the cache shares with the prompt; return its number of ids."""
    common = 0
    if lease.batch_size == 1:
        # The last id must be computed: the cache holds no logits.
        for cached, wanted in zip(lease.ids(), prompt[:-1], strict=False):
            if cached != wanted:
                break
            common += 1
    if common:
        lease.truncate(common)
    else:
        lease.reset(1)
    return common


def _steps(lease: LeaseLike, rows: list[_Row], context: int) -> Iterator[tuple[_Row, int]]:
    """Yield (row, id) in the order of choice, until every row is done."""
    start = perf_counter()
    new = [row.prompt[held:] for row, held in zip(rows, lease.lengths, strict=True)]
    first = lease.prefill_rows(new) if len(rows) > 1 else lease.prefill(new[0])[None]
    chosen = [
        (row, row.take(logits, row.length >= context))
        for row, logits in zip(rows, first, strict=True)
    ]
    seconds = perf_counter() - start
    for row in rows:
        row.result.prefill_seconds = seconds
    yield from chosen
    while not all(row.done for row in rows):
        start = perf_counter()
        running = [(index, row) for index, row in enumerate(rows) if not row.done]
        for index, row in enumerate(rows):
            # Every step feeds every row; a row that is done gets its last id at the same position.
            held = min(row.length, context) - 1
            if row.done and lease.lengths[index] > held:
                lease.truncate(held, index)
        logits = lease.decode([row.result.ids[-1] for row in rows])
        chosen = [(row, row.take(logits[index], row.length >= context)) for index, row in running]
        seconds = perf_counter() - start
        for _, row in running:
            row.result.decode_seconds += seconds
        yield from chosen


def _checked_prompt(session: SessionLike, ids: Prompt, row: int) -> list[int]:
    try:
        found = integers("token id", ids)
    except GenerationError as error:
        raise GenerationError(f"prompt {row} is not a sequence of integers: {error}") from None
    if not found:
        raise GenerationError(f"prompt {row} is empty, expected at least one token")
    outside = [token for token in found if not 0 <= token < session.vocab_size]
    if outside:
        raise GenerationError(
            f"prompt {row} holds the id {outside[0]}, expected 0 to {session.vocab_size - 1}",
            hint="use the tokenizer that belongs to this artifact",
        )
    if len(found) > session.context_length:
        raise GenerationError(
            f"prompt {row} has {len(found)} tokens, expected at most the context of "
            f"{session.context_length}",
            hint="shorten the prompt, or export the model with a longer context if it has one",
        )
    return found

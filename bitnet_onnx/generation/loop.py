"""The loop: prompts of ids in, chosen ids out, one at a time, for one sequence or a batch.

Knows ids, a session that turns ids into logits, and when to stop. Knows no text and no ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal, Protocol

import numpy as np

from ..errors import GenerationError
from .sampling import Sampler, SamplingParams

__all__ = ["GenerationResult", "SessionLike", "TokenStream", "generate", "stream"]

FinishReason = Literal["stop", "length", "stop_string"]


class SessionLike(Protocol):
    """What the loop needs of a session; bitnet_onnx.session.Session is one."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_length(self) -> int:
        """Positions that a row can hold."""

    @property
    def batch_size(self) -> int: ...

    @property
    def lengths(self) -> Sequence[int]:
        """Positions now in the cache, per row."""

    def reset(self, batch_size: int = 1) -> None: ...

    def prefill(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        """Appends ids to the row; logits [vocab] of the last of them."""

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        """Appends one id to every row; logits [batch, vocab], overwritten by the next call."""

    def truncate(self, length: int, row: int = 0) -> None:
        """Keeps the first `length` positions of the row."""


@dataclass
class GenerationResult:
    """What became of one prompt; `ids` are the new ones, with the eos that ended them.

    finish_reason is "stop" after an eos, "length" at max_new_tokens or when the context is full,
    "stop_string" when the caller stopped the row, and None while the row runs.
    """

    prompt_tokens: int
    ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0  # of the prompt, found in the cache and not computed again
    prefill_seconds: float = 0.0  # to the first new id
    decode_seconds: float = 0.0  # from the first new id to the last


class _Row:
    """One sequence of a batch on its way."""

    def __init__(
        self, prompt: list[int], sampler: Sampler, limit: int, eos: frozenset[int]
    ) -> None:
        self.prompt = prompt
        self.result = GenerationResult(prompt_tokens=len(prompt))
        self._sampler, self._limit, self._eos = sampler, limit, eos
        sampler.observe(prompt)

    @property
    def done(self) -> bool:
        return self.result.finish_reason is not None

    def take(self, logits: np.ndarray, context_is_full: bool) -> int:
        """Chooses the next id. The last one of a full context needs no position of its own."""
        id = self._sampler.sample(logits)
        self.result.ids.append(id)
        if id in self._eos:
            self.result.finish_reason = "stop"
        elif context_is_full or len(self.result.ids) == self._limit:
            self.result.finish_reason = "length"
        return id

    def stop(self) -> None:
        if self.result.finish_reason != "stop":  # an eos stays an eos, whatever its text
            self.result.finish_reason = "stop_string"


def generate(
    session: SessionLike,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_token_id: int | Sequence[int] = (),
    sampling: SamplingParams | None = None,
    num_beams: int = 1,
    on_token: Callable[[int, int], bool | None] | None = None,
) -> list[GenerationResult]:
    """Continues every prompt, all in one batch; row i of the answer belongs to prompt i.

    Each row gets what it would get alone, bit for bit; with a seed that holds for row 0 only,
    since the rows draw different numbers. on_token(row, id) sees each id as it is chosen; a true
    answer ends that row with "stop_string".
    """
    ids = [_checked_prompt(session, prompt, row) for row, prompt in enumerate(prompts)]
    eos = _checked_options(session, max_new_tokens, eos_token_id, num_beams)
    if not ids:
        return []
    params = sampling or SamplingParams()
    rows = [
        _Row(prompt, Sampler(params, row), max_new_tokens, eos) for row, prompt in enumerate(ids)
    ]
    session.reset(len(rows))
    for row, id in _steps(session, rows):
        if on_token is not None and on_token(row, id):
            rows[row].stop()
    return [row.result for row in rows]


def stream(
    session: SessionLike,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    eos_token_id: int | Sequence[int] = (),
    sampling: SamplingParams | None = None,
    num_beams: int = 1,
    cached_ids: Sequence[int] = (),
) -> TokenStream:
    """Continues one prompt, id by id; nothing is computed before the first is asked for.

    cached_ids are those that the caller knows to be in the session's cache: what they have in
    common with the prompt is kept, the rest of the cache is dropped.
    """
    prompt = _checked_prompt(session, ids, 0)
    eos = _checked_options(session, max_new_tokens, eos_token_id, num_beams)
    row = _Row(prompt, Sampler(sampling or SamplingParams()), max_new_tokens, eos)
    return TokenStream(session, row, list(cached_ids))


class TokenStream(Iterator[int]):
    """The ids of one running sequence; `result` is filled as they come."""

    def __init__(self, session: SessionLike, row: _Row, cached_ids: list[int]) -> None:
        self._session, self._row, self._cached_ids = session, row, cached_ids
        self._steps = _steps(session, [row])
        self._started = False
        self.result = row.result

    def __next__(self) -> int:
        if not self._started:
            self._started = True
            self.result.cached_tokens = self._reuse()
        return next(self._steps)[1]

    def stop(self) -> None:
        """Ends the sequence after the id that came last, because of the text it completed."""
        self._row.stop()

    @property
    def fed_ids(self) -> list[int]:
        """The ids that the session's cache holds now: the next stream's cached_ids."""
        if not self._started:
            return self._cached_ids
        return (self._row.prompt + self.result.ids)[: self._session.lengths[0]]

    def _reuse(self) -> int:
        session, cached, prompt = self._session, self._cached_ids, self._row.prompt
        # One id at least must be computed: the cache holds no logits.
        common = 0
        for old, new in zip(cached, prompt[:-1], strict=False):
            if old != new:
                break
            common += 1
        if session.batch_size == 1 and session.lengths[0] == len(cached) and common:
            session.truncate(common)
            return common
        session.reset(1)
        return 0


def _steps(session: SessionLike, rows: list[_Row]) -> Iterator[tuple[int, int]]:
    """(row, id) in the order in which they are chosen, until every row is done."""
    for index, row in enumerate(rows):
        start = perf_counter()
        logits = session.prefill(row.prompt[session.lengths[index] :], index)
        id = row.take(logits, session.lengths[index] >= session.context_length)
        row.result.prefill_seconds = perf_counter() - start
        yield index, id
    while not all(row.done for row in rows):
        start = perf_counter()
        running = [index for index, row in enumerate(rows) if not row.done]
        for index, row in enumerate(rows):
            # Every row is fed at every step; one that is done gets its last id in the same place.
            held = min(row.result.prompt_tokens + len(row.result.ids), session.context_length) - 1
            if row.done and session.lengths[index] > held:
                session.truncate(held, index)
        logits = session.decode([row.result.ids[-1] for row in rows])
        chosen = []
        for index in running:
            full = session.lengths[index] >= session.context_length
            chosen.append((index, rows[index].take(logits[index], full)))
        seconds = perf_counter() - start
        for index in running:
            rows[index].result.decode_seconds += seconds
        yield from chosen


def _checked_prompt(session: SessionLike, ids: Sequence[int], row: int) -> list[int]:
    if len(ids) == 0:
        raise GenerationError(f"Prompt {row} is empty; a prompt needs at least one token.")
    try:
        array = np.asarray(ids)
    except ValueError:  # sequences of unequal length inside
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise GenerationError(f"Prompt {row} is no sequence of integer token ids.")
    outside = array[(array < 0) | (array >= session.vocab_size)]
    if outside.size:
        raise GenerationError(
            f"Prompt {row} holds the id {outside[0]}; the model's ids are 0 to"
            f" {session.vocab_size - 1}.",
            hint="Use the tokenizer that belongs to this artifact.",
        )
    if array.size > session.context_length:
        raise GenerationError(
            f"Prompt {row} has {array.size} tokens; the context holds {session.context_length}.",
            hint="Shorten the prompt, or open the model with a longer context if it allows one.",
        )
    return [int(id) for id in array]


def _checked_options(
    session: SessionLike,
    max_new_tokens: int,
    eos_token_id: int | Sequence[int],
    num_beams: int,
) -> frozenset[int]:
    """The eos ids as a set."""
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int):
        raise GenerationError(f"max_new_tokens is {max_new_tokens!r}; it must be an integer.")
    if max_new_tokens < 1:
        raise GenerationError(f"max_new_tokens is {max_new_tokens}; it must be at least 1.")
    if num_beams != 1:
        raise GenerationError(
            f"num_beams is {num_beams!r}; only 1 is supported: greedy decoding, or sampling with"
            " temperature, top_k, top_p, min_p and repetition_penalty."
        )
    return frozenset([eos_token_id] if isinstance(eos_token_id, int) else eos_token_id)

"""A request that was accepted: its row of ids, its text, and the events that it gets.

Knows generation and text; does not know the session.
"""

from __future__ import annotations

import threading
from time import perf_counter

import numpy as np

from ...errors import BitNetError, GenerationError, SessionError
from ...generation.model import Model
from ...generation.rows import FinishReason, Row, rows_of
from ...generation.strategies.speculation import looked_up, lookup
from ...generation.text import Writer, prepared
from .requests import End, Event, Request, Token, check_request

__all__ = ["Active", "as_error"]

# What an OpenAI client calls the reasons; max_time ends an answer that is good so far.
REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_string": "stop",
    "criteria": "stop",
    "length": "length",
    "time": "length",
}


class Active:
    """One accepted request; all but ``cancelled`` belongs to the scheduler's thread."""

    def __init__(self, model: Model, request: Request) -> None:
        """Raise GenerationError for what a row of the session cannot do."""
        check_request(request)
        session, tokenizer = model.session, model.tokenizer
        config, extras = prepared(session, tokenizer, request.config, request.extras)
        (row,) = rows_of(session, [request.ids], config, extras)
        if request.number:
            row = Row(row.prompt, config, extras, number=request.number, prompt_number=0)
        self.row = row
        self.request = request
        self.cancelled = threading.Event()
        self._writer = Writer(tokenizer, config)
        self._context = session.context_length
        self.drafts = looked_up(config, extras)
        """How many are checked at a time at most."""
        self.lookup = lookup(config) if self.drafts else None
        self.begun = self._started = 0.0
        """When its prompt was begun, by the scheduler's clock."""

    @property
    def ids(self) -> list[int]:
        """The ids of the prompt and the answer."""
        return [*self.row.prompt, *self.row.result.ids]

    def start(self, now: float) -> None:
        """Take the time from which max_time counts."""
        self.begun, self._started = now, perf_counter()
        if self.lookup is not None:
            self.lookup.start(self.row.past)

    def take(self, logits: np.ndarray, now: float) -> str | None:
        """Choose the next id from logits [vocab], and send it; return why it is the last one."""
        row = self.row
        token = row.take(logits, None, not row.lasts(self._context), self._started)
        text, stopped = self._writer.push(token)
        if stopped:
            row.stop()
        last = REASONS[row.result.finish_reason] if row.result.finish_reason else self.due(now)
        self._send_token(token, text + self._writer.flush() if last else text, logits)
        return last

    def _send_token(self, token: int, text: str, logits: np.ndarray) -> None:
        count = self.request.logprobs
        if count is None:
            self._send(Token(token, text))
        else:
            logprobs = _log_softmax(logits)
            best = np.argsort(-logprobs, kind="stable")[:count].tolist()
            top = [(each, float(logprobs[each])) for each in best]
            self._send(Token(token, text, float(logprobs[token]), top))

    def due(self, now: float) -> str | None:
        """Return why the request ends before its next id; None where it goes on."""
        if self.cancelled.is_set():
            return "cancelled"
        deadline = self.request.deadline
        return "timeout" if deadline is not None and now > deadline else None

    def end(self, reason: str, error: BitNetError | None = None) -> None:
        """Send the last event."""
        self._send(End(reason, self.row.result, error))

    def _send(self, event: Event) -> None:
        try:
            self.request.on_event(event)
        except Exception:  # who does not take its events has gone away
            self.cancelled.set()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    found = logits.astype(np.float64)
    found -= found.max()
    found -= np.log(np.exp(found).sum())
    return found


def as_error(error: Exception) -> BitNetError:
    """Return what a client is told of an exception in its request."""
    if isinstance(error, BitNetError):
        return error
    if isinstance(error, MemoryError):
        return SessionError(
            "the memory ran out, expected room for the request",
            hint="use fewer rows, a smaller prefix cache, or shorter prompts",
        )
    return GenerationError(
        f"a function of the request raised {type(error).__name__}: {error}, expected scores"
    )

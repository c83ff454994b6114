"""Requests of ids in, events out: one request after another.

A stand-in with the interface of continuous batching. Knows the model; does not know HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import BitNetError, SessionError
from ..generation.extras import Extras
from ..generation.model import Model
from ..generation.text import TextStream, text_stream
from .requests import End, QueueFull, Request, Token, check_request

__all__ = ["Scheduler", "Stats", "Ticket"]


@dataclass
class Stats:
    requests: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    steps: int = 0
    row_steps: int = 0
    running: int = 0
    queued: int = 0
    prefix_bytes: int = 0


class Ticket:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class _Job:
    request: Request
    ticket: Ticket
    stream: TextStream
    scores: list[np.ndarray] = field(default_factory=list)


class Scheduler:
    def __init__(
        self,
        model: Model,
        *,
        rows: int = 8,
        queue: int = 64,
        chunk: int = 128,
        prefix_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._clock, self._room = model, clock, rows + queue
        self.stats = Stats()
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Ticket:
        check_request(request)
        scores: list[np.ndarray] = []
        extras = request.extras or Extras()
        if request.logprobs is not None:

            def look(ids: list[int], found: np.ndarray) -> np.ndarray:
                scores.append(found.copy())
                return found

            extras = replace(extras, logits_processor=(look,))
        made = text_stream(
            self._model.session, self._model.tokenizer, request.ids, request.config, extras
        )
        ticket = Ticket()
        with self._ready:
            if self._closing:
                raise SessionError("the scheduler is closed, expected an open one")
            if len(self._jobs) >= self._room:
                raise QueueFull(f"{len(self._jobs)} requests wait, expected fewer")
            self._jobs.append(_Job(request, ticket, made, scores))
            self.stats.queued = len(self._jobs)
            self._ready.notify()
        return ticket

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        with self._ready:
            self._closing = True
            if not drain:
                for job in self._jobs:
                    job.ticket.cancel()
            self._ready.notify()
        self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._ready:
                while not self._jobs:
                    if self._closing:
                        return
                    self._ready.wait()
                job = self._jobs.popleft()
                self.stats.queued, self.stats.running = len(self._jobs), 1
            job.request.on_event(self._run(job))
            self.stats.running = 0

    def _run(self, job: _Job) -> End:
        request, result, reason = job.request, job.stream.result, ""
        held: Token | None = None
        try:
            for token in job.stream._tokens:
                piece, stopped = self._writer(job).push(token)
                if stopped:
                    job.stream._tokens.stop()
                if held is not None:
                    request.on_event(held)
                held = Token(token, piece, *self._logprobs(job, token))
                late = request.deadline is not None and self._clock() > request.deadline
                if late or job.ticket.cancelled:
                    reason = "timeout" if late else "cancelled"
                    job.stream.close()
                    break
        except BitNetError as error:
            return End("error", result, error)
        if held is not None:
            request.on_event(replace(held, text=held.text + self._writer(job).flush()))
        found = "length" if result.finish_reason == "length" else "stop"
        self._count(result, reason or found)
        return End(reason or found, result)

    def _count(self, result: Any, reason: str) -> None:
        stats = self.stats
        stats.requests[reason] = stats.requests.get(reason, 0) + 1
        stats.prompt_tokens += result.prompt_tokens
        stats.new_tokens += len(result.ids)
        stats.cached_tokens += result.cached_tokens
        stats.steps += len(result.ids)
        stats.row_steps += len(result.ids)
        stats.prefill_seconds += result.prefill_seconds
        stats.decode_seconds += result.decode_seconds

    def _writer(self, job: _Job) -> Any:
        return job.stream._pieces.gi_frame.f_locals["writer"]  # type: ignore[attr-defined]

    def _logprobs(self, job: _Job, token: int) -> tuple[Any, ...]:
        if job.request.logprobs is None:
            return None, []
        row = job.scores.pop().astype(np.float64)
        row -= row.max()
        row -= np.log(np.exp(row).sum())
        best = np.argsort(-row, kind="stable")[: job.request.logprobs]
        return float(row[token]), [(int(i), float(row[i])) for i in best]

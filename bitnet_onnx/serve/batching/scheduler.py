"""Continuous batching: requests of many clients share the steps of one session.

A thread computes; whoever has a request submits it from any thread, and gets its tokens as events.
Requests begin in the order in which they came, as soon as a row is free. Knows threads, the queue
and the clock; ``batch.py`` knows the rows.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...errors import BitNetError, GenerationError, SessionError
from ...generation.model import Model
from ...runtime.cache.kinds import PASSING
from ...runtime.integers import integer
from .active import Active, as_error
from .batch import Batch
from .requests import QueueFull, Request
from .stats import Stats

__all__ = ["PREFIX_BYTES", "Scheduler", "Ticket"]

PREFIX_BYTES = 512 << 20
MOST_ROWS = 1024
LONGEST_CHUNK = 256  # as many positions as a call of a session has


class Ticket:
    """A request that was accepted."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled

    def cancel(self) -> None:
        """End the request at the next step, from any thread; nothing happens where it has ended."""
        self._cancelled.set()


class Scheduler:
    """Computes requests side by side; each gets the ids that ``generate`` gives it alone.

    The session of the model belongs to the scheduler until ``close``. An error of a request, such
    as of a caller's function, ends that request; an error of ONNX Runtime ends those that run.
    """

    def __init__(
        self,
        model: Model,
        *,
        rows: int = 8,
        queue: int = 64,
        chunk: int = 128,
        prefix_bytes: int = PREFIX_BYTES,
        prefix_folder: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """rows: how many requests run at a time. queue: how many more may wait.

        chunk: the most positions of a prompt that are computed at a time; fewer while answers run,
        so that less than four steps lie between two of their tokens. prefix_bytes: the memory of
        beginnings that requests share; 0 shares nothing. prefix_folder: where they are written by
        ``close`` and read again. clock: seconds, for deadlines and sums. Raises GenerationError or
        SessionError.
        """
        if (kind := model.session.cache_implementation) in PASSING:
            raise GenerationError(
                f"the session has a cache {kind!r}, expected a dynamic or static one: rows that"
                " drop positions cannot share their beginnings"
            )
        self._limit = _within("rows", rows, 1, MOST_ROWS) + _within("queue", queue, 0)
        self.clock, self._model = clock, model
        self._batch = Batch(
            model.session,
            rows,
            _within("chunk", chunk, 1, LONGEST_CHUNK),
            _within("prefix_bytes", prefix_bytes, 0),
            None if prefix_folder is None else Path(prefix_folder),
            clock,
            self._end,
        )
        self._changed = threading.Condition()
        self._queue: deque[Active] = deque()
        self._open: set[Active] = set()
        self._closing = False
        self._unsaved: BitNetError | None = None
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Ticket:
        """Accept a request; exactly one End comes for it.

        Raises GenerationError for what a row of the session cannot do, QueueFull, and SessionError
        once the scheduler is closing.
        """
        with self._changed:
            self._check_open()
        active = Active(self._model, request)  # a grammar may take a second
        with self._changed:
            self._check_open()
            self._open.add(active)
            self._queue.append(active)
            self._changed.notify()
        return Ticket(active.cancelled)

    def _check_open(self) -> None:
        if self._closing:
            raise SessionError("the scheduler is closed, expected an open one")
        if len(self._open) >= self._limit:
            raise QueueFull(
                f"{len(self._open)} requests are running or waiting, expected fewer than "
                f"{self._limit}",
                hint="try again later",
            )

    @property
    def stats(self) -> Stats:
        """What was counted so far: a copy."""
        found, queued = self._batch.stats, len(self._queue)
        return replace(
            found,
            requests=Counter(found.requests),
            running=self._batch.size,
            queued=queued,
        )

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Accept no more requests, and return once those that were accepted have ended.

        drain: let them come to their end, for so many seconds; else, and after that, cancel them.
        Raises BitNetError where prefix_folder cannot be written.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if not drain:
            self.cancel()
        if threading.current_thread() is self._thread:  # an event's receiver closes it
            return
        self._thread.join(timeout)
        self.cancel()
        self._thread.join()
        if self._unsaved is not None:
            raise self._unsaved

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(drain=error[0] is None)

    def cancel(self) -> None:
        """End all requests that were accepted at the next step, from any thread."""
        with self._changed:
            for active in self._open:
                active.cancelled.set()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._open or self._closing):
                    self._changed.wait()
                if not self._open:
                    break
            try:
                self._tick()
            except Exception as error:
                self._recover(as_error(error))
        try:
            self._batch.close()
        except Exception as error:
            self._unsaved = as_error(error)

    def _tick(self) -> None:
        """Compute parts of prompts, as many as running answers can wait for, and a step."""
        self._sweep()
        batch = self._batch
        batch.tidy()
        while (batch.filling or self._can_begin) and batch.positions() > 0:
            while self._can_begin:
                batch.begin(self._queue.popleft())
            # Fewer than before, where a beginning was copied.
            if batch.filling and (most := batch.positions()) > 0:
                batch.feed(most)
            self._sweep()
        batch.step()

    @property
    def _can_begin(self) -> bool:
        """Whether the request that waited longest can begin."""
        return bool(self._queue) and self._batch.takes(self._queue[0])

    def _sweep(self) -> None:
        """End requests that wait in vain."""
        now = self.clock()
        with self._changed:
            ended = [(active, active.due(now)) for active in self._queue]
            self._queue = deque(active for active, reason in ended if not reason)
        for active, reason in ended:
            if reason:
                self._end(active, reason, None)

    def _recover(self, error: BitNetError) -> None:
        """Go on with the requests that wait; without a session, none can go on."""
        try:
            self._batch.fail(error)
        except Exception as again:
            with self._changed:
                self._queue.clear()
            error = as_error(again)
        with self._changed:  # such as one that was taken out of the queue and not begun
            lost = self._open.difference(self._queue)
        for active in lost:
            self._end(active, "error", error)

    def _end(self, active: Active, reason: str, error: BitNetError | None) -> None:
        """Send the last event of a request; nothing where it was sent."""
        with self._changed:
            if active not in self._open:
                return
            self._open.discard(active)
            self._batch.stats.requests[reason] += 1
        active.end(reason, error)


def _within(name: str, value: int, least: int, most: int | None = None) -> int:
    """Return an integer; raise GenerationError where it is outside the limits."""
    if (found := integer(name, value)) < least or (most is not None and found > most):
        wanted = f"{least} or more" if most is None else f"{least} to {most}"
        raise GenerationError(f"{name} is {found}, expected {wanted}")
    return found

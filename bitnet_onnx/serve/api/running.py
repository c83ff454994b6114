"""The answers of one request, as the scheduler makes them.

Knows the scheduler's events and asyncio; does not know the form of answers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ...errors import BitNetError, GenerationError, SessionError
from ...generation.config import GenerationConfig
from ...generation.constraints.reasons import FORM
from ...generation.text import compiled
from ..batching.requests import End, Event, Request, Token
from ..batching.scheduler import Ticket
from ..models import Generating
from .errors import ApiError, error_of
from .options import Form

__all__ = ["Prepared", "Running", "or_gone"]

T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """A prompt with its options, of which ``n`` answers are made."""

    served: Generating
    ids: list[int]
    config: GenerationConfig
    form: Form
    n: int = 1
    logprobs: int | None = None

    def refused(self, error: BitNetError) -> ApiError:
        """Return how a client is told that there is no such answer, as of a wrong form."""
        model = self.served.model
        for name, schema in self.form.parts.items() if isinstance(error, GenerationError) else ():
            try:
                compiled(model.session, model.tokenizer, self.config, {"json": schema})
            except GenerationError as own:
                said = f"the parameters of the function {name!r} cannot be used: {own}"
                return ApiError(400, said, param=self.form.param, code="invalid_value")
        return error_of(error, self.form.param)


class Running:
    """Answers that are being made; ``cancel`` ends those that have not ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._tickets: list[Ticket] = []
        self._prepared: list[Prepared] = []  # of each answer
        self.left = 0

    @classmethod
    async def start(cls, prepared: Sequence[Prepared]) -> Running:
        """Submit all answers, those of each prompt beside each other, or none."""
        running = cls()
        until = monotonic() + prepared[0].served.limits.seconds
        try:
            for each in prepared:
                for copy in range(each.n):
                    await running._submit(each, copy, until)
        except BaseException:
            running.cancel()
            raise
        return running

    async def _submit(self, prepared: Prepared, copy: int, until: float) -> None:
        request = Request(
            ids=prepared.ids,
            config=prepared.config,
            extras=prepared.form.extras,
            logprobs=prepared.logprobs,
            on_event=partial(self._put, self.left),
            deadline=until,
            number=copy,
        )
        self.left += 1
        self._prepared.append(prepared)
        try:
            # Compiling the form of an answer can take a second.
            self._tickets.append(await run_in_threadpool(prepared.served.scheduler.submit, request))
        except SessionError:  # it is closed
            raise ApiError(
                503, "the model is closing, expected a later request", code="stopping"
            ) from None
        except BitNetError as error:  # such as of a form that cannot be followed
            raise await run_in_threadpool(prepared.refused, error) from None

    def _put(self, choice: int, event: Event) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, (choice, event))
        except RuntimeError:  # the loop has ended, and with it who waits
            self.cancel()

    async def events(self) -> AsyncGenerator[tuple[int, Token | End]]:
        """Yield events with the number of their answer until all have ended.

        Raises ApiError where an answer fails.
        """
        try:
            while self.left:
                choice, event = await self._events.get()
                if isinstance(event, End):
                    self.left -= 1
                    if (error := event.error) is not None and error.argument == FORM:
                        raise await run_in_threadpool(self._prepared[choice].refused, error)
                    _check(event)
                    yield choice, event
                elif isinstance(event, Token):
                    yield choice, event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End all answers that are still made."""
        for ticket in self._tickets:
            ticket.cancel()


def _check(end: End) -> None:
    if end.reason == "timeout":
        raise ApiError(503, "the answer took longer than the server allows", code="timeout")
    if end.reason == "cancelled":
        raise ApiError(503, "the server is stopping", code="stopping")
    if end.reason == "error":
        # What a client can get wrong was found before, but for a form that leaves no token.
        print(f"error: an answer failed: {type(end.error).__name__}", file=sys.stderr)
        raise ApiError(500, "the model failed, expected it to answer", code="model_failed")


async def or_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; cancel it where the client goes away, and raise ClientDisconnect."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

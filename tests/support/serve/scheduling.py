"""Helpers for the scheduler of requests: a clock that stands still, and who takes the events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from bitnet_onnx.errors import BitNetError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.model import Model
from bitnet_onnx.generation.rows import GenerationResult
from bitnet_onnx.serve.batching.requests import End, Event, Request, Token
from bitnet_onnx.serve.batching.scheduler import Scheduler, Ticket

__all__ = ["LONG", "Client", "Clock", "alone", "endless", "served"]

LONG = [(7 * i * i + 5 * i) % 800 + 3 for i in range(400)]
PATIENCE = 60  # seconds until a test says that no event comes


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A request and what came of it; ``on_token`` sees each token in the scheduler's thread."""

    def __init__(
        self,
        ids: list[int],
        *,
        on_token: Callable[[Client], object] | None = None,
        extras: Extras | None = None,
        logprobs: int | None = None,
        number: int = 0,
        deadline: float | None = None,
        **options: Any,
    ) -> None:
        self.ids, self.config = ids, GenerationConfig(**options)
        self.tokens: list[Token] = []
        self.ends: list[End] = []
        self._ended, self._on_token = threading.Event(), on_token
        self._on_end: Callable[[Client], object] | None = None
        self.keywords = (
            {}
            if extras is None
            else {field.name: getattr(extras, field.name) for field in fields(extras)}
        )
        self.request = Request(
            ids=ids, config=self.config, extras=extras, logprobs=logprobs, on_event=self._take,
            number=number, deadline=deadline,
        )  # fmt: skip
        self.ticket: Ticket | None = None

    def _take(self, event: Event) -> None:
        if isinstance(event, Token):
            self.tokens.append(event)
            if self._on_token is not None:
                self._on_token(self)
        elif isinstance(event, End):
            self.ends.append(event)
            if self._on_end is not None:
                self._on_end(self)
            self._ended.set()

    def on_event(self, call: Callable[[Client], object]) -> Client:
        """Let a function see each token, and the end."""
        self._on_token = self._on_end = call
        return self

    def submit(self, scheduler: Scheduler) -> Client:
        self.ticket = scheduler.submit(self.request)
        return self

    def cancel(self) -> None:
        assert self.ticket is not None
        self.ticket.cancel()

    def wait(self) -> Client:
        """Return once the request has ended."""
        assert self._ended.wait(PATIENCE), "no End came"
        return self

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def reason(self) -> str:
        (end,) = self.ends
        return end.reason

    @property
    def error(self) -> BitNetError | None:
        return self.ends[0].error

    @property
    def result(self) -> GenerationResult:
        return self.ends[0].result


def endless(ids: list[int], new: int = 8, **more: Any) -> Client:
    """Return a request that ends at its limit only."""
    return Client(ids, max_new_tokens=new, eos_token_id=(), **more)


def alone(model: Model, client: Client) -> tuple[list[int], str, str | None]:
    """Return ids, text and reason of ``generate`` for a request."""
    result = model.generate_batch([client.ids], client.config, **client.keywords)[0]
    return result.result.ids, result.text, result.result.finish_reason


def served(client: Client) -> tuple[list[int], str, str | None]:
    """Return those that a request got."""
    assert [token.id for token in client.tokens] == client.result.ids
    return client.result.ids, client.text, client.result.finish_reason


def check_all(model: Model, clients: list[Client], given_up: set[Client]) -> None:
    """Check that each got what ``generate`` gives alone, as far as it was not given up."""
    for client in clients:
        ids, text, reason = alone(model, client)
        if client.reason == "cancelled":
            assert client in given_up
            assert client.result.ids == ids[: len(client.result.ids)]
        else:
            assert served(client) == (ids, text, reason)

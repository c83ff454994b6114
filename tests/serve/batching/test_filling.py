"""Prompts that come while no answer runs are computed together, and their ids are those alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import SessionError
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.steps import Steps
from bitnet_onnx.serve.batching import batch
from bitnet_onnx.serve.batching.filling import ALIKE
from bitnet_onnx.serve.batching.scheduler import Scheduler
from tests.support.serve.scheduling import LONG, Client, Clock, alone, check_all, endless, served

Calls = list[tuple[int, int]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the rows and positions of the calls for prompts, as they are made."""
    found, feed = Calls(), Steps._feed

    def fed(steps: Steps, ids: np.ndarray, rows: slice, filled: Any, keep: Any, *more: Any) -> None:
        if keep is not steps._all:  # those check drafts
            found.append((ids.shape[0], ids.shape[1]))
        feed(steps, ids, rows, filled, keep, *more)

    monkeypatch.setattr(Steps, "_feed", fed)
    return found


def together(scheduler: Scheduler, clients: list[Client]) -> None:
    """Submit requests at one moment: in the scheduler's thread, where the only other one ends."""
    opening = endless([5], 1).on_event(
        lambda c: [each.submit(scheduler) for each in clients] if c.ends else None
    )
    opening.submit(scheduler).wait()
    for client in clients:
        client.wait()


def prompts_of(lengths: list[int]) -> list[list[int]]:
    """Return prompts that begin in different ways."""
    return [LONG[31 * i : 31 * i + length] for i, length in enumerate(lengths)]


def test_short_prompts_share_a_call(model: Model, calls: Calls) -> None:
    scheduler = Scheduler(model, rows=4)
    clients = [endless(p, 6, prompt_lookup_num_tokens=0) for p in prompts_of([20, 20, 20, 20])]
    together(scheduler, clients)
    scheduler.close()
    assert calls == [(1, 1), (4, 20)]
    for client in clients:
        assert served(client) == alone(model, client)
    assert scheduler.stats.steps == 5


KINDS: list[dict[str, Any]] = [
    {},
    {"logprobs": 2},
    {"do_sample": True, "seed": 3, "temperature": 2.0},
    {"extras": Extras(structured_outputs={"regex": "[a-z]{3,9} [0-9]+"})},
    {"extras": Extras(structured_outputs={"choice": ["the cat", "a dog"]})},
    {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "eos_token_id": ()},
    {"extras": Extras(stopping_criteria=lambda ids, _: sum(ids) % 7 == 0)},
    {"max_new_tokens": 1},
]


@pytest.mark.parametrize(
    ("rows", "chunk", "waiting"), [(8, 128, 2048), (5, 40, 60), (6, 128, 30), (8, 9, 0)]
)
def test_bursts_of_mixed_requests(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch, rows: int, chunk: int, waiting: int
) -> None:
    """Of different lengths, some of which begin alike, and some are given up."""
    monkeypatch.setattr(batch, "TOGETHER", waiting)
    dice, given_up = random.Random(rows + chunk), set[Client]()
    scheduler = Scheduler(model, rows=rows, chunk=chunk)
    clients = list[Client]()
    for _ in range(8):
        burst = list[Client]()
        for _ in range(dice.randint(1, 2 * rows)):
            begin = dice.choice([0, dice.randrange(300), dice.randrange(300)])
            prompt = [*LONG[begin : begin + dice.randint(1, 40)], dice.randrange(3, 800)]
            kind = {"max_new_tokens": dice.randint(1, 8), **dice.choice(KINDS)}
            burst.append(Client(prompt, **kind))
        lost = dice.choice(burst)
        if dice.random() < 0.5:
            burst[0].on_event(lambda _, lost=lost: lost.ticket and lost.cancel())  # type: ignore[misc]
            given_up.add(lost)
        together(scheduler, burst)
        clients += burst
    scheduler.close()
    assert any(count > 1 and width > 1 for count, width in calls) == (chunk > 9)
    assert all(count * width <= chunk + ALIKE for count, width in calls)  # with padding
    check_all(model, clients, given_up)
    assert scheduler.stats.requests["error"] == scheduler.stats.running == 0


@pytest.mark.parametrize(("waiting", "before"), [(2048, 4), (64, 3), (40, 2), (0, 1)])
def test_first_ids_wait_for_so_many_positions(
    model: Model,
    clock: Clock,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
    before: int,
) -> None:
    monkeypatch.setattr(batch, "TOGETHER", waiting)
    computed = list[int]()
    clients = [
        endless(prompt, 2, on_token=lambda c: computed.append(len(calls)))
        for prompt in prompts_of([30] * 4)
    ]
    scheduler = Scheduler(model, rows=4, chunk=32, clock=clock)
    together(scheduler, clients)
    scheduler.close()
    assert computed[:before] == [1 + before] * before  # after the one of the request before them
    for client in clients:
        assert served(client) == alone(model, client)


def test_a_long_prompt_keeps_no_first_id_waiting(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "TOGETHER", 200)
    computed = list[int]()
    first = endless(LONG[:20], 4, on_token=lambda c: computed.append(len(calls)))
    long = endless(LONG[30:], 4)
    scheduler = Scheduler(model, rows=2)
    together(scheduler, [first, long])
    scheduler.close()
    assert computed[0] == 2
    for client in (first, long):
        assert served(client) == alone(model, client)


def test_a_short_prompt_joins_the_end_of_a_long_one(model: Model, calls: Calls) -> None:
    long, short = endless(LONG[:140], 3), endless(LONG[200:220], 3)
    scheduler = Scheduler(model, rows=2, chunk=128)
    together(scheduler, [long, short])
    scheduler.close()
    assert calls[1] == (1, 128)
    assert sum(count for count, _ in calls[2:]) >= 2
    assert scheduler.stats.steps == 2
    for client in (long, short):
        assert served(client) == alone(model, client)


@pytest.mark.parametrize("common", [ALIKE, ALIKE + 1, 50])
def test_what_prompts_begin_with_is_computed_once(model: Model, calls: Calls, common: int) -> None:
    clients = [endless([*LONG[:common], 5 + i, 7, 9 + i], 3) for i in range(3)]
    scheduler = Scheduler(model, rows=3)
    together(scheduler, clients)
    scheduler.close()
    cached = [client.result.cached_tokens for client in clients]
    assert cached == ([0, 0, 0] if common <= ALIKE else [0, common, common])
    for client in clients:
        assert served(client) == alone(model, client)


@pytest.mark.parametrize("who", range(3))
def test_a_request_that_is_given_up_leaves_the_call(model: Model, calls: Calls, who: int) -> None:
    clients = [endless(prompt, 3) for prompt in prompts_of([10, 12, 14])]
    scheduler = Scheduler(model, rows=3)

    def begin(client: Client) -> None:
        if client.ends:
            for each in clients:
                each.submit(scheduler)
            clients[who].cancel()

    endless([5], 1).on_event(begin).submit(scheduler).wait()
    for client in clients:
        client.wait()
    scheduler.close()
    assert [client.reason == "cancelled" for client in clients] == [i == who for i in range(3)]
    assert not clients[who].tokens
    for client in clients:
        assert client is clients[who] or served(client) == alone(model, client)


def test_where_a_call_finds_no_memory_the_longest_prompt_ends(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [endless(prompt, 3) for prompt in prompts_of([10, 30, 20, 9])]
    prefill, failed = Steps.prefill_rows, list[int]()

    def fail(steps: Steps, prompts: Any, first: int | None = None) -> np.ndarray:
        if len(prompts) > 2:
            failed.append(len(prompts))
            raise MemoryError
        return prefill(steps, prompts, first)

    scheduler = Scheduler(model, rows=4)
    monkeypatch.setattr(Steps, "prefill_rows", fail)
    together(scheduler, clients)
    scheduler.close()
    assert failed == [4, 3]
    assert [isinstance(client.error, SessionError) for client in clients] == [
        False, True, True, False
    ]  # fmt: skip
    monkeypatch.undo()
    for client in (clients[0], clients[3]):
        assert served(client) == alone(model, client)


def test_where_numbers_depend_on_calls_prompts_are_computed_alone(
    inexact: Model, calls: Calls
) -> None:
    clients = [endless(prompt, 3) for prompt in prompts_of([10, 12, 14])]
    expected = [alone(inexact, client) for client in clients]
    calls.clear()
    scheduler = Scheduler(inexact, rows=3)
    together(scheduler, clients)
    scheduler.close()
    assert calls == [(1, 1), (1, 10), (1, 12), (1, 14)]
    assert [served(client) for client in clients] == expected

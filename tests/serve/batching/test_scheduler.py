"""Requests that share a batch get the ids and texts of ``generate`` alone, whatever else runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.calls import OVERHEAD
from bitnet_onnx.runtime.steps import Steps
from bitnet_onnx.serve.batching import pace
from bitnet_onnx.serve.batching.prefixes import Prefixes
from bitnet_onnx.serve.batching.requests import QueueFull
from bitnet_onnx.serve.batching.scheduler import Scheduler
from tests.support.serve.scheduling import LONG, Client, Clock, alone, check_all, endless, served

# ------------------------------------------------------------------------- same ids as alone


def randomly(ids: list[int], scores: np.ndarray) -> np.ndarray:
    """Depend on all ids, so that a wrong past shows."""
    scores[sum(ids) % len(scores)] += 3
    return scores


def drawn(dice: random.Random, model: Model, number: int) -> Client:
    """Return one of many kinds of requests; texts begin alike."""
    system = model.tokenizer.encode("You are a helpful assistant. ") * dice.randint(0, 2)
    options: dict[str, Any] = dice.choice(
        [
            {},
            {"do_sample": True, "seed": number, "temperature": 2.0},
            {"do_sample": True, "seed": number, "top_p": 0.9},
            {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
            {"stop_strings": ("e", " th"), "frequency_penalty": 0.5},
            {"extras": Extras(logits_processor=randomly)},
            {"extras": Extras(structured_outputs={"regex": "[a-z]{3,9} [0-9]+"})},
            {"extras": Extras(stopping_criteria=lambda ids, _: sum(ids) % 7 == 0)},
        ]
    )
    if dice.random() < 0.6 and "structured_outputs" not in str(options):
        options["eos_token_id"] = ()
    new = [dice.randrange(3, 800) for _ in range(dice.randint(1, 24))]
    return Client(system + new, max_new_tokens=dice.randint(1, 16), **options)


@pytest.mark.parametrize(
    ("count", "rows", "chunk", "prefix_bytes"),
    [(90, 8, 128, 1 << 30), (50, 3, 7, 1 << 18), (30, 5, 64, 0), (30, 1, 1, 1 << 30)],
)
def test_requests_that_come_and_go_at_random(
    monkeypatch: pytest.MonkeyPatch,
    model: Model,
    clock: Clock,
    count: int,
    rows: int,
    chunk: int,
    prefix_bytes: int,
) -> None:
    # The clock stands still, so each part has the first one's size: large enough to fill a batch.
    monkeypatch.setattr(pace, "FIRST", 8)
    dice = random.Random(count)
    clients = [drawn(dice, model, number) for number in range(count)]
    waiting, given_up = list(clients), set[Client]()
    scheduler = Scheduler(
        model, rows=rows, queue=count, chunk=chunk, prefix_bytes=prefix_bytes, clock=clock
    )

    def act(client: Client) -> None:
        """Submit and cancel between the tokens of others, so that the seed decides the order."""
        for _ in range(1 if client.ends else dice.choice([0, 0, 0, 1, 2])):
            if waiting:
                waiting.pop().on_event(act).submit(scheduler)
        if dice.random() < 0.03:
            given_up.add(lost := dice.choice([each for each in clients if each.ticket]))
            lost.cancel()

    waiting.pop().on_event(act).submit(scheduler)
    for client in clients:
        client.wait()
    scheduler.close()
    stats = scheduler.stats
    check_all(model, clients, given_up)
    assert stats.requests["error"] == stats.running == stats.queued == 0
    assert sum(stats.requests.values()) == count
    assert stats.new_tokens == sum(len(client.tokens) for client in clients)
    assert rows == 1 or stats.row_steps > 1.1 * stats.steps
    assert stats.prefix_bytes <= prefix_bytes
    assert bool(stats.cached_tokens) == bool(prefix_bytes)


def test_where_numbers_depend_on_calls_each_call_is_one_of_generate(inexact: Model) -> None:
    prompts = [LONG[:300], LONG[:20], LONG[5:6], LONG[:40]]
    clients = [endless(prompt, 5) for prompt in prompts]
    expected = [alone(inexact, client) for client in clients]
    scheduler = Scheduler(inexact, rows=3)
    for client in clients:
        client.submit(scheduler)
    assert [served(client.wait()) for client in clients] == expected
    assert scheduler.stats.cached_tokens == 0
    scheduler.close()


def test_a_full_context_ends_a_request_and_no_other(model: Model, scheduler: Scheduler) -> None:
    context = model.session.context_length
    full = [endless((LONG * 2)[: context - left], 9) for left in (0, 2)]
    other = endless(LONG[:5], 9).submit(scheduler)
    for client in full:
        client.submit(scheduler).wait()
        assert (client.reason, client.result.finish_reason) == ("length", "length")
    assert [len(client.result.ids) for client in full] == [1, 3]
    scheduler.close()
    assert served(other.wait()) == alone(model, other)


def test_answers_to_one_prompt_draw_as_those_of_generate(model: Model) -> None:
    options: dict[str, Any] = {
        "do_sample": True,
        "seed": 7,
        "max_new_tokens": 6,
        "temperature": 3.0,
    }
    expected = model.generate_batch([LONG[:9]], num_return_sequences=3, **options)
    with Scheduler(model, rows=2) as scheduler:
        clients = [Client(LONG[:9], number=number, **options) for number in range(3)]
        for client in clients:
            client.submit(scheduler)
    assert [client.result.ids for client in clients] == [each.result.ids for each in expected]
    assert len({tuple(client.result.ids) for client in clients}) > 1


@pytest.mark.parametrize("count", [0, 3])
def test_logprobs_are_those_of_the_network(model: Model, scheduler: Scheduler, count: int) -> None:
    client = endless(LONG[:9], 4, logprobs=count, repetition_penalty=2.0).submit(scheduler).wait()
    scheduler.close()
    scores = model.score(LONG[:9] + client.result.ids)[-4:]
    assert [token.logprob for token in client.tokens] == scores.tolist()
    for place, token in enumerate(client.tokens):
        best = [logprob for _, logprob in token.top]
        assert len(best) == count
        assert best == sorted(best, reverse=True)
        for each, logprob in token.top:
            told = [*LONG[:9], *client.result.ids[:place], each]
            assert model.score(told)[-1] == logprob


# --------------------------------------------------------------------------- what is shared


def test_a_beginning_is_computed_once(model: Model, clock: Clock) -> None:
    scheduler = Scheduler(model, rows=2, clock=clock)
    first = endless(LONG[:50], 6).submit(scheduler).wait()
    answer = first.result.ids
    # The last id of an answer is not in the cache, and that of a prompt is always computed.
    again = endless(LONG[:50], 6).submit(scheduler).wait()
    turn = endless(LONG[:50] + answer + [7, 8]).submit(scheduler).wait()
    other = endless([*LONG[:30], 5, 6]).submit(scheduler).wait()
    late = endless([*LONG[:40], 9])
    running = endless(
        LONG[300:340] * 2, 6, on_token=lambda c: c.tokens[1:] or late.submit(scheduler)
    )
    running.submit(scheduler).wait()
    late.wait()
    scheduler.close()
    cached = [client.result.cached_tokens for client in (first, again, turn, other, late)]
    assert cached == [0, 49, 55, 30, 40]
    for client in (first, again, turn, other, running, late):
        assert served(client) == alone(model, client)
    assert scheduler.stats.cached_tokens == sum(cached)


def test_a_running_row_shares_its_beginning(model: Model, scheduler: Scheduler) -> None:
    others = [endless([*LONG[:60], 5]), endless(LONG[:64]), endless(LONG[:20])]

    def begin(client: Client) -> None:
        if len(client.tokens) == 2:
            for other in others:
                other.submit(scheduler)

    first = endless(LONG[:64], 30, on_token=begin).submit(scheduler).wait()
    assert [other.wait().result.cached_tokens for other in others] == [60, 63, 19]
    scheduler.close()
    for client in (first, *others):
        assert served(client) == alone(model, client)


# --------------------------------------------------------------------- order, limits and time


def test_requests_begin_in_the_order_in_which_they_came(model: Model, clock: Clock) -> None:
    order: list[int] = []
    scheduler = Scheduler(model, rows=1, clock=clock)
    clients = [
        endless(LONG[i : i + 9], 2, on_token=lambda c: order.append(c.ids[0])) for i in range(9)
    ]
    for client in clients:
        client.submit(scheduler)
    scheduler.close()
    assert order == [client.ids[0] for client in clients for _ in range(2)]


def test_a_full_queue_refuses_and_empties(model: Model) -> None:
    scheduler = Scheduler(model, rows=2, queue=1)
    refused: list[str] = []

    def more(client: Client) -> None:
        if len(client.tokens) == 1 and client is clients[0]:
            for each in clients[1:]:
                each.submit(scheduler)
            with pytest.raises(QueueFull) as caught:
                endless([5]).submit(scheduler)
            refused.append(str(caught.value))

    clients = [endless(LONG[:5], on_token=more) for _ in range(3)]
    clients[0].submit(scheduler).wait()
    assert refused == ["3 requests are running or waiting, expected fewer than 3"]
    for client in clients:
        client.wait()
    assert endless([5]).submit(scheduler).wait().reason == "length"
    scheduler.close()


def test_deadlines_end_requests_that_wait_fill_and_run(model: Model, clock: Clock) -> None:
    scheduler = Scheduler(model, rows=2, chunk=8, clock=clock)

    def pass_time(client: Client) -> None:
        if len(client.tokens) == 1:
            for each in (filling, queued):
                each.submit(scheduler)
        clock.now += 1

    running = endless(LONG[:9], 99, deadline=clock.now + 5.5, on_token=pass_time)
    filling, queued = (endless(LONG, deadline=clock.now + 3.5) for _ in range(2))
    running.submit(scheduler).wait()
    assert {each.wait().reason for each in (running, filling, queued)} == {"timeout"}
    scheduler.close()
    assert [len(each.tokens) for each in (running, filling, queued)] == [7, 0, 0]
    assert running.text == model.tokenizer.decode(running.result.ids)
    assert served(running)[0] == alone(model, running)[0][:7]
    assert scheduler.stats.requests == {"timeout": 3}


@pytest.mark.parametrize("slower", [0.3, 1, 1.5])
def test_running_answers_wait_for_fewer_than_four_steps(
    model: Model, clock: Clock, monkeypatch: pytest.MonkeyPatch, slower: float
) -> None:
    """Of a machine on which a position of a prompt takes longer than was thought, too."""
    feed, decode = Steps._feed, Steps.decode

    def fed(steps: Steps, ids: np.ndarray, *more: Any) -> None:
        feed(steps, ids, *more)
        clock.now += (OVERHEAD + slower * ids.size) / (OVERHEAD + 1)

    def decoded(steps: Steps, *more: Any) -> np.ndarray:
        clock.now += 1
        return decode(steps, *more)

    def kept(prefixes: Prefixes, *more: Any) -> None:
        keep(prefixes, *more)
        clock.now += 1.8  # of what another answer leaves

    keep = Prefixes.keep
    monkeypatch.setattr(Prefixes, "keep", kept)
    monkeypatch.setattr(Steps, "_feed", fed)
    monkeypatch.setattr(Steps, "decode", decoded)
    times: list[float] = []

    def note(client: Client) -> None:
        times.append(clock.now)
        if len(times) == 5:
            for other in others:
                other.submit(scheduler)

    scheduler = Scheduler(model, rows=4, clock=clock)
    others = [endless(LONG[5:8], 12), endless(LONG[7:9], 50), endless(LONG, 2)]
    endless(LONG[:9], 90, on_token=note).submit(scheduler).wait()
    scheduler.close()
    gaps = np.diff(times[5:])
    assert gaps.max() < 4
    assert (gaps > 2).sum() > 5  # the prompt was computed meanwhile
    assert all(other.ends for other in others)


# ------------------------------------------------------------------------------------- on disk


def test_beginnings_outlive_a_scheduler(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "here"
    texts = [LONG[:40], [*LONG[:30], 5, 6, 7], LONG[60:90]]
    first = Scheduler(model, rows=1, prefix_folder=folder)
    for text in texts:
        endless(text, 1).submit(first).wait()
    first.close()
    (folder / "notes.txt").write_text("not ours")
    assert len(list(folder.glob("*.cache"))) == 3
    second = Scheduler(model, rows=2, prefix_folder=folder, prefix_bytes=1 << 30)
    assert second.stats.prefix_bytes == first.stats.prefix_bytes
    clients = [endless([*text, 9]).submit(second).wait() for text in texts]
    assert [client.result.cached_tokens for client in clients] == [40, 33, 30]
    second.close()
    for client in clients:
        assert served(client) == alone(model, client)
    assert len(list(folder.glob("*.cache"))) == 3  # the longer ones in place of those
    small = Scheduler(model, rows=1, prefix_folder=folder, prefix_bytes=200_000)
    assert 0 < small.stats.prefix_bytes <= 200_000
    small.close()
    assert (folder / "notes.txt").exists()


def test_a_folder_that_cannot_be_used_is_refused(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(GenerationError, match="file cannot be used for beginnings of prompts"):
        Scheduler(model, prefix_folder=file)
    damaged = tmp_path / "kept" / f"{0:032x}.cache"
    damaged.parent.mkdir()
    damaged.write_text("not a cache")
    with pytest.raises(GenerationError, match=f"{damaged.name} is not a prompt cache") as refused:
        Scheduler(model, prefix_folder=damaged.parent)
    assert "remove the file" in str(refused.value.hint)
    damaged.unlink()
    scheduler = Scheduler(model, prefix_folder=damaged.parent)
    client = endless(LONG[:5], 1).submit(scheduler).wait()
    damaged.parent.rmdir()
    damaged.parent.write_text("")
    with pytest.raises(GenerationError, match="kept cannot be used for beginnings of prompts"):
        scheduler.close()
    assert client.reason == "length"

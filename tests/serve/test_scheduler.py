"""Requests that share a batch get the ids and texts of ``generate`` alone, whatever else runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx import load
from bitnet_onnx.errors import BitNetError, GenerationError, SessionError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.model import Model
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.cache.layout import CacheLayout
from bitnet_onnx.runtime.calls import OVERHEAD
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.runtime.steps import Steps
from bitnet_onnx.serve.prefixes import Prefixes
from bitnet_onnx.serve.requests import ALONE, QueueFull
from bitnet_onnx.serve.scheduler import Scheduler
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.serve.scheduling import Client, Clock

LONG = [(7 * i * i + 5 * i) % 800 + 3 for i in range(400)]


@pytest.fixture(scope="module")
def model(demo_artifact: Path) -> Model:
    found = load(demo_artifact, threads=1)
    assert isinstance(found, Model)
    return found


@pytest.fixture(scope="module")
def inexact(demo_artifact: Path) -> Model:
    """Return a model whose numbers depend on how many positions a call has."""
    session = Session(demo_artifact, threads=1, custom_ops=False)
    assert not session.exact_in_groups
    return Model(session, Tokenizer.from_folder(demo_artifact))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(model: Model, clock: Clock) -> Iterator[Scheduler]:
    with_rows = Scheduler(model, rows=3, clock=clock)
    yield with_rows
    with_rows.close(drain=False)


def endless(ids: list[int], new: int = 8, **more: Any) -> Client:
    """Return a request that ends at its limit only."""
    return Client(ids, max_new_tokens=new, eos_token_id=(), **more)


def alone(model: Model, client: Client) -> tuple[list[int], str, str | None]:
    result = model.generate_batch([client.ids], client.config, **client.keywords)[0]
    return result.result.ids, result.text, result.result.finish_reason


def served(client: Client) -> tuple[list[int], str, str | None]:
    assert [token.id for token in client.tokens] == client.result.ids
    return client.result.ids, client.text, client.result.finish_reason


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
    model: Model, clock: Clock, count: int, rows: int, chunk: int, prefix_bytes: int
) -> None:
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
    for client in clients:
        ids, text, reason = alone(model, client)
        if client.reason == "cancelled":
            assert client in given_up
            assert client.result.ids == ids[: len(client.result.ids)]
        else:
            assert served(client) == (ids, text, reason)
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
    others = [endless(LONG[5:8], 12), endless(LONG[7:9], 30), endless(LONG, 2)]
    endless(LONG[:9], 90, on_token=note).submit(scheduler).wait()
    scheduler.close()
    gaps = np.diff(times[5:])
    assert gaps.max() < 4
    assert (gaps > 2).sum() > 5  # the prompt was computed meanwhile
    assert all(other.ends for other in others)


# ------------------------------------------------------------------------- end before the end


def test_cancelled_requests_leave_at_once(model: Model, clock: Clock) -> None:
    scheduler = Scheduler(model, rows=2, chunk=8, clock=clock)

    def give_up(client: Client) -> None:
        if len(client.tokens) == 2:
            for each in (filling, queued):
                each.submit(scheduler)
        if len(client.tokens) == 5:
            for each in (filling, queued, client):
                each.cancel()

    running = endless(LONG[:9], 99, on_token=give_up)
    filling, queued = endless(LONG), endless(LONG)
    running.submit(scheduler)
    assert {each.wait().reason for each in (running, filling, queued)} == {"cancelled"}
    assert [len(each.tokens) for each in (running, filling, queued)] == [5, 0, 0]
    after = endless(LONG[:9]).submit(scheduler).wait()
    after.cancel()  # too late
    scheduler.close()
    assert after.reason == "length"
    assert served(after) == alone(model, after)


def test_who_does_not_take_its_events_is_cancelled(model: Model, scheduler: Scheduler) -> None:
    def fail(_: Client) -> None:
        raise OSError("the client has gone")

    gone = endless(LONG[:9], 99, on_token=fail).submit(scheduler)
    other = endless(LONG[:9]).submit(scheduler)
    assert gone.wait().reason == "cancelled"
    scheduler.close()
    assert served(other.wait()) == alone(model, other)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no"), "a function of the request raised ValueError: no, expected scores"),
        (GenerationError("refused"), "refused"),
        (MemoryError(), "the memory ran out, expected room for the request"),
        (SessionError("mine"), "mine"),
    ],
)
def test_an_error_of_a_request_ends_it_alone(
    model: Model, scheduler: Scheduler, error: Exception, message: str, after: int
) -> None:
    def fail(ids: list[int], scores: np.ndarray) -> np.ndarray:
        if len(ids) >= 9 + after:
            raise error
        return scores

    first = endless(LONG[:20], 20).submit(scheduler)
    wrong = endless(LONG[:9], extras=Extras(logits_processor=fail)).submit(scheduler)
    last = endless(LONG[:15], 20).submit(scheduler)
    assert wrong.wait().reason == "error"
    assert str(wrong.error) == message
    assert len(wrong.tokens) == after
    scheduler.close()
    for client in (first, last):
        assert served(client.wait()) == alone(model, client)


@pytest.mark.parametrize("long", [300, 120])
def test_without_memory_the_longest_request_ends(
    model: Model, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    """While its prompt is computed, and while it runs."""
    zeros = CacheLayout.zeros

    def fail(layout: CacheLayout, name: str, rows: int, capacity: int) -> np.ndarray:
        if capacity > 128:
            raise MemoryError
        return zeros(layout, name, rows, capacity)

    monkeypatch.setattr(growing, "BLOCK", 128)
    monkeypatch.setattr(CacheLayout, "zeros", fail)
    other = endless(LONG[:9], 60).submit(scheduler)
    wrong = endless(LONG[:long], 20).submit(scheduler)
    assert isinstance(wrong.wait().error, GenerationError)
    scheduler.close()
    monkeypatch.undo()
    assert len(wrong.tokens) == max(129 - long, 0)
    assert served(other.wait()) == alone(model, other)


@pytest.mark.parametrize("failing", [0, 1, 2, 5])
def test_an_error_of_the_runtime_ends_what_runs_and_no_more(
    model: Model, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    run, calls = Steps.run, [0]

    def fail(steps: Steps, binding: Any) -> None:
        calls[0] += 1
        if calls[0] == failing + 1:
            raise SessionError("ONNX Runtime failed in a step: for a test")
        run(steps, binding)

    monkeypatch.setattr(Steps, "run", fail)
    clients = [endless(LONG[i : i + 9], 9) for i in range(5)]
    for client in clients:
        client.submit(scheduler)
    scheduler.close()
    failed = [client for client in clients if client.wait().reason == "error"]
    assert 1 <= len(failed) <= 3
    assert {str(client.error) for client in failed} == {"ONNX Runtime failed in a step: for a test"}
    for client in set(clients) - set(failed):
        assert served(client) == alone(model, client)


def test_a_session_that_another_user_takes_is_taken_back(
    model: Model, scheduler: Scheduler
) -> None:
    def take(client: Client) -> None:
        if len(client.tokens) == 3:
            model.session.reset()

    lost = endless(LONG[:9], on_token=take).submit(scheduler).wait()
    assert "another stream or thread has taken the session over" in str(lost.error)
    found = endless(LONG[:9]).submit(scheduler).wait()
    scheduler.close()
    assert served(found) == alone(model, found)


def test_without_a_session_every_request_ends(demo_artifact: Path) -> None:
    model = load(demo_artifact, threads=1)
    assert isinstance(model, Model)
    scheduler = Scheduler(model, rows=1)
    lost = [endless(LONG[:9], on_token=lambda _: model.close()) for _ in range(3)]
    lost[0].submit(scheduler)
    for client in lost[1:]:
        client.submit(scheduler)
    for client in (*lost, endless([5]).submit(scheduler)):
        assert client.wait().reason == "error"
        assert isinstance(client.error, SessionError)
    scheduler.close()


# ------------------------------------------------------------------------------------- close


@pytest.mark.parametrize(
    ("how", "reason"),
    [({}, "length"), ({"drain": False}, "cancelled"), ({"timeout": 0.0}, "cancelled")],
)
def test_closing_ends_what_was_accepted(model: Model, how: dict[str, Any], reason: str) -> None:
    scheduler = Scheduler(model, rows=1)
    clients = [endless(LONG[:9], 900) for _ in range(2)]
    for client in clients:
        client.submit(scheduler)
    scheduler.close(**how)
    assert [client.reason for client in clients] == [reason] * 2
    with pytest.raises(SessionError, match="the scheduler is closed, expected an open one"):
        endless([5]).submit(scheduler)
    scheduler.close()
    assert model.generate("Hello", max_new_tokens=1).result.ids


def test_a_receiver_of_events_may_close(model: Model) -> None:
    scheduler = Scheduler(model, rows=2)
    client = endless(LONG[:9], on_token=lambda _: scheduler.close()).submit(scheduler).wait()
    scheduler.close()
    assert client.reason == "length"


# ------------------------------------------------------------------------------------- refuse


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        ({"num_beams": 2}, "num_beams is 2 for a request, expected 1: a request is one sequence"),
        ({"num_return_sequences": 3, "do_sample": True}, "num_return_sequences is 3 for a request"),
        ({"guidance_scale": 1.5}, "guidance_scale is 1.5 for a request, expected 1"),
        ({"extras": Extras(negative_prompt_ids=[5])}, "a request has negative_prompt_ids"),
        ({"extras": Extras(assistant_model=5)}, "a request has an assistant_model, expected none"),
        ({"logprobs": -1}, "logprobs is -1, expected None or 0 to 1000"),
        ({"number": -1}, "number is -1, expected 0 or more"),
        ({"number": 1.5}, "number is 1.5, expected an integer"),
        ({"logprobs": True}, "logprobs is True, expected None or 0 to 1000"),
        ({"ids": []}, "prompt 0 is empty, expected at least one token"),
        ({"ids": [999]}, "prompt 0 holds the id 999, expected 0 to 831"),
        ({"ids": [5] * 9999}, "prompt 0 has 9999 tokens, expected at most the context of"),
        ({"max_length": 3}, "the prompt has 4 tokens, expected fewer than max_length 3"),
        ({"extras": Extras(structured_outputs={"regex": "("})}, "the regular expression"),
    ],
)
def test_what_a_row_cannot_do_is_refused(
    scheduler: Scheduler, request_of: dict[str, Any], message: str
) -> None:
    with pytest.raises(GenerationError, match=message):
        Client(**{"ids": [5, 6, 7, 8], **request_of}).submit(scheduler)
    assert endless([5]).submit(scheduler).wait().reason == "length"


# What each option of generation means for a request. A new one must be obeyed, refused, or change
# nothing but speed.
OBEYED = """
max_new_tokens do_sample temperature top_k top_p min_p repetition_penalty eos_token_id stop_strings
seed max_length min_length min_new_tokens no_repeat_ngram_size bad_words_ids suppress_tokens
begin_suppress_tokens forced_eos_token_id typical_p epsilon_cutoff eta_cutoff top_h sequence_bias
encoder_repetition_penalty encoder_no_repeat_ngram_size presence_penalty frequency_penalty
forced_bos_token_id remove_invalid_values exponential_decay_length_penalty renormalize_logits
max_time watermarking_config cache_implementation
""".split()
REFUSED = ["num_beams", "num_return_sequences", "guidance_scale", *ALONE]
IDLE = """
length_penalty early_stopping num_beam_groups diversity_penalty force_words_ids pad_token_id
prompt_lookup_num_tokens max_matching_ngram_size num_assistant_tokens_schedule num_assistant_tokens
assistant_confidence_threshold assistant_lookbehind target_lookbehind
""".split()


def test_every_option_means_something_for_a_request() -> None:
    known = {*OBEYED, *REFUSED, *IDLE}
    assert {field.name for field in fields(GenerationConfig)} <= known


@pytest.mark.parametrize("name", [name for name in ALONE if hasattr(GenerationConfig, name)])
def test_ways_that_need_a_session_alone_are_refused(scheduler: Scheduler, name: str) -> None:
    value = {"penalty_alpha": 0.6, "dola_layers": "low", "assistant_early_exit": 1}[name]
    options: dict[str, Any] = {name: value}
    with pytest.raises(GenerationError, match=f"{name} is {value!r} for a request, expected none"):
        Client([5], **options).submit(scheduler)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows is 0, expected 1 to 1024"),
        ({"rows": 2.5}, "rows is 2.5, expected an integer"),
        ({"queue": -1}, "queue is -1, expected 0 or more"),
        ({"chunk": 257}, "chunk is 257, expected 1 to 256"),
        ({"prefix_bytes": -1}, "prefix_bytes is -1, expected 0 or more"),
    ],
)
def test_wrong_limits_are_refused(model: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BitNetError, match=message):
        Scheduler(model, **options)


def test_a_sink_cache_is_refused(demo_artifact: Path) -> None:
    model = load(demo_artifact, threads=1, cache="sink")
    assert isinstance(model, Model)
    with pytest.raises(GenerationError, match="the session has a cache 'sink', expected a dynamic"):
        Scheduler(model)


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

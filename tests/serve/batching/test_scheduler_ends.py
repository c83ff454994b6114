"""Requests end early, or never begin, and no other request is touched."""

from __future__ import annotations

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
from bitnet_onnx.runtime.steps import Steps
from bitnet_onnx.serve.batching.batch import Batch
from bitnet_onnx.serve.batching.requests import ALONE
from bitnet_onnx.serve.batching.scheduler import Scheduler
from tests.support.serve.scheduling import LONG, Client, Clock, alone, endless, served

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
    model: Model, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    """While its prompt is computed, and while it runs."""
    zeros = CacheLayout.zeros

    def fail(layout: CacheLayout, name: str, rows: int, capacity: int, *how: bool) -> np.ndarray:
        if capacity > 128:
            raise MemoryError
        return zeros(layout, name, rows, capacity, *how)

    monkeypatch.setattr(growing, "BLOCK", 128)
    monkeypatch.setattr(CacheLayout, "zeros", fail)
    scheduler = Scheduler(model, rows=3)
    other = endless(LONG[:9], 60).submit(scheduler)
    wrong = endless(LONG[:long], 20).submit(scheduler)
    assert isinstance(wrong.wait().error, SessionError)
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


@pytest.mark.parametrize("place", ["begin", "tidy", "feed", "step"])
def test_no_request_is_lost_where_the_program_fails(
    model: Model, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Those in work end with the error, also the one that just left the queue; others begin."""
    own = getattr(Batch, place)
    clients = [endless(LONG[:n]) for n in (9, 5, 7)]

    def failing(batch: Batch, *given: Any) -> Any:
        if batch.size or place == "begin":
            monkeypatch.setattr(Batch, place, own)
            raise KeyError("a mistake of the program")
        return own(batch, *given)

    monkeypatch.setattr(Batch, place, failing)
    with Scheduler(model, rows=1) as scheduler:
        for client in clients:
            client.submit(scheduler)
        assert clients[0].wait().reason == "error"
        for client in clients[1:]:
            client.wait()
    for client in clients[1:]:
        assert served(client) == alone(model, client)

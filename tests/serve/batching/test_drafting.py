"""Drafts of requests that share steps: the ids are those without them, in fewer steps."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.model import Model
from bitnet_onnx.generation.strategies.schedules import Economy
from bitnet_onnx.runtime.steps import Steps
from bitnet_onnx.serve.batching.drafting import SHARE
from bitnet_onnx.serve.batching.scheduler import Scheduler
from tests.support.serve.scheduling import LONG, Client, Clock, alone, endless, served

ROUND = LONG[:11] * 4  # the demo's model goes on with it
COSTLY: dict[str, Any] = {"prompt_lookup_num_tokens": 0}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check all drafts, whether they pay or not."""
    monkeypatch.setattr(Economy, "most_of", lambda _, rows, bound=0: max(map(len, rows)))


def biased(ids: list[int], scores: Any) -> Any:
    """Go round with the text as far as the network leaves it open, and leave it at times."""
    scores[ids[-11] if sum(ids) % 5 else 7] += 20
    return scores


KINDS: list[dict[str, Any]] = [
    {},
    {"extras": Extras(logits_processor=biased)},
    {"extras": Extras(logits_processor=biased), "stop_strings": ("ab", "e"), "eos_token_id": None},
    {"do_sample": True, "seed": 5, "temperature": 2.0},
    {"do_sample": True, "seed": 6, "extras": Extras(logits_processor=biased), "number": 2},
    {"extras": Extras(logits_processor=biased), **COSTLY},
    {"extras": Extras(logits_processor=biased), "max_matching_ngram_size": 2,
     "prompt_lookup_num_tokens": 5},
    {"extras": Extras(structured_outputs={"regex": "(ab|cd ){4,9}[0-9]+"})},
    {"extras": Extras(structured_outputs={"choice": ["the cat the cat the cat", "the dog"]})},
    {"extras": Extras(logits_processor=biased, stopping_criteria=lambda ids, _: len(ids) > 60)},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 4},
]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_mixed_requests_get_the_ids_of_generate(model: Model, always: None, rows: int) -> None:
    dice = random.Random(rows)
    clients = [
        Client(ROUND + LONG[i : i + dice.randint(0, 3)], max_new_tokens=dice.randint(1, 30), **kind)
        for i, kind in enumerate(KINDS * 2)
    ]
    with Scheduler(model, rows=rows) as scheduler:
        for client in clients:
            client.submit(scheduler)
    stats = scheduler.stats
    for client in clients:
        if not client.request.number:
            assert served(client) == alone(model, client)
    assert stats.drafted_tokens > stats.accepted_tokens > 50
    for name in ("drafted_tokens", "accepted_tokens"):
        assert getattr(stats, name) == sum(getattr(client.result, name) for client in clients)
    for client in clients:
        assert client.result.drafted_tokens == 0 or client.config.prompt_lookup_num_tokens != 0
    assert stats.requests["error"] == 0
    assert stats.new_tokens == sum(len(client.tokens) for client in clients)


@pytest.mark.parametrize("rows", [1, 2])
def test_answers_to_one_prompt_draw_as_those_of_generate(
    model: Model, always: None, rows: int
) -> None:
    options: dict[str, Any] = {"do_sample": True, "seed": 7, "max_new_tokens": 20}
    extras = Extras(logits_processor=biased)
    expected = model.generate_batch(
        [ROUND], num_return_sequences=3, logits_processor=biased, **options
    )
    with Scheduler(model, rows=rows) as scheduler:
        clients = [Client(ROUND, number=n, extras=extras, **options) for n in range(3)]
        for client in clients:
            client.submit(scheduler)
    assert [client.result.ids for client in clients] == [each.result.ids for each in expected]
    assert scheduler.stats.accepted_tokens


def test_text_that_repeats_takes_fewer_steps(model: Model, always: None) -> None:
    client = endless(ROUND, 40, extras=Extras(logits_processor=biased))
    with Scheduler(model, rows=2) as scheduler:
        client.submit(scheduler)
    assert scheduler.stats.steps < 25
    assert scheduler.stats.new_tokens == 40


def test_logprobs_are_those_of_the_network(model: Model, always: None) -> None:
    client = endless(ROUND, 12, logprobs=2, extras=Extras(logits_processor=biased))
    with Scheduler(model, rows=2) as scheduler:
        client.submit(scheduler)
    assert client.result.accepted_tokens
    scores = model.score(ROUND + client.result.ids)[-12:]
    assert [token.logprob for token in client.tokens] == scores.tolist()
    assert all(len(token.top) == 2 for token in client.tokens)


@pytest.mark.parametrize("left", [1, 2, 5])
def test_a_full_context_ends_drafts(model: Model, always: None, left: int) -> None:
    context = model.session.context_length
    text = (LONG[:11] * 999)[: context - left]
    full, other = endless(text, 30), endless(ROUND, 9)
    with Scheduler(model, rows=2) as scheduler:
        for client in (full, other):
            client.submit(scheduler)
    assert len(full.result.ids) == left + 1
    for client in (full, other):
        assert served(client) == alone(model, client)


def test_without_memory_for_drafts_a_plain_step_is_made(
    model: Model, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Steps, "score_rows", fail)
    client = endless(ROUND, 9)
    with Scheduler(model, rows=2) as scheduler:
        client.submit(scheduler)
    monkeypatch.undo()
    assert served(client) == alone(model, client)
    assert scheduler.stats.drafted_tokens == 0


def test_who_gives_up_among_drafts_gets_no_more(model: Model, always: None) -> None:
    def give_up(client: Client) -> None:
        if len(client.tokens) == 6:
            client.cancel()

    extras = Extras(logits_processor=biased)
    lost = endless(ROUND, 40, extras=extras, on_token=give_up)
    again = endless([*ROUND, 5], 9)
    with Scheduler(model, rows=1) as scheduler:
        for client in (lost, again):
            client.submit(scheduler)
    assert (lost.reason, len(lost.tokens)) == ("cancelled", 6)
    assert served(again) == alone(model, again)
    assert again.result.cached_tokens == len(ROUND)


def test_what_is_kept_of_a_text_has_no_refused_drafts(model: Model, always: None) -> None:
    extras = Extras(logits_processor=biased)
    first = endless(ROUND, 30, extras=extras)
    with Scheduler(model, rows=2) as scheduler:
        first.submit(scheduler).wait()
        turn = endless([*ROUND, *first.result.ids, 9], 9).submit(scheduler).wait()
    assert first.result.drafted_tokens > first.result.accepted_tokens
    assert turn.result.cached_tokens == len(ROUND) + 29
    assert served(turn) == alone(model, turn)


def test_others_wait_for_no_more_than_their_share(
    model: Model, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where wide calls are slow, those of one request are wider than those of several."""
    feed, decode = Steps._feed, Steps.decode
    slow = {1: list[float](), 2: list[float]()}

    def fed(steps: Steps, ids: Any, *more: Any) -> None:
        feed(steps, ids, *more)
        took = 1 + 0.15 * (ids.shape[1] - 1) if ids.shape[1] < 12 else 1.0
        clock.now += took
        if ids.shape[1] < 12:
            slow[len(ids)].append(took)

    def decoded(steps: Steps, *more: Any) -> Any:
        clock.now += 1
        return decode(steps, *more)

    monkeypatch.setattr(Steps, "_feed", fed)
    monkeypatch.setattr(Steps, "decode", decoded)
    extras = Extras(logits_processor=biased)
    both = [endless(ROUND, 60, extras=extras) for _ in range(2)]
    with Scheduler(model, rows=2, clock=clock) as scheduler:
        for client in both:
            client.submit(scheduler)
    with Scheduler(model, rows=2, clock=clock) as scheduler:
        endless(ROUND, 60, extras=extras).submit(scheduler)
    assert slow[1]
    assert slow[2]
    assert max(slow[2]) <= SHARE < max(slow[1])

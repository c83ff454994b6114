"""/v1/chat/completions through the openai client: the answers are those of ``generate`` alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bitnet_onnx.generation.model import Model

openai = pytest.importorskip("openai")
if TYPE_CHECKING:
    from tests.support.serve.serving import Served

CHATS = [
    [{"role": "user", "content": text}]
    for text in ("What is two plus three?", "What follows Monday?", "Which month follows May?")
]
LONG = {"ignore_eos": True}  # the bundled model's own answers are a word


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def ask(client: Any, chat: Any, model: str = "demo", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=chat, **options)


@pytest.mark.parametrize("chat", CHATS)
def test_an_answer_is_that_of_generate(client: Any, alone: Model, chat: Any) -> None:
    expected = alone.generate(chat)
    found = ask(client, chat)
    assert found.choices[0].message.content == expected.text
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.prompt_tokens == expected.result.prompt_tokens
    assert found.usage.completion_tokens == len(expected.result.ids)


def test_a_stream_joins_to_the_answer_and_ends_with_the_usage(client: Any, alone: Model) -> None:
    expected = alone.generate(CHATS[0], max_new_tokens=40, eos_token_id=None)
    options: Any = {"max_tokens": 40, "extra_body": LONG}
    chunks = list(
        ask(client, CHATS[0], stream=True, stream_options={"include_usage": True}, **options)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == expected.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[:-1]].count("length") == 1
    assert chunks[-2].choices[0].finish_reason == "length"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 40)
    assert all(c.usage is None for c in chunks[:-1])


def test_clients_at_the_same_time_get_what_each_would_alone(server: Served, alone: Model) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as made:
            answers = await asyncio.gather(
                *(ask(made, CHATS[i % 3], max_tokens=12, extra_body=LONG) for i in range(9))
            )
        return [answer.choices[0].message.content for answer in answers]

    expected = [alone.generate(chat, max_new_tokens=12, eos_token_id=None).text for chat in CHATS]
    assert asyncio.run(run()) == expected * 3


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"stop": ["a", "e"]}, {"stop_strings": ("a", "e")}),
        ({"presence_penalty": 1.5}, {"presence_penalty": 1.5}),
        ({"frequency_penalty": -0.5}, {"frequency_penalty": -0.5}),
        ({"extra_body": {"repetition_penalty": 1.3}}, {"repetition_penalty": 1.3}),
        ({"logit_bias": {"70": 100}}, {"sequence_bias": [[[70], 100.0]]}),
        ({"temperature": 0, "seed": 3, "top_p": 0.5}, {}),
        (
            {"temperature": 1.5, "seed": 7, "top_p": 0.9},
            {"do_sample": True, "temperature": 1.5, "seed": 7, "top_p": 0.9},
        ),
        (
            {"seed": 5, "extra_body": {"top_k": 3, "min_p": 0.01}},
            {"do_sample": True, "top_k": 3, "min_p": 0.01, "seed": 5},
        ),
        (
            {"extra_body": {"top_k": -1, "temperature": 1}, "seed": 1},
            {"do_sample": True, "top_k": 0, "temperature": 1.0, "seed": 1},
        ),
    ],
)
def test_fields_are_options_of_generate(
    client: Any, alone: Model, fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    expected = alone.generate(CHATS[1], max_new_tokens=16, eos_token_id=None, **changes)
    extra = {**LONG, **fields.pop("extra_body", {})}
    found = ask(client, CHATS[1], max_completion_tokens=16, extra_body=extra, **fields)
    assert found.choices[0].message.content == expected.text
    assert found.usage.completion_tokens == len(expected.result.ids)


def test_the_answers_of_n_are_those_of_generate(client: Any, alone: Model) -> None:
    options: Any = {"temperature": 2, "max_tokens": 12, "extra_body": LONG}
    several = ask(client, CHATS[0], n=3, seed=4, **options)
    expected = alone.generate(
        CHATS[0], do_sample=True, temperature=2.0, max_new_tokens=12, eos_token_id=None, seed=4,
        num_return_sequences=3,
    )  # fmt: skip
    texts = [choice.message.content for choice in several.choices]
    assert texts == [sequence.text for sequence in expected.sequences]
    assert len(set(texts)) == 3
    assert several.usage.completion_tokens == 36
    assert several.usage.prompt_tokens == expected.result.prompt_tokens


def test_log_probabilities_are_the_models_own(client: Any, alone: Model) -> None:
    found = ask(client, CHATS[2], max_tokens=6, logprobs=True, top_logprobs=3, extra_body=LONG)
    content = found.choices[0].logprobs.content
    prompt = alone.encode(CHATS[2])
    expected = alone.generate(CHATS[2], max_new_tokens=6, eos_token_id=None).result.ids
    scores = alone.score([*prompt, *expected])[len(prompt) - 1 :]
    assert np.allclose([entry.logprob for entry in content], scores, rtol=0, atol=1e-9)
    assert b"".join(bytes(entry.bytes) for entry in content).decode(errors="replace") == (
        alone.tokenizer.decode(expected, skip_special_tokens=False)
    )
    for entry in content:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == entry.logprob  # greedy takes the likeliest
        values = [likely.logprob for likely in entry.top_logprobs]
        assert values == sorted(values, reverse=True)


SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["Monday", "Tuesday"]}, "n": {"enum": [1, 2]}},
    "required": ["day", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "form",
    [
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "d", "schema": SCHEMA},
            }
        },
        {"extra_body": {"structured_outputs": {"json": SCHEMA}}},
    ],
)
def test_answers_have_the_form_that_is_asked_for(client: Any, form: dict[str, Any]) -> None:
    pytest.importorskip("llguidance")
    found = json.loads(ask(client, CHATS[0], max_tokens=60, **form).choices[0].message.content)
    assert found["day"] in ("Monday", "Tuesday")
    assert found["n"] in (1, 2)


def test_the_server_counts_what_is_cached(client: Any) -> None:
    ask(client, CHATS[0])
    found = ask(client, CHATS[0]).usage
    assert 0 < found.prompt_tokens_details.cached_tokens < found.prompt_tokens


def test_parts_and_the_developer_are_read(client: Any, alone: Model) -> None:
    parts = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What follows"},
                                     {"type": "text", "text": "Monday?"}]},
    ]  # fmt: skip
    plain = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What follows\nMonday?"},
    ]
    found = ask(client, parts)
    assert found.choices[0].message.content == alone.generate(plain).text
    assert found.usage.prompt_tokens == len(alone.encode(plain))

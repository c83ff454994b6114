"""/v1/completions, /v1/responses, tokens, models and metrics: the answers are the model's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bitnet_onnx.generation.model import Model

openai = pytest.importorskip("openai")
if TYPE_CHECKING:
    from tests.support.serve.serving import Served

PROMPTS = ["What follows", "Monday and", "é"]


def complete(server: Served, **fields: Any) -> Any:
    found = server.post("/v1/completions", {"model": "demo", **fields})
    assert found.status_code == 200, found.text
    return found.json()


def test_prompts_are_texts_or_ids(server: Served, alone: Model) -> None:
    expected = [alone.generate(p, max_new_tokens=8, eos_token_id=None).text for p in PROMPTS]
    ids = [alone.encode(prompt) for prompt in PROMPTS]
    for prompt in (PROMPTS, ids):
        found = complete(server, prompt=prompt, max_tokens=8, ignore_eos=True)
        assert [choice["text"] for choice in found["choices"]] == expected
        assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
        assert found["usage"]["prompt_tokens"] == sum(map(len, ids))
    bare = alone.tokenizer.encode(PROMPTS[0], add_special_tokens=False)
    found = complete(server, prompt=PROMPTS[0], add_special_tokens=False)
    assert found["usage"]["prompt_tokens"] == len(bare) == len(ids[0]) - 1
    for single in (PROMPTS[0], ids[0]):
        found = complete(server, prompt=single, max_tokens=8, ignore_eos=True)
        assert found["choices"][0]["text"] == expected[0]
    assert complete(server, prompt="a", ignore_eos=True)["usage"]["completion_tokens"] == 16


def test_an_echo_has_the_scores_of_the_prompt(server: Served, alone: Model) -> None:
    ids = alone.encode("What follows Monday?")
    options: dict[str, Any] = {"logprobs": 2, "echo": True}
    (choice,) = complete(server, prompt="What follows Monday?", max_tokens=0, **options)["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == "What follows Monday?"
    assert logprobs["token_logprobs"][0] is None
    assert np.allclose(logprobs["token_logprobs"][1:], alone.score(ids), rtol=0, atol=1e-9)
    longer = complete(server, prompt=ids, max_tokens=3, ignore_eos=True, **options)["choices"][0]
    tokens = longer["logprobs"]["tokens"]
    assert tokens[: len(ids)] == logprobs["tokens"]
    assert len(tokens) == len(ids) + 3
    for token, offset in zip(tokens[1:], longer["logprobs"]["text_offset"][1:], strict=True):
        assert longer["text"][offset:].startswith(token)
    for token, value, top in zip(
        tokens[-3:],
        longer["logprobs"]["token_logprobs"][-3:],
        longer["logprobs"]["top_logprobs"][-3:],
        strict=True,
    ):
        assert max(top, key=top.__getitem__) == token  # as lm_eval finds out what greedy takes
        assert top[token] == value


def test_a_stream_of_several_prompts(server: Served, alone: Model) -> None:
    expected = [alone.generate(p, max_new_tokens=8, eos_token_id=None).text for p in PROMPTS]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        chunks = list(
            client.completions.create(
                model="demo", prompt=PROMPTS, max_tokens=8, stream=True, logprobs=1,
                extra_body={"ignore_eos": True}, stream_options={"include_usage": True},
            )
        )  # fmt: skip
    for place, text in enumerate(expected):
        own = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == place]
        assert "".join(choice.text for choice in own) == text
        assert own[-1].finish_reason == "length"
        assert sum(len(c.logprobs.tokens) for c in own if c.logprobs) == 8
    assert chunks[-1].usage.completion_tokens == 24


def test_responses(server: Served, alone: Model) -> None:
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What follows Monday?"},
    ]
    expected = alone.generate(chat)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        fields: dict[str, Any] = {"model": "demo", "instructions": "Be short."}
        whole = client.responses.create(input="What follows Monday?", **fields)
        assert (whole.output_text, whole.status) == (expected.text, "completed")
        assert whole.usage.output_tokens == len(expected.result.ids)
        again = client.responses.create(
            input=[{"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                   *[item.model_dump(exclude_none=True) for item in whole.output],
                   {"type": "message", "role": "user", "content": "b"}],
            max_output_tokens=1, **fields,
        )  # fmt: skip
        assert again.incomplete_details.reason == "max_output_tokens"
        events = list(client.responses.create(input="What follows Monday?", stream=True, **fields))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == expected.text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == expected.text


@pytest.mark.parametrize("text", ["What follows", "", "é 😀 <|eot_id|>", "a\n\tb"])
def test_tokens_there_and_back(server: Served, alone: Model, text: str) -> None:
    def ask(**fields: Any) -> Any:
        return server.post("/tokenize", {"model": "demo", **fields}).json()

    plain, begun = alone.tokenizer.encode(text, False), alone.tokenizer.encode(text)
    assert ask(content=text)["tokens"] == plain
    assert ask(prompt=text, add_special_tokens=False)["tokens"] == plain
    assert ask(content=text, add_special=True)["tokens"] == begun == ask(prompt=text)["tokens"]
    pieces = ask(content=text, with_pieces=True, return_token_strs=True)
    assert [piece["id"] for piece in pieces["tokens"]] == plain
    raw = [p if isinstance(p, list) else list(p.encode()) for p in
           (piece["piece"] for piece in pieces["tokens"])]  # fmt: skip
    assert bytes(byte for piece in raw for byte in piece).decode() == text
    assert len(pieces["token_strs"]) == len(plain)
    assert (pieces["count"], pieces["max_model_len"]) == (len(plain), 512)
    back = server.post("/detokenize", {"model": "demo", "tokens": plain}).json()
    assert back == {"content": text, "prompt": text}


def test_models_and_their_names(server: Served) -> None:
    listed = server.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["demo", "calling"]
    for model in listed["data"]:
        assert server.get(f"/v1/models/{model['id']}").json() == model
    message = server.post("/v1/completions", {"prompt": "a"}).json()["error"]["message"]
    assert message == "model is missing, expected one of: demo, calling"
    found = server.post("/v1/completions", {"prompt": "a", "model": "gpt"})
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")


def test_metrics_count(server: Served) -> None:
    def counted(name: str) -> float:
        lines = server.get("/metrics").text.splitlines()
        start = f'{name}{{model="demo"}} '
        (value,) = (line.removeprefix(start) for line in lines if line.startswith(start))
        return float(value)

    names = ["llamacpp:tokens_predicted_total", "llamacpp:n_decode_total"]
    before = [counted(name) for name in names]
    complete(server, prompt="a", max_tokens=5, ignore_eos=True)
    after = [counted(name) for name in names]
    assert after[0] - before[0] == 5
    assert after[1] > before[1]
    assert counted("llamacpp:requests_processing") == 0
    assert counted("llamacpp:prompt_tokens_total") > 0
    drafted = counted("bitnet_onnx:drafted_tokens_total")
    assert drafted >= counted("bitnet_onnx:accepted_tokens_total") >= 0


def test_the_description_is_served(server: Served) -> None:
    assert json.loads(server.get("/openapi.json").content)["openapi"] == "3.1.0"

"""The schemas of /openapi.json take what the endpoints take, and no more where they can say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

pytest.importorskip("starlette")
from bitnet_onnx.serve.api.description.bodies import numbers_to
from bitnet_onnx.serve.api.description.openapi import EXAMPLES
from bitnet_onnx.serve.models import Limits

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

KEY = {"authorization": "Bearer secret"}
USER = [{"role": "user", "content": "Hi"}]


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOLS = [tool("f")]
JSON = {"type": "json_object"}
PLAIN = {"type": "text"}
CHOICE = {"choice": ["a", "b"]}
# Bodies of the model "calling", whose template knows tools, and whether a schema takes them.
# A third value: taken by the schema and refused by the server, which no schema could say.
CHATS: list[tuple[dict[str, Any], bool | str]] = [
    ({}, True),
    ({"stream": False, "stream_options": None}, True),
    ({"stream": False, "stream_options": {"include_usage": True}}, False),
    ({"stream": True, "stream_options": {"include_usage": None}}, True),
    ({"logprobs": True, "top_logprobs": 0}, True),
    ({"logprobs": False, "top_logprobs": 0}, False),
    ({"max_tokens": 2, "max_completion_tokens": 2}, True),
    ({"max_tokens": 2, "max_completion_tokens": 3}, "the same number"),
    ({"n": 2}, True),
    ({"n": 3}, False),
    ({"logit_bias": {"831": 1, "0": -1}}, True),
    ({"logit_bias": {"832": 1}}, False),
    ({"logit_bias": {"07": 1}}, False),
    ({"stop_token_ids": [831]}, True),
    ({"stop_token_ids": [832]}, False),
    ({"response_format": PLAIN, "structured_outputs": CHOICE}, True),
    ({"response_format": JSON, "structured_outputs": CHOICE}, False),
    ({"structured_outputs": {"choice": ["a"], "regex": None}}, True),
    ({"structured_outputs": {"choice": ["a"], "regex": "b"}}, False),
    ({"structured_outputs": {"json": "{}"}}, True),
    ({"structured_outputs": {"json": "{"}}, "not JSON"),
    ({"structured_outputs": {"json": 1}}, False),
    ({"structured_outputs": {"grammar": "a:"}}, "cannot be followed"),
    ({"structured_outputs": CHOICE, "min_tokens": 2}, "options forbid every token"),
    ({"ignore_eos": True, "structured_outputs": CHOICE}, False),
    ({"ignore_eos": False, "structured_outputs": CHOICE}, True),
    ({"ignore_eos": True, "stop_token_ids": [5], "structured_outputs": CHOICE}, False),
    ({"ignore_eos": True, "response_format": PLAIN}, True),
    ({"ignore_eos": True, "tools": TOOLS, "tool_choice": "required"}, False),
    ({"tools": [], "tool_choice": "auto"}, True),
    ({"tools": None, "tool_choice": "none"}, True),
    ({"tool_choice": "required"}, False),
    ({"tool_choice": named("f")}, False),
    ({"tools": TOOLS, "tool_choice": named("f"), "max_tokens": 90}, True),
    ({"tools": TOOLS, "tool_choice": named("g")}, "one of: f"),
    ({"tools": [*TOOLS, *TOOLS]}, "names differ"),
    ({"tools": TOOLS, "tool_choice": "required", "response_format": JSON}, False),
    ({"tools": TOOLS, "tool_choice": "auto", "response_format": JSON}, True),
    ({"tools": [tool("f", strict=True)]}, True),
    ({"tools": [tool("f", strict=True)], "response_format": JSON}, False),
    ({"tools": [tool("f", strict=True)], "ignore_eos": True}, "no tools with it"),
    ({"tools": [tool("f", strict=True)], "response_format": JSON, "tool_choice": "none"}, True),
    ({"documents": [{"a": "b"}]}, False),
    ({"chat_template_kwargs": {}}, True),
    ({"chat_template_kwargs": {"message": 1}}, False),
    ({"messages": [*USER, ASKED, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}, True),
    ({"messages": [*USER, {**ASKED, "role": "user"}]}, False),
    ({"messages": [*USER, {"role": "tool", "content": "x"}]}, False),
    ({"messages": [{**USER[0], "tool_calls": []}]}, True),
    ({"messages": [{**USER[0], "tool_calls": ""}]}, False),
    ({"messages": [{**USER[0], "refusal": ""}]}, True),
    ({"messages": [{**USER[0], "refusal": 0}]}, False),
    ({"messages": [{**ASKED, "tool_calls": [{**CALL, "type": None, "index": 0}]}]}, True),
    *(({"messages": [{**ASKED, "tool_calls": [{**CALL, **wrong}]}]}, False) for wrong in (
        {"type": "custom"}, {"id": 7}, {"index": -1}, {"x": 1}, {"function": {"name": "f", "x": 1}},
    )),
    ({"messages": [{**ASKED, "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]},
     "an object as JSON"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]}, False),
    ({"messages": [{"role": "user", "content": "a" * 3000}]}, "tokens, expected at most 512"),
]  # fmt: skip
COMPLETIONS: list[tuple[dict[str, Any], bool | str]] = [
    ({"echo": False, "stream": True}, True),
    ({"echo": True, "stream": True}, False),
    ({"echo": True, "max_tokens": 0}, True),
    ({"echo": False, "max_tokens": 0}, False),
    ({"prompt": [5], "add_special_tokens": False}, False),
    ({"prompt": [831] * 512, "max_tokens": 1}, True),
    ({"prompt": [831] * 513}, False),
    ({"prompt": [832]}, False),
    ({"prompt": ["a"] * 5, "max_tokens": 1}, True),
    ({"prompt": ["a"] * 6}, False),
    ({"prompt": [[5]] * 2, "n": 2, "max_tokens": 1}, True),
    ({"prompt": [[5]] * 3, "n": 2}, "fewer than the server's queue"),
    ({"prompt": [5] * 3, "n": 2, "max_tokens": 1}, True),
    ({"response_format": JSON, "ignore_eos": True}, False),
    ({"structured_outputs": {"regex": "ab?"}, "min_tokens": 5}, "options forbid every token"),
    ({"prompt": "", "add_special_tokens": False}, "at least one token"),
]
RESPONSES: list[tuple[dict[str, Any], bool | str]] = [
    ({"text": {}}, True),
    ({"text": {"format": None}}, True),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"const": 1}}}}, True),
    ({"text": {"format": {"type": "json_schema"}}}, False),
    ({"text": {"format": {"type": "json_schema", "schema": {"if": {}}}}}, "cannot be followed"),
    ({"input": [{**USER[0], "type": None, "id": "x", "status": "completed"}]}, True),
    ({"input": [{**USER[0], "id": 7}]}, False),
    ({"input": [{**USER[0], "type": "function_call"}]}, False),
    ({"input": [{"role": "assistant", "content": [
        {"type": "output_text", "text": "a", "annotations": [], "logprobs": None}]}]}, True),
    ({"input": [{"role": "assistant", "content": [
        {"type": "output_text", "text": "a", "annotations": {}}]}]}, False),
    ({"input": ""}, False),
]  # fmt: skip
TOKENS: list[tuple[dict[str, Any], bool | str]] = [
    ({"content": ""}, True),
    ({"content": "a", "prompt": None, "add_special": True}, True),
    ({"content": "a", "prompt": "b"}, False),
    ({"prompt": "a", "add_special": True}, False),
    ({}, False),
    ({"messages": USER, "tools": [tool("f", strict=True)]}, True),
    ({"messages": USER, "tools": [*TOOLS, *TOOLS]}, "names differ"),
    ({"content": "a", "tools": []}, False),
]
CASES = [
    (path, {"model": "calling", **needed, **fields}, expected)
    for path, needed, cases in (
        ("/v1/chat/completions", {"messages": USER, "max_tokens": 3}, CHATS),
        ("/v1/completions", {"prompt": "Hi"}, COMPLETIONS),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 3}, RESPONSES),
        ("/tokenize", {}, TOKENS),
    )
    for fields, expected in cases
]


@pytest.fixture(scope="module")
def small(server: Served) -> Iterator[Served]:
    """Serve the same models for few requests at a time, with a key."""
    from tests.support.serve.serving import served

    folders = {name: model.artifact.folder for name, model in server.state.models.items()}
    with served(folders, Limits(threads=1, rows=2, queue=3), key="secret") as found:
        yield found


@pytest.fixture(scope="module")
def description(small: Served) -> Any:
    return small.get("/openapi.json", **KEY).json()


def takes(description: Any, path: str, body: Any) -> bool:
    """Return whether the schema of an endpoint takes a body."""
    content = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    whole = {**content["schema"], "components": description["components"]}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(body))


@pytest.mark.parametrize(("path", "body", "expected"), CASES)
def test_a_schema_takes_what_the_server_takes(
    small: Served, description: Any, path: str, body: dict[str, Any], expected: bool | str
) -> None:
    pytest.importorskip("llguidance")
    found = small.post(path, body, **KEY)
    assert found.status_code == (200 if expected is True else 400), found.text
    assert takes(description, path, body) == bool(expected)
    if found.status_code == 400:
        error = found.json()["error"]
        assert (
            error["param"].partition("[")[0] in body
            or error["code"] == "missing_required_parameter"
        )
        assert not isinstance(expected, str) or expected in error["message"]


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path != "/v1/embeddings"])
def test_the_examples_are_answered_in_the_described_form(
    small: Served, description: Any, path: str
) -> None:
    operation = description["paths"][path]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert [each["value"]["model"] for each in examples.values()] == ["demo", "calling"]
    for each in examples.values():
        assert takes(description, path, each["value"])
        found = small.post(path, each["value"], **KEY)
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(found.json(), {**answered, "components": description["components"]})


def test_a_body_names_one_of_several_models(description: Any) -> None:
    for path, fields in EXAMPLES.items():
        if path != "/v1/embeddings":
            for model, expected in ((None, False), ("gpt", False), ("demo", True)):
                assert takes(description, path, {"model": model, **fields}) == expected
            assert not takes(description, path, fields)


def test_the_key_is_asked_for_where_there_is_one(server: Served, description: Any) -> None:
    assert description["security"] == [{"key": []}]
    assert description["paths"]["/health"]["get"]["security"] == []
    assert {} in server.get("/openapi.json").json()["security"]


@pytest.mark.parametrize("most", [0, 1, 9, 10, 11, 95, 99, 100, 101, 831, 999, 1000, 2050, 10999])
def test_numbers_are_those_up_to_the_largest(most: int) -> None:
    pattern = re.compile(numbers_to(most))
    assert [n for n in range(12000) if pattern.fullmatch(str(n))] == list(range(most + 1))
    for text in ("", "00", "01", "-1", "1.0", "a", f"0{most}"):
        assert not pattern.fullmatch(text)

"""Every field of the table is taken, or refused by its name in OpenAI's form; none is ignored."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette")
from bitnet_onnx.serve.api import reading
from bitnet_onnx.serve.api.description.openapi import BODIES, description
from bitnet_onnx.serve.api.errors import ApiError
from bitnet_onnx.serve.api.fields import CHAT, Field
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

FIELDS = [(path, field) for path, (_, table, _) in BODIES.items() for field in table]
USER = [{"role": "user", "content": "Hi"}]
NEEDED: dict[str, Any] = {"messages": USER, "tokens": [1]}
# Values of every type of JSON, and numbers beyond the range of all fields.
VALUES: list[Any] = [True, "x", "", 1, -1e9, 1e300, 0.5, [], [[]], [-1], ["x", 1], {}, {"x": []}]


@pytest.mark.parametrize(
    ("path", "field"), FIELDS, ids=[f"{path}-{field.name}" for path, field in FIELDS]
)
def test_a_value_is_taken_or_refused_by_the_fields_name(path: str, field: Field) -> None:
    table = BODIES[path][1]
    needed = {f.name: NEEDED.get(f.name, "x") for f in table if f.required}
    refused = 0
    for value in VALUES:
        body = {**needed, field.name: value}
        if field.kind.takes(value):
            assert reading.values_of(body, table)[field.name] == value
            continue
        with pytest.raises(ApiError, match=f"^{field.name} is .*, expected ") as caught:
            reading.values_of(body, table)
        error = caught.value
        assert (error.status, error.code, error.param) == (400, "invalid_value", field.name)
        refused += 1
    assert refused
    assert field.about or field.idle


@pytest.mark.parametrize("name", ["colour", "functions", "guided_json", "Model", "n_predict", ""])
def test_an_unknown_field_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match="is not a field of this endpoint") as caught:
        reading.values_of({"messages": USER, name: 1}, CHAT)
    assert caught.value.code == "unknown_parameter"
    assert (name in reading.REFUSED) == ("; use " in str(caught.value))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"1", b'"x"', b"\xff", b'{"a":NaN}', b'{"n":-Infinity}', b"[" * 100000,
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"a":1e999}', b'{"a":[{"b":-1e400}]}', b'{"n":1,"n":2}',
        b'{"n":' + b"9" * 5000 + b"}", b'{"n":[-' + b"9" * 5000 + b"]}", b'{"a":1}{',
        "{'a':1}".encode("utf-16"), b'{"a":"\xed\xa0\x80"}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match=r"^the body is ") as caught:
        reading.json_of(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")
    assert not re.search("codec|_str_digits|utf-8-sig", caught.value.message)


def test_a_mark_of_the_byte_order_is_no_part_of_a_body() -> None:
    assert reading.given_in(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "a\udc00"}]}),
        ("chat/completions", {"tools": [{"type": "function", "function": {
            "name": "f", "description": "\ud800"}}]}),
        ("chat/completions", {"stop": ["a", "\udfff"]}),
        ("chat/completions", {"logit_bias": {"\ud800": 1}}),
        ("chat/completions", {"metadata": {"a": [{"\ud800": 1}]}}),
        ("chat/completions", {"structured_outputs": {"json": '{"const": "\\ud800"}'}}),
        ("completions", {"prompt": ["a", "\ud800"]}),
        ("completions", {"prompt": "a", "user": "\ud83d"}),
        ("responses", {"input": "a\ud800b"}),
        ("responses", {"input": "a", "instructions": "\ud800"}),
        ("../tokenize", {"content": "\ud800"}),
        ("../tokenize", {"model": "\ud800", "content": "a"}),
    ],
)  # fmt: skip
def test_half_of_a_surrogate_pair_is_refused_by_its_field(
    server: Served, path: str, fields: dict[str, Any]
) -> None:
    *_, param = [name for name in fields if name != "content" or len(fields) == 1]
    param = "model" if "model" in fields else param
    body = {"model": "calling", **({"messages": USER} if path.startswith("chat") else {}), **fields}
    found = server.post(f"/v1/{path}", body)
    assert found.status_code == 400, found.text
    error = found.json()["error"]
    assert error["param"] == param
    assert "half of a surrogate pair, expected Unicode" in error["message"]


def test_a_whole_surrogate_pair_is_a_text(server: Served) -> None:
    body = b'{"model":"demo","content":"\\ud83d\\ude00"}'
    assert server.post("/tokenize", body).json() == (
        server.post("/tokenize", {"model": "demo", "content": "\U0001f600"}).json()
    )


@pytest.mark.parametrize("levels", [1, 100, 970, 980])
@pytest.mark.parametrize("field", ["metadata", "user", "text"])
def test_a_nested_value_is_no_mistake_of_the_server(
    server: Served, field: str, levels: int
) -> None:
    # A long body is read in a thread, whose stack has room for more levels than the answer's.
    nested = '{"a":' + "[" * levels + "]" * levels + "}"
    body = f'{{"model":"demo","input":"a","max_output_tokens":1,"{field}":{nested}}}{" " * 70000}'
    status = server.post("/v1/responses", body.encode()).status_code
    assert status == (200 if field == "metadata" and levels <= 100 else 400)


UNFOLLOWED: list[dict[str, Any]] = [
    {"type": "strin"}, {"items": {"if": {}}}, {"pattern": "("}, {"minProperties": 2}, {"enum": []},
    {"minimum": 3, "maximum": 1, "type": "integer"},
]  # fmt: skip
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"temperature": "hot"}, "temperature"),
    ("chat/completions", {"temperature": 2.1}, "temperature"),
    ("chat/completions", {"n": 9}, "n"),
    ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
    ("chat/completions", {"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
    ("chat/completions", {"logit_bias": {"x": 1}}, "logit_bias"),
    ("chat/completions", {"logit_bias": {"832": 1}}, "logit_bias"),
    ("chat/completions", {"logit_bias": dict.fromkeys(map(str, range(1025)), 1)}, "logit_bias"),
    ("chat/completions", {"stop_token_ids": [832]}, "stop_token_ids"),
    ("chat/completions", {"stream_options": {"include_usage": True}}, "stream_options"),
    ("chat/completions", {"stream": True, "stream_options": {"x": 1}}, "stream_options"),
    ("chat/completions", {"stream": True, "stream_options": {"include_obfuscation": 0}},
     "stream_options"),
    ("chat/completions", {"store": True}, "store"),
    ("chat/completions", {"response_format": {"type": "xml"}}, "response_format"),
    ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format"),
    ("chat/completions", {"response_format": {"type": "json_schema", "json_schema": {
        "schema": {"type": "object", "if": {}}}}}, "response_format"),
    *(("chat/completions", {"response_format": {"type": "json_schema", "json_schema": {
        "schema": {"type": "object"}, name: value}}}, "response_format")
      for name, value in (("strict", "yes"), ("strict", 1), ("name", 7), ("description", []))),
    ("responses", {"input": "a", "text": {"format": {"type": "json_schema", "name": {},
        "schema": {"type": "object"}}}}, "text"),
    ("chat/completions", {"tool_choice": "required"}, "tool_choice"),
    *((path, {"messages": USER, **fields}, next(iter(fields)))  # what the template does not read
      for path in ("chat/completions", "../tokenize") for fields in (
          {"tools": [{"type": "function", "function": {"name": "f"}}]},
          {"chat_template_kwargs": {"enable_thinking": True}},
      )),
    ("chat/completions", {"documents": [{"title": "a", "text": "b"}]}, "documents"),
    *(("chat/completions", {"response_format": {"type": "json_schema", "json_schema": {
        "schema": schema}}}, "response_format") for schema in UNFOLLOWED),
    ("chat/completions", {"messages": []}, "messages"),
    ("chat/completions", {"messages": [{"role": "robot", "content": ""}]}, "messages[0]"),
    ("chat/completions", {"messages": [*USER, {"role": "user"}]}, "messages[1]"),
    ("chat/completions", {"messages": [{**USER[0], "audio": {}}]}, "messages[0]"),
    ("chat/completions", {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0]"),
    ("chat/completions", {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "x", "cache_control": {}}]}]}, "messages[0]"),
    ("chat/completions", {"messages": [{"role": "user", "content": [
        {"type": ["text"], "text": "x"}]}]}, "messages[0]"),
    ("chat/completions", {"messages": [{"role": "user", "content": "a" * 3000}]}, "messages"),
    ("completions", {"prompt": "a" * 3000}, "prompt"),
    ("responses", {"input": "a" * 3000}, "input"),
    ("completions", {"prompt": "a", "structured_outputs": {"regex": "("}}, "structured_outputs"),
    ("completions", {"prompt": "a", "ignore_eos": True, "structured_outputs": {"regex": "a"}},
     "ignore_eos"),
    ("completions", {"prompt": "a", "logit_bias": {"7": 1, "07": 2}}, "logit_bias"),
    ("chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
    ("chat/completions", {"chat_template_kwargs": {"messages": 1}}, "chat_template_kwargs"),
    ("responses", {"input": "\ud800"}, "input"),
    ("responses", {"input": [{"role": "robot", "content": ""}]}, "input[0]"),
    ("completions", {"prompt": [9999]}, "prompt"),
    ("completions", {"prompt": "a", "echo": True, "stream": True}, "echo"),
    ("completions", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ("completions", {"prompt": "a", "suffix": "b"}, "suffix"),
    ("completions", {"prompt": ["a"] * 99}, "prompt"),
    ("embeddings", {"input": "a"}, "model"),
    ("responses", {"input": "a", "previous_response_id": "x"}, "previous_response_id"),
    ("responses", {"input": "a", "tools": [{"type": "function", "name": "f"}]}, "tools"),
    ("responses", {"input": "a", "tool_choice": "required"}, "tool_choice"),
    ("responses", {"input": "a", "include": ["message.output_text.logprobs"]}, "include"),
    ("chat/completions", {"messages": [{**USER[0], "annotations": "x"}]}, "messages[0]"),
    ("responses", {"input": [{"type": "function_call", "name": "f"}]}, "input"),
    ("responses", {"input": "a", "text": {"verbosity": "low"}}, "text"),
    ("../tokenize", {"content": "a", "prompt": "a"}, "prompt"),
    ("../tokenize", {"content": "a", "add_special_tokens": True}, "add_special_tokens"),
    ("../detokenize", {"tokens": [832]}, "tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields", "param"), REFUSED)
def test_what_cannot_be_obeyed_is_refused(
    server: Served, path: str, fields: dict[str, Any], param: str
) -> None:
    body = {"model": "demo", **({"messages": USER} if path.startswith("chat") else {}), **fields}
    found = server.post(f"/v1/{path}", body)
    assert found.status_code == (404 if path == "embeddings" else 400), found.text
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert "/" not in re.sub(r"https?://\S*", "", error["message"]).replace("/v1", "")


def test_null_is_as_if_left_out(server: Served) -> None:
    nulls = {field.name: None for field in CHAT if field.name not in ("model", "messages")}
    nulls |= dict.fromkeys(reading.REFUSED)
    body = {"model": "demo", "messages": USER}
    plain = server.post("/v1/chat/completions", body).json()
    found = server.post("/v1/chat/completions", {**body, **nulls}).json()
    assert found["choices"] == plain["choices"]


def test_fields_without_effect_are_known(server: Served) -> None:
    idle = {"user": "a", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    body = {"model": "demo", "messages": USER}
    plain = server.post("/v1/chat/completions", body).json()
    assert (
        server.post("/v1/chat/completions", {**body, **idle}).json()["choices"]
        == (plain["choices"])
    )


def test_the_description_has_every_field(server: Served) -> None:
    made = description(server.state.models)
    for path, (_, table, _) in BODIES.items():
        if path == "/v1/embeddings":
            assert path not in made["paths"]  # nothing that is served embeds texts
            continue
        content = made["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for each in content["schema"]["oneOf"]:
            name = each["$ref"].rpartition("/")[2]
            properties = made["components"]["schemas"][name]["properties"]
            assert list(properties) == [field.name for field in table]
    json.dumps(made, allow_nan=False)


def test_the_page_lists_every_field() -> None:
    page = (ROOT / "docs" / "server.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page.partition("### What is not there")[0], re.MULTILINE)
    assert set(listed) == {field.name for _, field in FIELDS}
    for name in reading.REFUSED:
        assert f"`{name}`" in page, name

"""Functions in chats: calls are found in the model's own form, or forced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette")
from bitnet_onnx.generation.model import Model
from bitnet_onnx.serve.api.errors import ApiError
from bitnet_onnx.serve.api.tools import Calling, Splitter, calling_of
from bitnet_onnx.text.tool_calls import parse_tool_calls

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

PLACE = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"],
         "additionalProperties": False}  # fmt: skip


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


WEATHER, CLOCK = tool("weather", parameters=PLACE), tool("clock")
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
ANSWERS = [
    "It rains.",
    "",
    " {braces} are no call",
    f"Let me see. {CALL}",
    f"  {CALL}\n{CALL} ",
    '{"name": "weather", "parameters": {"city": "Oslo"}}',
    '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}] then',
    '<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]',
    f"<think>Shall I call <tool_call>?</think>\n\n{CALL}",
    "<tool_call>no JSON</tool_call> so",
    "a <tool_ca",
]


@pytest.mark.parametrize("text", ANSWERS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pieces_of_an_answer_join_to_its_content_and_calls(text: str, size: int) -> None:
    splitter = Splitter(Calling("auto"))
    pieces = [splitter.push(text[i : i + size]) for i in range(0, len(text), size)]
    rest, calls, reason = splitter.end("stop")
    expected = parse_tool_calls(text)
    content = "".join(pieces) + rest
    assert content.lstrip() == expected.content.lstrip()
    assert [call["function"]["name"] for call in calls] == [c.name for c in expected.calls]
    assert [json.loads(c["function"]["arguments"]) for c in calls] == [
        call.arguments for call in expected.calls
    ]
    assert reason == ("tool_calls" if calls else "stop")
    assert "<tool_call>" not in "".join(pieces).rpartition("</think>")[2]


def test_one_call_is_left_where_parallel_ones_are_not_wanted() -> None:
    fields = {"tools": [WEATHER], "parallel_tool_calls": False}
    splitter = Splitter(calling_of(fields, lambda: None))
    splitter.push(CALL + CALL)
    assert len(splitter.end("stop")[1]) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [tool("a b")]}, "a name of letters"),
        ({"tools": [tool("")]}, "a name of letters"),
        ({"tools": [CLOCK, CLOCK]}, "functions whose names differ"),
        ({"tools": [{"type": "function"}]}, "objects"),
        ({"tools": [{"type": "web_search"}]}, "objects"),
        ({"tools": [tool("a", parameters=1)]}, "parameters of tools\\[0\\] to be a dict"),
        ({"tools": [tool("a", code="x")]}, "name, description, parameters and strict"),
        ({"tools": [tool("a", strict=True)]}, "expected required or one function"),
        ({"tools": [CLOCK], "tool_choice": tool("b")}, "one of: clock"),
        ({"tools": [CLOCK], "tool_choice": {"type": "custom"}}, '"function": {"name"'),
        ({"tool_choice": "required"}, "tools with it"),
        ({"tools": [], "tool_choice": tool("b")}, "tools with it"),
    ],
)
def test_what_cannot_be_called_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ApiError, match=expected) as caught:
        calling_of(fields, lambda: None)
    assert caught.value.status == 400
    assert caught.value.param in ("tools", "tool_choice")


def ask(server: Served, **fields: Any) -> dict[str, Any]:
    body = {"model": "calling", "messages": [{"role": "user", "content": "Oslo?"}], **fields}
    found = server.post("/v1/chat/completions", body)
    assert found.status_code == 200, found.text
    return dict(found.json()["choices"][0])


def test_the_template_gets_the_tools(server: Served) -> None:
    served: Any = server.state.models["calling"]
    messages = [{"role": "user", "content": "Oslo?"}]
    for fields, tools in (
        ({"tools": [WEATHER]}, [WEATHER]),
        ({"tools": [WEATHER], "tool_choice": "none"}, None),
        ({"tools": []}, None),
    ):
        found = server.post("/tokenize", {"model": "calling", "messages": messages, "tools":
                                          fields["tools"]})  # fmt: skip
        if "tool_choice" not in fields:
            assert found.json()["tokens"] == served.encode(messages, tools=tools)
        choice = server.post(
            "/v1/chat/completions", {"model": "calling", "messages": messages, **fields}
        ).json()
        assert choice["usage"]["prompt_tokens"] == len(served.encode(messages, tools=tools))


def test_a_call_in_an_answer_becomes_tool_calls(server: Served) -> None:
    pytest.importorskip("llguidance")
    form = {"choice": [CALL]}
    found = ask(server, tools=[WEATHER], structured_outputs=form)
    (call,) = found["message"]["tool_calls"]
    assert found["message"]["content"] is None
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert found["finish_reason"] == "tool_calls"
    plain = ask(server, structured_outputs=form)
    assert (plain["message"]["content"], plain["finish_reason"]) == (CALL, "stop")


def test_forced_calls_follow_their_schemas(server: Served) -> None:
    pytest.importorskip("llguidance")
    named = ask(server, tools=[CLOCK, WEATHER], tool_choice=tool("weather"), max_tokens=200)
    (call,) = named["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Oslo", "Rome")
    assert named["finish_reason"] == "stop"  # as OpenAI has it where a function is named
    found = ask(server, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False,
                max_tokens=200)  # fmt: skip
    (call,) = found["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in ("Oslo", "Rome")
    assert found["finish_reason"] == "tool_calls"


def test_calls_and_results_go_back_into_the_chat(server: Served, alone: Model) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather",
            "arguments": '{"city": "Oslo"}'}}  # fmt: skip
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    served: Any = server.state.models["calling"]
    found = server.post("/tokenize", {"model": "calling", "messages": messages}).json()
    text = served.tokenizer.decode(found["tokens"])
    assert '"arguments": {"city": "Oslo"}' in text
    assert "Tool: rain" in text
    for wrong in ("x", "[1]", 3):
        call["function"] = {"name": "weather", "arguments": wrong}
        refused = server.post("/tokenize", {"model": "calling", "messages": messages})
        assert refused.json()["error"]["param"] == "messages[1]"


def test_streamed_calls_have_an_index(server: Served) -> None:
    openai = pytest.importorskip("openai")
    pytest.importorskip("llguidance")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        chunks = list(
            client.chat.completions.create(
                model="calling",
                messages=[{"role": "user", "content": "Oslo?"}],
                tools=[WEATHER],
                stream=True,
                extra_body={"structured_outputs": {"choice": [CALL + CALL]}},
            )
        )
    calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in calls] == [(0, "weather"), (1, "weather")]
    assert not "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

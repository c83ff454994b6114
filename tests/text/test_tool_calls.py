"""Tool calls are read back from every form in which models write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx import ToolCall, parse_tool_calls

ULM, BONN = ToolCall("weather", {"city": "Ulm"}), ToolCall("weather", {"city": "Bonn"})
FIRST = '{"name": "weather", "arguments": {"city": "Ulm"}}'
CALL, ARGUMENTS = f"<tool_call>{FIRST}</tool_call>", '{"city": "Ulm"}'
XML = "<function=weather>\n<parameter=city>\nUlm\n</parameter>\n</function>"
OPENAI = json.dumps({"function": {"name": "weather", "arguments": ARGUMENTS}})
SECOND = '{"name": "weather", "arguments": {"city": "Bonn"}}'


@pytest.mark.parametrize(
    ("text", "calls", "content"),
    [
        (f"<tool_call>\n{FIRST}\n</tool_call>", [ULM], ""),
        (f"Well.\n{CALL}\n<tool_call>{SECOND}</tool_call>", [ULM, BONN], "Well."),
        (f"<tool_call>\n{FIRST}", [ULM], ""),  # the end of the turn closes it
        (f"<tool_call>[{FIRST}, {SECOND}]</tool_call>", [ULM, BONN], ""),
        ('{"name": "weather", "parameters": {"city": "Ulm"}}', [ULM], ""),
        (FIRST.replace("arguments", "parameters") + "; " + SECOND, [ULM, BONN], ""),
        (f"<|python_tag|>{FIRST}<|eom_id|>", [ULM], ""),
        (f"[TOOL_CALLS][{FIRST}, {SECOND}]", [ULM, BONN], ""),
        (f"[TOOL_CALLS] [{FIRST}]", [ULM], ""),
        (f"[TOOL_CALLS]weather[ARGS]{ARGUMENTS}[TOOL_CALLS]weather{ARGUMENTS}", [ULM, ULM], ""),
        (f"<|tool_call|>[{FIRST}]", [ULM], ""),
        (f"<|tool_call|> [{FIRST},{SECOND}]", [ULM, BONN], ""),
        (f"<tool_call>\n{XML}\n</tool_call>", [ULM], ""),
        ('<tool_call>{"name": "now"}</tool_call>', [ToolCall("now")], ""),
        (f"<tool_call>{OPENAI}</tool_call>", [ULM], ""),
        (f"<think>{CALL}?</think>\n\n{CALL}", [ULM], f"<think>{CALL}?</think>"),
        ("Just text, {} and [1].", [], "Just text, {} and [1]."),
        (' {"city": "Ulm"}\n', [], ' {"city": "Ulm"}\n'),  # JSON that is no call
        ("", [], ""),
    ],
)  # fmt: skip
def test_calls_and_text_are_taken_apart(text: str, calls: list[ToolCall], content: str) -> None:
    found = parse_tool_calls(text)
    assert (list(found.calls), found.content, found.malformed) == (calls, content, ())


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ('{"name": "weather", ', "expected JSON"),
        ("", "expected JSON"),
        ("7", 'an object with "name"'),
        ('{"name": 7}', 'an object with "name"'),
        ('{"name": ""}', 'an object with "name"'),
        ('{"name": "a", "arguments": [1]}', 'an object as "arguments"'),
        ('{"name": "a", "arguments": "{"}', 'JSON in "arguments"'),
        ("[" * 100_000, "expected JSON"),
        ("<function=a>", "<function=name>"),
    ],
)
def test_a_malformed_call_is_reported_and_stays_in_the_text(inside: str, expected: str) -> None:
    found = parse_tool_calls(f"a <tool_call>{inside}</tool_call> <tool_call>{FIRST}</tool_call>")
    assert found.calls == (ULM,)
    assert len(found.malformed) == 1
    assert expected in found.malformed[0]
    assert found.content == f"a <tool_call>{inside}</tool_call> "


def test_an_answer_becomes_the_message_that_templates_read() -> None:
    message = parse_tool_calls(f"I look.<tool_call>{FIRST}</tool_call>").to_message()
    assert message == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"type": "function", "function": json.loads(FIRST)}],
    }
    assert parse_tool_calls("Hello").to_message() == {"role": "assistant", "content": "Hello"}


PARTS = "<tool_call> </tool_call> [TOOL_CALLS] <|python_tag|> <|tool_call|> </think>".split()
PARTS += [FIRST, "[", "]", "{", "}", ";", "name", "[ARGS]", "<function=a>", "</function>", '"', " "]


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_no_text_raises(text: str) -> None:
    parse_tool_calls(text)

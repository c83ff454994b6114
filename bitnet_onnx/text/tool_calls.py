"""Reads the tool calls in a model's answer.

Knows the forms in which models write calls; does not know templates or tokenizers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FORMS", "STARTS", "ParsedAnswer", "ToolCall", "parse_tool_calls"]


@dataclass(frozen=True)
class ToolCall:
    """A call of the function ``name``, with the ``arguments`` that the model chose."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def to_message(self) -> dict[str, Any]:
        """Return the entry of an assistant message's "tool_calls", as chat templates read it."""
        return {
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class ParsedAnswer:
    """An answer taken apart: ``content`` is its text without the calls, ``calls`` are those."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    malformed: tuple[str, ...] = ()
    """One sentence for each call that is not JSON with a name and arguments."""

    def to_message(self) -> dict[str, Any]:
        """Return the assistant message, which a chat takes before the tools' results."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.calls:
            message["tool_calls"] = [call.to_message() for call in self.calls]
        return message


# What begins a call, and what ends it: Hermes, Qwen and others; Granite; Mistral; Llama 3.
FORMS = (
    ("<tool_call>", "</tool_call>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("[TOOL_CALLS]", None),
    ("<|python_tag|>", "<|eom_id|>"),
)
STARTS = tuple(first for first, _ in FORMS)
# Mistral's later form: a name, then its arguments.
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)")
# Qwen3-Coder's form.
_XML = re.compile(r"\s*<function=([^>\n]+)>(.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_THOUGHT = "</think>"


class _Malformed(Exception):
    """Why a call cannot be read."""


def parse_tool_calls(text: str) -> ParsedAnswer:
    """Take an answer apart into its text and its tool calls.

    Read are <tool_call>{json}</tool_call> (Hermes, Qwen), <|tool_call|>[json] (Granite),
    [TOOL_CALLS][json] (Mistral), and {"name": ..., "parameters": ...} as the whole answer or after
    <|python_tag|> (Llama 3). Nothing is raised: what looks like a call and is none is reported in
    ``malformed`` and stays in the text. Calls inside <think>...</think> are thoughts.
    """
    thought, closed, answer = text.rpartition(_THOUGHT)
    kept, calls, malformed = [], [], []
    for whole, inside in _parts(answer):
        try:
            if inside is None:
                kept.append(whole)
            else:
                calls += _calls(inside)
        except _Malformed as error:
            malformed.append(f"a tool call is {whole.strip()[:200]!r}, expected {error}")
            kept.append(whole)
    content = "".join(kept) if malformed or not calls else "".join(kept).strip()
    return ParsedAnswer(thought + closed + content, tuple(calls), tuple(malformed))


def _parts(answer: str) -> Iterator[tuple[str, str | None]]:
    """Yield the answer in parts, with the inside of those that are calls."""
    if _is_bare(answer):
        yield answer, answer
        return
    while answer:
        begins = [(answer.find(first), first, last) for first, last in FORMS if first in answer]
        if not begins:
            yield answer, None
            return
        place, first, last = min(begins)
        yield answer[:place], None
        inside = answer[place + len(first) :]
        # A call that is not closed ends with the answer.
        part, _, rest = inside.partition(last) if last is not None else _mistral(inside)
        yield answer[place : len(answer) - len(rest)], part
        answer = rest


def _is_bare(answer: str) -> bool:
    """Say whether the whole answer is a call as Llama 3 writes it."""
    if not answer.lstrip().startswith("{"):
        return False
    try:
        return bool(_calls(answer))
    except _Malformed:
        return False


def _mistral(inside: str) -> tuple[str, str, str]:
    """Split a list of calls from the text after it; a further call has its own beginning."""
    part, _, _ = inside.partition("[TOOL_CALLS]")
    named = _NAMED.match(part)
    start = named.end() if named else len(part) - len(part.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(part, start)
    except (ValueError, RecursionError):
        end = len(part)
    return inside[:end], "", inside[end:]


def _calls(part: str) -> list[ToolCall]:
    """Read one call, a list of calls, or several calls with ``;`` between them."""
    if named := _NAMED.match(part):
        return [_call({"name": named[1], "arguments": found}) for found in _json(part, named.end())]
    if part.lstrip().startswith("<function="):
        return _xml(part)
    found = [entry for item in _json(part, 0) for entry in (item if _is_list(item) else [item])]
    return [_call(entry) for entry in found]


def _json(text: str, start: int) -> list[Any]:
    values: list[Any] = []
    decoder = json.JSONDecoder()
    while text[start:].strip(" \t\r\n;") or not values:
        start += len(text[start:]) - len(text[start:].lstrip(" \t\r\n;"))
        try:
            value, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise _Malformed("JSON") from error
        values.append(value)
    return values


def _xml(part: str) -> list[ToolCall]:
    found = _XML.findall(part)
    if not found or _XML.sub("", part).strip():
        raise _Malformed("<function=name> ... </function>")
    return [ToolCall(name.strip(), dict(_PARAMETER.findall(body))) for name, body in found]


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _call(entry: Any) -> ToolCall:
    if isinstance(entry, dict) and isinstance(entry.get("function"), dict):
        entry = entry["function"]
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str) or not name:
        raise _Malformed('an object with "name" and "arguments"')
    arguments = entry.get("arguments", entry.get("parameters", {}))
    if isinstance(arguments, str):  # the form of OpenAI's interface
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise _Malformed('JSON in "arguments"') from error
    if not isinstance(arguments, dict):
        raise _Malformed('an object as "arguments"')
    return ToolCall(name, arguments)

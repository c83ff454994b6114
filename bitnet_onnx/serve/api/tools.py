"""Functions that a chat offers: what the template gets, what an answer may be, the calls in it.

Knows OpenAI's fields and the calls of answers; does not know HTTP.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import BitNetError
from ...text.tool_calls import STARTS, parse_tool_calls
from ..call_form import CallForm, calls_of
from .errors import ApiError, error_of
from .reading import refuse

__all__ = ["Calling", "Splitter", "calling_of", "functions_of"]

THOUGHT = "</think>"
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Calling:
    """How a chat may call functions.

    mode: "text" has no calls; "auto" finds calls in the model's own form; "list" forces a JSON list
    of calls, and "arguments" the arguments of the function ``name``, where that form is unknown.
    form: what the answer is forced to be. single: at most one call. followed: the schemas of
    arguments that the form has, by the name of their function.
    """

    mode: str
    tools: list[dict[str, Any]] | None = None
    form: dict[str, Any] | None = None
    name: str = ""
    single: bool = False
    followed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def calling_of(values: Mapping[str, Any], own: Callable[[], CallForm | None]) -> Calling:
    """Return how the chat may call functions; refuse what cannot be obeyed.

    own returns the form in which the model writes calls.
    """
    tools, choice = values.get("tools") or [], values.get("tool_choice")
    functions = functions_of(tools)
    name = _named(choice) if isinstance(choice, dict) else ""
    if not tools:
        if choice not in (None, "none", "auto"):
            refuse("tool_choice", choice, "tools with it")
        return Calling("text")
    if choice == "none":
        return Calling("text")  # as if there were none: the prompt does not name them
    single = values.get("parallel_tool_calls") is False
    if isinstance(choice, dict):
        if name not in functions:
            refuse("tool_choice", name, f"one of: {', '.join(functions)}")
        return _forced(tools, {name: functions[name]}, own(), True, name)
    if choice == "required":
        return _forced(tools, functions, own(), single)
    strict = [name for name, function in functions.items() if function.get("strict")]
    form = own() if strict else None
    if strict and form is None:
        raise ApiError(
            400,
            f"strict of the function {strict[0]!r} is true with tool_choice auto, and the chat"
            " template does not show how calls begin, expected required or one function",
            param="tools",
            code="invalid_value",
        )
    if form is None:
        return Calling("auto", tools, single=single)
    followed = _parameters(functions)
    grammar = {"grammar": _grammar(form, followed, False, single)}
    return Calling("auto", tools, grammar, single=single, followed=followed)


def functions_of(tools: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Return the functions of tools by name; refuse what is no function, or named as another."""
    functions: dict[str, Mapping[str, Any]] = {}
    for place, tool in enumerate(tools):
        function = _function(tool, f"tools[{place}]")
        if function["name"] in functions:
            refuse("tools", function["name"], "functions whose names differ")
        functions[function["name"]] = function
    return functions


def _forced(
    tools: list[dict[str, Any]],
    functions: Mapping[str, Mapping[str, Any]],
    form: CallForm | None,
    single: bool,
    name: str = "",
) -> Calling:
    """Return a call that is forced: in the model's own form, where it is known, and else as JSON.

    name: of the only function, which the answer need not name.
    """
    followed = _parameters(functions)
    if form is not None:
        grammar = {"grammar": _grammar(form, followed, True, single)}
        return Calling("auto", tools, grammar, name, single, followed)
    if name:
        return Calling("arguments", tools, {"json": followed[name]}, name, followed=followed)
    return Calling("list", tools, _list_of(followed, single), single=single, followed=followed)


def _grammar(
    form: CallForm, parameters: Mapping[str, Mapping[str, Any]], forced: bool, single: bool
) -> str:
    try:
        return form.grammar(parameters, forced, single)
    except BitNetError as error:
        raise error_of(error, "tools") from None


def _function(tool: Any, where: str) -> dict[str, Any]:
    """Return the function of a tool of OpenAI's form."""
    good = set(tool) == {"type", "function"} and tool["type"] == "function"
    function = tool["function"] if good else None
    if not isinstance(function, dict):
        refuse("tools", tool, 'objects {"type": "function", "function": {"name": ...}}')
    for name, kinds in (
        ("name", str), ("description", str), ("parameters", dict), ("strict", bool),
    ):  # fmt: skip
        if not isinstance(function.get(name), (kinds, type(None))):
            refuse("tools", function[name], f"{name} of {where} to be a {kinds.__name__}")
    if not NAME.fullmatch(function.get("name") or ""):
        refuse("tools", function.get("name"), "a name of letters, digits, _, . and -, at most 64")
    if more := set(function) - {"name", "description", "parameters", "strict"}:
        refuse("tools", sorted(more)[0], "name, description, parameters and strict")
    return function


def _named(choice: Mapping[str, Any]) -> str:
    function = choice.get("function")
    good = set(choice) == {"type", "function"} and choice["type"] == "function"
    if not good or not isinstance(function, dict) or set(function) != {"name"}:
        refuse("tool_choice", choice, '{"type": "function", "function": {"name": ...}}')
    if not isinstance(function["name"], str):
        refuse("tool_choice", choice, "a name that is a text")
    return function["name"]


def _parameters(functions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the schemas of the functions' arguments."""
    anything = {"type": "object"}
    return {name: found.get("parameters") or anything for name, found in functions.items()}


def _list_of(parameters: Mapping[str, Mapping[str, Any]], single: bool) -> dict[str, Any]:
    """Return the form of a list of calls."""
    calls, definitions = calls_of(parameters, "arguments")
    most = {"maxItems": 1} if single else {}
    return {"json": {"type": "array", "items": calls, "minItems": 1, **most, **definitions}}


class Splitter:
    """Parts the text of an answer into content and calls, as it comes.

    Content that may be the beginning of a call waits until that is decided; so do blanks, which
    an answer with calls loses at its end.
    """

    def __init__(self, calling: Calling) -> None:
        self._calling, self._text, self._sent = calling, "", 0

    def push(self, piece: str) -> str:
        """Return the content that is now certain."""
        if self._calling.mode == "text":
            return piece
        self._text += piece
        if self._calling.mode != "auto":
            return ""
        end = max(self._certain(), self._sent)
        part, self._sent = self._text[self._sent : end], end
        return part

    def _certain(self) -> int:
        text = self._text
        thought = text.rfind(THOUGHT)
        start = thought + len(THOUGHT) if thought >= 0 else 0
        if not text[start:].strip() or text[start:].lstrip().startswith("{"):
            return start if start else 0
        places = [text.find(mark) for mark in STARTS if mark in text]
        end = min(places, default=len(text) - max(_overlap(text, mark) for mark in STARTS))
        return len(text[:end].rstrip())

    def end(self, reason: str) -> tuple[str, list[dict[str, Any]], str]:
        """Return the rest of the content, the calls, and why the answer ended."""
        mode, text = self._calling.mode, self._text
        if mode == "text":
            return "", [], reason
        if mode == "arguments":
            return "", [_call(self._calling.name, text)], reason
        if mode == "list":
            found = _listed(text) if reason == "stop" else []
            return ("", found, "tool_calls") if found else (text, [], reason)
        parsed = parse_tool_calls(text)
        if not parsed.calls:
            return text[self._sent :], [], reason
        sent = text[: self._sent]
        rest = parsed.content[len(sent.lstrip()) :]
        calls = parsed.calls[:1] if self._calling.single else parsed.calls
        made = [_call(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in calls]
        named = reason == "stop" and self._calling.name  # as OpenAI has it: the call was no choice
        return rest, made, "stop" if named else "tool_calls"


def _listed(text: str) -> list[dict[str, Any]]:
    """Return the calls of a list that was forced; none where the answer was cut."""
    try:
        return [
            _call(call["name"], json.dumps(call["arguments"], ensure_ascii=False))
            for call in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError):
        return []


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _overlap(text: str, mark: str) -> int:
    """Count the characters at the end of a text that begin a mark."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)

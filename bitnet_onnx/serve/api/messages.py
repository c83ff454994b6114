"""Messages of OpenAI's form as chat templates read them.

Knows roles and parts; does not know templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import ApiError
from .forms import CALLED, PARTS, ROLES
from .kinds import Kind

__all__ = ["messages_of"]

FIELDS = frozenset(
    "role content name tool_calls tool_call_id refusal annotations reasoning_content reasoning"
    "".split()
)


def messages_of(messages: Sequence[Mapping[str, Any]], param: str = "messages") -> list[Any]:
    """Return the messages with contents that are texts, and calls whose arguments are objects."""
    return [_message(message, f"{param}[{i}]") for i, message in enumerate(messages)]


def _message(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = {name: value for name, value in message.items() if value is not None}
    for name in given:
        if name not in FIELDS:
            _refuse(f"{where} has the field {name[:64]!r}", f"one of: {', '.join(sorted(FIELDS))}",
                    where)  # fmt: skip
    role = given.get("role")
    if role not in ROLES:
        _refuse(f"the role of {where} is {role!r:.80}", f"one of: {', '.join(ROLES)}", where)
    # Templates know one name for both.
    made: dict[str, Any] = {"role": "system" if role == "developer" else role}
    calls = given.get("tool_calls", [])
    if not isinstance(calls, list) or (calls and role != "assistant"):
        _refuse(f"{where} has tool_calls", "a list of calls of an assistant", where)
    if "content" not in given and not calls:
        _refuse(f"{where} has no content", "a text, or a list of text parts", where)
    made["content"] = _content(given.get("content", ""), where)
    for name in ("name", "tool_call_id", "reasoning_content", "reasoning"):
        if name in given:
            if not isinstance(given[name], str):
                _refuse(f"{name} of {where} is {given[name]!r:.80}", "a text", where)
            made[name] = given[name]
    if calls:
        made["tool_calls"] = [_call(call, f"{where}.tool_calls[{i}]", where)
                              for i, call in enumerate(calls)]  # fmt: skip
    if role == "tool" and "tool_call_id" not in made:
        _refuse(f"{where} has no tool_call_id", "the id of the call that it answers", where)
    if given.get("refusal", "") != "":
        _refuse(f"{where} has a refusal", "content", where)
    if not isinstance(given.get("annotations", []), list):  # of an answer that comes back
        _refuse(f"annotations of {where} are {given['annotations']!r:.80}", "a list", where)
    return made


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        _refuse(f"the content of {where} is {content!r:.80}", "a text, or a list of text parts",
                where)  # fmt: skip
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS:
            _refuse(f"the content of {where} has a part of type {kind!r:.80}",
                    "parts of type text: models here read text", where)  # fmt: skip
        for name, value in part.items():
            if name not in ("type", "text") and not _takes(PARTS[kind], name, value):
                _refuse(f"the content of {where} has a part with {name[:64]!r}", "its text", where)
        if not isinstance(part.get("text"), str):
            _refuse(f"the content of {where} has a part without text", "a text in it", where)
        texts.append(part["text"])
    return "\n".join(texts)


def _call(call: Any, name: str, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        _refuse(f"{name} is {call!r:.80}", "an object with a function and its name", where)
    for field, value in call.items():
        if field != "function" and not _takes(CALLED, field, value):
            _refuse(f"{name} has {field[:64]!r} with {value!r:.80}",
                    "a text as id, function as type, and the function", where)  # fmt: skip
    if more := set(function) - {"name", "arguments"}:
        _refuse(f"the function of {name} has {min(more)[:64]!r}", "its name and arguments", where)
    arguments = function.get("arguments", "{}")
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        _refuse(f"the arguments of {name} are {arguments!r:.80}", "an object as JSON", where)
    made = {"type": "function", "function": {"name": function["name"], "arguments": found}}
    return made if call.get("id") is None else {"id": call["id"], **made}


def _takes(kinds: Mapping[str, Kind], name: str, value: Any) -> bool:
    """Return whether a field is one of those, and its value fits; null always does."""
    return name in kinds and (value is None or kinds[name].takes(value))


def _refuse(found: str, expected: str, param: str) -> NoReturn:
    raise ApiError(400, f"{found}, expected {expected}", param=param, code="invalid_value")

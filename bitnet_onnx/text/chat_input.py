"""What goes into a chat template: messages, tools, documents and variables, checked and plain.

Knows JSON's types, and keeps a user's text from posing as a control token. Does not know Jinja, ids
or files.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import TokenizerError

__all__ = ["MARKERS", "VARIABLES", "ChatInput", "Message", "guard"]

Message = Mapping[str, Any]
# Tokens around a model's thoughts and tool calls. An answer shows them, also where they are special
# tokens, and an assistant's message may contain them: the template looks for them there.
MARKERS = frozenset(
    "<think> </think> <tool_call> </tool_call> <|tool_call|> <|/tool_call|> <|python_tag|>"
    " [TOOL_CALLS] [ARGS] <|tool_call_start|> <|tool_call_end|> <tool_calls> </tool_calls>".split()
)
# The fields of a message's reasoning; a template may read any of them.
_REASONING = ("reasoning_content", "thinking", "reasoning")
VARIABLES = "chat_template_kwargs"
# What the template gets from the caller by other names.
_TAKEN = ("messages", "tools", "documents", "add_generation_prompt")


@dataclasses.dataclass(frozen=True)
class ChatInput:
    """Everything that a template sees, as plain JSON; made by ``of``."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None
    documents: list[Any] | None = None
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> ChatInput:
        """Check the forms; raise TokenizerError where one is wrong.

        As in transformers, a message's fields that are None are left out, and its reasoning is
        found under each name that templates use.
        """
        try:
            said = _plain(list(messages))
            given = _plain(dict(chat_template_kwargs or {}))
            described, cited = (_objects(*found) for found in _named(tools, documents))
        except RecursionError as error:
            raise TokenizerError("the chat is nested too deep, expected JSON") from error
        if not said or not all(isinstance(message, dict) for message in said):
            raise TokenizerError(
                "the chat is empty or has a message of another type, expected at least one mapping"
                " with a role and a content"
            )
        for name in given:
            if not isinstance(name, str) or not name.isidentifier() or name in _TAKEN:
                raise TokenizerError(
                    f"{VARIABLES} names {name!r}, expected a variable of the chat template"
                    f" other than {', '.join(_TAKEN)}",
                    argument=VARIABLES,
                )
        return cls([_message(message) for message in said], described, cited, given)

    def guarded(
        self, special: Iterable[str], answers: Sequence[str] = ()
    ) -> tuple[ChatInput, str, list[str]]:
        """Return the input with a mark in each special token of its texts, the mark, and answers.

        An assistant's message, and each of ``answers``, keeps its MARKERS.
        """
        try:
            return self._guarded(frozenset(special), answers)
        except RecursionError as error:
            raise TokenizerError("the chat is nested too deep, expected JSON") from error

    def _guarded(
        self, special: frozenset[str], answers: Sequence[str]
    ) -> tuple[ChatInput, str, list[str]]:
        values = (self.messages, self.tools, self.documents, dict(self.variables))
        mark = _unwritten([values, answers])
        change, answered = _marking(special, mark), _marking(special - MARKERS, mark)
        messages = [
            _mapped(message, answered if message.get("role") == "assistant" else change)
            for message in self.messages
        ]
        others = (_mapped(value, change) for value in values[1:])
        return ChatInput(messages, *others), mark, [answered(text) for text in answers]


def guard(messages: Sequence[Message], special: Iterable[str]) -> tuple[list[Message], str]:
    """Return ``ChatInput.guarded`` of messages alone."""
    chat, mark, _ = ChatInput.of(messages).guarded(special)
    return list(chat.messages), mark


def _named(tools: Any, documents: Any) -> tuple[tuple[str, str, Any], tuple[str, str, Any]]:
    return (
        ("tools", "a list of JSON schemas", tools),
        ("documents", "a list of objects with title and text", documents),
    )


def _objects(name: str, expected: str, found: Any) -> list[Any] | None:
    if found is None:
        return None
    hint = None
    if isinstance(found, (list, tuple)):
        wrong = next((item for item in found if not isinstance(item, Mapping) or not item), None)
        if wrong is None:
            plain: list[Any] = _plain(list(found))
            return plain
        if callable(wrong):
            hint = "make its schema with: transformers.utils.get_json_schema(function)"
        found = wrong
    kind = "a function" if callable(found) else f"a {type(found).__name__}"
    raise TokenizerError(f"{name} holds {kind}, expected {expected}", hint, name)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """Return the value in Python's own types, so that a template meets no object with methods."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):  # an enum, or a number of NumPy
            return getattr(kind, f"__{kind.__name__}__")(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) is list else tuple(map(_plain, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return _plain(value.model_dump())
    if getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    return f"<{type(value).__name__}>"


def _unwritten(value: Any) -> str:
    """Return a private-use character that no text contains, as itself or as an escape of JSON."""
    written = "\n".join(_strings(value))
    escaped = written.lower() if "\\u" in written else ""
    return next(
        chr(code)
        for code in range(0xE000, 0xF900)
        if chr(code) not in written and f"\\u{code:04x}" not in escaped
    )


def _marking(special: Iterable[str], mark: str) -> Callable[[str], str]:
    """Return the function that puts ``mark`` after the first letter of each special token.

    The template copies the mark, so that the encoder can tell the token from one that the template
    writes.
    """
    # The lookahead also finds overlapping tokens.
    tokens = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    pattern = re.compile(f"(?=(?:{tokens}))(.)" if tokens else "(?!)", re.DOTALL)
    return lambda text: pattern.sub(lambda match: match[0] + mark, text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _strings(pair)
    elif isinstance(value, (list, tuple)):
        yield from (text for item in value for text in _strings(item))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return the value with all its texts changed, the keys of its objects included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    return value

"""A chat template as rules that a program without Jinja can follow: what ``chat.json`` holds.

Knows how the engine for native apps makes texts and ids of a conversation; does not know templates.
``mobile_demo/engine/src/chat`` is the same in C++, and docs/artifact.md describes the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

__all__ = ["BLANKS", "DATE", "FORMAT_VERSION", "Cut", "Part", "Parts", "Role", "Rules"]

FORMAT_VERSION = 1
# What str.strip removes.
BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
DATE = re.compile(r"%[dbBYymaAj]")  # the codes of strftime that the engine knows
Conversation = Sequence[Mapping[str, str]]  # an optional system prompt, questions and answers


@dataclass(frozen=True)
class Part:
    """A text, a special token with its id, or a date in strftime's form."""

    text: str
    id: int | None = None
    is_date: bool = False

    def written(self, now: datetime) -> str:
        return now.strftime(self.text) if self.is_date else self.text

    def to_json(self) -> dict[str, Any]:
        if self.id is not None:
            return {"token": self.text, "id": self.id}
        return {"date" if self.is_date else "text": self.text}


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Cut:
    """Only what follows the last ``after`` is written, where a text has it, and stripped."""

    after: str
    strip_left: str = ""
    strip_right: str = ""


@dataclass(frozen=True)
class Role:
    """How the texts of a role are written: cut, then stripped of these characters.

    Texts with one of ``refused`` are written in another way, and so are those of blanks alone
    where ``blank`` is false: the engine refuses them.
    """

    strip_left: str = ""
    strip_right: str = ""
    cut: Cut | None = None
    refused: tuple[str, ...] = ()
    blank: bool = True

    def written(self, text: str) -> str:
        if self.cut is not None and self.cut.after in text:
            text = _stripped(text.rpartition(self.cut.after)[2], self.cut)
        return _stripped(text, self)

    def refuses(self, text: str) -> bool:
        blank = not self.blank and not text.strip()
        return blank or any(literal in text for literal in self.refused)

    def to_json(self) -> dict[str, Any]:
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        cut = self.cut and {item.name: getattr(self.cut, item.name) for item in fields(Cut)}
        return found | {"cut": cut, "refused": list(self.refused)}


def _stripped(text: str, by: Role | Cut) -> str:
    return text.lstrip(by.strip_left).rstrip(by.strip_right)


@dataclass(frozen=True)
class Rules:
    """A conversation is these parts and the messages between them.

    ``tokens`` are special tokens that stay themselves in an answer, by their text.
    """

    user: Role
    assistant: Role
    before_user: Parts
    """Before the first question, where there is no system prompt."""
    before_assistant: Parts
    after_assistant: Parts
    prompt: Parts
    """Behind the last question: it begins the answer."""
    system: Role | None = None
    """None: the template takes no system prompt."""
    before_system: Parts = ()
    after_system: Parts = ()
    tokens: Mapping[str, int] = field(default_factory=dict)

    def role(self, name: str) -> Role:
        found: Role = getattr(self, name)
        return found

    def changed(self, name: str, **changes: Any) -> Rules:
        """Return the rules with other ones for a role."""
        roles: Any = {name: replace(self.role(name), **changes)}
        return replace(self, **roles)

    def refuses(self, messages: Conversation) -> bool:
        return any(self.role(m["role"]).refuses(m["content"]) for m in messages)

    def text(self, messages: Conversation, now: datetime | None = None) -> str:
        """Return the rendered chat, with the prompt of an answer."""
        return "".join(text for text, _ in self._parts(messages, now or datetime.now()))

    def ids(self, messages: Conversation, encode: Callable[[str], list[int]]) -> list[int]:
        """Return the ids; ``encode`` takes special tokens for text. Neighbouring texts are one."""
        ids, text = list[int](), ""
        for written, token in self._parts(messages, datetime.now()):
            if token is None:
                text += written
            else:
                ids += [*encode(text), token]
                text = ""
        return ids + encode(text)

    def _parts(self, messages: Conversation, now: datetime) -> Iterator[tuple[str, int | None]]:
        before: Parts = self.before_user
        for message in messages:
            if message["role"] == "system":
                before = self.before_system
            elif message["role"] == "assistant":
                before = self.before_assistant
            yield from ((part.written(now), part.id) for part in before)
            text = self.role(message["role"]).written(message["content"])
            yield from self._answer(text) if message["role"] == "assistant" else [(text, None)]
            before = self.after_system if message["role"] == "system" else self.after_assistant
        yield from ((part.written(now), part.id) for part in self.prompt)

    def _answer(self, text: str) -> Iterator[tuple[str, int | None]]:
        names = "|".join(map(re.escape, sorted(self.tokens, key=len, reverse=True)))
        for piece in re.split(f"({names})", text) if names else [text]:
            yield piece, self.tokens.get(piece)

    def to_json(self) -> dict[str, Any]:
        def parts(found: Parts) -> list[dict[str, Any]]:
            return [part.to_json() for part in found]

        system = self.system and {
            **self.system.to_json(),
            "before": parts(self.before_system),
            "after": parts(self.after_system),
        }
        return {
            "system": system,
            "user": {**self.user.to_json(), "before": parts(self.before_user)},
            "assistant": {
                **self.assistant.to_json(),
                "before": parts(self.before_assistant),
                "after": parts(self.after_assistant),
                "tokens": dict(self.tokens),
            },
            "prompt": parts(self.prompt),
        }

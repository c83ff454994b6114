"""Reads the rules of a chat template off its renderings, with numbers in place of the messages.

Knows templates and rules; knows no ids but those of special tokens. What it finds is a guess:
``file.py`` proves it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ...errors import TokenizerError
from ...text.chat_input import MARKERS, ChatInput
from ...text.chat_template import ChatTemplates
from .probes import Literals, conversation
from .rules import BLANKS, DATE, Cut, Part, Parts, Role, Rules

__all__ = ["Template", "learned"]

Message = Mapping[str, str]
_SYSTEM = "the system prompt"
_TURNS = 4


def _digits(place: int) -> str:
    """Return a stand-in for a message; trimming, quoting and a change of case leave it whole."""
    return f"58214{place:09d}41285"


class Template:
    """A folder's template, whose dates can be those of another day."""

    def __init__(self, sources: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._variables: dict[str, Any] = {**names, "strftime_now": self._date}
        self._templates = ChatTemplates(sources, self._variables)
        self._format: Callable[[str], str] = str
        self.dates: list[str] = []

    def _date(self, form: str) -> str:
        return self._format(form)

    def on(self, now: datetime, messages: Sequence[Message]) -> str:
        """Return the chat as it is rendered at another time."""
        self._format = now.strftime
        return self._templates.render(ChatInput.of(messages))

    def dateless(self, messages: Sequence[Message]) -> str:
        """Return the chat with a stand-in for each date; ``dates`` are their forms."""
        self._format = self._stand_in
        return self._templates.render(ChatInput.of(messages))

    def _stand_in(self, form: str) -> str:
        if re.sub(DATE, "", form).count("%"):
            raise TokenizerError(f"the chat template writes the date as {form!r}")
        if form not in self.dates:
            self.dates.append(form)
        return f"90637{self.dates.index(form):09d}73609"

    def parts(self, text: str) -> Parts:
        """Return a text with its dates."""
        pieces = re.split(r"90637(\d{9})73609", text)
        found = [
            Part(self.dates[int(piece)], is_date=True) if number % 2 else Part(piece)
            for number, piece in enumerate(pieces)
        ]
        return tuple(part for part in found if part.text)


def learned(template: Template, literals: Literals, special: Mapping[str, int]) -> Rules:
    """Return the rules; raise TokenizerError with the reason where they are found to be none."""

    def parts(text: str) -> Parts:
        return tuple(piece for part in template.parts(text) for piece in _split(part, special))

    first, *between, prompt = _joints(template, conversation(_TURNS))
    before_assistant, after_assistant = between[0], between[1]
    for turns in (1, 2, 3, _TURNS):
        expected = [first, *[before_assistant, after_assistant] * (turns - 1), prompt]
        if _joints(template, conversation(turns)) != expected:
            raise TokenizerError("the chat template writes a later turn otherwise than the first")
    rules = Rules(
        user=Role(),
        assistant=Role(),
        before_user=parts(first),
        before_assistant=parts(before_assistant),
        after_assistant=parts(after_assistant),
        prompt=parts(prompt),
        tokens={token: special[token] for token in sorted(MARKERS & special.keys())},
    )
    try:
        before, after, *rest = _joints(template, conversation(2, _SYSTEM))
    except TokenizerError:  # it refuses a system prompt, or leaves it out
        pass
    else:
        if rest == [before_assistant, after_assistant, prompt]:
            rules = replace(
                rules, system=Role(), before_system=parts(before), after_system=parts(after)
            )
    for name in ("user", "assistant", *(["system"] if rules.system else [])):
        cut = _cut(template, literals.texts) if name == "assistant" else None
        left, right = (_strips(template, name, side) for side in (0, 1))
        rules = rules.changed(name, strip_left=left, strip_right=right, cut=cut)
    return rules


def _joints(template: Template, messages: Sequence[Message]) -> list[str]:
    """Return the texts around the messages."""
    changed = [{**message, "content": _digits(i)} for i, message in enumerate(messages)]
    rest, joints = template.dateless(changed), []
    for place in range(len(messages)):
        before, found, rest = rest.partition(_digits(place))
        if not found or _digits(place) in rest:
            raise TokenizerError("the chat template does not write each message once, in order")
        joints.append(before)
    return [*joints, rest]


def _split(part: Part, special: Mapping[str, int]) -> list[Part]:
    """Return a text in pieces: special tokens are parts of their own."""
    names = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    if part.is_date or not names:
        return [part]
    pieces = re.split(f"({names})", part.text)
    return [Part(piece, special.get(piece)) for piece in pieces if piece]


def _strips(template: Template, name: str, side: int, before: str = "") -> str:
    """Return the blanks that are taken from one side of a role's texts, behind ``before``."""
    bare = _rendered(template, name, before + _digits(77))

    def kept(blanks: str) -> bool:
        text = _digits(77) + blanks if side else blanks + _digits(77)
        return _rendered(template, name, before + text) == bare.replace(_digits(77), text)

    return "".join(blank for blank in BLANKS if not kept(blank))


def _cut(template: Template, literals: Sequence[str]) -> Cut | None:
    """Return what an answer's thoughts end with, where the template drops them."""
    for literal in literals:
        found = _rendered(template, "assistant", f"{_digits(76)}{literal}{_digits(77)}")
        if _digits(77) in found and _digits(76) not in found:
            thought = f"thought{literal}"
            left, right = (_strips(template, "assistant", side, thought) for side in (0, 1))
            return Cut(literal, left, right)
    return None


def _rendered(template: Template, name: str, text: str) -> str:
    """Return a chat of which one message of a role is the text."""
    messages = conversation(3, _SYSTEM if name == "system" else None)
    place = next(i for i, message in enumerate(messages) if message["role"] == name)
    messages[place]["content"] = text
    return template.dateless(messages)

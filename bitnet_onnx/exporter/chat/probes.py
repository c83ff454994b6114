"""Conversations on which a chat template is tried: its own words, lengths, scripts, blanks.

Knows what templates look for in a message; does not know what is found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2.nodes as nodes

from ...text.chat_input import MARKERS
from ...text.template_sandbox import Environment
from .rules import BLANKS

__all__ = [
    "EMPTY",
    "NEUTRAL",
    "THOUGHTS",
    "Literals",
    "around",
    "conversation",
    "mixed",
    "of_literal",
]

Message = dict[str, str]
# Texts that no template should look into.
NEUTRAL = (
    "What is the capital of France?",
    "a",
    "7",
    "Größe 12,5 \u2014 naïve café, e\u0301",
    "你好，世界。今天天气很好。",
    "नमस्ते दुनिया",
    "שלום עולם",
    "Привет, мир!",
    "안녕하세요 こんにちは",
    "😀👩\u200d👩\u200d👧 🇩🇪",
    "first line\nsecond line\n\n\tcode = [1, 2]\n",
    "\"double\" and 'single' \\ <b>&amp;</b> {{ x }} {% y %}",
    "  blanks around \n",
    "\n\nlines before",
    "behind\t\u3000",
    "NUL\0inside, \u200bzero width\ufeff",
    "xyzzy " * 200,
)
EMPTY = ("", " ", "\n\n", "\u3000\t")
_FIRST = 40  # literals of which pairs are tried: the number grows with the square
_PAIRS = 4000
_LONGEST = 5000  # characters of a text, where a template asks for its length
_TURNS = 12
THOUGHTS = "<think>\nhm\n</think>\n\nWell"


class Literals:
    """What a template compares with: its strings, and its numbers as lengths and turns."""

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        tree = Environment().parse(source)
        constants: list[Any] = [node.value for node in tree.find_all(nodes.Const)]
        texts = {text for text in constants if isinstance(text, str)}
        texts |= {data.data.strip() for data in tree.find_all(nodes.TemplateData)}
        texts |= {*names.values(), "<think>", "</think>"}
        found = (text for text in texts if text.strip() and len(text) <= 300)
        self.texts = sorted(found, key=lambda text: (len(text), text))
        numbers = {abs(n) for n in constants if isinstance(n, int) and not isinstance(n, bool)}
        near = {n + by for n in numbers for by in (-1, 0, 1)}
        self.lengths = sorted(n for n in near if 1 < n <= _LONGEST)
        self.turns = sorted({1, 2, 3, 5} | {n for m in near if 1 <= (n := m // 2 + 1) <= _TURNS})

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield (first, last) of a text, for templates that look at both ends of it."""
        longer = [text for text in self.texts if len(text) > 2][:_FIRST]
        found = [(first, last) for first in longer for last in longer]
        yield from found[:: len(found) // _PAIRS + 1]


def of_literal(text: str) -> Iterator[str]:
    """Yield texts that hold a literal: alone, at each end, inside, in other letters."""
    for literal in dict.fromkeys((text, text.lower(), text.upper(), text.capitalize())):
        yield from (literal, f"{literal} x", f"x {literal}", f"x {literal} y", f"\n{literal}\n")
    yield f"{text}x{text}"


def conversation(turns: int, system: str | None = None) -> list[Message]:
    """Return a conversation that ends in a question."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f"question {turn} of a few"})
        if turn < turns - 1:
            messages.append({"role": "assistant", "content": f"It is answer {turn}, yes."})
    return messages


def around(name: str, text: str) -> Iterator[list[Message]]:
    """Yield conversations in which the last text of a role is this one, the first, and both.

    The answers to questions have thoughts, which templates drop or keep by what the question is.
    """
    if name == "system":
        yield conversation(2, text)
        return
    messages = conversation(3)
    if name == "user":
        messages[1]["content"] = messages[3]["content"] = THOUGHTS
    places = [i for i, message in enumerate(messages) if message["role"] == name]
    for chosen in (places[-1:], places[:1], places):
        yield [
            {**message, "content": text} if place in chosen else message
            for place, message in enumerate(messages)
        ]


def mixed(
    count: int, roles: Iterable[str], literals: Iterable[str], usable: Callable[[str, str], bool]
) -> Iterator[list[Message]]:
    """Yield ``count`` random conversations of all of it; the same ones each time."""
    chance = random.Random(0)
    known, with_system = list(literals), "system" in roles
    pool = [*NEUTRAL[:-1], *known, *known, *(word[:-1] for word in known), *sorted(MARKERS)]
    pool += [*EMPTY, THOUGHTS, *BLANKS]

    def text(role: str) -> str:
        for _ in range(20):
            found = chance.choice(("", " ")).join(chance.choices(pool, k=chance.randint(1, 4)))
            if usable(role, found):
                return found
        return "nothing else"

    for _ in range(count):
        messages = []
        if with_system and chance.random() < 0.5:
            messages.append({"role": "system", "content": text("system")})
        for _ in range(chance.randint(0, 4)):
            messages.append({"role": "user", "content": text("user")})
            messages.append({"role": "assistant", "content": text("assistant")})
        yield [*messages, {"role": "user", "content": text("user")}]

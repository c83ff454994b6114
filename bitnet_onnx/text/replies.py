"""Finds a model's own answers in a rendered chat, so that their ids can stay as they were chosen.

Knows rendered text; does not know Jinja or ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Reply", "around_replies"]

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """An answer as the model gave it."""

    ids: Sequence[int]
    text: str
    """The answer as the caller saw it, and as the conversation holds it."""
    said: str
    """The text of the ids where they follow their prompt: a blank before it may differ."""


def around_replies(
    render: Callable[[Messages], str],
    messages: Messages,
    replies: Mapping[int, tuple[Reply, str]],
    mark: str,
) -> list[str | Sequence[int]]:
    """Return the rendered chat in pieces: texts, and the ids of answers between them.

    replies: the answer that is the message at each place, and its text with marks. The rule: the
    texts and the answers' ``said`` always join to exactly the rendered chat. Whether a span of it
    is an answer is proved by rendering again with a stand-in for the answer: where the answer put
    in place of the stand-in gives the same chat, the span is the answer's and its ids say what the
    template says. A template that drops thoughts, trims or rewrites gives another chat; there the
    text counts.
    """
    whole = render(messages)
    spans = _spans(render, messages, {p: text for p, (_, text) in replies.items()}, whole)
    pieces: list[str | Sequence[int]] = []
    end = 0
    for place, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        reply = replies[place][0]
        shown = whole[start:stop].replace(mark, "")
        if reply.said.endswith(shown):
            start -= len(reply.said) - len(shown)
        if start < end or whole[start:stop].replace(mark, "") != reply.said:
            continue
        pieces += [whole[end:start], reply.ids]
        end = stop
    return [*pieces, whole[end:]]


def _spans(
    render: Callable[[Messages], str], messages: Messages, texts: Mapping[int, str], whole: str
) -> dict[int, tuple[int, int]]:
    """Return where the chat holds each answer as it is.

    Where the template changes some of them, halves of the answers are tried: a long chat with one
    changed answer is rendered a few times, and not once for each answer.
    """
    texts = {place: text for place, text in texts.items() if text}
    found = _located(render, messages, texts, whole)
    if found is not None or len(texts) < 2:
        return found or {}
    items = list(texts.items())
    halves = (dict(items[: len(items) // 2]), dict(items[len(items) // 2 :]))
    first, second = (_spans(render, messages, half, whole) for half in halves)
    return first | second


def _located(
    render: Callable[[Messages], str], messages: Messages, texts: Mapping[int, str], whole: str
) -> dict[int, tuple[int, int]] | None:
    """Return the span of each text in the chat, None where one of them is not there as it is."""
    # Trimming, quoting and a change of case leave digits whole.
    stand_ins = {place: f"70361{place:09d}16307" for place in texts}
    changed = list(messages)
    for place, digits in stand_ins.items():
        changed[place] = {"role": "assistant", "content": digits}
    rest, spans, done = render(changed), {}, ""
    for place, digits in stand_ins.items():
        before, found, rest = rest.partition(digits)
        start = len(done) + len(before)
        done += before + texts[place]
        spans[place] = (start, len(done))
        if not found or digits in rest or not whole.startswith(done):
            return None
    return spans if done + rest == whole else None

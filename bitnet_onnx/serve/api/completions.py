"""/v1/completions: continue texts.

Knows OpenAI's completions; a prompt is a text or token ids.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ...errors import BitNetError
from ...generation.rows import GenerationResult
from ..batching.requests import End, Token
from ..models import Generating
from .chat import includes_usage
from .common import answer, body_of, fingerprint, made_id, model_of, now
from .errors import error_of
from .fields import COMPLETION
from .options import form_of, options_of, room_for
from .reading import refuse
from .running import Prepared, Running, or_gone
from .sse import DONE, EventStream, event
from .usage import LegacyLogprobs, usage_of

__all__ = ["completions"]

DEFAULT = 16  # new tokens where a request names no number, as OpenAI and vLLM have it


@dataclass(frozen=True)
class _Asked:
    """What a request asks for, and its prompts."""

    served: Generating
    prepared: list[Prepared]
    echoes: list[str] | None
    most: int
    logprobs: int | None

    @property
    def owners(self) -> list[int]:
        """The number of each choice's prompt."""
        return [i for i, each in enumerate(self.prepared) for _ in range(each.n)]

    def lists(self) -> LegacyLogprobs:
        """Return what makes the logprobs of a choice."""
        return LegacyLogprobs(self.served.pieces, self.served.tokenizer.hidden_ids)


async def completions(request: Request) -> Response:
    """Continue one prompt or several, whole or as events."""
    values = await body_of(request, COMPLETION)
    served = model_of(request, values, Generating)
    with_usage = includes_usage(values)
    asked = await run_in_threadpool(_asked, served, values)
    head = {
        "id": made_id("cmpl"),
        "object": "text_completion",
        "created": now(),
        "model": served.name,
        "system_fingerprint": fingerprint(served),
    }
    running = Running() if asked.most == 0 else await Running.start(asked.prepared)
    if values.get("stream"):
        return EventStream(_events(head, asked, running, with_usage), running.cancel)
    return answer(await or_gone(request.receive, _whole(head, asked, running)))


def _asked(served: Generating, values: Mapping[str, Any]) -> _Asked:
    n, given, echo = values.get("n", 1), values["prompt"], bool(values.get("echo"))
    prompts = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    if n > served.limits.rows:
        refuse("n", n, f"at most the {served.limits.rows} answers that are made at a time")
    if n * len(prompts) > served.limits.rows + served.limits.queue:
        refuse("prompt", f"{len(prompts)} prompts", "fewer than the server's queue holds")
    asked = values.get("max_tokens", DEFAULT)
    if echo and values.get("stream"):
        refuse("echo", True, "no stream with it")
    if asked == 0 and not echo:
        refuse("max_tokens", 0, "at least 1, or echo true with it")
    logprobs = values.get("logprobs")
    prepared = []
    for prompt in prompts:
        ids = _ids(served, prompt, values.get("add_special_tokens"))
        most = max(min(asked, room_for(served, ids, "prompt")), 1)
        config = options_of(values, served.config, served, most)
        prepared.append(Prepared(served, ids, config, form_of(values), n, logprobs))
    echoes = [p if isinstance(p, str) else served.tokenizer.decode(p) for p in prompts]
    return _Asked(served, prepared, echoes if echo else None, asked, logprobs)


def _ids(served: Generating, prompt: Any, added: bool | None) -> list[int]:
    if added is not None and not isinstance(prompt, str):
        refuse("add_special_tokens", added, "a prompt that is a text with it")
    try:
        if added is False:
            ids = served.tokenizer.encode(prompt, add_special_tokens=False)
        else:
            ids = served.encode(prompt)
    except BitNetError as error:
        raise error_of(error, "prompt") from None
    if not ids:
        refuse("prompt", prompt, "a text of at least one token")
    for token in ids:
        if token >= served.artifact.vocab_size:
            refuse("prompt", token, f"token ids below {served.artifact.vocab_size}")
    return ids


async def _whole(head: dict[str, Any], asked: _Asked, running: Running) -> dict[str, Any]:
    owners = asked.owners
    texts = [""] * len(owners)
    tokens: list[list[Token]] = [[] for _ in owners]
    reasons = ["length"] * len(owners)
    results: list[GenerationResult] = []
    async for place, happened in running.events():
        if isinstance(happened, Token):
            texts[place] += happened.text
            tokens[place].append(happened)
        else:
            reasons[place] = happened.reason
            results.append(happened.result)
    before = await _scored(asked)
    choices = []
    for place, owner in enumerate(owners):
        logprobs = None
        if asked.logprobs is not None:
            rows = [(token.id, token.logprob, token.top) for token in tokens[place]]
            logprobs = asked.lists().of([*before[owner], *rows])
        choices.append(
            {
                "index": place,
                "text": (asked.echoes[owner] if asked.echoes else "") + texts[place],
                "logprobs": logprobs,
                "finish_reason": reasons[place],
            }
        )
    usage = usage_of([len(each.ids) for each in asked.prepared], results)
    return {**head, "choices": choices, "usage": usage}


async def _scored(asked: _Asked) -> list[list[Any]]:
    """Return (id, log-probability, likeliest ids) of each token of the prompts that are echoed."""
    if asked.echoes is None or asked.logprobs is None:
        return [[] for _ in asked.prepared]
    found = []
    for each in asked.prepared:
        async with asked.served.turn:
            scored = await run_in_threadpool(asked.served.score, each.ids, asked.logprobs)
        rows = zip(each.ids[1:], scored, strict=True)
        found.append([(each.ids[0], None, ()), *((i, top.logprob, top.top) for i, top in rows)])
    return found


async def _events(
    head: dict[str, Any], asked: _Asked, running: Running, with_usage: bool
) -> AsyncGenerator[bytes]:
    owners = asked.owners
    lists = [asked.lists() for _ in owners]
    results: list[GenerationResult] = []
    null = {"usage": None} if with_usage else {}
    async for place, happened in running.events():
        text, logprobs, reason = "", None, None
        if isinstance(happened, End):
            reason = happened.reason
            results.append(happened.result)
        else:
            text = happened.text
            if asked.logprobs is not None:
                logprobs = lists[place].of([(happened.id, happened.logprob, happened.top)])
            elif not text:
                continue
        choice = {"index": place, "text": text, "logprobs": logprobs, "finish_reason": reason}
        yield event({**head, "choices": [choice], **null})
    if with_usage:
        usage = usage_of([len(each.ids) for each in asked.prepared], results)
        yield event({**head, "choices": [], "usage": usage})
    yield DONE

"""/v1/chat/completions: answer a conversation.

Knows OpenAI's chats; the template is the checkpoint's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ...errors import BitNetError, GenerationError
from ...generation.rows import GenerationResult
from ..batching.requests import End, Token
from ..models import Generating
from .common import answer, body_of, fingerprint, made_id, model_of, now
from .errors import error_of
from .fields import CHAT
from .messages import messages_of
from .options import form_of, options_of, room_for
from .reading import refuse
from .running import Prepared, Running, or_gone
from .sse import DONE, EventStream, event
from .tools import Calling, Splitter, calling_of
from .usage import chat_logprobs, usage_of

__all__ = ["chat", "encoded_chat", "includes_usage", "most_tokens"]


async def chat(request: Request) -> Response:
    """Answer a conversation, whole or as events."""
    values = await body_of(request, CHAT)
    served = model_of(request, values, Generating)
    calling = await run_in_threadpool(calling_of, values, lambda: served.call_form)
    with_usage = includes_usage(values)
    prepared = await run_in_threadpool(_prepared, served, values, calling)
    running = await Running.start([prepared])
    head = {
        "id": made_id("chatcmpl"),
        "object": "chat.completion",
        "created": now(),
        "model": served.name,
        "system_fingerprint": fingerprint(served),
    }
    if values.get("stream"):
        head["object"] = "chat.completion.chunk"
        return EventStream(_events(head, prepared, running, calling, with_usage), running.cancel)
    return answer(await or_gone(request.receive, _whole(head, prepared, running, calling)))


def includes_usage(values: Mapping[str, Any]) -> bool:
    """Return whether a stream ends with its usage; refuse stream_options that say otherwise."""
    given = values.get("stream_options")
    if given is None:
        return False
    if not values.get("stream"):
        refuse("stream_options", given, "stream with it")
    for name, value in given.items():
        if name == "include_obfuscation" and (value is None or value is False):
            continue
        if name != "include_usage" or not isinstance(value, bool | None):
            refuse("stream_options", given, "include_usage, true or false")
    return bool(given.get("include_usage"))


def most_tokens(
    values: Mapping[str, Any],
    names: tuple[str, ...],
    served: Generating,
    ids: list[int],
    param: str,
) -> int:
    """Return the largest number of new tokens: what is asked for, at most what has room.

    names: the fields that ask. param: the field that has the prompt of these ids.
    """
    room, base = room_for(served, ids, param), served.chat_config
    given = {name: values[name] for name in names if name in values}
    if len(set(given.values())) > 1:
        refuse(names[0], given[names[0]], f"the same number as {names[1]}, or one of them")
    if given or not (base.max_new_tokens or base.max_length):
        return min(next(iter(given.values()), room), room)
    try:
        return min(base.limit(len(ids)), room)
    except GenerationError as error:  # the model's own max_length counts the prompt
        raise error_of(error, param) from None


def encoded_chat(
    served: Generating, values: Mapping[str, Any], calling: Calling, param: str = "messages"
) -> list[int]:
    """Return the ids of a conversation, as the checkpoint's own template writes it.

    param: the field that has the messages.
    """
    messages = messages_of(values["messages"], param)
    tools = calling.tools
    try:
        return served.encode(
            messages,
            tools=tools,
            documents=values.get("documents"),
            chat_template_kwargs=values.get("chat_template_kwargs"),
        )
    except BitNetError as error:
        raise error_of(error, param, ("chat_template_kwargs", "tools", "documents")) from None


def _prepared(served: Generating, values: Mapping[str, Any], calling: Calling) -> Prepared:
    n = values.get("n", 1)
    if n > served.limits.rows:
        refuse("n", n, f"at most the {served.limits.rows} answers that are made at a time")
    if "top_logprobs" in values and not values.get("logprobs"):
        refuse("top_logprobs", values["top_logprobs"], "logprobs true with it")
    base = served.chat_config
    ids = encoded_chat(served, values, calling)
    most = most_tokens(values, ("max_completion_tokens", "max_tokens"), served, ids, "messages")
    return Prepared(
        served,
        ids,
        options_of(values, base, served, most),
        form_of(values, calling.form, calling.followed),
        n,
        values.get("top_logprobs", 0) if values.get("logprobs") else None,
    )


async def _whole(
    head: dict[str, Any], prepared: Prepared, running: Running, calling: Calling
) -> dict[str, Any]:
    splitters = [Splitter(calling) for _ in range(prepared.n)]
    texts = [""] * prepared.n
    tokens: list[list[Token]] = [[] for _ in splitters]
    choices: list[dict[str, Any]] = [{} for _ in splitters]
    results: list[GenerationResult] = []
    async for place, happened in running.events():
        if isinstance(happened, Token):
            texts[place] += splitters[place].push(happened.text)
            tokens[place].append(happened)
            continue
        rest, calls, reason = splitters[place].end(happened.reason)
        results.append(happened.result)
        content = texts[place] + rest
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if calls and not content:
            message["content"] = None
        if calls:
            message["tool_calls"] = calls
        logprobs = None
        if prepared.logprobs is not None:
            logprobs = chat_logprobs(tokens[place], prepared.served.pieces)
        choices[place] = {
            "index": place,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": reason,
        }
    return {**head, "choices": choices, "usage": usage_of([len(prepared.ids)], results)}


async def _events(
    head: dict[str, Any], prepared: Prepared, running: Running, calling: Calling, with_usage: bool
) -> AsyncGenerator[bytes]:
    splitters = [Splitter(calling) for _ in range(prepared.n)]
    results: list[GenerationResult] = []
    null = {"usage": None} if with_usage else {}

    def chunk(
        place: int, delta: dict[str, Any], token: Token | None = None, reason: str | None = None
    ) -> bytes:
        logprobs = None
        if token is not None and prepared.logprobs is not None:
            logprobs = chat_logprobs([token], prepared.served.pieces)
        choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return event({**head, "choices": [choice], **null})

    for place in range(prepared.n):
        yield chunk(place, {"role": "assistant", "content": "", "refusal": None})
    async for place, happened in running.events():
        if isinstance(happened, End):
            rest, calls, reason = splitters[place].end(happened.reason)
            results.append(happened.result)
            if rest:
                yield chunk(place, {"content": rest})
            for number, call in enumerate(calls):
                yield chunk(place, {"tool_calls": [{"index": number, **call}]})
            yield chunk(place, {}, reason=reason)
            continue
        text = splitters[place].push(happened.text)
        if text or prepared.logprobs is not None:
            yield chunk(place, {"content": text} if text else {}, happened)
    if with_usage:
        usage = usage_of([len(prepared.ids)], results)
        yield event({**head, "choices": [], "usage": usage})
    yield DONE

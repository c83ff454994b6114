"""/v1/responses, its text part: answer a text or messages, and store nothing.

Knows OpenAI's responses; functions, files and stored conversations are not there.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ...generation.rows import GenerationResult
from ..batching.requests import Token
from ..models import Generating
from .chat import encoded_chat, most_tokens
from .common import answer, body_of, made_id, model_of, now
from .errors import ApiError, object_of
from .fields import RESPONSE
from .options import form_of, options_of
from .reading import refuse
from .running import Prepared, Running, or_gone
from .sse import EventStream, event
from .tools import Calling

__all__ = ["responses"]

OWN = ("type", "id", "status")  # of an item that an earlier response had


async def responses(request: Request) -> Response:
    """Answer, whole or as events."""
    values = await body_of(request, RESPONSE)
    served = model_of(request, values, Generating)
    prepared = await run_in_threadpool(_prepared, served, values)
    running = await Running.start([prepared])
    head = _head(served, values)
    if values.get("stream"):
        return EventStream(_events(head, prepared, running), running.cancel)
    return answer(await or_gone(request.receive, _whole(head, prepared, running)))


def _prepared(served: Generating, values: Mapping[str, Any]) -> Prepared:
    given = values["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages = [_message(item, place) for place, item in enumerate(items)]
    if "instructions" in values:
        messages.insert(0, {"role": "system", "content": values["instructions"]})
    base = served.chat_config
    ids = encoded_chat(served, {"messages": messages}, Calling("text"), "input")
    most = most_tokens(values, ("max_output_tokens",), served, ids, "input")
    form = form_of({"response_format": _format(values.get("text") or {})}, param="text")
    return Prepared(served, ids, options_of(values, base, served, most), form)


def _message(item: Mapping[str, Any], place: int) -> dict[str, Any]:
    if item.get("type") not in ("message", None):
        refuse("input", item, f"messages, also as item {place}")
    for name in OWN:
        if item.get(name) is not None and not isinstance(item[name], str):
            refuse("input", item[name], f"a text as {name} of item {place}")
    return {name: value for name, value in item.items() if name not in OWN}


def _format(text: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the format of a text as a chat has it: its fields are one level deeper there."""
    for name in text:
        if name != "format":
            refuse("text", name, "format")
    given = text.get("format")
    if given is None:
        return None
    if not isinstance(given, dict):
        refuse("text", given, "an object as format")
    if given.get("type") != "json_schema":
        return given
    inner = {name: value for name, value in given.items() if name != "type"}
    return {"type": "json_schema", "json_schema": inner}


def _head(served: Generating, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": made_id("resp"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": values.get("instructions"),
        "max_output_tokens": values.get("max_output_tokens"),
        "model": served.name,
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "store": False,
        "temperature": values.get("temperature"),
        "text": values.get("text") or {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_p": values.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "metadata": values.get("metadata") or {},
    }


async def _whole(head: dict[str, Any], prepared: Prepared, running: Running) -> dict[str, Any]:
    text = ""
    async for _, happened in running.events():
        if isinstance(happened, Token):
            text += happened.text
        else:
            item = _item(f"msg_{secrets.token_hex(16)}", text, happened.reason)
            return _ended(head, prepared, item, happened.result, happened.reason)
    raise AssertionError("a request has an end")


def _item(name: str, text: str | None, reason: str | None) -> dict[str, Any]:
    status = {None: "in_progress", "length": "incomplete"}.get(reason, "completed")
    content = [] if text is None else [_part(text)]
    return {"type": "message", "id": name, "status": status, "role": "assistant",
            "content": content}  # fmt: skip


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _ended(
    head: dict[str, Any],
    prepared: Prepared,
    item: dict[str, Any],
    result: GenerationResult,
    reason: str,
) -> dict[str, Any]:
    cut = reason == "length"
    prompt, new = len(prepared.ids), len(result.ids)
    return {
        **head,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [item],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": result.cached_tokens},
            "output_tokens": new,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + new,
        },
    }


async def _events(
    head: dict[str, Any], prepared: Prepared, running: Running
) -> AsyncGenerator[bytes]:
    number = -1

    def made(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    name, text = f"msg_{secrets.token_hex(16)}", ""
    place = {"item_id": name, "output_index": 0, "content_index": 0}
    yield made("response.created", response=head)
    yield made("response.in_progress", response=head)
    yield made("response.output_item.added", output_index=0, item=_item(name, None, None))
    yield made("response.content_part.added", **place, part=_part(""))
    try:
        async for _, happened in running.events():
            if isinstance(happened, Token):
                if happened.text:
                    text += happened.text
                    delta = {"delta": happened.text, "logprobs": []}
                    yield made("response.output_text.delta", **place, **delta)
                continue
            item = _item(name, text, happened.reason)
            yield made("response.output_text.done", **place, text=text, logprobs=[])
            yield made("response.content_part.done", **place, part=_part(text))
            yield made("response.output_item.done", output_index=0, item=item)
            ended = _ended(head, prepared, item, happened.result, happened.reason)
            yield made(f"response.{ended['status']}", response=ended)
    except ApiError as error:
        told = object_of(error)["error"]
        yield made("error", **{name: told[name] for name in ("code", "message", "param")})

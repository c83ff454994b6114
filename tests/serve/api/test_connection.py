"""Connections: clients that do not read, that send further requests, and a process that pauses."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from starlette.requests import ClientDisconnect

from bitnet_onnx.serve import connection, guard
from bitnet_onnx.serve.api.sse import EventStream
from bitnet_onnx.serve.state import State

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

COMPLETION = "/v1/completions"
LONG = {"model": "demo", "prompt": [5, 6], "ignore_eos": True, "max_tokens": 500}
PAGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(server: Served, sent: bytes, buffer: int | None = None) -> socket.socket:
    """Connect, with so many bytes that the system reads ahead, and send."""
    where = urlsplit(server.url)
    made = socket.socket()
    if buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(60)
    made.connect((where.hostname, where.port))
    made.sendall(sent)
    return made


def request(path: str, **fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        threading.Event().wait(0.01)


def counted(server: Served, reason: str) -> int:
    return int(server.state.models["demo"].scheduler.stats.requests[reason])  # type: ignore[attr-defined]


@pytest.mark.parametrize("which", ["whole", "list", "stream"])
def test_a_client_that_does_not_read_is_left(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """It is closed at once, and not once all is sent; others are answered meanwhile."""
    from tests.support.serve.serving import served

    monkeypatch.setattr(connection, "TICK", 0.02)
    monkeypatch.setattr(connection, "READ_SECONDS", 0.2)
    sent = {
        "whole": PAGE * 100,
        "list": request("/tokenize", content="a " * 200_000, with_pieces=True),
        "stream": request(COMPLETION, **LONG, logprobs=20, n=4, stream=True),
    }[which]
    lost = threading.Event()
    ended = connection.Protocol.connection_lost

    def leaving(protocol: connection.Protocol, error: Exception | None) -> None:
        ended(protocol, error)
        lost.set()

    with served({"demo": demo_artifact}) as server:
        monkeypatch.setattr(connection.Protocol, "connection_lost", leaving)
        with connected(server, sent, 2048):
            assert lost.wait(60)
        assert server.get("/health").status_code == 200


def test_a_client_that_reads_slowly_gets_all(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.serve.serving import served

    monkeypatch.setattr(connection, "TICK", 0.05)
    monkeypatch.setattr(connection, "READ_SECONDS", 0.6)
    with served({"demo": demo_artifact}) as server:
        size = len(server.get("/openapi.json").content)
        last = PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        with connected(server, PAGE * 19 + last, 1 << 15) as client:
            said, begun = 0, time.monotonic()
            while piece := client.recv(1 << 16):
                said += len(piece)
                if time.monotonic() - begun < 0.8:
                    threading.Event().wait(0.02)
        assert said > 20 * size


@pytest.mark.parametrize("after", [b"\r\n", PAGE, PAGE * 20])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_whose_next_request_waits_is_noticed_when_it_goes(
    server: Served, after: bytes, stream: bool
) -> None:
    before = counted(server, "cancelled")
    client = connected(server, request(COMPLETION, **LONG, n=4, stream=stream))
    wait_for(lambda: server.state.models["demo"].scheduler.stats.running >= 4)  # type: ignore[attr-defined]
    client.sendall(after)
    client.close()
    wait_for(lambda: counted(server, "cancelled") >= before + 4)


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_stream_that_does_not_come_to_its_end_frees_what_makes_it(sent: int) -> None:
    """Also where its client reads nothing, and its events were not asked for."""
    ended: list[str] = []

    async def events() -> AsyncGenerator[bytes]:
        yield b"one"
        yield b"two"

    async def main() -> None:
        stuck, messages = asyncio.Event(), list[Any]()

        async def send(message: Any) -> None:
            if len(messages) == sent:
                stuck.set()
                await asyncio.Event().wait()
            messages.append(message)

        async def receive() -> Any:
            await stuck.wait()
            return {"type": "http.disconnect"}

        with pytest.raises(ClientDisconnect):
            await EventStream(events(), lambda: ended.append("ended"))({}, receive, send)

    asyncio.run(main())
    assert ended == ["ended"]


@pytest.mark.parametrize("kind", ["head", "body", "parts"])
def test_a_process_that_was_stopped_calls_no_client_late(
    server: Served, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What clients sent while it stood still has come in time."""
    monkeypatch.setattr(connection, "TICK", 0.05)
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.25)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.25)
    stopped = threading.Event()

    def stop(state: State) -> list[Any]:
        stopped.set()
        time.sleep(0.4)
        return []

    monkeypatch.setattr(State, "generating", property(stop))
    sent = request("/tokenize", model="demo", content="abc" * 50)
    ends = {"head": (20,), "body": (sent.index(b"{"),), "parts": (-60, -20)}[kind]
    with connected(server, sent[: ends[0]]) as client:
        threading.Event().wait(0.05)
        with connected(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            assert stopped.wait(60)
            for begin, end in zip(ends, (*ends[1:], len(sent)), strict=True):
                client.sendall(sent[begin:end])
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("begun", [False, True])
def test_a_body_that_is_no_chunk_is_refused_once(server: Served, begun: bool) -> None:
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    if begun:  # the answer comes before the body has ended
        head = head.replace(b"localhost", b"elsewhere")
    with connected(server, head) as client:
        said = client.recv(1 << 16) if begun else b""
        client.sendall(b"no chunk\r\n\r\n")
        while piece := client.recv(1 << 16):
            said += piece
    assert said.startswith(b"HTTP/1.1 403 " if begun else b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 4") == 1
    assert server.get("/health").status_code == 200

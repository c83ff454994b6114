"""The server of the program for boards stops an answer when its client goes away."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from tests.support.artifacts import with_json
from tests.support.native.board import Served, served
from tests.support.paths import DEMO

LONGEST = 16_000  # tokens of an answer: far more than are computed until a client is missed
VISIBLE = {"temperature": 3, "top_k": 0, "seed": 1}  # behind its end, the model says nothing else


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact whose answers end at their limit only, and with room for long ones."""
    folder = tmp_path_factory.mktemp("endless")
    shutil.copytree(DEMO, folder / "checkpoint")
    config = json.loads((DEMO / "config.json").read_text("utf-8"))
    config["max_position_embeddings"] = LONGEST + 1000
    (folder / "checkpoint" / "config.json").write_text(json.dumps(config))
    artifact = export(folder / "checkpoint", folder / "artifact")
    chat = json.loads((artifact / "chat.json").read_text("utf-8")) | {"eos_token_ids": []}
    chatty = with_json(artifact, folder / "chat", "chat.json", chat)
    return with_json(chatty, folder / "both", "generation_config.json", {"eos_token_id": []})


@pytest.fixture(scope="module")
def server(endless: Path) -> Iterator[Served]:
    with served(endless, "--stats") as started:
        yield started


def asked(server: Served, stream: bool) -> socket.socket:
    """Ask for a long answer."""
    messages = [{"role": "user", "content": "What is 27 + 5?"}]
    fields = {"messages": messages, "max_tokens": LONGEST, "stream": stream, **VISIBLE}
    body = json.dumps(fields).encode()
    client = server.connect()
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    return client


def computed(server: Served) -> int:
    """Return how many tokens the answer that ended has; it waits for the end."""
    assert server.process.stderr is not None
    line = server.process.stderr.readline().decode()
    found = re.match(r" +(\d+) tokens, ", line)
    assert found, line
    return int(found[1])


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_stops_when_its_client_is_gone(server: Served, stream: bool, reset: bool) -> None:
    client = asked(server, stream=stream)
    if stream:
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert computed(server) < LONGEST / 2


def test_a_client_behind_one_that_is_gone_is_answered(server: Served) -> None:
    """By the server's one session, so the answer before has ended."""
    gone = asked(server, stream=True)
    gone.recv(100)
    gone.close()
    with asked(server, stream=True) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert computed(server) < LONGEST / 2
    assert computed(server) < LONGEST / 2

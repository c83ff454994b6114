"""The life of requests and of the server: clients that go away, limits, reloads, signals."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
import httpx

from bitnet_onnx.errors import BitNetError, ConfigError
from bitnet_onnx.serve.models import Limits, named_folders
from bitnet_onnx.serve.run import Site, bound

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "What follows Monday?"}]
LONG = {"model": "demo", "messages": USER, "ignore_eos": True, "max_tokens": 480}


def counted(server: Served, reason: str) -> int:
    return int(server.state.models["demo"].scheduler.stats.requests[reason])  # type: ignore[attr-defined]


def connected(server: Served, **fields: Any) -> socket.socket:
    """Send a chat and return the connection."""
    where = urlsplit(server.url)
    connection = socket.create_connection((where.hostname, where.port), timeout=60)
    body = json.dumps({**LONG, **fields}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_answer(server: Served, stream: bool) -> None:
    before = counted(server, "cancelled")
    connection = connected(server, stream=stream, n=4)
    if stream:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    connection.close()
    while counted(server, "cancelled") < before + 4:
        threading.Event().wait(0.01)
    assert server.post(CHAT, {**LONG, "max_tokens": 1}).status_code == 200
    while not any(line.startswith(f"POST {CHAT} 499 ") for line in server.log):
        threading.Event().wait(0.01)


def test_a_full_queue_is_429(demo_artifact: Path) -> None:
    from tests.support.serve.serving import served

    with served({"demo": demo_artifact}, Limits(threads=1, rows=1, queue=0)) as server:
        with connected(server, stream=True) as connection:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            refused = server.post(CHAT, {**LONG, "max_tokens": 1})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "queue_full"
        assert server.post(CHAT, {**LONG, "n": 2}).json()["error"]["param"] == "n"


def test_a_silent_connection_is_closed(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitnet_onnx.serve import connection
    from tests.support.serve.serving import served

    monkeypatch.setattr(connection, "TICK", 0.05)
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    with served({"demo": demo_artifact}) as server:
        where = urlsplit(server.url)
        for sent in (b"", b"GET /health HTTP/1.1\r\nHost: local", b"GET /health HTTP/1.1\r\n" * 2):
            with socket.create_connection((where.hostname, where.port), timeout=60) as client:
                client.sendall(sent)
                while client.recv(1 << 16):
                    pass
        with connected(server, stream=True) as client:  # an answer may take longer
            said = b""
            while piece := client.recv(1 << 16):
                said += piece
        assert said.count(b"[DONE]") == 1


def read_all(connection: socket.socket) -> tuple[bytes, dict[str, Any]]:
    """Return the head and the error of an answer after which the connection ends."""
    said = b""
    while piece := connection.recv(1 << 16):
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    return head, json.loads(body)["error"]


@pytest.mark.parametrize(
    "sent",
    [b"\0\1\r\n\r\n", b"GET /health\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\n\r\n",
     b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_the_form_of_errors(server: Served, sent: bytes) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(sent)
        head, error = read_all(connection)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")


def test_too_many_connections_are_refused_in_the_form_of_errors(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitnet_onnx.serve import run

    monkeypatch.setattr(run, "CONNECTIONS", 0)
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, error = read_all(connection)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head.lower()
    assert (error["type"], error["code"]) == ("server_error", "busy")
    monkeypatch.undo()
    assert server.get("/health").status_code == 200


def test_a_request_has_an_end(demo_artifact: Path) -> None:
    from tests.support.serve.serving import served

    with served({"demo": demo_artifact}, Limits(threads=1, seconds=0)) as server:
        found = server.post(CHAT, LONG)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "timeout")
        events = server.post(CHAT, {**LONG, "stream": True}).text.split("\n\n")
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "timeout"


def test_a_connection_leaves_nothing_that_waits_for_the_collector(server: Served) -> None:
    from bitnet_onnx.serve.connection import Protocol

    def kept() -> int:
        return sum(isinstance(each, Protocol) for each in gc.get_objects())

    gc.collect()
    before = kept()
    gc.disable()
    try:
        where = urlsplit(server.url)
        for head in (b"Content-Length: 2\r\n\r\n{}", b"Content-Length: 99999999\r\n\r\n{}"):
            with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
                connection.sendall(
                    b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head
                )
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 4")
        until = time.monotonic() + 30
        while kept() > before and time.monotonic() < until:
            threading.Event().wait(0.05)
        assert kept() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [MemoryError(), KeyError("a secret")])
def test_a_model_that_fails_is_a_mistake_of_the_server(
    server: Served, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from bitnet_onnx.serve.batching.active import Active

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Active, "take", fail)
    found = server.post(CHAT, LONG)
    assert (found.status_code, found.json()["error"]["code"]) == (500, "model_failed")
    events = server.post(CHAT, {**LONG, "stream": True}).text.split("\n\n")
    assert json.loads(events[-2].removeprefix("data: ")) == found.json()
    assert "secret" not in found.text
    monkeypatch.undo()
    assert server.post(CHAT, {**LONG, "max_tokens": 1}).status_code == 200


def test_a_limit_of_the_request_goes_before_the_models_own(
    demo_artifact: Path, tmp_path: Path
) -> None:
    from tests.support.serve.serving import CALLING, served, with_template

    folder = with_template(demo_artifact, tmp_path / "model", CALLING, max_length=8)
    with served({"demo": folder}, Limits(threads=1)) as server:
        for path, asked, limit, param in (
            (CHAT, {"messages": USER}, "max_tokens", "messages"),
            ("/v1/responses", {"input": USER[0]["content"]}, "max_output_tokens", "input"),
        ):
            assert server.post(path, {**asked, limit: 2}).status_code == 200
            refused = server.post(path, asked)
            error = refused.json()["error"]
            assert (refused.status_code, error["param"]) == (400, param)
            assert "expected fewer than max_length 8" in error["message"]


def test_a_reload_changes_the_model_and_no_running_answer(
    demo_artifact: Path, tmp_path: Path
) -> None:
    from tests.support.serve.serving import served, with_template

    folder = with_template(demo_artifact, tmp_path / "model")
    body = {"messages": USER}
    with served({"demo": folder}, Limits(threads=1)) as server:
        before = server.post("/tokenize", body).json()["tokens"]
        whole = server.post(CHAT, LONG).json()["choices"][0]["message"]["content"]
        with httpx.stream("POST", server.url + CHAT, json={**LONG, "stream": True}) as running:
            lines = running.iter_lines()
            first = next(lines)
            shutil.rmtree(folder)
            with_template(demo_artifact, folder, "{{ 'A: ' + messages[0].content }}")
            reload = threading.Thread(target=server.state.reload)
            reload.start()
            rest = [first, *lines]
        reload.join()
        chunks = [json.loads(line[6:]) for line in rest if line.startswith("data: {")]
        said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert said == whole
        after = server.post("/tokenize", body).json()["tokens"]
        assert after != before
        (folder / "manifest.json").write_text("{}")
        with pytest.raises(BitNetError):
            server.state.reload()
        assert server.post("/tokenize", body).json()["tokens"] == after


def test_a_reload_waits_for_requests_that_have_the_model_and_no_answer_yet(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitnet_onnx.serve.api import chat, completions, tokens
    from tests.support.serve.serving import served

    begun, go = threading.Barrier(4), threading.Event()

    def held(work: Any) -> Any:
        def waiting(*given: Any) -> Any:
            begun.wait(60)
            go.wait(60)
            return work(*given)

        return waiting

    for module, name in ((chat, "_prepared"), (completions, "_asked"), (tokens, "_tokenized")):
        monkeypatch.setattr(module, name, held(getattr(module, name)))
    asked = [
        (CHAT, {"messages": USER, "max_tokens": 2}),
        ("/v1/completions", {"prompt": "a", "max_tokens": 2}),
        ("/tokenize", {"content": "a"}),
    ]
    with served({"demo": demo_artifact}, Limits(threads=1)) as server:
        with ThreadPoolExecutor() as pool:
            found = [pool.submit(server.post, path, body) for path, body in asked]
            begun.wait(60)
            former = server.state.models["demo"]
            reload = pool.submit(server.state.reload)
            while server.state.models["demo"] is former:
                threading.Event().wait(0.01)
            assert not reload.done()
            go.set()
            assert [each.result().status_code for each in found] == [200, 200, 200]
            reload.result()
        assert former.users == server.state.models["demo"].users == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_signals(demo_artifact: Path) -> None:
    command = [sys.executable, "-m", "bitnet_onnx", "serve", f"demo={demo_artifact}", "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"BITNET_ONNX_API_KEY": "sesame"}
    with subprocess.Popen([*command, "--threads", "1"], **pipes, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            url = process.stdout.readline().strip()
            assert process.stderr.readline() == "The models are ready: demo\n"
            process.send_signal(signal.SIGHUP)
            assert process.stderr.readline() == "the artifacts were opened again\n"
            assert httpx.get(f"{url}/v1/models").status_code == 401
            headers = {"Authorization": "Bearer sesame"}
            body = {**LONG, "stream": True}
            with httpx.stream("POST", url + CHAT, json=body, headers=headers) as running:
                lines = running.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert list(lines)[-2:] == ["data: [DONE]", ""]
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_names_of_artifacts(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    assert named_folders([f"x={tmp_path}", f"{tmp_path}/a=b", "no/c"]) == {
        "x": tmp_path,
        "a=b": tmp_path / "a=b",
        "c": Path("no/c"),
    }
    for wrong in (["a/c", "b/c"], ["=x"], [""], ["a\nb=x"]):
        if wrong == [""]:
            continue
        with pytest.raises(ConfigError):
            named_folders(wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "0"], "--rows is 0, expected at least 1"),
        (["--queue", "-1"], "--queue is -1, expected at least 0"),
        (["--api-key", "a b"], "the API key is empty or has blanks"),
        (["--api-key", ""], "the API key is empty or has blanks"),
        (["--port", "70000"], "--port is 70000, expected 0"),
        (["--host", "no such name"], "cannot be served on"),
        (["--allow-host", "a b"], "--allow-host is 'a b'"),
        (["--allow-origin", "*"], "--allow-origin is '*', expected one such as https://"),
        (["--allow-origin", "chat.example"], "--allow-origin is 'chat.example'"),
        (["--allow-origin", "https://chat.example/page"], "--allow-origin is 'https://chat"),
        (["--context", "513"], "expected at most the 512 of"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    demo_artifact: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from bitnet_onnx.cli.main import main

    port = [] if "--port" in options else ["--port", "0"]
    assert main(["serve", str(demo_artifact), *port, *options]) == 2
    assert said in capsys.readouterr().err


def test_other_machines_are_warned_of(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bitnet_onnx.cli.main import main
    from bitnet_onnx.serve import run

    monkeypatch.setattr(run, "serve", lambda state, *_: state.close(1))
    for host, key, warned in (
        ("127.0.0.1", [], False),
        ("localhost", [], False),
        ("0.0.0.0", [], True),
        ("0.0.0.0", ["--api-key", "k"], False),
    ):
        assert main(["serve", str(demo_artifact), "--host", host, *key]) == 0
        assert ("warning: " in capsys.readouterr().err) is warned


def test_a_port_in_use_is_one_sentence() -> None:
    with bound(Site(port=0)) as first, pytest.raises(ConfigError, match="cannot be served on"):
        bound(Site(port=first.getsockname()[1]))

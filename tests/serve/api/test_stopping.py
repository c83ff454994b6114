"""The end of a server, and files that change while it runs: clients are told in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
import httpx

from bitnet_onnx.files import sha256
from bitnet_onnx.runtime.wire import field
from bitnet_onnx.serve.batching.batch import Batch
from bitnet_onnx.serve.guard import Guard
from bitnet_onnx.serve.models import Limits
from bitnet_onnx.serve.names import Names
from bitnet_onnx.serve.run import Site, bound, made
from bitnet_onnx.serve.state import State

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

CHAT = "/v1/chat/completions"
LONG = {"messages": [{"role": "user", "content": "What follows Monday?"}], "ignore_eos": True}
DOC_STRING = 6  # of ModelProto


@pytest.mark.parametrize("stream", [False, True])
def test_what_runs_longer_than_the_drain_ends_with_an_error(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """A step of the batch waits until the server cuts the answers off."""
    begun, cut, step = threading.Event(), threading.Event(), Batch.step

    def waiting(batch: Batch) -> None:
        if batch.size:
            begun.set()
            cut.wait()
        step(batch)

    monkeypatch.setattr(Batch, "step", waiting)
    state = State({"demo": demo_artifact}, Limits(threads=1))
    cancel = state.cancel

    def cutting() -> None:
        cancel()
        cut.set()

    monkeypatch.setattr(state, "cancel", cutting)
    found: list[httpx.Response] = []
    with bound(Site(port=0)) as listening:
        server = made(state, Site(port=0), listening, 0, lambda line: None)
        running = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        running.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}{CHAT}"
        body = {**LONG, "stream": stream}
        asking = threading.Thread(target=lambda: found.append(httpx.post(url, json=body)))
        asking.start()
        assert begun.wait(60)
        server.should_exit = True
        asking.join()
        running.join()
        state.close(5)
    (answer,) = found
    said = answer.text.split("\n\n")[-2].removeprefix("data: ") if stream else answer.text
    assert answer.status_code == (200 if stream else 503)
    assert json.loads(said)["error"]["code"] == "stopping"


def test_a_request_that_does_not_end_is_refused_when_its_task_is_cancelled() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def endless(*_: Any) -> None:
        await asyncio.Event().wait()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def cancelled() -> None:
        state: Any = SimpleNamespace(
            limits=Limits(), models={}, stopping=True, lets_in=lambda key: True
        )
        guard = Guard(endless, state, Names("127.0.0.1"), ["/v1/embeddings"])
        head = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": head}
        task = asyncio.ensure_future(guard(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(cancelled())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["code"] == "stopping"


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_scores_are_never_those_of_another_model(
    demo_artifact: Path, tmp_path: Path, change: str
) -> None:
    """Scoring opens the artifact for a second time, when it is first asked for."""
    from tests.support.serve.serving import served

    folder = tmp_path / "model"
    shutil.copytree(demo_artifact, folder)
    body = {"prompt": "abc", "echo": True, "logprobs": 1, "max_tokens": 0}
    with served({"demo": folder}) as server:
        if change == "removed":
            shutil.rmtree(folder)
        else:
            replace_graph(folder)
        refused = server.post("/v1/completions", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_changed")
        assert str(tmp_path) not in refused.text
        if change == "replaced":
            server.state.reload()
            assert server.post("/v1/completions", body).status_code == 200


def replace_graph(folder: Path) -> None:
    """Write another graph, of the same network, with its manifest."""
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes() + field(DOC_STRING, b"another"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = {"size": graph.stat().st_size, "sha256": sha256(graph)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "70000"], "--port is 70000, expected 0"),
        (["--host", ""], "the name is empty"),
        (["--allow-host", "a b"], "--allow-host is 'a b'"),
        (["--allow-origin", "*"], "--allow-origin is '*'"),
    ],
)
def test_the_place_is_checked_before_models_are_loaded(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from bitnet_onnx.cli.main import main

    port = [] if "--port" in options else ["--port", "0"]
    assert main(["serve", "no such artifact", *port, *options]) == 2
    assert said in (told := capsys.readouterr().err)
    assert "no such artifact" not in told


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"Content-Length: 99999999", b"413", "request_too_large"),
        (b"Content-Length: 99999999999999999999", b"413", "request_too_large"),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"400", "invalid_request"),
    ],
)
def test_a_body_is_refused_by_its_head_before_it_comes(
    server: Served, head: bytes, status: bytes, code: str
) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        first = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(first + head + b"\r\n\r\n")
        said = b""
        while piece := connection.recv(1 << 16):
            said += piece
    assert said.startswith(b"HTTP/1.1 " + status)
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == code

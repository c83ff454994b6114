"""What every request passes: key, host, origin, sizes; and what is told to nobody."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn")
from bitnet_onnx.serve.api import chat
from bitnet_onnx.serve.models import Limits

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

SECRET = "a prompt that nobody else may see"
BODY = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 1, "model": "demo"}
CHAT = "/v1/chat/completions"
LONG = json.dumps({**BODY, "messages": [{"role": "user", "content": "a" * 400}]}).encode()


@pytest.fixture(scope="module")
def keyed(demo_artifact: Path) -> Any:
    from tests.support.serve.serving import served

    limits = Limits(threads=1, body=1000, context=64, rows=2)
    places: dict[str, Any] = {"allowed": ["llm.example"], "origins": ["https://chat.example"]}
    with served({"demo": demo_artifact}, limits, "sesame", **places) as found:
        yield found


def raw(server: Served, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is written; the host is in it."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    method, path, *lines = head.split("\n")
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for line in lines:
        name, _, value = line.partition(": ")
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def is_error(text: bytes, kind: str) -> None:
    error = json.loads(text)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == kind


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer sesame", 200), ("bearer  sesame", 200), ("Bearer Sesame", 401), ("sesame", 401),
        ("Bearer ", 401), ("Basic sesame", 401), ("Bearer sesame2", 401), ("Bearer s\xe9same", 401),
    ],
)  # fmt: skip
def test_the_key(keyed: Served, header: str, status: int) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/nothing"):
        found, fields, text = raw(keyed, f"GET\n{path}\nHost: localhost\nAuthorization: {header}")
        assert found == (404 if status == 200 and path == "/v1/nothing" else status)
        if status == 401:
            is_error(text, "authentication_error")
            assert fields["www-authenticate"] == "Bearer"
    assert raw(keyed, "GET\n/health\nHost: localhost")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LocalHost:80", 200), ("127.0.0.1:1", 200), ("[::1]", 200),
        ("llm.example", 200), ("evil.example", 403), ("192.168.0.7", 403), ("", 400), ("a/b", 400),
        ("localhost, evil.example", 400), ("localhost.evil.example", 403),
    ],
)  # fmt: skip
def test_the_host(keyed: Served, host: str, status: int) -> None:
    found, _, text = raw(keyed, f"GET\n/health\nHost: {host}")
    assert found == status
    if status == 403:
        is_error(text, "permission_error")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:99", 200), ("https://localhost:99", 200), ("https://chat.example", 200),
        ("http://localhost", 403), ("http://evil.example", 403), ("null", 403), ("", 403),
        ("http://chat.example", 403), ("https://chat.example.evil", 403),
    ],
)  # fmt: skip
def test_the_origin(keyed: Served, origin: str, status: int) -> None:
    head = f"/health\nHost: localhost:99\nOrigin: {origin}"
    found, fields, _ = raw(keyed, f"GET\n{head}")
    assert found == status
    ours = origin == "https://chat.example"
    assert fields.get("access-control-allow-origin") == (origin if ours else None)
    found, fields, _ = raw(keyed, f"OPTIONS\n{head}\nAccess-Control-Request-Method: POST")
    assert found == (204 if status == 200 else 403)
    assert ("access-control-allow-headers" in fields) is ours


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * 1001, {}, 413),
        (json.dumps({**BODY, "user": "x" * 1000}).encode(), {}, 413),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"content-type": "application/json; charset=utf-8"}, 400),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b"{}", {"content-encoding": "identity"}, 400),
        (b"\xff", {}, 400),
        (b"", {}, 400),
        (LONG, {}, 400),
    ],
)  # fmt: skip
def test_bodies(keyed: Served, body: bytes, headers: dict[str, str], status: int) -> None:
    found = keyed.post(CHAT, body, authorization="Bearer sesame", **headers)
    assert found.status_code == status
    is_error(found.content, "invalid_request_error")
    if body is LONG:
        assert found.json()["error"]["code"] == "context_length_exceeded"


def test_a_body_in_chunks_has_the_same_limit(keyed: Served) -> None:
    head = f"POST\n{CHAT}\nHost: localhost\nAuthorization: Bearer sesame"
    head += "\nTransfer-Encoding: chunked"
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    assert raw(keyed, head, chunk * 3 + b"0\r\n\r\n")[0] == 413


@pytest.mark.parametrize(
    ("chunked", "path", "key", "expected"),
    [
        (True, CHAT, "sesame", 413),
        (True, CHAT, "wrong", 401),
        (True, "/v1/nothing", "sesame", 404),
        (True, "/v1/models", "sesame", 405),
        (False, CHAT, "sesame", 413),
        (False, "/v1/nothing", "wrong", 413),
    ],
)
def test_who_still_sends_gets_the_refusal_and_no_reset(
    keyed: Served, chunked: bool, path: str, key: str, expected: int
) -> None:
    body = b"x" * (9 << 20)  # more than the buffers of two sockets hold
    head = f"POST\n{path}\nHost: localhost\nAuthorization: Bearer {key}\nConnection: close"
    if chunked:
        head += "\nTransfer-Encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        head += f"\nContent-Length: {len(body)}"
    status, _, text = raw(keyed, head, body)
    assert status == expected
    assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}


def test_what_is_thrown_away_has_a_bound(keyed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitnet_onnx.serve import connection

    monkeypatch.setattr(connection, "UNREAD", 1 << 16)
    where = urlsplit(keyed.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        client.sendall(f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(bytes(1 << 28))


def test_the_context_is_a_limit_of_prompt_and_answer(keyed: Served) -> None:
    body = {**BODY, "max_tokens": 500, "ignore_eos": True}
    found = keyed.post(CHAT, body, authorization="Bearer sesame").json()
    assert found["usage"]["total_tokens"] == 64
    assert found["choices"][0]["finish_reason"] == "length"


def test_methods_and_paths(server: Served) -> None:
    for method, path, status in (
        ("GET", CHAT, 405), ("DELETE", "/v1/models", 405), ("POST", "/health", 405),
        ("GET", "/v1/models/none", 404), ("GET", "/v1/chat/completions/", 404), ("POST", "/", 405),
        ("GET", "/../../etc/passwd", 404), ("PUT", "/%00", 404),
    ):  # fmt: skip
        found, fields, text = raw(server, f"{method}\n{path}\nHost: localhost")
        assert found == status, path
        assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
        assert ("allow" in fields) is (status == 405)


def test_a_mistake_of_the_program_tells_nobody_anything(
    server: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError(f"{__file__}: {SECRET}")

    monkeypatch.setattr(chat, "calling_of", wrong)
    found = server.post(CHAT, BODY)
    assert found.status_code == 500
    is_error(found.content, "server_error")
    said = capfd.readouterr().err
    assert said.startswith("error: a request failed: RuntimeError at test_guard.py:")
    for text in (found.text, said, *server.log):
        assert SECRET not in text
        assert "Traceback" not in text
        assert str(Path(__file__).parent) not in text


def test_the_log_has_no_prompt(server: Served) -> None:
    server.post(CHAT, BODY)
    server.get(f"/v1/{SECRET}?{SECRET}")
    for line in (f"POST {CHAT} 200 ", "GET an unknown path 404 "):
        while not any(each.startswith(line) for each in server.log):  # written after the answer
            time.sleep(0.01)
    assert SECRET not in "".join(server.log)

"""The server against hostile clients: each is answered or cut off, and others are still served."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

import pytest

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.serve import server as serving
from bitnet_onnx.serve.server import Handler, Server

LARGE = 32 << 20  # bytes, far beyond what the system buffers


class Answer(Handler):
    def do_GET(self) -> None:
        size = LARGE if self.path == "/large" else 2
        self.send_head(HTTPStatus.OK, {"Content-Length": str(size)})
        if self.path == "/wrong":
            raise RuntimeError("wrong")
        for _ in range(size // 2 if self.command == "GET" and size == 2 else size >> 16):
            self.begin_answer()
            self.wfile.write(b"ok" if size == 2 else bytes(1 << 16))

    do_HEAD = do_GET


@contextmanager
def served(host: str = "127.0.0.1", *allowed: str) -> Iterator[Server]:
    with Server(host, 0, Answer, allowed) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def connect(server: Server, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, server.server_port), timeout=60)


def answer(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection, or cuts it off."""
    said = b""
    try:
        while piece := connection.recv(1 << 16):
            said += piece
    except ConnectionError:
        pass
    return said


def cut_off(connection: socket.socket, piece: bytes, pause: float = 0) -> bool:
    """Send a piece again and again; return whether the server ends that."""
    try:
        for _ in range(1000):
            connection.sendall(piece)
            threading.Event().wait(pause)
    except ConnectionError:
        return True
    return False


def asked(server: Server, request: bytes) -> int:
    """Send bytes; return the status of the answer, 0 where there is none."""
    with connect(server) as connection:
        connection.sendall(request)
        said = answer(connection)
    return int(said.split()[1]) if said.startswith(b"HTTP/1.1 ") else 0


def ask(server: Server, path: str = "/", method: str = "GET", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


# ----------------------------------------------------------------------------------- host names


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("127.1.2.3", 200),
        ("[::1]", 200),
        ("[::1]:8000", 200),
        ("[0:0:0:0:0:0:0:1]:8000", 200),
        ("demo.example", 200),
        ("Demo.Example:443", 200),
        ("evil.example", 403),
        ("evil.demo.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.0.7", 403),
        ("0.0.0.0", 403),
        ("", 400),
        ("localhost, evil.example", 400),
        ("evil@localhost", 400),
        ("localhost/", 400),
        ("[::1", 400),
        ("local\x00host", 400),
    ],
)
def test_only_the_servers_own_names_are_answered(host: str, status: int) -> None:
    with served("127.0.0.1", "demo.example") as server:
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert asked(server, request.encode()) == status


def test_a_foreign_name_is_told_what_to_do() -> None:
    with served() as server, connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert said.endswith(b"To serve it: bitnet-onnx web --allow-host NAME\n")


@pytest.mark.parametrize(
    "head",
    ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"],
)
def test_a_request_names_one_host(head: str) -> None:
    with served() as server:
        assert asked(server, f"GET / HTTP/1.1\r\n{head}\r\n".encode()) == 400
        assert asked(server, f"GET / HTTP/1.0\r\n{head}\r\n".encode()) == 400
        assert asked(server, b"GET /\r\n\r\n") == 400  # HTTP/0.9 has no hosts


def test_a_server_on_all_addresses_answers_to_each() -> None:
    with served("0.0.0.0") as server:
        assert ask(server, Host="192.168.0.7:80") == 200
        assert ask(server, Host="[fe80::1]") == 200
        assert ask(server, Host="evil.example") == 403


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("demo.example", "demo.example"),
        ("DEMO", "demo:80"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::0:1", "[2001:db8::1]:80"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_allowed_names(given: str, called: str) -> None:
    with served("127.0.0.1", given) as server:
        assert ask(server, Host=called) == 200


@pytest.mark.parametrize(
    "name", ["", "*", "http://demo.example", "demo.example:80", "a b", "a..b", "x" * 64, "[]", "\0"]
)
def test_a_name_that_no_browser_sends_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--allow-host is"):
        Server("127.0.0.1", 0, Answer, [name])


# ------------------------------------------------------------------------------------- addresses


needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


def ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return
    except OSError:
        pytest.skip("this machine has no IPv6 address ::1")


@needs_ipv6
@pytest.mark.parametrize(("host", "callers"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"])])
def test_ipv6(host: str, callers: list[str]) -> None:
    ipv6()
    with served(host) as server:
        for caller in callers:
            with connect(server, caller) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: [::1]:80\r\n\r\n")
                assert answer(connection).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    "host",
    ["", "no such name", "300.1.1.1", "nowhere.invalid", "x" * 70, "192.0.2.1", "\0", "a..b"],
)
def test_a_host_that_cannot_be_served_on_is_one_sentence(host: str) -> None:
    with pytest.raises(ConfigError, match=" port 0 cannot be served on: ") as caught:
        Server(host, 0, Answer)
    assert "\n" not in str(caught.value)
    assert "--host and --port" in str(caught.value.hint)


# -------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST / HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
        ("CONNECT evil.example:443 HTTP/1.1", 405),
        ("TRACE / HTTP/1.1", 405),
        ("get / HTTP/1.1", 405),
        ("__init__ / HTTP/1.1", 405),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1." + "9" * 5000, 400),
        ("GET / HTTPS/1.1", 400),
        ("GET / x HTTP/1.1", 400),
        ("GET", 400),
        ("\x16\x03\x01\x02\x00", 400),  # a client that speaks TLS
        ("GET /" + "x" * 60000 + " HTTP/1.1", 200),
        ("GET /" + "x" * 70000 + " HTTP/1.1", 431),
    ],
)
def test_requests_of_other_kinds(request_line: str, status: int) -> None:
    with served() as server:
        request = f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        # What was not read when the server closes may take the answer with it.
        assert asked(server, request.encode("latin-1")) in {status, 0 if status == 431 else status}
        assert ask(server) == 200


def test_a_method_is_refused_with_those_that_are_known() -> None:
    with served() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("PUT", "/")
        response = connection.getresponse()
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert (response.headers["Server"], response.read()) == ("bitnet-onnx", b"")
        connection.close()


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 1",
        f"Content-Length: {10**30}",
        "Content-Length: -1",
        "Content-Length: x",
        "Content-Length: 0\r\nContent-Length: 5",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nExpect: 100-continue",
    ],
)
def test_a_body_is_refused_and_is_not_the_next_request(head: str) -> None:
    with served() as server, connect(server) as connection:
        second = "GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{second}".encode())
        assert answer(connection).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: 1\r\n" % i for i in range(200)),
        b"X: " + b"x" * 70000 + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (i, b"y" * 2000) for i in range(90)),
    ],
    ids=["many", "long", "large"],
)
def test_a_flood_of_headers_is_refused(flood: bytes) -> None:
    with served() as server:
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n"
        assert asked(server, request) in (431, 0)
        assert ask(server) == 200


def test_a_head_without_end_is_cut_off() -> None:
    with served() as server, connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert cut_off(connection, b"X: y\r\n" * 1000)
        assert ask(server) == 200


# ----------------------------------------------------------------------------------------- time


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(serving, "SEND_SECONDS", 0.3)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_silent_client_is_cut_off(sent: bytes) -> None:
    with served() as server, connect(server) as connection:
        connection.sendall(sent)
        assert answer(connection) == b""


@pytest.mark.usefixtures("hurried")
def test_a_client_that_sends_byte_by_byte_is_cut_off() -> None:
    with served() as server, connect(server) as connection:
        assert cut_off(connection, b"X", pause=0.05)
        assert ask(server) == 200


@pytest.mark.usefixtures("hurried")
def test_an_idle_connection_is_closed_after_its_answers() -> None:
    with served() as server, connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        assert answer(connection).count(b"ok") == 2


@pytest.mark.usefixtures("hurried")
def test_a_client_that_does_not_read_is_cut_off() -> None:
    with served() as server, connect(server) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1) == b"H"
        while server._connections:  # the server gives it up
            threading.Event().wait(0.05)
        assert len(answer(connection)) < LARGE


def test_many_silent_connections_do_not_keep_others_out() -> None:
    with served() as server, ExitStack() as stack:
        silent = [stack.enter_context(connect(server)) for _ in range(200)]
        assert ask(server) == 200
        assert len(server._connections) <= serving.CONNECTIONS
        assert answer(silent[0]) == b""  # the first ones were closed for the later ones
        for connection in silent[-10:]:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert answer(connection).endswith(b"ok")


def test_a_connection_in_use_is_not_closed_for_silent_ones() -> None:
    with served() as server, ExitStack() as stack:
        used = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        stack.callback(used.close)
        for _ in range(20):
            for _ in range(serving.CONNECTIONS // 8):
                stack.enter_context(connect(server))
            assert ask(server) == 200  # so the silent ones before it were accepted
            used.request("GET", "/")
            response = used.getresponse()
            assert (response.status, response.read()) == (200, b"ok")


# ----------------------------------------------------------------------------------- disconnects


@pytest.mark.parametrize("path", ["/", "/large"])
def test_a_reset_is_not_an_error(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    with served() as server:
        for sent in (b"", b"GET", f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()):
            connection = connect(server)
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()  # sends a reset
        assert ask(server) == 200
        while server._connections:
            threading.Event().wait(0.01)
    assert capfd.readouterr() == ("", "")


def test_a_mistake_of_the_program_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with served() as server:
        assert ask(server, "/wrong") == 200
        while server._connections:
            threading.Event().wait(0.01)
    assert capfd.readouterr().err == "error: a request failed: RuntimeError('wrong')\n"

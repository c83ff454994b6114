"""An HTTP server that no client can hold up, and that answers only to its own host names.

Knows connections, deadlines and request heads; does not know what is served. Bounds: a request
head has 64 KiB and 20 seconds, a piece of an answer 30 seconds; of more than 64 connections the
one that has made no progress for the longest time is closed. A request with a body is refused.
"""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from threading import Lock
from time import monotonic
from typing import Any

from ..errors import ConfigError
from .names import Names

__all__ = ["Handler", "Server"]

CONNECTIONS = 64  # a browser opens six
HEAD_BYTES = 1 << 16
HEAD_SECONDS = 20.0  # from the end of one answer to the end of the next request's head
SEND_SECONDS = 30.0  # for each piece of an answer


class Server(ThreadingHTTPServer):
    """Bound and not yet running; IPv4, IPv6, or both for the host ``::``."""

    daemon_threads = True
    request_queue_size = CONNECTIONS
    # On Windows it would let a second program take the port.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False

    def __init__(
        self, host: str, port: int, handler: Callable[..., Handler], allowed: Iterable[str] = ()
    ) -> None:
        """Bind; raise ConfigError where that is impossible.

        allowed: further names by which clients may call this server, as those of a proxy.
        """
        if not 0 <= port < 1 << 16:
            raise ConfigError(f"--port is {port}, expected 0 (any free port) to 65535")
        self._names = Names(host, allowed)
        self._lock = Lock()
        self._connections: dict[socket.socket, None] = {}  # the longest without progress first
        try:
            if not host:
                raise OSError(0, "the name is empty")
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self.address_family = found[0]
            super().__init__(found[4], handler)  # type: ignore[arg-type]  # IPv6 has four parts
        except (OSError, UnicodeError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise ConfigError(
                f"{host} port {port} cannot be served on: {reason}",
                hint="choose another place with --host and --port; port 0 is any free one",
            ) from error
        self._names.everywhere = ip_address(self.server_name).is_unspecified

    def server_bind(self) -> None:
        """Bind as TCPServer does: HTTPServer would ask the network for this machine's name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        name, self.server_port = self.server_address[:2]
        self.server_name = str(name)

    def answers_to(self, authority: str) -> bool | None:
        """Return whether a Host header names this server; None where it is no host at all."""
        return self._names.answers_to(authority)

    def progress(self, connection: socket.socket) -> None:
        """Note that a connection is alive, if it is still open."""
        with self._lock:
            if connection in self._connections:
                del self._connections[connection]
                self._connections[connection] = None

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections[request] = None
            if len(self._connections) > CONNECTIONS:
                stalled = next(iter(self._connections))
                del self._connections[stalled]
                _shut(stalled)  # its thread reads an end, and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a mistake of this program in one line; a client that went away is no mistake."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"error: a request failed: {error!r}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """Reads requests within the bounds; a subclass answers with ``do_GET`` and ``do_HEAD``."""

    protocol_version = default_request_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart
    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._head = _Head(self.connection)
        self.rfile = io.BufferedReader(self._head)

    def handle_one_request(self) -> None:
        self._head.restart()
        self.requestline, self.command, self.request_version = "", "", self.protocol_version
        try:
            super().handle_one_request()
        except _LongHeadError:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.begin_answer()
        hosts = self.headers.get_all("Host", [])
        ours = self.server.answers_to(hosts[0]) if len(hosts) == 1 else None
        sizes = self.headers.get_all("Content-Length", [])
        if ours is None or "Transfer-Encoding" in self.headers or set(sizes) - {"0"}:
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif not ours:
            told = b"This host name is not served. To serve it: bitnet-onnx web --allow-host NAME\n"
            kind = "text/plain; charset=utf-8"
            self.send_error(HTTPStatus.FORBIDDEN, fields={"Content-Type": kind}, body=told)
        else:
            return True
        return False

    def handle_expect_100(self) -> bool:
        """Ask for no body: none is read."""
        return True

    def begin_answer(self) -> None:
        """Give the next piece of the answer its time."""
        self.connection.settimeout(SEND_SECONDS)
        self.server.progress(self.connection)

    def send_head(self, status: HTTPStatus, fields: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,
        fields: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Refuse a request and close the connection, as its bytes can no longer be told apart."""
        status, given = HTTPStatus(code), dict(fields or {})
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status, given["Allow"] = HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD"
        self.begin_answer()
        self.send_head(status, {**given, "Content-Length": str(len(body)), "Connection": "close"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "bitnet-onnx"

    def log_message(self, *_: object) -> None:
        """Log nothing: the page reports what it loads."""


class _LongHeadError(Exception):
    """A request's head is longer than HEAD_BYTES."""


class _Head(io.RawIOBase):
    """What a client sends; each request's head has a number of bytes and one deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.restart()

    def restart(self) -> None:
        self._left, self._until = HEAD_BYTES, monotonic() + HEAD_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        if not self._left:
            raise _LongHeadError
        self._socket.settimeout(left)
        size = self._socket.recv_into(buffer, min(len(buffer), self._left))
        self._left -= size
        return size


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # the client has closed it
        connection.shutdown(socket.SHUT_RDWR)

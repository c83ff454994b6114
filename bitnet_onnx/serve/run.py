"""Run the server until a signal ends it.

Knows sockets, signals and uvicorn; does not know requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import BitNetError, ConfigError
from .api.errors import ApiError, response_of
from .app import application
from .connection import IDLE_SECONDS, Protocol
from .guard import allowed_origin
from .names import Names
from .state import State

__all__ = ["Running", "Site", "bound", "check_site", "serve"]

CONNECTIONS = 512
CUT_SECONDS = 5  # after ``drain``: for a last step, and to tell clients that it was the last
LOCAL = ("127.0.0.1", "0.0.0.0", "::", "localhost")


@dataclass(frozen=True)
class Site:
    """Where the server listens, and who may call it."""

    host: str = "127.0.0.1"
    port: int = 8080
    allowed: Sequence[str] = ()
    origins: Sequence[str] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def bound(site: Site) -> socket.socket:
    """Return a socket that listens at the site; raise ConfigError where that is impossible."""
    if not 0 <= site.port < 1 << 16:
        raise ConfigError(f"--port is {site.port}, expected 0 (any free port) to 65535")
    try:
        if not site.host:
            raise OSError(0, "the name is empty")
        family, kind, protocol, _, address = socket.getaddrinfo(
            site.host, site.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        if sys.platform != "win32":  # there it would let a second program take the port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind(address)
        found.listen(CONNECTIONS)  # who reads the URL can connect
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ConfigError(
            f"{site.host} port {site.port} cannot be served on: {reason}",
            hint="choose another place with --host and --port; port 0 is any free one",
        ) from error
    return found


def check_site(site: Site) -> None:
    """Raise ConfigError for a site where nothing can be served, before models are loaded."""
    Names(site.host, site.allowed)
    for origin in site.origins:
        allowed_origin(origin)
    bound(site).close()


class Running(uvicorn.Server):
    """uvicorn's server, without its own way with signals.

    Answers have ``drain`` seconds to end; then ``cut`` is called, so that each gets an error.
    """

    def __init__(
        self, config: uvicorn.Config, drain: float = 0.0, cut: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._drain, self._cut = drain, cut

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(self._drain, self._cut)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def limited(self, app: ASGIApp) -> ASGIApp:
        """Return the application for as many connections as there may be."""

        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            if len(self.server_state.connections) <= CONNECTIONS:
                await app(scope, receive, send)
                return
            error = ApiError(
                503, "the server has too many connections, expected fewer", code="busy"
            )
            error.headers = {"Connection": "close", "Retry-After": "1"}
            await response_of(error)(scope, receive, send)

        return answered


def made(
    state: State, site: Site, listening: socket.socket, drain: float, log: Callable[[str], None]
) -> Running:
    """Return the server, which does not run yet."""
    address = listening.getsockname()[0]
    names = Names(site.host, site.allowed, ip_address(address.partition("%")[0]).is_unspecified)
    app = application(state, names, site.origins, log)
    running = Running(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            http=Protocol,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=math.ceil(drain) + CUT_SECONDS,
        ),
        drain,
        state.cancel,
    )
    running.config.app = running.limited(app)
    return running


def serve(
    state: State, site: Site, drain: float = 30.0, log: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; then answers have ``drain`` seconds to end.

    The URL goes to stdout. A second signal ends at once; SIGHUP opens the artifacts again.
    """
    with bound(site) as listening:
        server = made(state, site, listening, drain, log or _say)
        host = "localhost" if site.host in LOCAL else site.host
        shown = f"[{host}]" if ":" in host else host
        # What asyncio tells of a connection that breaks may hold a part of a request.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        with _signals(server, state, log or _say):
            print(f"http://{shown}:{listening.getsockname()[1]}", flush=True)
            asyncio.run(server.serve([listening]))
        state.close(drain)


@contextlib.contextmanager
def _signals(server: Running, state: State, log: Callable[[str], None]) -> Iterator[None]:
    """End the server at SIGINT and SIGTERM, and reload its models at SIGHUP."""

    def end(number: int, frame: Any) -> None:
        if server.should_exit:
            server.force_exit = True
        server.should_exit = state.stopping = True

    def again(number: int, frame: Any) -> None:
        threading.Thread(target=_reload, args=(state, log), daemon=True).start()

    handlers = {signal.SIGINT: end, signal.SIGTERM: end}
    if sys.platform != "win32":
        handlers[signal.SIGHUP] = again
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload(state: State, log: Callable[[str], None]) -> None:
    try:
        unsaved = state.reload()
    except BitNetError as error:
        log(f"error: the artifacts were not opened again: {_sentence(error)}")
    except Exception as error:  # such as MemoryError, whose text may name a folder
        log(f"error: the artifacts were not opened again: {type(error).__name__}")
    else:
        log("the artifacts were opened again")
        for each in unsaved:
            log(f"warning: the former model did not keep its prompts: {_sentence(each)}")


def _sentence(error: BitNetError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

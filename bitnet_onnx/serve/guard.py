"""What every request passes: host, origin, key, size of the body, and one line of log.

Knows ASGI; does not know the endpoints. A log line has no text of a client: the method, the path
of the endpoint, the status, the seconds.
"""

from __future__ import annotations

import asyncio
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from time import monotonic

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BitNetError, ConfigError
from .api.common import STATE, TAKEN
from .api.errors import ApiError, error_of, response_of
from .names import Names
from .patience import within
from .state import State

__all__ = ["Guard", "allowed_origin"]

BODY_SECONDS = 30.0  # for the next part of a body
OPEN = ("/", "/health")  # what is answered without the key
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
GONE = 499  # in the log: the client went away
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """Lets a request through to ``app``, or refuses it in OpenAI's form."""

    def __init__(
        self,
        app: ASGIApp,
        state: State,
        names: Names,
        paths: Iterable[str],
        origins: Iterable[str] = (),
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._app, self._state, self._names = app, state, names
        self._paths, self._log = frozenset(paths), log
        self._origins = frozenset(map(allowed_origin, origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        scope[STATE], scope[TAKEN] = self._state, []
        sent = _Sent(send, self._cors(Headers(scope=scope)))
        start = monotonic()
        try:
            await self._answer(scope, _Body(receive, self._state.limits.body), sent)
        finally:
            for served in scope[TAKEN]:
                self._state.give_back(served)
            if self._log is not None:
                path = self._shown(scope["path"])
                method = scope["method"] if scope["method"] in METHODS else "a method"
                self._log(f"{method} {path} {sent.status} {monotonic() - start:.2f} s")

    def _shown(self, path: str) -> str:
        """Return the path of the endpoint, which has no text of a client."""
        if path in self._paths:
            return path
        for known in self._paths:
            start, has_name, _ = known.partition("{")
            if has_name and path.startswith(start):
                return known
        return "an unknown path"

    async def _answer(self, scope: Scope, body: _Body, sent: _Sent) -> None:
        try:
            self._check(scope)
            if scope["method"] == "OPTIONS":
                await Response(status_code=204)(scope, body, sent)
            else:
                await self._app(scope, body, sent)
            return
        except ApiError as error:
            refused = error
        except BitNetError as error:
            refused = error_of(error)
        except HTTPException as error:
            refused = _of_routing(error)
        except ClientDisconnect:
            sent.status = GONE
            return
        except asyncio.CancelledError:  # the time in which answers may end has passed
            if sent.started:
                raise
            refused = ApiError(503, "the server is stopping", code="stopping")
        except Exception as error:
            print(f"error: a request failed: {_place(error)}", file=sys.stderr)
            refused = ApiError(500, "the server failed, expected it to answer", code="internal")
        if sent.started:  # the client sees an answer that is cut off
            sent.status = refused.status
            raise ClientDisconnect
        refused.message = self._without_paths(refused.message)
        await response_of(refused)(scope, body, sent)

    def _without_paths(self, message: str) -> str:
        """Return a message that names models in the place of their folders."""
        for name, served in self._state.models.items():
            message = message.replace(str(served.artifact.folder), name)
        return message

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        ours = self._names.answers_to(hosts[0]) if len(hosts) == 1 else None
        if ours is None:
            raise ApiError(400, "the request names no host, expected one", code="invalid_host")
        if not ours:
            raise ApiError(
                403,
                "this host name is not served; to serve it: bitnet-onnx serve --allow-host NAME",
                code="invalid_host",
            )
        self._check_origin(headers, hosts[0])
        size = headers.get("content-length")
        if size is not None and "transfer-encoding" in headers:  # a proxy may read the other one
            raise ApiError(
                400,
                "the request has content-length and transfer-encoding, expected one of them",
                code="invalid_request",
            )
        _check_size(int(size or 0), self._state.limits.body)
        if scope["path"] in OPEN or scope["method"] == "OPTIONS":
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if not self._state.lets_in(key.strip() if scheme.lower() == "bearer" else None):
            raise ApiError(
                401, "the key is missing or wrong, expected it as a bearer", code="invalid_api_key"
            )

    def _check_origin(self, headers: Headers, host: str) -> None:
        """Refuse pages of other sites: they could use a server on this machine."""
        origin = headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return
        if origin.lower().partition("://")[2] != host.strip().lower():
            raise ApiError(
                403,
                "this origin is not served; to serve it: bitnet-onnx serve --allow-origin ORIGIN",
                code="invalid_origin",
            )

    def _cors(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin is None or origin.lower() not in self._origins:
            return [(b"vary", b"origin")] if self._origins else []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"authorization, content-type"),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"vary", b"origin"),
        ]


class _Body:
    """The body of a request, with a limit of bytes, and of seconds for each part."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._size, self._whole = receive, most, 0, False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            message = await within(BODY_SECONDS, self._receive())
        except TimeoutError:
            raise ApiError(408, "the body did not come in time", code="timeout") from None
        self._size += len(message.get("body", b""))
        _check_size(self._size, self._most)
        self._whole = not message.get("more_body", False)
        return message


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ApiError(
            413,
            f"the body has more than {most} bytes, expected at most so many",
            code="request_too_large",
        )


class _Sent:
    """What was sent: whether an answer has begun, and its status."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers, self.started, self.status = send, headers, False, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = [*message.get("headers", []), *HEADERS, *self._headers]
            message = {**message, "headers": headers}
        await self._send(message)


def allowed_origin(text: str) -> str:
    """Return an origin as browsers send it; raise ConfigError for what none can send."""
    origin = text.removesuffix("/").lower()
    if not ORIGIN.fullmatch(origin):
        raise ConfigError(f"--allow-origin is {text!r}, expected one such as https://chat.example")
    return origin


def _of_routing(error: HTTPException) -> ApiError:
    if error.status_code == 405:
        refused = ApiError(405, "this path has no such method", code="method_not_allowed")
        refused.headers = dict(error.headers or {})
        return refused
    return ApiError(
        404, "there is no such path, expected one that /openapi.json lists", code="not_found"
    )


def _place(error: Exception) -> str:
    """Return the kind of an error and its place: its text may hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"

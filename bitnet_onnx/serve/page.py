"""Serve the page for browsers with one artifact.

Knows HTTP and two folders: the built page, and the artifact under ``/model/``; does not know the
model. It serves only files of the page's build and of the manifest, so that a path cannot lead
elsewhere. Its headers ask for cross-origin isolation, which browsers require for WebAssembly
threads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from ..artifact import MANIFEST, Artifact
from ..errors import ArtifactError, ConfigError

__all__ = ["make_server", "serve"]

PAGE = Path(__file__).parent.parent / "web"
LOCAL = ("127.0.0.1", "0.0.0.0", "localhost")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Accept-Ranges": "bytes",
}
CHUNK = 1 << 20  # bytes read at a time


def serve(artifact: Path, host: str, port: int) -> None:
    """Serve until interrupted; the URL goes to stdout, all other output to stderr."""
    with make_server(artifact, host, port) as server:
        name, bound = "localhost" if host in LOCAL else host, server.server_address[1]
        try:
            for line in (
                "Browsers allow offline use and threads only over HTTPS or on localhost. A phone",
                "needs a proxy with a certificate in front of this server; Android over USB only",
                f"adb reverse tcp:{bound} tcp:{bound} and the same URL. Ctrl-C ends the server.",
            ):
                print(line, file=sys.stderr)
            print(f"http://{name}:{bound}/", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def make_server(artifact: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that is bound and not yet running. Raises ArtifactError or ConfigError."""
    opened = Artifact.open(artifact)
    if opened.target != "stock":
        raise ArtifactError(
            f"{artifact} has the target {opened.target!r}, a browser runs 'stock'",
            hint="export it with: bitnet-onnx export CHECKPOINT -o ARTIFACT --target stock",
        )
    if not (PAGE / "index.html").is_file():
        raise ConfigError(
            f"{PAGE / 'index.html'} does not exist, expected the built page",
            hint="build it with: make web",
        )
    files = {f"/{path.relative_to(PAGE).as_posix()}": path for path in PAGE.rglob("*.*")}
    files["/"] = files["/index.html"]
    files |= {f"/model/{name}": opened.folder / name for name in opened.manifest["files"]}
    files[f"/model/{MANIFEST}"] = opened.folder / MANIFEST
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"--port is {port}, expected 0 (any free port) to 65535")
    try:
        return ThreadingHTTPServer((host, port), partial(_Handler, files))
    except OSError as error:
        raise ConfigError(
            f"{host} port {port} cannot be served on: {error.strerror}",
            hint="choose another port with --port; 0 takes any free one",
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of known files, whole or one range."""

    protocol_version = "HTTP/1.1"

    def __init__(self, files: Mapping[str, Path], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]  # it handles the request

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        """Log nothing: the page reports what it loads."""

    def _answer(self, body: bool) -> None:
        try:
            url = unquote(urlsplit(self.path).path)
            file = self._files[url].open("rb")
        except (ValueError, KeyError, OSError):  # a bad URL, an unknown file, a deleted file
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        with file:
            size = file.seek(0, 2)
            asked = _range(self.headers.get("Range"), size)
            start, end = asked or (0, size)
            if start > end:
                unmet = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unmet)
                return
            # The name of a file in assets/ holds a hash of its content.
            lasting = url.startswith("/assets/")
            fields = {
                "Content-Type": TYPES.get(Path(url or "/").suffix, "application/octet-stream"),
                "Content-Length": str(end - start),
                "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
            }
            if url == "/":
                fields["Content-Type"] = TYPES[".html"]
            if asked:
                fields["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, fields)
            if body:
                self._send(file, start, end)

    def _head(self, status: HTTPStatus, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **fields}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, file: BinaryIO, start: int, end: int) -> None:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            try:
                self.wfile.write(chunk)
            except ConnectionError:  # the browser has closed the connection
                self.close_connection = True
                return
            start += len(chunk)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the byte after the last; first > last where the file lacks them.

    Returns None without a header, and for several ranges or another unit, which servers ignore.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", (header or "").strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else (1, 0)
    if last and int(last) < int(first):
        return None
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < end else (1, 0)

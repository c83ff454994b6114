"""Serve the page for browsers with one artifact.

Knows two folders: the built page, and the artifact under ``/model/``; does not know the model. It
serves only files of the page's build and of the manifest, none of them by a link out of its
folder, so that a path cannot lead elsewhere. Its headers ask for cross-origin isolation, which
browsers require for WebAssembly threads.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from ..artifact import MANIFEST, TASK, Artifact
from ..errors import ArtifactError, ConfigError
from .server import Handler, Server

__all__ = ["ISOLATED", "TYPES", "files_of", "make_server", "serve"]

PAGE = Path(__file__).resolve().parent.parent / "web"
LOCAL = ("127.0.0.1", "0.0.0.0", "::", "localhost")
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
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
HEADERS = {
    **ISOLATED,
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Accept-Ranges": "bytes",
}
CHUNK = 1 << 18  # bytes sent within SEND_SECONDS: 9 kB a second at least


def serve(artifact: Path, host: str, port: int, allowed: Iterable[str] = ()) -> None:
    """Serve until interrupted; the URL goes to stdout, all other output to stderr."""
    with make_server(artifact, host, port, allowed) as server:
        name, bound = f"[{host}]" if ":" in host else host, server.server_port
        try:
            for line in (
                "Browsers allow offline use and threads only over HTTPS or on localhost. A phone",
                "needs a proxy with a certificate in front of this server, whose name is given",
                "with --allow-host; Android over USB only",
                f"adb reverse tcp:{bound} tcp:{bound} and the same URL. Ctrl-C ends the server.",
            ):
                print(line, file=sys.stderr)
            print(f"http://{'localhost' if host in LOCAL else name}:{bound}/", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def make_server(artifact: Path, host: str, port: int, allowed: Iterable[str] = ()) -> Server:
    """Return a server that is bound and not yet running. Raises ArtifactError or ConfigError.

    allowed: host names by which clients may call it, beside localhost and ``host``.
    """
    files = files_of(Artifact.open(artifact).of_task(TASK))
    return Server(host, port, partial(_Handler, files), allowed)


def files_of(opened: Artifact) -> dict[str, Path]:
    """Return the files of the page and of an artifact by their paths in a URL.

    Raises ArtifactError or ConfigError where the page cannot run it, or is not built.
    """
    if opened.target != "stock":
        raise ArtifactError(
            f"{opened.folder} has the target {opened.target!r}, a browser runs 'stock'",
            hint="export it with: bitnet-onnx export CHECKPOINT -o ARTIFACT --target stock",
        )
    if not (PAGE / "index.html").is_file():
        raise ConfigError(
            f"{PAGE / 'index.html'} does not exist, expected the built page",
            hint="build it with: make web",
        )
    files = {
        f"/{path.relative_to(PAGE).as_posix()}": path
        for path in PAGE.rglob("*.*")
        if _inside(PAGE, path)
    }
    files["/"] = files["/index.html"]
    for name in (MANIFEST, *opened.manifest["files"]):
        if not _inside(opened.folder, opened.folder / name):
            raise ArtifactError(
                f"{opened.folder / name} is a link out of its folder, expected a file",
                hint=f"copy the files themselves: cp -rL {opened.folder} COPY",
            )
        files[f"/model/{name}"] = opened.folder / name
    return files


def _inside(folder: Path, path: Path) -> bool:
    """Return whether a path is a file in a folder, and not by a link out of it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


class _Handler(Handler):
    """Answers GET and HEAD of known files, whole or one range."""

    def __init__(self, files: Mapping[str, Path], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]  # it handles the request

    def do_GET(self) -> None:
        try:
            url = unquote(self.path.partition("?")[0])
            file = self._files[url].open("rb")
        except (KeyError, OSError):  # an unknown file, a deleted file
            self._begin(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        with file:
            self._answer(url, file)

    do_HEAD = do_GET

    def _answer(self, url: str, file: BinaryIO) -> None:
        about = os.fstat(file.fileno())
        # A replaced file may keep its size and its time, not the time of its change.
        tag = f'"{about.st_ctime_ns:x}-{about.st_mtime_ns:x}-{about.st_size:x}"'
        size = about.st_size
        # The name of a file in assets/ holds a hash of its content.
        lasting = url.startswith("/assets/")
        fields = {
            "ETag": tag,
            "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
        }
        if _names(self.headers.get("If-None-Match"), tag):
            self._begin(HTTPStatus.NOT_MODIFIED, fields)
            return
        same = self.headers.get("If-Range", tag) == tag  # else the client holds another file's part
        asked = _range(self.headers.get("Range") if same else None, size)
        start, end = asked or (0, size)
        if start > end:
            unmet = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unmet)
            return
        suffix = ".html" if url == "/" else Path(url).suffix
        fields["Content-Type"] = TYPES.get(suffix, "application/octet-stream")
        fields["Content-Length"] = str(end - start)
        if asked:
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._begin(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, fields)
        if self.command == "GET":
            self._send(file, start, end)

    def _begin(self, status: HTTPStatus, fields: Mapping[str, str]) -> None:
        self.send_head(status, {**HEADERS, **fields})

    def _send(self, file: BinaryIO, start: int, end: int) -> None:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            self.begin_answer()
            self.wfile.write(chunk)
            start += len(chunk)
        if start < end:  # the file became shorter
            self.close_connection = True


def _names(header: str | None, tag: str) -> bool:
    """Return whether an If-None-Match header names a tag: the client has the file."""
    return header is not None and bool({"*", tag, f"W/{tag}"} & set(re.split(r"[\s,]+", header)))


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

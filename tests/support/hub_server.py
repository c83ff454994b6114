"""Serve the few endpoints of the Hugging Face Hub that a download needs, on this machine only.

The server offers folders as repositories, records every request, and can fail on purpose.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Folders of files by revision; the commit of a revision is derived from its name."""

    revisions: dict[str, Path]
    gated: bool = False

    def find(self, revision: str) -> tuple[str, Path] | None:
        for name, folder in self.revisions.items():
            if revision in (name, commit_of(name)):
                return commit_of(name), folder
        return None


@dataclass
class Hub:
    """The repositories, the requests so far, and the files that are cut off or refused."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    """The number of bytes after which a file's next download ends, by file name."""
    broken: set[str] = field(default_factory=set)
    """Names of files whose download fails with status 500."""
    altered: dict[str, int] = field(default_factory=dict)
    """The place of a byte that is sent as another one, by file name."""
    ranges: list[tuple[str, str]] = field(default_factory=list)

    @property
    def downloads(self) -> list[str]:
        """The names of the downloaded files."""
        return sorted(
            request.rpartition("/")[2]
            for request in self.requests
            if request.startswith("GET") and "/resolve/" in request
        )

    def serve(self) -> ThreadingHTTPServer:
        return ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))


def commit_of(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


LARGE = (".safetensors", ".bin", ".gguf")  # kept in LFS
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: object) -> None:
        self.hub = hub
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path  # a slash inside a revision is quoted
        self.hub.requests.append(f"{self.command} {path}")
        if found := API.fullmatch(path):
            name, kind, revision = found.groups()
            snapshot = self.snapshot(name, unquote(revision or "main"))
            if snapshot is not None:
                self.answer_json(self.describe(name, kind, *snapshot))
        elif found := RESOLVE.fullmatch(path):
            name, revision, file = found.groups()
            snapshot = self.snapshot(name, unquote(revision))
            if snapshot is not None:
                self.send_file(name, unquote(file), *snapshot)
        else:
            self.refuse(404, "NotFound")

    def snapshot(self, name: str, revision: str) -> tuple[str, Path] | None:
        """Return commit and folder, or answer with an error and return None."""
        if name not in self.hub.repositories:
            self.refuse(401, "RepoNotFound")
            return None
        found = self.hub.repositories[name].find(revision)
        if found is None:
            self.refuse(404, "RevisionNotFound")
        return found

    def describe(self, name: str, kind: str | None, commit: str, folder: Path) -> object:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [str(path.relative_to(folder)) for path in files]
        if kind != "tree":
            siblings = [{"rfilename": file} for file in names]
            return {"_id": "0", "id": name, "sha": commit, "siblings": siblings, "tags": []}
        return [
            {"type": "file", "path": file, "size": path.stat().st_size, "oid": etag(path)}
            for file, path in zip(names, files, strict=True)
        ]

    def send_file(self, name: str, file: str, commit: str, folder: Path) -> None:
        if self.hub.repositories[name].gated:
            return self.refuse(403, "GatedRepo")
        path = folder / file
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        if file in self.hub.broken and self.command == "GET":
            return self.refuse(500, "Broken")
        content, start = path.read_bytes(), 0
        if (place := self.hub.altered.get(file)) is not None:
            other = bytes([content[place] ^ 1])
            content = content[:place] + other + content[place + 1 :]
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            self.hub.ranges.append((file, asked[0]))
            start = int(asked[1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag(path)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        stop = self.hub.cut.pop(file, len(content))
        self.wfile.write(content[start:stop])
        self.close_connection = stop < len(content)
        return None

    def answer_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"{code} of the test server")
        self.send_header("Content-Length", "0")
        self.end_headers()


def etag(path: Path) -> str:
    """Return what the Hub gives: the SHA-256 of a file in LFS, git's hash of another."""
    content = path.read_bytes()
    if path.suffix in LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

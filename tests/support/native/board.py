"""The program for boards: its build, and a shell that calls it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

__all__ = ["ARM", "BUILD", "Served", "board_shell", "needs_arm", "program", "run", "served"]

PATIENCE = 60  # seconds, on a machine that is busy

BUILD = Path(os.environ.get("BITNET_EDGE_BOARD", ROOT / "build" / "board"))
ARM = Path(os.environ.get("BITNET_EDGE_BOARD_ARM64", ROOT / "build" / "board-arm64"))

needs_arm = pytest.mark.skipif(
    not (ARM / "bitnet-edge").is_file() or not shutil.which("qemu-aarch64-static"),
    reason="the program for 64-bit Arm is not built: make board ARCH=arm64",
)


def program() -> Path:
    """Return the program as `make board` builds it."""
    path = BUILD / "bitnet-edge"
    if not path.is_file():
        pytest.skip("the program for boards is not built: make board")
    return path


def run(
    *arguments: str | Path | bytes, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Call it with a stdin that is no terminal."""
    return subprocess.run(
        [program(), *arguments], input=stdin, capture_output=True, env=os.environ | environment,
        timeout=120,
    )  # fmt: skip


def board_shell(
    line: str, *arguments: str | Path | bytes, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which ``$@`` is the program with its arguments."""
    return subprocess.run(
        ["bash", "-c", line, "bash", program(), *arguments],
        input=stdin, capture_output=True, timeout=120,
    )  # fmt: skip


class Served:
    """A server that was started, and what clients get of it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.address = address

    def connect(self) -> socket.socket:
        if self.address.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(self.address.removeprefix("unix:"))
            return client
        host, _, port = self.address.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)

    def raw(self, request: bytes) -> bytes:
        """Send bytes; return all that comes until the server closes the connection."""
        said = b""
        with self.connect() as client:
            try:
                client.sendall(request)
                while piece := client.recv(1 << 16):
                    said += piece
            except ConnectionError:
                pass
        return said

    def post(self, body: bytes | dict[str, Any]) -> tuple[int, bytes]:
        """Ask for a completion; return the status and the body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return self.parsed(head.encode() + data)

    def parsed(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes; return the status and the body, as Python's client reads them."""
        with self.connect() as client:
            client.sendall(request)
            response = http.client.HTTPResponse(client)
            response.begin()
            return response.status, response.read()

    def ends(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def served(artifact: Path, *arguments: str, on: str = "127.0.0.1:0") -> Iterator[Served]:
    """Start the server; it is killed at the end where it has not ended."""
    process = subprocess.Popen(
        [program(), artifact, *arguments, "--serve", on],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        if "--stats" in arguments:  # the model comes first
            line = process.stderr.readline().decode()
        found = re.fullmatch(r"serving \S+ on (\S+); Ctrl-C ends\n", line)
        assert found, line
        yield Served(process, found[1])
    finally:
        process.kill()
        process.communicate()

"""The program for boards: its build, and a shell that calls it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

__all__ = ["BUILD", "board_shell", "program", "run"]

BUILD = Path(os.environ.get("BITNET_EDGE_BOARD", ROOT / "build" / "board"))


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

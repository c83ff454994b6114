"""Child processes: their environments, the command line, and what they say without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

__all__ = ["COMMAND", "is_one_sentence", "no_network", "of_another_cpu", "shell"]

COMMAND = [sys.executable, "-m", "bitnet_onnx"]
OFFLINE = re.compile(
    r"No matching distribution|Connection|Temporary failure|timed out"
    r"|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|network",
    re.IGNORECASE,
)


def of_another_cpu(**changes: str) -> dict[str, str]:
    """Return the environment of a child process that emulates another CPU.

    OPENBLAS_CORETYPE may select NumPy's kernels for this CPU, with instructions that the emulated
    CPU lacks, so variables of OpenBLAS are left out.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OPENBLAS_")}
    return kept | changes


def no_network(said: str) -> bool:
    """Whether pip or npm, which failed with these words, found no package index."""
    return bool(OFFLINE.search(said))


def shell(
    line: str, *arguments: str | Path | bytes, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh, in which ``$@`` is the command with its arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *arguments],
        input=stdin, capture_output=True, cwd=ROOT, env=os.environ | environment, timeout=120,
    )  # fmt: skip


def is_one_sentence(stderr: str) -> bool:
    """Return whether stderr ends with an error of one line and at most one hint after it."""
    lines = [line for line in stderr.splitlines() if not line.startswith(("note: ", "hint: "))]
    return bool(lines) and lines[-1].startswith("error: ") and "Traceback" not in stderr

"""Commands run as a user runs them: in a process of their own, or in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bitnet_onnx.files import sha256
from tests.support.paths import ROOT

COMMAND = [sys.executable, "-m", "bitnet_onnx"]


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


def configured(artifact: Path, folder: Path, values: dict[str, Any]) -> Path:
    """Link an artifact's files into a new folder, with another generation_config.json."""
    folder.mkdir()
    for path in artifact.iterdir():
        (folder / path.name).symlink_to(path)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    config = folder / "generation_config.json"
    config.unlink(missing_ok=True)
    config.write_text(json.dumps(values))
    manifest["files"][config.name] = {"size": config.stat().st_size, "sha256": sha256(config)}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder

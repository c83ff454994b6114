"""The examples of a client, against a running server."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

FOLDER = ROOT / "examples"


def printed(*command: str | Path) -> list[str]:
    """The lines on stdout of a program."""
    environment = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_server_openai(server: Served) -> None:
    pytest.importorskip("openai")
    lines = printed(sys.executable, FOLDER / "server_openai.py", server.url)
    assert lines[0] == "chat: 32"
    pieces = [line.removeprefix("piece: ") for line in lines if line.startswith("piece: ")]
    assert "".join(ast.literal_eval(piece) or "" for piece in pieces) == "32"
    assert 0 <= json.loads(lines[-2].removeprefix("schema: "))["sum"] <= 99
    assert lines[-1].startswith("no tools: "), "the bundled model's template knows none"
    calling = printed(sys.executable, FOLDER / "server_openai.py", server.url, "calling")
    assert 0 <= json.loads(calling[-1].removeprefix("call: "))["sum"] <= 99


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.skipif(not shutil.which("sh"), reason="there is no shell")
def test_server_sh(server: Served) -> None:
    lines = [line for line in printed("sh", FOLDER / "server.sh", server.url, "demo") if line]
    health, models, chat = map(json.loads, lines[:3])
    assert health == {"status": "ok"}
    assert [model["id"] for model in models["data"]] == ["demo", "calling"]
    assert chat["choices"][0]["message"]["content"] == "32"
    assert "data: [DONE]" in lines[3:-2]
    assert json.loads(lines[-2])["object"] == "text_completion"
    assert json.loads(lines[-1])["tokens"]

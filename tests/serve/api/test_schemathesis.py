"""schemathesis finds no mistake: it makes requests from /openapi.json and checks each answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

FOLDER = ROOT / "tests" / "support" / "serve" / "conformance"
# All seeds, and the phase "coverage" with its thousands of requests: docs/server.md.
QUICK = ["--phases", "examples,fuzzing,stateful", "--max-examples", "5", "--seed", "1"]


@pytest.mark.parametrize("name", ["demo", "calling"])
def test_schemathesis_finds_no_mistake(server: Served, name: str, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    from tests.support.serve.serving import served

    # Of several models it makes nothing for chats: the alternatives of all bodies are too many.
    with served({name: server.state.models[name].artifact.folder}) as alone:
        done = subprocess.run(
            [Path(sys.executable).parent / "schemathesis", "--config-file",
             FOLDER / "schemathesis.toml", "run", f"{alone.url}/openapi.json", *QUICK],
            capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "BITNET_ONNX_HOOKS": str(FOLDER / "hooks.py")},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]

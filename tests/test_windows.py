"""The package where the system is Windows, as far as Linux can show it; docs/platforms.md."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_onnx.bench import measure
from tests.support.paths import PACKAGE, ROOT
from tests.support.systems import windows

SIMULATION = "tests.support.systems.windows"
START = f"import {SIMULATION} as windows; windows.install()"
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("windows")
    given = os.environ | {"TMPDIR": str(folder), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", SIMULATION, folder],
        cwd=ROOT, env=given | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout)
    left = {path.name for path in folder.iterdir() if path.name.startswith((".", "tmp"))}
    assert left == set(), "temporary files stay behind"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", windows.NAMES_OF_RUNS)
def test_a_command_needs_nothing_that_windows_lacks(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] == ""


def run(code: str, *arguments: str | Path) -> str:
    """Run code after the simulation is installed; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"{START}\n{code}", *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import bitnet_onnx.bench.measure as m; print(m.resource)", "None"),
        ("import bitnet_onnx.files as m; print(m.fcntl, m.os.name)", "None nt"),
        ("exec('import fcntl', {'__name__': 'bitnet_onnx'})", "No module named 'fcntl'"),
        ("exec('import os; os.fork', {'__name__': 'bitnet_onnx'})", "no attribute 'fork'"),
        ("exec('import signal; signal.SIGHUP', {'__name__': 'bitnet_onnx'})", "'SIGHUP'"),
        ("exec('import os; os.open(\".\", 0)', {'__name__': 'bitnet_onnx'})", "Permission"),
        ("exec('open(0)', {'__name__': 'bitnet_onnx'})", ""),
        ("import sys; f = open(sys.argv[1]); import os; os.rename(f.name, 'x')", "Permission"),
        ("import sys, os; f = os.open(sys.argv[1], 0); os.fsync(f)", "Bad file descriptor"),
    ],
)
def test_the_simulation_forbids_what_windows_does(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert said in run(code, tmp_path / "a")


def test_the_peak_memory_is_not_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure.peak_memory() is not None
    monkeypatch.setattr(measure, "resource", None)
    assert measure.peak_memory() is None


def text_calls(source: str) -> list[int]:
    """Return the lines that write text with the system's line ends, or read or write text in the
    system's encoding."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        options = {keyword.arg for keyword in node.keywords}
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")]
        method = isinstance(node.func, ast.Attribute)
        needed = set()
        if name == "read_text" and method and not texts:
            needed = {"encoding"}
        elif name == "write_text" and method:
            needed = {"encoding", "newline"}
        elif name == "open" and modes and "b" not in modes[-1]:
            needed = {"encoding", "newline"} if set("wax+") & set(modes[-1]) else {"encoding"}
        if needed - options:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_text_has_one_encoding_and_one_line_end(path: Path) -> None:
    assert text_calls(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("p.write_text('a', encoding='utf-8')", [1]),
        ("p.write_text('a', encoding='utf-8', newline='')", []),
        ("write_text(p, 'a')", []),
        ("p.read_text()", [1]),
        ("p.read_text('utf-8')", []),
        ("open(p, 'w', encoding='utf-8')", [1]),
        ("p.open('r')", [1]),
        ("p.open('rb')", []),
    ],
)
def test_text_calls_are_found(call: str, found: list[int]) -> None:
    assert text_calls(call) == found

"""The repository itself: no machine paths, ignored build outputs, README code that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import checkpoints
from tests.support.paths import ROOT

README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


# Folders that exist on one machine only. Written in pieces: this file is searched as well.
PRIVATE = re.compile(
    rb"(?<![\w./~-])/(?:"
    + rb"|".join([b"work", b"ro" + b"ot", b"ho" + b"me/\\w+", b"Us" + b"ers/\\w+"])
    + rb")(?:/|\b(?=[\"'` ]))"
)


def machine_paths(text: bytes) -> list[str]:
    return [
        f"{number}: {line.decode(errors='replace').strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if PRIVATE.search(line)
    ]


def test_no_tracked_line_names_a_machine_path() -> None:
    bad = []
    for name in git("ls-files", "-z").split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or b"\0" in path.read_bytes()[:8192]:
            continue
        bad += [f"{name}:{line}" for line in machine_paths(path.read_bytes())]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("folder", ["wo" + "rk/x", "ro" + "ot/venv", "ho" + "me/anna/x"])
def test_a_machine_path_is_found(folder: str) -> None:
    assert machine_paths(f'open("/{folder}/y")'.encode())
    assert not machine_paths(f"see docs/{folder}/y".encode())


@pytest.mark.parametrize(
    "output",
    [".venv/x", "build/x", "dist/x.whl", "bitnet_onnx/lib/x.so", "bitnet_onnx/web/x.js",
     "mobile_demo/web/node_modules/x", "tests/__pycache__/x"],
)  # fmt: skip
def test_what_the_makefile_writes_is_ignored(output: str) -> None:
    assert git("check-ignore", output).strip() == output


def test_one_version() -> None:
    import bitnet_onnx

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "version" in project["dynamic"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == bitnet_onnx.__version__


def readme_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language that are marked `<!-- test -->` on the line above."""
    pattern = rf"^<!-- test -->\n```{language}\n(.*?)^```$"
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def run_in(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_readme_marks_code_of_both_kinds() -> None:
    text = README.read_text("utf-8")
    assert readme_blocks(text, "console")
    assert readme_blocks(text, "python")


@pytest.mark.slow
def test_readme_code(tmp_path: Path) -> None:
    """Blocks run in order in one folder, in which the checkout's `bitnet_onnx` is found.

    In a console block each line after `$ ` is run by bash; the other lines are only shown.
    """
    (tmp_path / "bitnet_onnx").symlink_to(ROOT / "bitnet_onnx", target_is_directory=True)
    checkpoints.make(tmp_path / "masters", packed=False)
    text = README.read_text("utf-8")
    for block in readme_blocks(text, "console"):
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            done = run_in(tmp_path, ["bash", "-c", line])
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    for block in readme_blocks(text, "python"):
        done = run_in(tmp_path, [sys.executable, "-c", block])
        assert done.returncode == 0, f"{block}\n{done.stderr}"

"""The repository itself: no machine paths, ignored build outputs, code of its pages that runs."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from bitnet_onnx.cli.main import main
from tests.support import checkpoints
from tests.support.paths import ROOT

README = ROOT / "README.md"
MARK = "<!-- test -->"
PAGES = [
    page
    for page in (README, *sorted((ROOT / "docs").glob("*.md")))
    if MARK in page.read_text("utf-8")
]

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
     "mobile_demo/web/node_modules/x", "mobile_demo/web/engine/dist/x",
     "tests/__pycache__/x"],
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


def marked_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks with `<!-- test -->` on the line above."""
    pattern = r"^<!-- test -->\n```(console|python)\n(.*?)^```$"
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def console(block: str) -> list[tuple[str, str]]:
    """The commands after `$ `, each with the lines that the block shows as its output."""
    return [
        (command, shown.strip())
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def run_in(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


HEAVY = ("export", "verify", "convert")  # they import torch, for seconds


def run_here(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a heavy command of bitnet-onnx in this process, which has imported what it imports."""
    arguments = shlex.split(command)[1:]
    stdout, stderr = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


def test_the_readme_marks_code_of_both_kinds() -> None:
    assert {language for language, _ in marked_blocks(README.read_text("utf-8"))} == {
        "console",
        "python",
    }


def test_a_block_is_commands_with_their_output() -> None:
    text = "<!-- test -->\n```console\n$ one\n$ two\nshown\n  more\n```\n```python\npass\n```\n"
    ((language, block),) = marked_blocks(text)
    assert language == "console"
    assert console(block) == [("one", ""), ("two", "shown\n  more")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_readme_code(page: Path, tmp_path: Path) -> None:
    """A page's blocks run in order in one folder, in which the checkout's `bitnet_onnx` is found.

    In a console block each line after `$ ` is run by bash; where lines follow it, they are its
    output. The heavy commands of other pages than the README, of bitnet-onnx alone, run here.
    """
    (tmp_path / "bitnet_onnx").symlink_to(ROOT / "bitnet_onnx", target_is_directory=True)
    checkpoints.make(tmp_path / "masters", packed=False)
    for language, block in marked_blocks(page.read_text("utf-8")):
        if language == "python":
            done = run_in(tmp_path, [sys.executable, "-c", block])
            assert done.returncode == 0, f"{block}\n{done.stderr}"
            continue
        for command, shown in console(block):
            heavy = re.fullmatch(rf"bitnet-onnx ({'|'.join(HEAVY)}) [\w./ -]+", command)
            if heavy and page != README:
                done = run_here(tmp_path, command)
            else:
                done = run_in(tmp_path, ["bash", "-c", command])
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            assert shown in ("", done.stdout.strip()), f"{command}\n{done.stdout}"

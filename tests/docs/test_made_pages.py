"""What is made from the code, the command reference and the Python reference, is as the code is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def made(
    script: str, *arguments: str | Path, columns: str = "80"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "docs" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": columns},
    )


@pytest.mark.parametrize("columns", ["20", "400"])
def test_the_command_reference_is_what_the_parsers_say(columns: str) -> None:
    done = made("make_commands.py", "--check", columns=columns)
    assert done.returncode == 0, done.stderr


def test_a_command_reference_that_differs_is_found(tmp_path: Path) -> None:
    page = tmp_path / "commands.md"
    page.write_text((ROOT / "docs" / "commands.md").read_text("utf-8").replace("--head", "--had"))
    done = made("make_commands.py", "--check", page)
    assert done.returncode == 1
    assert "renew it with: python docs/make_commands.py" in done.stderr
    assert made("make_commands.py", page).returncode == 0
    assert page.read_bytes() == (ROOT / "docs" / "commands.md").read_bytes()


@pytest.mark.skipif(find_spec("pdoc") is None, reason="pdoc is not installed")
def test_the_python_reference_explains_every_name(tmp_path: Path) -> None:
    import bitnet_onnx

    done = made("make_reference.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "bitnet_onnx.html").read_text("utf-8")
    for name in bitnet_onnx.__all__:
        assert f'id="{name}"' in page, name
    assert 'href="bitnet_onnx/generation/chat.html#Turn"' in page
    assert str(ROOT) not in page

"""The programs of examples/ run on the bundled model's artifact, and print what they promise."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TESTS = (Path(__file__), ROOT / "tests" / "serve" / "api" / "test_examples.py")


def printed(name: str, *arguments: str | Path, stdin: str = "") -> list[str]:
    """The lines on stdout of an example."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_generate(demo_artifact: Path) -> None:
    assert printed("generate.py", demo_artifact) == ["32"]
    assert printed("generate.py", demo_artifact, "Reverse", "PAINT.") == ["TNIAP"]


def test_chat(demo_artifact: Path) -> None:
    asked = "What is 27 + 5?\nWhich is larger, 52 or 38?\n"
    assert printed("chat.py", demo_artifact, stdin=asked) == ["32", "52"]


def test_score(demo_artifact: Path) -> None:
    (right, _), (wrong, _) = (line.split(maxsplit=1) for line in printed("score.py", demo_artifact))
    assert float(right) < float(wrong)
    assert len(printed("score.py", demo_artifact, "one text", "two", "three")) == 3


def test_batch(demo_artifact: Path) -> None:
    lines = printed("batch.py", demo_artifact)
    assert lines[-3:] == [
        "What is 27 + 5? 32",
        "Reverse PAINT. TNIAP",
        "Order the numbers 10, 54, 63. 10, 54, 63",
    ]
    pieces = [(line[0], ast.literal_eval(line[3:])) for line in lines[:-3]]
    assert "".join(piece for row, piece in pieces if row == "1") == "TNIAP"
    assert pieces[0][0] != pieces[1][0], "all rows come together"


def test_onnxruntime_only(demo_artifact: Path) -> None:
    (answer,) = printed("onnxruntime_only.py", demo_artifact)
    assert answer == "User: What is 27 + 5?Assistant: 32"
    assert "import bitnet_onnx" not in (ROOT / "examples/onnxruntime_only.py").read_text("utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 30
    given = "URL" if path.stem.startswith("server") else "ARTIFACT"
    assert f"python examples/{path.name} {given}" in str(ast.get_docstring(ast.parse(text)))
    assert any(f"def test_{path.stem}(" in tests.read_text("utf-8") for tests in TESTS)

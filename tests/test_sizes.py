"""Files, functions and folders are small enough to read at once, unless a function gives a reason.

The reason is a comment ``# long: <reason>`` on the function's first line.
"""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE, ROOT

FILE_LINES, FUNCTION_LINES, FOLDER_FILES = 300, 50, 20
REASON = "# long: "
FOLDERS = ("bitnet_onnx", "custom_ops", "tests", "docs", "examples", "benchmarks", "training")


def long_functions(source: str) -> Iterator[str]:
    """Yield ``name: lines`` of each function beyond the limit without a reason."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            head = "\n".join(lines[node.lineno - 1 : node.body[0].lineno])
            if length > FUNCTION_LINES and REASON not in head:
                yield f"{node.name}: {length}"


def test_files_of_the_native_apps_are_short() -> None:
    """Those that people write; a table that a program made says so in its first line."""
    patterns = ("engine/**/*.cc", "engine/**/*.h", "board/**/*.cc", "board/**/*.h",
                "android/**/*.java", "android/**/*.cc", "android/**/*.c", "android/**/*.h",
                "ios/**/*.swift")  # fmt: skip
    paths = [path for pattern in patterns for path in (ROOT / "mobile_demo").glob(pattern)]
    assert len(paths) > 100
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {p.name: n for p, n in lengths.items() if n > FILE_LINES} == {}


def test_files_of_the_package_are_short() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {p.name: n for p, n in lengths.items() if n > FILE_LINES} == {}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_functions_of_the_package_are_short(path: Path) -> None:
    assert list(long_functions(path.read_text("utf-8"))) == []


def test_a_long_function_is_found() -> None:
    body = "    pass\n" * FUNCTION_LINES
    assert list(long_functions(f"def f():\n{body}")) == [f"f: {FUNCTION_LINES + 1}"]
    assert list(long_functions(f"def f():  {REASON}a table\n{body}")) == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_folders_hold_few_files() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    counts = Counter(str(Path(name).parent) for name in listed if name.startswith(FOLDERS))
    assert {name: count for name, count in counts.items() if count > FOLDER_FILES} == {}

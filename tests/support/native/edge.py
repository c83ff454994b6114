"""The engine for native apps: its build, its programs, and ONNX Runtime's C library for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import onnxruntime
import pytest

from tests.support.paths import ROOT

__all__ = ["Answer", "answers", "onnxruntime_library", "opened", "program"]

BUILD = Path(os.environ.get("BITNET_EDGE_BUILD", ROOT / "build" / "board" / "engine"))


class Answer(NamedTuple):
    """What ``edge_answers`` says of one prompt."""

    ids: list[int]
    finish: int
    """0: eos, 1: stop string, 2: length, 3: stopped"""
    prompt_ids: int
    reused: int
    new: int
    shifts: int


def program(name: str) -> Path:
    """Return a program or library of the engine's build."""
    path = BUILD / name
    if not path.is_file():
        pytest.skip("the engine is not built: make build/board/.tests")
    return path


def onnxruntime_library() -> Path:
    """Return the C library inside PyPI's package."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    found = sorted(folder.glob("libonnxruntime.*"))
    if not found:
        pytest.skip("this onnxruntime has no C library")
    return found[0]


def opened(artifact: Path, *arguments: str | Path, **environment: str) -> tuple[int, str]:
    """Open an artifact; return the exit code and what was said."""
    call = [program("edge_answers"), artifact, onnxruntime_library(), *arguments]
    done = subprocess.run(
        call, input="", capture_output=True, text=True, env=os.environ | environment, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def answers(
    artifact: Path, prompts: Sequence[Sequence[int]], **options: float
) -> list[Answer | str]:
    """Continue each prompt in one session; a string is the sentence of an error."""
    call: list[str | Path] = [program("edge_answers"), artifact, onnxruntime_library(), ""]
    call += [f"{name}={value!r}" for name, value in options.items()]
    lines = "".join(" ".join(map(str, prompt)) + "\n" for prompt in prompts)
    done = subprocess.run(call, input=lines, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [_answer(line) for line in done.stdout.splitlines()]


def _answer(line: str) -> Answer | str:
    if line.startswith("error "):
        return line
    ids, _, numbers = line.partition("|")
    return Answer(list(map(int, ids.split())), *map(int, numbers.split()))

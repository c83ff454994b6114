"""Artifacts that ask for stop strings, and what a client of the engine must answer with them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bitnet_onnx import load
from tests.support.artifacts import configured

__all__ = ["CASES", "QUESTION", "Answer", "asking", "expected"]

QUESTION = "What is 27 + 5?"  # 32
CASES: dict[str, list[str]] = {
    "the second letter": ["2"],
    "the whole answer": ["32"],
    "the second of two": ["zzz", "2"],
    "the last of 70": [*(f"é{number}" for number in range(69)), "3"],
    "longer than the answer": ["3" * 200, "🐣", "2"],
    "none that occurs": ["never", "日本"],
    "none": [],
}
_FINISH = ("stop", "stop_string", "length", "stopped")  # bitnet_edge_finish


class Answer(NamedTuple):
    finish: str
    text: str

    @classmethod
    def of(cls, finish: int, text: str | bytes) -> Answer:
        return cls(_FINISH[finish], text if isinstance(text, str) else text.decode())


def asking(artifact: Path, folder: Path, strings: list[str]) -> Path:
    """Link an artifact into a new folder, with these stop strings."""
    return configured(artifact, folder, {"stop_strings": strings} if strings else {})


def expected(artifact: Path) -> Answer:
    """Return Python's answer, with the options that the artifact asks for."""
    model = load(artifact, threads=1)
    chat = model.chat()
    text = "".join(chat.send(QUESTION))
    assert chat.result is not None
    assert chat.result.finish_reason is not None
    model.close()
    return Answer(chat.result.finish_reason, text)

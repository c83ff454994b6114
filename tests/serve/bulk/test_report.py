"""What a run says of itself, by a clock of the test."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra server")

from bitnet_onnx.serve.bulk.report import Report, time_of


def answer(**usage: int) -> dict[str, Any]:
    return {"response": {"status_code": 200, "body": {"usage": usage}}, "error": None}


def test_lines_tokens_and_the_time_that_is_left_are_told() -> None:
    said: list[str] = []
    now = 0.0
    report = Report(said.append, 10.0, lambda: now)
    report.begin(1000, 400, 1)
    for number in range(100):
        now += 0.5
        wrong: dict[str, Any] = {"response": None, "error": {}}
        report.add(answer(completion_tokens=4) if number else wrong, not number)
    assert said[0] == "400 of 1,000 lines are answered already"
    assert said[1] == "420 of 1,000 lines, 2 errors, 8 tokens/s, 5 minutes left"
    assert len(said) == 1 + 5
    report.end()
    assert said[-1] == "500 of 1,000 lines, 2 errors; 100 lines in 50 s, 8 tokens/s"


def test_the_speed_is_that_of_the_last_minute() -> None:
    said: list[str] = []
    now = 0.0
    report = Report(said.append, 10.0, lambda: now)
    report.begin(10_000, 0, 0)
    for seconds in (0.1, 10.0):
        for _ in range(2000 if seconds < 1 else 30):
            now += seconds
            report.add(answer(prompt_tokens=10), False)
    assert said[-1].endswith("0 errors, 1 tokens/s, 22 hours left")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119.4, "119 s"), (120, "2 minutes"), (7200, "2 hours")]
)
def test_times_are_words(seconds: float, words: str) -> None:
    assert time_of(seconds) == words

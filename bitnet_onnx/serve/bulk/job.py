"""A run over a file: lines in, answers out, and how far it is.

Knows asyncio; does not know the form of lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...artifact import Artifact
from ...errors import ConfigError, SessionError
from ..models import Limits
from .answers import FAILED, Answers, written
from .lines import Line, scanned
from .output import Output, failed
from .report import Report

__all__ = ["Written", "answer_all", "opened", "run_model"]

IN_A_ROW = 16  # failures of the model after which it is not tried again


class Written:
    """What is done with answers: they are written and counted."""

    def __init__(self, output: Output, report: Report) -> None:
        self._output, self._report, self._in_a_row = output, report, 0

    def add(self, answer: dict[str, Any]) -> None:
        """Write an answer; raise SessionError where the model seems to be broken."""
        self._output.add(written(answer))
        self._report.add(answer, failed(answer))
        response = answer["response"]
        self._in_a_row += 1
        if response is None or response["status_code"] < FAILED:
            self._in_a_row = 0
        if self._in_a_row == IN_A_ROW:
            raise SessionError(
                f"{IN_A_ROW} answers in a row failed, expected the model to answer:"
                f" {response['body']['error']['message']}",
                hint="remove these last lines from the output to have them tried again",
            )


async def answer_all(
    answers: Answers, lines: Iterator[Line], take: Callable[[dict[str, Any]], None]
) -> None:
    """Answer lines, as many at a time as the model has use for."""

    async def work() -> None:
        for line in lines:  # one iterator for all workers
            take(await answers.of(line))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(answers.lines):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def run_model(
    name: str, folder: Path, limits: Limits, source: Path, target: Path, report: Report
) -> None:
    """Answer the lines of a file that have no answer yet. Raises BitNetError."""
    artifact = Artifact.open(folder)
    with opened(source, target) as output:
        given = scanned(source, output.before)
        output.begin(artifact.fingerprint, given)
        report.begin(len(given), len(output.done), output.errors)
        if report.done < report.total:
            answers = Answers(name, folder, limits)
            try:
                lines = given.by_length(output.done)
                asyncio.run(answer_all(answers, lines, Written(output, report).add))
            finally:
                answers.close()
    report.end()


def opened(source: Path, target: Path) -> Output:
    """Open the output; raise ConfigError where it cannot be one."""
    if not source.is_file():
        raise ConfigError(f"{source} is not a file, expected JSON lines of requests")
    if target.exists() and target.samefile(source):
        raise ConfigError(f"the output is the input {source}, expected another file")
    return Output(target)

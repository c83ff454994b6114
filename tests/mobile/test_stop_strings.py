"""The stop strings of an artifact hold in every client of the engine as in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.android import desktop
from tests.support.native.board import run
from tests.support.native.edge import onnxruntime_library
from tests.support.native.edge_c import Engine
from tests.support.native.stop_strings import CASES, QUESTION, Answer, asking, expected


def by_c(artifact: Path, _folder: Path) -> Answer:
    with Engine(artifact) as engine:
        pieces, stats = engine.send(QUESTION.encode())
        engine.start()
        same, _ = engine.send(QUESTION.encode(), engine.options())
    assert same == pieces, "the defaults by name are those without a name"
    return Answer.of(stats.finish, b"".join(pieces))


def by_the_program_for_boards(artifact: Path, _folder: Path) -> Answer:
    record = json.loads(run(artifact, QUESTION, "--json").stdout)
    assert run(artifact, QUESTION).stdout.decode() == record["text"] + "\n"
    return Answer(record["finish_reason"], record["text"])


def by_java(artifact: Path, folder: Path) -> Answer:
    finish, text = desktop.lines("Ask", folder, artifact, onnxruntime_library(), QUESTION)
    return Answer.of(int(finish), bytes.fromhex(text))


CLIENTS: dict[str, Callable[[Path, Path], Answer]] = {
    "C": by_c,
    "the program for boards": by_the_program_for_boards,
    "Java": by_java,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES)
def test_an_artifact_s_stop_strings_hold(
    case: str, client: str, demo_artifact: Path, tmp_path: Path
) -> None:
    artifact = asking(demo_artifact, tmp_path / "artifact", CASES[case])
    assert CLIENTS[client](artifact, tmp_path) == expected(artifact)

"""``export --for``: the engine for native apps runs what is made for it, with Python's ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.native.edge import Answer, answers, program
from tests.support.native.edge_chat import EdgeChat
from tests.support.paths import DEMO
from tests.support.questions import LIMIT, prompts, questions
from tests.support.questions import answers as python_answers


@pytest.mark.parametrize("name", ["android", "ios", "board"])
def test_the_engine_runs_what_is_made_for_its_devices(name: str, tmp_path: Path) -> None:
    program("edge_answers")
    artifact = tmp_path / "artifact"
    assert main(["export", str(DEMO), "-o", str(artifact), "--for", name]) == 0
    asked = questions()[::60]
    with Session(artifact) as session:
        expected = python_answers(session, artifact, asked)
    given = prompts(Tokenizer.from_folder(artifact), asked)
    found = answers(artifact, given, max_new_tokens=LIMIT)
    assert [answer.ids for answer in found if isinstance(answer, Answer)] == expected
    chat = EdgeChat(artifact)  # by its own tokenizer and chat.json
    for record, prompt in zip(asked, given, strict=True):
        chat.start(None)
        assert chat.prompt(record["question"], 2048) == (prompt, 0)
    chat.close()

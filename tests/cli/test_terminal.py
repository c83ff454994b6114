"""The chat in a terminal: a pseudo-terminal types, and reads what the terminal shows."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bitnet_onnx.cli import progress
from bitnet_onnx.cli.main import main
from bitnet_onnx.cli.streams import guarded
from tests.support.environment import COMMAND
from tests.support.native.person import Person
from tests.support.text.fakes import FakeSession

QUESTION = "What is 3 + 4?"


@pytest.fixture
def person(demo_artifact: Path) -> Iterator[Person]:
    somebody = Person(*COMMAND, "chat", str(demo_artifact), "--max-new-tokens", "20")
    somebody.sees("/help lists commands")
    somebody.sees("> ")
    yield somebody
    somebody.process.kill()
    somebody.process.wait()


def test_a_conversation_with_commands(person: Person, tmp_path: Path) -> None:
    person.types("/help\r")
    person.sees(r"/save FILE[\s\S]*//TEXT[\s\S]*> ")
    person.types(f"{QUESTION}\r")
    answer = person.sees(r"tokens, decode")
    person.sees("> ")
    person.types("/nothing at all\r")
    person.sees("error: /nothing at all is not a command[^>]*//TEXT sends[^>]*> ")
    person.types(f"/save {tmp_path / 'chat.json'}\r")
    person.sees("saved 1 turns")
    person.sees("> ")
    person.types(f"/save {tmp_path / 'chat.json'}\r")
    person.sees("error: .*chat.json exists")
    person.sees("> ")
    person.types("/reset\r")
    person.sees("> ")
    person.types(f"/load {tmp_path / 'chat.json'}\r")
    person.sees("loaded 1 turns")
    person.sees("> ")
    person.types("/exit\r")
    assert person.ends() == 0
    saved = json.loads((tmp_path / "chat.json").read_text("utf-8"))
    assert saved["turns"][0]["user"] == QUESTION
    assert saved["turns"][0]["reply"] in answer


@pytest.mark.parametrize(
    "pasted", ["\x1b[200~first\rsecond\rthird\x1b[201~\r", "first\rsecond\rthird\r"]
)
def test_a_paste_is_one_message(person: Person, pasted: str, tmp_path: Path) -> None:
    """With the marks that a terminal sets around a paste, and without."""
    person.types(pasted)
    person.sees("tokens, decode|one token")
    person.sees("> ")
    person.types(f"/save {tmp_path / 'chat.json'}\r")
    person.sees("saved 1 turns")
    saved = json.loads((tmp_path / "chat.json").read_text("utf-8"))
    assert [turn["user"] for turn in saved["turns"]] == ["first\nsecond\nthird"]


def test_lines_can_be_edited_and_come_back(person: Person, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    person.types("/helq\x7fp\r")  # backspace
    person.sees("/save FILE")
    person.sees("> ")
    person.types("\x1b[A\r")  # up: the line before
    person.sees("/save FILE")
    person.sees("> ")
    person.types("\x04")  # Ctrl-D
    assert person.ends() == 0


def test_ctrl_c_at_the_prompt_ends_with_130(person: Person) -> None:
    person.types("half a mess")
    person.sees("half a mess")  # a signal among the keys waits for the next key in readline
    time.sleep(0.3)
    person.interrupts()
    assert person.ends() == 130
    assert "Traceback" not in person.screen


def test_ctrl_c_stops_an_answer_and_twice_the_program(demo_artifact: Path, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    somebody = Person(sys.executable, str(script), "chat", str(demo_artifact))
    somebody.sees("> ")
    somebody.types("Spell the word STONE.\r")
    somebody.sees("\rS-")
    somebody.interrupts()
    somebody.sees("stopped; Ctrl-C again ends the chat")
    somebody.sees("> ")
    somebody.types(f"/save {tmp_path / 'chat.json'}\r")
    somebody.sees("saved 1 turns")
    somebody.sees("> ")
    somebody.interrupts()
    assert somebody.ends() == 130
    assert "Traceback" not in somebody.screen
    turn = json.loads((tmp_path / "chat.json").read_text("utf-8"))["turns"][0]
    assert turn["reply"].startswith("S")


SLOW = """
import sys, time
from bitnet_onnx.generation.strategies import speculation
from bitnet_onnx.cli.main import main

steps = speculation.steps  # a chat looks up drafts

def slowly(*arguments):
    for step in steps(*arguments):
        yield step
        time.sleep(0.3)

speculation.steps = slowly
raise SystemExit(main(sys.argv[1:]))
"""


def test_stdout_holds_answers_only(demo_artifact: Path, tmp_path: Path) -> None:
    """A terminal types, and a file takes the answers: the sign and the figures stay out of it."""
    with (tmp_path / "out").open("wb") as file:
        somebody = Person(*COMMAND, "chat", str(demo_artifact), stdout=file.fileno())
        somebody.sees("> ")
        somebody.types(f"{QUESTION}\r")
        somebody.sees("tokens/s")
        somebody.types("\x04")
        assert somebody.ends() == 0
    (answer,) = (tmp_path / "out").read_text().splitlines()
    assert answer
    assert "tokens" not in answer


def test_piped_lines_keep_their_rules(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command is told to stderr; a doubled slash is one to the model."""
    given = b"/etc/hosts\n//etc/hosts\n  \n/load\n/exit\nno\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert main(["chat", str(demo_artifact), "--max-new-tokens", "3"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "error: /etc/hosts is not a command" in err
    assert "error: /load is not a command" in err


@pytest.mark.parametrize(
    "damage",
    [
        "not json", "[]", "{}", '{"format": "other"}', "turns null", "turns of lists", "id beyond",
        "id of true", "text of a number", "another model", "another system", "missing",
    ],
)  # fmt: skip
def test_a_damaged_chat_is_one_sentence_and_changes_nothing(
    damage: str, demo_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "saved.json"

    def chat(*lines: str) -> str:
        text = io.BytesIO("\n".join(lines).encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(text, encoding="utf-8"))
        assert main(["chat", str(demo_artifact), "--max-new-tokens", "2"]) == 0
        return capsys.readouterr().err

    chat(QUESTION, f"/save {path}")
    saved = json.loads(path.read_text("utf-8"))
    turn = saved["turns"][0]
    if damage == "another model":
        saved["model"] = "0" * 64
    elif damage == "another system":
        saved["system"] = "Be brief."
    elif damage.startswith("turns"):
        saved["turns"] = None if damage.endswith("null") else [[1]]
    elif damage.startswith("id"):
        turn["reply_ids"] = [10**6 if damage.endswith("beyond") else True]
    elif damage.startswith("text"):
        turn["user"] = 7
    structured = damage.startswith(("another", "turns", "id", "text"))
    path.write_text(json.dumps(saved) if structured else damage)
    if damage == "missing":
        path.unlink()
    err = chat(QUESTION, f"/load {path}", f"/save {tmp_path / 'after.json'}")
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "saved.json" in error
    after = json.loads((tmp_path / "after.json").read_text("utf-8"))
    assert [turn["user"] for turn in after["turns"]] == [QUESTION]


def test_a_long_prompt_is_counted_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, ids = Terminal(), [i % 7 for i in range(2 * progress.STEP + 1)]
    monkeypatch.setattr(sys, "stderr", screen)
    plain, seen = FakeSession(20, 999), FakeSession(20, 999)
    with guarded():
        lease = progress.watched(seen).claim()
    expected = plain.prefill(ids)
    np.testing.assert_array_equal(lease.prefill(ids), expected)
    assert lease.ids() == plain.ids()
    assert "reading the prompt: 512 of 513 tokens" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.watched(seen) is seen

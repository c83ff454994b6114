"""The chat of the program for boards, in a terminal that a person types into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.artifacts import configured
from tests.support.native.board import program
from tests.support.native.person import Person

QUESTION = "What is 27 + 5?"


@pytest.fixture(scope="module")
def endless(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact whose continued texts have no end: its eos is the padding token."""
    config = json.loads((demo_artifact / "generation_config.json").read_text("utf-8"))
    folder = tmp_path_factory.mktemp("endless") / "artifact"
    return configured(demo_artifact, folder, config | {"eos_token_id": 3})


@pytest.fixture
def person(demo_artifact: Path) -> Iterator[Person]:
    somebody = Person(str(program()), str(demo_artifact), "--max-new-tokens", "20")
    somebody.sees("/help lists commands")
    somebody.sees("> ")
    yield somebody
    somebody.process.kill()
    somebody.process.wait()


def test_a_conversation_with_commands(person: Person) -> None:
    person.types("/help\r")
    person.sees(r"/new [\s\S]*//TEXT[\s\S]*> ")
    person.types(f"{QUESTION}\r")
    assert "32\r\n" in person.sees("> ")
    person.types("/nothing at all\r")
    person.sees("error: /nothing at all is not a command[^>]*//TEXT sends[^>]*> ")
    person.types("/new\r")
    person.sees("> ")
    person.types("  \r")
    person.sees("> ")
    person.types(f"//{QUESTION}\r")
    person.sees("> ")
    person.types("word " * 500 + "\r")  # with an earlier turn it does not fit
    person.sees(r"\r\nthe context is full: the oldest 1 turn was forgotten\r\n[^>]*> ")
    person.types("word " * 800 + "\r")
    person.sees("error: .*context of 512[^>]*> ")
    person.types(f"{QUESTION}\r")
    assert "32\r\n" in person.sees("> ")
    person.types("/quit\r")
    assert person.ends() == 0


def test_the_turns_are_those_of_python(demo_artifact: Path) -> None:
    """Three turns, the last after /new: each prompt and answer as Python's chat makes them."""
    asked = [QUESTION, "Spell the word STONE.", "What is 3 + 4?"]
    somebody = Person(str(program()), str(demo_artifact), "--json", "--system", "Be brief.")
    told = []
    for number, question in enumerate(asked):
        somebody.sees("> ")
        if number == 2:
            somebody.types("/new\r")
            somebody.sees("> ")
        somebody.types(f"{question}\r")
        line = somebody.sees(r"\{.*\}\r\n")
        told.append(json.loads(line[line.index("{") :]))
    somebody.types("\x04")
    assert somebody.ends() == 0
    with Session(demo_artifact) as session:
        chat = Chat(session, Tokenizer.from_folder(demo_artifact), system="Be brief.")
        for number, question in enumerate(asked):
            if number == 2:
                chat.reset()
            text = "".join(chat.send(question))
            assert chat.result is not None
            assert told[number]["text"] == text
            assert told[number]["ids"] == chat.result.ids
            assert told[number]["prompt_tokens"] == chat.result.prompt_tokens


@pytest.mark.parametrize("pasted", ["one\ntwo\r", "\nWhat is\n27 + 5?\r"])
def test_a_paste_is_one_message(person: Person, pasted: str) -> None:
    person.types(pasted)
    said = person.sees("> ")
    assert (
        len([line for line in said.splitlines() if line.strip()]) == pasted.strip().count("\n") + 3
    )


def test_a_line_that_the_terminal_cuts_is_not_sent(person: Person) -> None:
    person.types("a" * 5000 + "\r")
    person.sees("error: a line has 4095 bytes")
    person.sees("> ")


def test_ctrl_c_at_the_prompt_ends_with_130(person: Person) -> None:
    person.types("half a mess")
    person.interrupts()
    assert person.ends() == 130


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_stops_an_answer_and_twice_the_program(endless: Path, threads: str) -> None:
    somebody = Person(
        str(program()), str(endless), "--threads", threads, "--ignore-chat-template",
        "--max-new-tokens", "100000000",
    )  # fmt: skip
    try:
        for _ in range(2):
            somebody.sees("> ")
            somebody.types("one two three\r")
            somebody.sees(r"three\r\n\w")
            somebody.interrupts()
            somebody.sees("stopped; Ctrl-C again ends the chat")
        somebody.sees("> ")
        somebody.interrupts()
        assert somebody.ends() == 130
    finally:
        somebody.process.kill()
        somebody.process.wait()


def test_stdout_holds_answers_only(demo_artifact: Path, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        somebody = Person(str(program()), str(demo_artifact), "--stats", stdout=file.fileno())
        somebody.sees("> ")
        somebody.types(f"{QUESTION}\r")
        somebody.sees("tokens/s")
        somebody.types("\x04")
        assert somebody.ends() == 0
    assert (tmp_path / "out").read_text() == "32\n"

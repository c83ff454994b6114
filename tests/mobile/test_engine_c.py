"""The C interface of the engine: text, conversations, stopping, and calls that are refused."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx.generation.chat import Chat, Turn
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.text import generate_text, of_chat
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.artifacts import configured
from tests.support.native.edge_c import EdgeError, Engine, Stats, library
from tests.support.questions import questions

EOS, STOP_STRING, LENGTH, STOPPED = range(4)
TEXTS = ["What is 27 + 5?", "", "  two\tß 你好 🙂\n", "a\0b", "<|eot_id|> typed <|begin_of_text|>"]


@pytest.fixture(scope="module")
def engine(demo_artifact: Path) -> Iterator[Engine]:
    with Engine(demo_artifact) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokenizer(demo_artifact: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_artifact)


@pytest.fixture
def endless(demo_artifact: Path, tmp_path: Path) -> Iterator[Engine]:
    """Yield an engine whose answers to ids end at the limit alone."""
    with Engine(configured(demo_artifact, tmp_path / "endless", {"eos_token_id": []})) as opened:
        yield opened


def test_it_describes_itself(engine: Engine) -> None:
    info = engine.info()
    assert (info.name, info.head, info.cache, info.target) == (
        b"bitnet", b"bf16", b"float32", b"native",
    )  # fmt: skip
    assert info.kernel
    assert (info.vocab_size, info.context_length, info.threads) == (832, 512, 1)
    assert info.can_chat
    assert engine.library.bitnet_edge_why_no_chat(engine.handle) is None


@pytest.mark.parametrize("text", TEXTS)
def test_text_and_ids(engine: Engine, tokenizer: Tokenizer, text: str) -> None:
    assert engine.encode(text.encode(), special=True) == tokenizer.encode(text)
    ids = engine.encode(text.encode())
    assert engine.decode(ids).decode() == tokenizer.decode(ids)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_conversation_is_pythons(
    engine: Engine, tokenizer: Tokenizer, demo_artifact: Path, system: str | None
) -> None:
    engine.start(system.encode() if system else None)
    asked = [record["question"] for record in questions()[7:600:50]]
    config = of_chat(
        GenerationConfig.of_folder(demo_artifact)[0].changed(max_new_tokens=20), tokenizer
    )
    with Session(demo_artifact) as session:
        chat = Chat(session, tokenizer, system, config=config)
        reused = []
        for question in asked:
            expected = list(chat.send(question))
            assert chat.result is not None
            pieces, stats = engine.send(question.encode(), engine.options(max_new_tokens=20))
            assert [piece.decode() for piece in pieces] == expected
            assert engine.answer_ids() == chat.result.ids
            assert stats.prompt_ids == chat.result.prompt_tokens
            reused.append(stats.reused_ids == chat.result.cached_tokens)
        assert all(reused[1:])


def test_the_oldest_turns_are_forgotten(engine: Engine, demo_artifact: Path) -> None:
    engine.start()
    tokenizer = Tokenizer.from_folder(demo_artifact)
    question, answer = "Which is bigger, 53 or 62? " * 3, "Sixty-two is bigger than that. " * 2
    with Session(demo_artifact) as session:
        notices: list[str] = []
        chat = Chat(session, tokenizer, on_notice=notices.append)
        for _ in range(3):
            list(chat.send(question, max_new_tokens=8))
            engine.send(question.encode(), engine.options(max_new_tokens=8))
        forgotten = 0
        for _ in range(8):
            list(chat.send(answer + question, max_new_tokens=8))
            before = len(notices)
            _, stats = engine.send((answer + question).encode(), engine.options(max_new_tokens=8))
            forgotten += stats.forgotten
            assert chat.result is not None
            assert engine.answer_ids() == chat.result.ids
            assert stats.prompt_ids == chat.result.prompt_tokens, before
    assert forgotten
    assert notices


def test_a_caller_can_ask_that_no_turn_is_forgotten(engine: Engine) -> None:
    engine.start()
    for _ in range(40):
        engine.add(b"Which is bigger, 53 or 62?", b"Sixty-two is bigger than that.")
    with pytest.raises(EdgeError, match=r"context: the conversation makes a prompt of .* turns"):
        engine.send(b"x", engine.options(when_full=2))
    _, stats = engine.send(b"What is 1 + 1?", engine.options(when_full=0))
    assert stats.forgotten > 10


def test_a_long_saved_conversation_is_encoded_a_few_times(
    engine: Engine, demo_artifact: Path
) -> None:
    engine.start()
    for _ in range(15000):  # 45 minutes, if each turn that is left out asked for an encoding
        engine.add(b"a", b"b")
    _, stats = engine.send(b"What is 1 + 1?", engine.options(max_new_tokens=1))
    with Session(demo_artifact) as session:
        chat = Chat(session, Tokenizer.from_folder(demo_artifact))
        chat.turns = [Turn("a", "b", ())] * 15000
        list(chat.send("What is 1 + 1?", max_new_tokens=1))
    assert stats.forgotten == 15000 + 1 - len(chat.turns)
    assert chat.result is not None
    assert stats.prompt_ids == chat.result.prompt_tokens
    engine.start()


def test_a_saved_conversation_goes_on(engine: Engine) -> None:
    engine.start()
    engine.add(b"What is 2 + 2?", b"4")
    engine.send(b"What is 27 + 5?")
    first = engine.answer_ids()
    engine.start()
    engine.add(b"What is 2 + 2?", b"4")
    _, stats = engine.send(b"What is 27 + 5?")
    assert engine.answer_ids() == first
    assert stats.reused_ids == stats.prompt_ids - 1


def test_stop_strings(endless: Engine, tokenizer: Tokenizer, demo_artifact: Path) -> None:
    prompt = tokenizer.encode_chat([{"role": "user", "content": "Spell the word STONE."}])
    for stop in (["-T"], ["O-", "-O-N"], ["<|eot_id|>"], ["nowhere"]):
        config = GenerationConfig(max_new_tokens=20, stop_strings=tuple(stop), eos_token_id=())
        with Session(demo_artifact) as session:
            (expected,) = generate_text(session, tokenizer, [prompt], config)
        options = endless.options([text.encode() for text in stop], max_new_tokens=20)
        pieces, stats = endless.generate(prompt, options)
        assert b"".join(pieces).decode() == expected.text
        assert endless.answer_ids() == expected.result.ids
        found = STOP_STRING if expected.result.finish_reason == "stop_string" else LENGTH
        assert stats.finish == found


def test_a_piece_can_stop_the_answer(endless: Engine) -> None:
    endless.start()
    seen: list[bytes] = []

    def enough(piece: bytes) -> int:
        seen.append(piece)
        return len(seen) == 2

    pieces, stats = endless.send(b"Spell the word STONE.", on_piece=enough)
    assert stats.finish == STOPPED
    assert pieces[:2] == seen[:2]
    assert stats.new_ids < 20
    _, stats = endless.send(b"Go on.", endless.options(max_new_tokens=3))
    assert stats.reused_ids > 5  # what was said is a turn


def test_one_thread_at_a_time_and_stop(endless: Engine, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode_chat([{"role": "user", "content": "Spell the word STONE."}])
    begun, ended, found = threading.Event(), threading.Event(), list[Stats]()
    codes: list[str] = []

    def piece(_text: bytes) -> None:
        if not codes:
            try:
                endless.encode(b"from inside")
            except EdgeError as error:
                codes.append(error.code)
        begun.set()
        ended.wait(0.01)

    def run() -> None:
        options = endless.options(max_new_tokens=100000)
        found.append(endless.generate(prompt, options, piece)[1])
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)  # at the first piece
    for call in (
        lambda: endless.encode(b"x"),
        lambda: endless.start(),
        lambda: endless.send(b"x"),
        lambda: endless.generate([1]),
    ):
        with pytest.raises(EdgeError, match="busy: the engine is computing for another call"):
            call()
    endless.stop()
    thread.join(60)
    assert found[0].finish == STOPPED
    assert codes == ["busy"]
    assert endless.encode(b"x")  # free again
    _, stats = endless.generate([1], endless.options(max_new_tokens=2))
    assert stats.finish == LENGTH  # an earlier stop stops nothing later


def test_calls_that_are_refused(engine: Engine) -> None:
    engine.start()
    for text in (b"\xff", b"ab\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
        with pytest.raises(EdgeError, match="argument: the text is no UTF-8"):
            engine.encode(text)
        with pytest.raises(EdgeError, match="argument: the message is no UTF-8"):
            engine.send(text)
    for name, value in (
        ("temperature", -1.0), ("top_p", 0.0), ("min_p", 2.0), ("top_k", -1),
        ("repetition_penalty", float("nan")), ("max_new_tokens", -1), ("when_full", 3),
    ):  # fmt: skip
        with pytest.raises(EdgeError, match=f"argument: {name} is "):
            engine.send(b"x", engine.options(None, do_sample=1, **{name: value}))
    with pytest.raises(EdgeError, match="argument: a stop string is empty"):
        engine.send(b"x", engine.options([b""]))
    for stop in (b"\xff", b"ab\xc3"):
        with pytest.raises(EdgeError, match="argument: a stop string is no UTF-8"):
            engine.send(b"x", engine.options([stop]))
    for penalty in (1e-300, 1e-44, 1e-39):
        with pytest.raises(EdgeError, match=r"argument: repetition_penalty is .* infinite"):
            engine.send(b"What is 27 + 5?", engine.options(repetition_penalty=penalty))
    with pytest.raises(EdgeError, match="context: the message"):
        engine.send(b"word " * 2000)
    _, stats = engine.send(b"What is 1 + 1?")
    assert stats.forgotten == 0
    assert stats.prompt_ids < 40  # no refused message became a turn


def test_null_is_no_crash(engine: Engine) -> None:
    lib, none, size = library(), ctypes.c_void_p(), ctypes.c_size_t
    assert lib.bitnet_edge_open(None, None, None) == 1
    assert lib.bitnet_edge_encode(none, b"x", size(1), 0, None, size(0), None, None) == 1
    assert lib.bitnet_edge_encode(engine.handle, None, size(1), 0, None, size(0), None, None) == 1
    assert lib.bitnet_edge_encode(engine.handle, None, size(0), 0, None, size(0), None, None) == 0
    assert lib.bitnet_edge_decode(engine.handle, None, size(3), None, size(0), None, None) == 1
    assert lib.bitnet_edge_generate(engine.handle, None, size(1), None, None, None, None, None) == 1
    assert lib.bitnet_edge_chat_send(engine.handle, b"1 + 1", size(5), *[None] * 5) == 0
    assert lib.bitnet_edge_chat_start(none, None, size(0), None) == 1
    assert lib.bitnet_edge_check(None, None) == 1
    lib.bitnet_edge_close(none)
    lib.bitnet_edge_stop(none)
    lib.bitnet_edge_describe(none, None)
    lib.bitnet_edge_defaults(none, None)
    assert not lib.bitnet_edge_answer_ids(none, None)


def test_a_copied_folder_is_checked(demo_artifact: Path, tmp_path: Path) -> None:
    folder = configured(demo_artifact, tmp_path / "a", {})
    lib = library()
    assert lib.bitnet_edge_check(str(folder).encode(), None) == 0
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    name = next(name for name in manifest["files"] if "data" in name)
    manifest["files"][name]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert lib.bitnet_edge_check(str(folder).encode(), None) == 2

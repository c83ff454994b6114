"""Drafts of a model with another tokenizer: the same ids, also drawn ones, in fewer calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from bitnet_onnx.cli.main import main
from bitnet_onnx.generation.model import Model, load
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.paths import DEMO
from tests.support.text import folders
from tests.support.text.fakes import FakeSession, make_tokenizer

CONSTANT: dict[str, Any] = {
    "num_assistant_tokens_schedule": "constant", "num_assistant_tokens": 6,
    "assistant_confidence_threshold": 0.0,
}  # fmt: skip
TEXTS = (
    "the cat sat on the mat, and they'll count 1234 things!\n\nAssistant: hello there",
    "don't stop: naïve Ünïcode 你好 🙂🙂 e\u0301 é\n\n\tdef f(x):\n    return x**2  # 100%\n",
    "hello hello hello hello hello hello hello hello hello hello hello hello hello",
)


@cache
def tokenizer(kind: str) -> Tokenizer:
    """Return a tokenizer of a kind: byte-level, SentencePiece with bytes, words, ..."""
    if kind == "demo":
        return Tokenizer.from_folder(DEMO)
    if kind == "fake":
        return make_tokenizer()
    base, _, change = kind.partition(" ")
    file = folders.trained(base) | {"post_processor": folders.template("<s>", "$A")}
    if change == "lower":
        file |= {"normalizer": {"type": "Lowercase"}}
    if change == "prefix":
        file |= {"pre_tokenizer": {**file["pre_tokenizer"], "add_prefix_space": True}}
    made = tokenizers.Tokenizer.from_str(json.dumps(file))
    return Tokenizer(made, {"bos_token": "<s>", "eos_token": "</s>"})


KINDS = ("fake", "byte", "byte prefix", "byte lower", "metaspace", "unigram", "words", "demo")
LOSSLESS = ("fake", "byte", "metaspace", "demo")


class Calls(FakeSession):
    """Counts its calls, and continues a text as its own tokenizer encodes it."""

    def __init__(self, own: Tokenizer, text: str | None = None) -> None:
        self.calls = 0
        self.said: list[int] = own.encode(text) if text is not None else []
        self._own, self._text = own, text
        super().__init__(own.vocab_size, 400)

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        self.calls += 1
        return super().score(ids, row)

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        self.calls += 1
        return super().decode(ids)

    def _append(self, row: int, *ids: int) -> None:
        super()._append(row, *ids)
        if self._text is None:
            return
        place, said = len(self.cache[row]), self.said
        if self.cache[row] != said[:place]:  # its own said of the same text may be others
            text, line = self._own.decode(self.cache[row]), self._own.encode("\n")
            rest = self._text.removeprefix(text) if self._text.startswith(text) else ""
            place, said = len(line), self._own.encode("\n" + rest)
        following = said[place] if place < len(said) else self._own.eos_token_ids[0]
        self._logits[row] = -1
        self._logits[row, following] = 9


def model(session: FakeSession, own: Tokenizer) -> Model:
    return Model(session, own)  # type: ignore[arg-type]


def outcome(target: Model, prompt: Any, **options: Any) -> Any:
    found = target.generate(prompt, **options)
    return found.result.ids, found.result.finish_reason, found.text, list(target.session.ids())


@pytest.mark.parametrize("theirs", KINDS)
@pytest.mark.parametrize("own", LOSSLESS)
def test_ids_are_those_without_drafts(own: str, theirs: str) -> None:
    """Random ids: halves of characters, special tokens, every text; greedy, and drawn."""
    if own == theirs:
        return
    ours, others = tokenizer(own), tokenizer(theirs)
    random = np.random.default_rng(7)
    prompts: list[Any] = ["hello <|eot_id|> 你", random.integers(ours.vocab_size, size=9).tolist()]
    options: list[dict[str, Any]] = [
        {"eos_token_id": None},
        {"do_sample": True, "seed": 3, "top_k": 9},
        {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    ]
    for prompt in prompts:
        for each in options:
            plain = outcome(model(Calls(ours), ours), prompt, max_new_tokens=16, **each)
            draft = model(Calls(others), others)
            if "do_sample" in each and ours.vocabulary == others.vocabulary:
                continue  # its ids are drafts, drawn from its own distribution
            asked = {**each, **CONSTANT, "assistant_model": draft, "max_new_tokens": 16}
            assert outcome(model(Calls(ours), ours), prompt, **asked) == plain
            asked |= {"assistant_lookbehind": 1, "target_lookbehind": 1}
            assert outcome(model(Calls(ours), ours), prompt, **asked) == plain


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("theirs", LOSSLESS)
@pytest.mark.parametrize("own", LOSSLESS)
def test_drafts_of_one_text_are_taken(own: str, theirs: str, text: str) -> None:
    """Both models say one text, each in its own tokens."""
    if own == theirs:
        return
    ours, others = tokenizer(own), tokenizer(theirs)
    session, ids = Calls(ours, text), ours.encode(text)
    prompt = ids[: len(ids) // 3]
    draft = model(Calls(others, text), others)
    found, *_ = outcome(
        model(session, ours), prompt, assistant_model=draft, max_new_tokens=99, **CONSTANT
    )
    assert found == [*ids[len(prompt) :], ours.eos_token_ids[0]]
    assert session.calls <= 0.6 * len(found) + 2


def test_a_sequence_in_the_middle_of_a_character_has_drafts() -> None:
    """The assistant says the whole character, of which the ids hold the first half."""
    ours, others = tokenizer("fake"), tokenizer("metaspace")
    text = "hello 漢字 world, 漢字 there"
    ids = ours.encode(text)
    places = [i for i in range(2, len(ids)) if ours.decode(ids[:i]).endswith("\ufffd")]
    calls = new = 0
    for place in places:
        session = Calls(ours, text)
        draft = model(Calls(others, text), others)
        options = {**CONSTANT, "num_assistant_tokens": 40, "max_new_tokens": len(ids) - place}
        found, *_ = outcome(model(session, ours), ids[:place], assistant_model=draft, **options)
        assert found == ids[place:]
        calls, new = calls + session.calls, new + len(found)
    assert 0 < calls <= 0.4 * new


def test_an_assistant_that_says_nothing_is_asked_seldom() -> None:
    ours, others = tokenizer("byte"), tokenizer("fake")
    draft = Calls(others, "")  # ends at once
    fed = []
    append = draft._append
    draft._append = lambda row, *ids: (fed.append(ids), append(row, *ids))  # type: ignore
    plain = outcome(model(Calls(ours), ours), "hello", max_new_tokens=60, eos_token_id=None)
    asked = {**CONSTANT, "assistant_model": model(draft, others), "eos_token_id": None}
    assert outcome(model(Calls(ours), ours), "hello", max_new_tokens=60, **asked) == plain
    assert len(fed) <= 10


def test_a_prompt_without_text_and_an_assistant_without_room() -> None:
    ours, others = tokenizer("byte"), tokenizer("demo")
    for prompt, room in (([1], 400), ([1, 3, 4], 400), ("hello there", 5), ("hello there", 2)):
        plain = outcome(model(Calls(ours), ours), prompt, max_new_tokens=12, eos_token_id=None)
        session = Calls(others)
        session.context_length = room
        asked = {**CONSTANT, "assistant_model": model(session, others), "eos_token_id": None}
        assert outcome(model(Calls(ours), ours), prompt, max_new_tokens=12, **asked) == plain


def test_streams_chats_stop_strings_and_forms() -> None:
    ours, others = tokenizer("fake"), tokenizer("demo")
    text = "hello there, the cat sat on the mat"
    options: dict[str, Any] = {"max_new_tokens": 30, "stop_strings": "cat"}
    plain = model(Calls(ours, text), ours).generate("hello", **options).text
    assert plain == " there, the "
    target, draft = model(Calls(ours, text), ours), model(Calls(others, text), others)
    pieces = target.stream("hello", assistant_model=draft, **options, **CONSTANT)
    assert "".join(pieces) == plain
    plain = "".join(model(Calls(ours), ours).chat().send("hello", max_new_tokens=20))
    chat = model(Calls(ours), ours).chat()
    draft = model(Calls(others), others)
    assert "".join(chat.send("hello", assistant_model=draft, max_new_tokens=20)) == plain
    pytest.importorskip("llguidance")
    form: dict[str, Any] = {
        "structured_outputs": {"choice": ["hello there", "the cat"]},
        "max_new_tokens": 30,
    }
    expected = target.generate("hello", **form)
    found = target.generate("hello", **form, assistant_model=draft, **CONSTANT)
    assert found.result.ids == expected.result.ids


def test_the_command_takes_both_kinds(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network's own first layers, and a model whose tokens are others."""
    command = ["generate", str(demo_artifact), "Spell stone", "--max-new-tokens", "12"]
    assert main(command) == 0
    plain = capsys.readouterr().out
    assert main([*command, "--assistant-early-exit", "2", "--num-assistant-tokens", "3"]) == 0
    assert capsys.readouterr().out == plain
    for wrong, words in (("0", "at least 1"), ("5", "expected fewer than the 5 layers")):
        assert main([*command, "--assistant-early-exit", wrong]) == 2
        assert words in capsys.readouterr().err
    early = ["--assistant-early-exit", "2"]
    assert main([*command, *early, "--prompt-lookup-num-tokens", "4"]) == 2
    assert "and prompt_lookup_num_tokens is 4, expected one" in capsys.readouterr().err
    assert main([*command, *early, "--num-beams", "2"]) == 2
    assert "assistant_early_exit is 2 with num_beams 2" in capsys.readouterr().err


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("schedule", ["constant", None])
def test_early_exit_gives_the_same_ids(
    demo_artifact: Path, layers: int, schedule: str | None
) -> None:
    with load(demo_artifact, threads=1) as target:
        assert isinstance(target, Model)
        early: dict[str, Any] = {
            "assistant_early_exit": layers, "num_assistant_tokens_schedule": schedule,
            "assistant_confidence_threshold": 0.1, "eos_token_id": None, "max_new_tokens": 16,
        }  # fmt: skip
        for question in ("What is 27 + 5?", "Spell stone"):
            chat = [{"role": "user", "content": question}]
            plain = target.generate(chat, max_new_tokens=16, eos_token_id=None)
            assert target.generate(chat, **early).result.ids == plain.result.ids
            assert "".join(target.stream(chat, **early)) == plain.text
        drawn = target.generate(chat, **early, do_sample=True, seed=1)
        assert len(drawn.result.ids) == 16
        answer = target.chat().send("Spell stone", **early | {"eos_token_id": 1})
        assert "".join(answer)

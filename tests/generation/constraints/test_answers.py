"""Structured output through the loop: batches, streams, chats, several answers, vocabularies."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import tokenizers

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.text import generate_text, text_stream
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text import folders
from tests.support.text.fakes import FakeSession, make_tokenizer

pytest.importorskip("llguidance")

TOKENIZER = make_tokenizer()
WORD = {"regex": "[a-f]{2,3}-[0-9]{2}"}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "maximum": 9}, "y": {"enum": ["up", "down"]}},
    "required": ["x", "y"],
    "additionalProperties": False,
}


def fits(text: str) -> bool:
    return re.fullmatch(WORD["regex"], text) is not None


def answers(prompts: list[list[int]], form: dict[str, Any], **options: Any) -> list[str]:
    config = GenerationConfig(**{"max_new_tokens": 120, **options})
    session, extras = FakeSession(310), Extras(structured_outputs=form)
    results = generate_text(session, TOKENIZER, prompts, config, extras)
    assert {done.result.finish_reason for done in results} == {"stop"}
    return [done.text for done in results]


@pytest.mark.parametrize(
    "options",
    [{}, {"do_sample": True, "seed": 1}, {"do_sample": True, "seed": 2, "top_k": 3, "top_p": 0.5},
     {"repetition_penalty": 1.5, "presence_penalty": 0.5}, {"guidance_scale": 2.0},
     {"do_sample": True, "seed": 3, "num_return_sequences": 3, "typical_p": 0.5}],
    ids=str,
)  # fmt: skip
def test_every_row_of_a_batch_follows_the_form(options: dict[str, Any]) -> None:
    prompts = [[5, 6], [7, 8, 9], [40]]
    texts = answers(prompts, WORD, **options)
    assert len(texts) == 3 * options.get("num_return_sequences", 1)
    assert all(map(fits, texts))
    for text in answers(prompts, {"json": POINT}, **options):
        found = json.loads(text)
        assert found.keys() == {"x", "y"}
        assert found["x"] <= 9
    if not options:  # each row is the one that it is alone
        assert texts == [answers([prompt], WORD)[0] for prompt in prompts]


def test_a_stream_is_the_answer_in_pieces() -> None:
    config, extras = GenerationConfig(max_new_tokens=40), Extras(structured_outputs=WORD)
    stream = text_stream(FakeSession(310), TOKENIZER, [5, 6], config, extras)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == answers([[5, 6]], WORD)[0]


def test_each_answer_of_a_chat_has_its_own_form() -> None:
    chat = Chat(FakeSession(310), TOKENIZER, config=GenerationConfig(max_new_tokens=40))
    assert fits("".join(chat.send("one", structured_outputs=WORD)))
    choice = ["yes", "no"]
    assert "".join(chat.send("two", structured_outputs={"choice": choice})) in choice
    free = "".join(chat.send("three"))
    assert not fits(free)
    with pytest.raises(GenerationError, match="unclosed group"):
        list(chat.send("four", structured_outputs={"regex": "a("}))
    assert [turn.user for turn in chat.turns] == ["one", "two", "three"]


def test_ids_alone_have_no_form() -> None:
    with pytest.raises(GenerationError, match="ids without text"):
        generate(FakeSession(), [[5]], None, Extras(structured_outputs=WORD))


def test_an_option_that_forbids_all_that_the_form_allows_is_named() -> None:
    config = GenerationConfig(min_new_tokens=20, eos_token_id=[1, 2])
    with pytest.raises(GenerationError, match="forbid every token") as caught:
        generate_text(FakeSession(310), TOKENIZER, [[5]], config, Extras(structured_outputs=WORD))
    assert "structured_outputs" in str(caught.value.hint)


def tokenizer_of(kind: str) -> Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json.dumps(folders.trained(kind)))
    return Tokenizer(backend, {"eos_token": "</s>"})


@pytest.mark.parametrize("form", [
    {"regex": "[a-z]{1,3}"}, {"regex": " [a-z]{1,3}"}, {"regex": " ?x"},
    {"choice": [" a", "b", "ü"]}, {"json": {"type": "string", "maxLength": 3}},
    {"grammar": 'start: " "* "z"'}, {"regex": ""},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", ["metaspace", "byte"])
def test_the_shown_text_follows_the_form(kind: str, form: dict[str, Any]) -> None:
    """A decoder may drop the blank at the start of an answer: the form is of what is shown."""
    tokenizer, config = tokenizer_of(kind), GenerationConfig(do_sample=True, seed=4)
    session, extras = FakeSession(tokenizer.vocab_size + 5), Extras(structured_outputs=form)
    results = generate_text(session, tokenizer, [[9 + i] for i in range(12)], config, extras)
    for text in (done.text for done in results if done.result.finish_reason == "stop"):
        if "regex" in form:
            assert re.fullmatch(form["regex"], text), text
        elif "choice" in form:
            assert text in form["choice"]
        elif "json" in form:
            assert len(json.loads(text)) <= 3
        else:
            assert re.fullmatch(" *z", text)
    assert any(done.result.finish_reason == "stop" for done in results)


@pytest.mark.parametrize("kind", ["unigram", "words"])
def test_a_tokenizer_whose_bytes_are_unknown_is_refused(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    session, config = FakeSession(tokenizer.vocab_size), GenerationConfig(eos_token_id=1)
    with pytest.raises(GenerationError, match="that llguidance cannot read: can't determine dec"):
        generate_text(session, tokenizer, [[5]], config, Extras(structured_outputs=WORD))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(GenerationError, match="llguidance, which is not installed") as caught:
        answers([[5]], WORD)
    assert caught.value.hint == "pip install 'bitnet-onnx[structured]'"

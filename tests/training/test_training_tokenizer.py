"""The tokenizer of the bundled model, trained again on fewer questions."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bitnet_onnx.text.tokenizer import Tokenizer as ChatTokenizer
from training import data
from training import tokenizer as tok


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tok.train(examples=3000)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_special_tokens_have_the_first_ids(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(text) for text in tok.SPECIAL] == [0, 1, 2, 3]
    assert tokenizer.get_vocab_size() <= tok.VOCAB_SIZE
    assert tokenizer.encode("Hello").ids[0] == tok.BOS_ID


@pytest.mark.parametrize("text", ["1984", "STONE", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"])
def test_each_digit_and_capital_is_one_token(tokenizer: Tokenizer, text: str) -> None:
    assert len(ids(tokenizer, text)) == len(text)
    assert ids(tokenizer, f" {text}")[1:] == ids(tokenizer, text)


def test_text_survives_encoding_and_decoding(tokenizer: Tokenizer) -> None:
    for text in ("", "Grüße, 日本語 🙂!\n\ttab", "A1b2 C3", "What is 47 + 38?", "  two  spaces "):
        assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text
    for example in islice(data.training(3), 500):
        assert tokenizer.decode(ids(tokenizer, example.question)) == example.question
        assert tokenizer.decode(ids(tokenizer, example.answer)) == example.answer


def test_chat_gives_the_ids_of_training(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Two turns in the chat template have the ids of a training row."""
    tok.save(tokenizer, tmp_path)
    chat = ChatTokenizer.from_folder(tmp_path)
    first, second = data.held_out(2, seed=3)
    row = [tok.BOS_ID, *ids(tokenizer, tok.prompt(first.question))]
    messages = [{"role": "user", "content": first.question}]
    assert chat.encode_chat(messages) == row
    row += [*ids(tokenizer, first.answer), tok.EOT_ID, *ids(tokenizer, tok.prompt(second.question))]
    messages += [
        {"role": "assistant", "content": first.answer},
        {"role": "user", "content": second.question},
    ]
    rendered = chat.render_chat(messages)
    assert tokenizer.decode(row, skip_special_tokens=False) == f"{tok.BOS}{rendered}"


def test_the_written_files_agree(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tok.save(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["chat_template"] == (tmp_path / "chat_template.jinja").read_text()
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [tok.END_OF_TEXT_ID, tok.EOT_ID]

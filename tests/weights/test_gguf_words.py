"""Byte-level BPE in a GGUF file: each name of ``tokenizer.ggml.pre`` cuts text as its models do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers.pre_tokenizers import Sequence, Split

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.network.records import RECORDS
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.gguf.tokenizer import GgufText
from bitnet_onnx.weights.gguf.words import WORDS
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.text.vocabularies import byte_level_fields, made

TEXT = "It's 1234 (x==$1)\n\n  नमस्ते HTTPServer"
CUT = {
    "falcon_e": "It|'s| |123|4| (|x|==$|1|)\n\n| | नमस|्त|े| HTTPServer",
    "qwen2": "It|'s| |1|2|3|4| (|x|==$|1|)\n\n| | नमस|्त|े| HTTPServer",
    "qwen35": "It|'s| |1|2|3|4| (|x|==$|1|)\n\n| | नमस्ते| HTTPServer",
    "smollm": "It|'s| |1|2|3|4| (|x|==$|1|)|\n\n | नमस|्|त|े| HTTPServer",
    "gpt-2": "It|'s| 1234| (|x|==$|1|)|\n\n | नमस|्|त|े| HTTPServer",
    "falcon": "It|'|s| |123|4| |(|x|==$|1|)|\n\n | नमस|्|त|े| HTTPServer",
    "default": "It|'|s| |123|4| |(|x|==$|1|)|\n\n | नमस|्|त|े| HTTPServer",
    "tekken": "It|'s| |1|2|3|4| (|x|==$|1|)\n\n| | नमस्ते| HTTPServer",
}


@pytest.mark.parametrize("name", CUT)
def test_a_rule_cuts_text_into_these_words(name: str) -> None:
    splits = [Split(tokenizers.Regex(p), "isolated") for p in WORDS[name].patterns]
    words = [word for word, _ in Sequence(splits).pre_tokenize_str(TEXT)]
    assert words == CUT[name].split("|")


def test_the_rules_are_those_of_transformers() -> None:
    mapping = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    theirs = {k: v for k, v in mapping.GGUF_PRE_TOKENIZER_SPLITS.items() if k in WORDS}
    assert len(theirs) > 10
    assert {name: WORDS[name].patterns for name in theirs} == {k: (v,) for k, v in theirs.items()}


def text_files(path: Path, **changes: Any) -> dict[str, bytes]:
    return open_checkpoint(made(path / "m.gguf", byte_level_fields(**changes))).text_files()


@pytest.mark.parametrize("name", [*WORDS, None])
def test_every_name_is_read(tmp_path: Path, name: str | None) -> None:
    """A missing one is llama-bpe in a file of 2B-4T, whose published file lacks it."""
    path = made(tmp_path / "m.gguf", byte_level_fields(pre=name))
    checkpoint = open_checkpoint(path)
    files = checkpoint.text_files()
    built, rule = json.loads(files["tokenizer.json"]), WORDS[name or "llama-bpe"]
    assert built["model"]["ignore_merges"] is rule.ignore_merges
    steps = built["pre_tokenizer"]["pretokenizers"][:-1]
    assert tuple(step["pattern"]["Regex"] for step in steps) == rule.patterns
    assert (built["post_processor"] is not None) is rule.add_bos
    assert json.loads(files["tokenizer_config.json"])["add_bos_token"] is rule.add_bos
    notes = [note for note in checkpoint.notes if "tokenizer.ggml.pre is missing" in note]
    assert len(notes) == (name is None)


def test_a_missing_name_is_the_default_in_other_files(tmp_path: Path) -> None:
    file = GgufFile(made(tmp_path / "m.gguf", byte_level_fields()))
    rules = {name: record.gguf.words for name, record in RECORDS.items()}
    assert rules.pop("bitnet") == "llama-bpe"
    assert set(rules.values()) == {"default"}
    text = GgufText(file)
    assert "as 'default' does" in text.notes[0]
    built = json.loads(text.files()["tokenizer.json"])
    assert len(built["pre_tokenizer"]["pretokenizers"]) == 5
    (tmp_path / "tokenizer.json").write_text("{}")
    notes = open_checkpoint(file.path).notes
    assert not any("pre is missing" in note for note in notes)


@pytest.mark.parametrize("name", ["qwen9", "other", "LLAMA-BPE", "gpt-4o", "granite"])
def test_an_unknown_name_is_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"pre is {name!r}, expected one of: ") as caught:
        text_files(tmp_path, pre=name)
    for known in ("falcon_e", "smollm", "tekken", "default"):
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"add_space_prefix": True}, "add_space_prefix is true, expected false for the model"),
        ({"add_bos_token": "yes"}, "add_bos_token is 'yes', expected true or false"),
        ({"add_bos_token": True, "bos_token_id": None}, "bos_token_id is missing, but it is add"),
        ({"add_eos_token": True, "eos_token_id": None}, "eos_token_id is missing, but it is add"),
        ({"pre": "tekken", "bos_token_id": None}, "bos_token_id is missing, but it is added"),
        ({"add_sep_token": True}, "add_sep_token is not false, which is not supported"),
        ({"normalizer.lowercase": True}, "normalizer.lowercase is not false, which is not supp"),
        ({"added_tokens": ["the"]}, "added_tokens holds 'the', which token_type does not mark"),
    ],
)
def test_what_would_give_other_ids_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        text_files(tmp_path, **{"pre": "gpt-2", **changes})


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    fields = byte_level_fields(pre="gpt-2")
    path = made(tmp_path / "m.gguf", fields, rows=262)
    with pytest.raises(
        CheckpointError, match=r"tokens, expected at most the 262 rows of token_embd"
    ):
        open_checkpoint(path).text_files()


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"pre": "qwen2"}, [], []),
        ({"pre": "qwen2", "add_bos_token": True}, [256], []),
        ({"pre": "falcon3"}, [256], []),
        ({"pre": "falcon3", "add_bos_token": False}, [], []),
        ({"pre": "default", "add_eos_token": True}, [], [257]),
    ],
)
def test_transformers_adds_what_the_file_says(
    tmp_path: Path, changes: dict[str, Any], before: list[int], after: list[int]
) -> None:
    transformers = pytest.importorskip("transformers")
    for name, content in text_files(tmp_path, **changes).items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = theirs("then 12 <|x|>[y]")["input_ids"]
    middle = ids[len(before) : len(ids) - len(after)]
    assert [*before, *middle, *after] == ids
    assert not {256, 257} & set(middle)
    assert middle[-2:] == [258, 259]
    ours = Tokenizer.from_folder(tmp_path)
    assert ours.encode("then 12 <|x|>[y]", add_special_tokens=False) == middle
    assert ours.special_ids == {256, 257, 258}
    assert theirs.decode(middle) == ours.decode(middle, skip_special_tokens=False)


def test_empty_tokens_have_names_and_equal_merges_count_once(tmp_path: Path) -> None:
    fields = byte_level_fields(pre="gpt-2")
    tokens = [*fields["tokenizer.ggml.tokens"], "", "XX", ""]
    merges = fields["tokenizer.ggml.merges"]
    files = text_files(
        tmp_path, pre="gpt-2", tokens=tokens, token_type=None, merges=[*merges, merges[0]]
    )
    built = json.loads(files["tokenizer.json"])["model"]
    names = {token: id for token, id in built["vocab"].items() if token.startswith("[EMPTY_")}
    assert names == {f"[EMPTY_{id}]": id for id in (len(tokens) - 3, len(tokens) - 1)}
    assert built["merges"] == [merge.split(" ") for merge in merges]


@pytest.mark.parametrize("model", ["no_vocab", "none"])
def test_a_file_that_says_it_has_no_tokenizer_has_none(tmp_path: Path, model: str) -> None:
    assert text_files(tmp_path, model=model) == {}

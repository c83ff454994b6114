"""SentencePiece in a GGUF file: the ids of its algorithm, spelled out here, and the text back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.text.streaming import StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.sentencepiece import Tie, merges_by_score
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.text.vocabularies import BLANK, made, sentencepiece_fields

FIELDS = sentencepiece_fields()
TOKENS: list[str] = FIELDS["tokenizer.ggml.tokens"]
SCORES = dict(zip(TOKENS, FIELDS["tokenizer.ggml.scores"], strict=True))
WORDS = [" ", "  ", "     ", "the", "then ", "over", "x == ", "----", "\n", "\t", "ß", "é", "qq"]
WORDS += ["東", "🙂", "\x00", BLANK, "...", "<", "s>", "Th"]
# A control token in a text becomes its id, which is not shown again.
TEXTS = (
    st.lists(st.sampled_from(WORDS) | st.text(max_size=2), max_size=14)
    .map("".join)
    .filter(lambda text: not any(token in text for token in ("<s>", "</s>", "<unk>")))
)


def joined(text: str, scores: dict[str, float]) -> list[str]:
    """Join the neighbours with the highest score, of several the leftmost, as long as there are."""
    symbols = list(text.replace(" ", BLANK))
    while True:
        pairs = [(i, symbols[i] + symbols[i + 1]) for i in range(len(symbols) - 1)]
        known = [(scores[token], -i, token) for i, token in pairs if token in scores]
        if not known:
            return symbols
        _, place, token = max(known)
        symbols[-place : -place + 2] = [token]


def slow_ids(text: str) -> list[int]:
    ids = []
    for symbol in joined(f" {text}" if text else "", SCORES):
        names = [symbol] if symbol in SCORES else [f"<0x{b:02X}>" for b in symbol.encode()]
        ids += [TOKENS.index(name) for name in names]
    return ids


def folder(path: Path, **changes: Any) -> Path:
    """Write the text files of a file with these fields."""
    path.mkdir()
    file = made(path / "m.gguf", sentencepiece_fields(**changes))
    for name, content in open_checkpoint(file).text_files().items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(folder(tmp_path_factory.mktemp("spm") / "a"))


@given(TEXTS)
def test_ids_are_those_of_the_algorithm_spelled_out(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text, add_special_tokens=False) == slow_ids(text)


@given(TEXTS)
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    """A blank and U+2581 are the same token."""
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_token_id == 1
    assert tokenizer.decode(ids) == text.replace(BLANK, " ")


@given(TEXTS)
def test_streamed_text_is_the_same(tokenizer: Tokenizer, text: str) -> None:
    stream = StreamDecoder(tokenizer)
    pieces = [stream.push(id) for id in tokenizer.encode(text)]
    assert "".join(pieces) + stream.flush() == text.replace(BLANK, " ")
    assert all("\ufffd" not in piece for piece in pieces if "\ufffd" not in text)


@given(
    st.sets(st.integers(2, 12), max_size=6),
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
)
def test_runs_with_one_score_are_joined_from_the_left(lengths: set[int], runs: list[int]) -> None:
    """As LLaMA's blanks, whatever lengths are tokens."""
    scores = {"-" * length: -1e9 for length in sorted(lengths)}
    merges = merges_by_score({*scores, "-", "x"}, scores.items())
    ranks = {"\0".join(pair): rank for rank, pair in enumerate(merges)}
    symbols = list("x".join("-" * run for run in runs))
    expected = joined("x".join("-" * run for run in runs), scores)
    while True:
        pairs = [
            (ranks.get("\0".join(symbols[i : i + 2]), 1 << 30), i) for i in range(len(symbols))
        ]
        rank, place = min(pairs)
        if rank == 1 << 30:
            break
        symbols[place : place + 2] = ["".join(symbols[place : place + 2])]
    assert symbols == expected


@pytest.mark.parametrize(
    "scores",
    [
        {"ab": -1.0, "bc": -1.0},  # a b c
        {"abc": -5.0, "ab": -1.0, "xab": -5.0, "xa": -9.0},  # x ab c
        {"ab": -1.0, "cd": -1.0, "abc": 0.0},  # a b c d
        {"--": -1.0, "->": -1.0},  # - - >
    ],
)
def test_scores_that_leave_the_order_open_are_refused(scores: dict[str, float]) -> None:
    parts = {*scores, *"".join(scores)}
    with pytest.raises(Tie):
        merges_by_score(parts, scores.items())
    apart = {token: score - 0.01 * rank for rank, (token, score) in enumerate(scores.items())}
    assert merges_by_score(parts, apart.items())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no scores": ({"scores": None}, "scores is not an array of"),
    "few scores": ({"scores": [0.0, 1.0]}, "scores is not an array of"),
    "nan": ({"scores": [float("nan")] * len(TOKENS)}, "scores holds a NaN or an infinity"),
    "equal": ({"scores": [-1e3] * len(TOKENS)}, "scores gives .* the same score, expected an ord"),
    "long": ({"tokens": ["x" * 2000, *TOKENS[1:]]}, "holds a token of 2000 characters, expected"),
    "flag": ({"add_bos_token": 1}, "add_bos_token is 1, expected true or false"),
    "prefix": ({"add_space_prefix": "yes"}, "add_space_prefix is 'yes', expected true or false"),
    "extra": ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces is not false"),
    "charsmap": ({"precompiled_charsmap": [1, 2]}, "precompiled_charsmap is not false"),
    "sep": ({"add_sep_token": True}, "add_sep_token is not false"),
    "lowercase": ({"normalizer.lowercase": True}, "normalizer.lowercase is not false"),
    "lowercase 1": ({"normalizer.lowercase": 1}, "normalizer.lowercase is not false"),
    "added": ({"added_tokens": ["x y"]}, "added_tokens holds 'x y', which token_type does not m"),
    "added 5": ({"added_tokens": 5}, "added_tokens is missing or not an array of texts"),
    "unknown": ({"unknown_token_id": 1 << 20}, "unknown_token_id is 1048576, expected 0 to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_give_other_ids_is_refused_by_its_key(tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    path = made(tmp_path / "m.gguf", sentencepiece_fields(**changes))
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path).text_files()
    assert str(path) in str(caught.value)
    assert "tokenizer.json" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({}, [1], []),
        ({"add_bos_token": True, "add_eos_token": False}, [1], []),
        ({"added_tokens": ["[x]", "<|user|>"], "normalizer.lowercase": False}, [1], []),
        ({"add_bos_token": False}, [], []),
        ({"add_eos_token": True}, [1], [2]),
        ({"add_bos_token": False, "add_eos_token": True, "eos_token_id": 1}, [], [1]),
        ({"bos_token_id": None, "eos_token_id": None, "unknown_token_id": None}, [1], []),
    ],
)
def test_transformers_adds_what_the_file_says(
    tmp_path: Path, changes: dict[str, Any], before: list[int], after: list[int]
) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder(tmp_path / "a", **changes))
    text = "the fox"
    assert theirs(text)["input_ids"] == [*before, *slow_ids(text), *after]
    config = json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())
    assert [config["add_bos_token"], config["add_eos_token"]] == [bool(before), bool(after)]


def test_a_file_without_a_prefix_adds_no_blank(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder(tmp_path / "a", add_space_prefix=False))
    ids = tokenizer.encode("the fox")
    assert [TOKENS[id] for id in ids][:2] == ["<s>", "the"]
    assert tokenizer.decode(ids) == "the fox"
    assert tokenizer.decode(tokenizer.encode(" the")) == " the"


def test_types_of_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Control and unknown tokens are special, user-defined ones are text, unused ones joined."""
    ids = tokenizer.encode("then<|user|>[x]the qq<unk>", add_special_tokens=False)
    names = [TOKENS[id] for id in ids]
    assert names[1:4] == ["<|user|>", "[x]", f"{BLANK}the"]
    assert names[-1] == "<unk>"
    assert "qq" in names
    assert {TOKENS[id] for id in tokenizer.special_ids} == {"<unk>", "<s>", "</s>", "<|user|>"}
    assert "[x]" in tokenizer.decode(ids)

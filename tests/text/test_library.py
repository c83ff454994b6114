"""Damages that make the tokenizers package panic or ask for gigabytes are TokenizerErrors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.errors import TokenizerError
from bitnet_onnx.text.library import in_a_sentence, load
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.paths import DEMO

DEMO_FILE = json.loads((DEMO / "tokenizer.json").read_text("utf-8"))
GIGABYTES = base64.b64encode(b"\xff\xff\xff\xff").decode()
CUT = base64.b64encode((400).to_bytes(4, "little") + bytes(396)).decode()


@pytest.mark.parametrize("text", ["AAAA", GIGABYTES, CUT, "", "?", None, 7])
def test_a_damaged_map_of_characters(text: Any) -> None:
    part = {"type": "Precompiled", "precompiled_charsmap": text}
    for normalizer in (part, {"type": "Sequence", "normalizers": [part, part]}):
        content = json.dumps({**DEMO_FILE, "normalizer": normalizer})
        with pytest.raises(TokenizerError):
            load(content, "tokenizer.json")


@pytest.mark.parametrize("far", [1 << 24, 1 << 31, (1 << 32) - 1])
def test_an_id_far_beyond_a_vocabulary(far: int) -> None:
    """The package would make a table as long as the largest id."""
    model, added = DEMO_FILE["model"], DEMO_FILE["added_tokens"]
    for changes in (
        {"model": {**model, "vocab": {**model["vocab"], "new": far}}},
        {"added_tokens": [{**added[0], "id": far}, *added[1:]]},
    ):
        with pytest.raises(TokenizerError, match=f"tokenizer.json .* holds the id {far}, expected"):
            load(json.dumps({**DEMO_FILE, **changes}), "tokenizer.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"}}, "UNK"),
        ({"model": {"type": "Unigram", "vocab": [["b", -1.0]], "unk_id": None}}, "unk_id"),
    ],
)
def test_a_tokenizer_that_fails_at_a_text(changes: dict[str, Any], said: str) -> None:
    backend = load(json.dumps({**DEMO_FILE, **changes}), "tokenizer.json")
    with pytest.raises(TokenizerError, match=said):
        Tokenizer(backend).encode("a text")


def test_a_merge_that_makes_the_package_panic(tmp_path: Path) -> None:
    merges = [["<|begin_of_text|>", "t"], *DEMO_FILE["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({**DEMO_FILE, "model": {**DEMO_FILE["model"], "merges": merges}})
    )
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is not a readable tokenizer"):
        Tokenizer.from_folder(tmp_path)


def test_an_interrupt_is_not_an_error_of_the_tokenizer() -> None:
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error), in_a_sentence("x"):
            raise error

"""Damaged files of every kind end in a sentence or in an answer, in Python and by the commands."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from bitnet_onnx.errors import LONGEST, BitNetError
from tests.support.fuzz import damages
from tests.support.fuzz.__main__ import rounds
from tests.support.fuzz.rounds import KINDS
from tests.support.paths import DEMO

ROUNDS = int(os.environ.get("BITNET_ONNX_FUZZ_ROUNDS", "40"))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """Return what the rounds of each kind found; one process imports torch for all of them."""
    return rounds(KINDS, 0, ROUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_end_in_a_sentence_or_an_answer(
    kind: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    """`make fuzz ROUNDS=10000` runs more of them."""
    done = outcomes[kind]
    assert done["wrong"] == []
    assert done["read"] + done["refused"] == ROUNDS
    assert done["refused"] > ROUNDS // 10


def test_damages_depend_on_the_seed_alone() -> None:
    content = (DEMO / "tokenizer.json").read_bytes()
    for damage in set(damages.JSON):
        first, again, other = (damage(random.Random(seed), content) for seed in (1, 1, 2))
        assert first == again
        assert first != content or other != content


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    error = BitNetError("a\nb\x1b[2J\u2028c\ud800", hint="d\r\ne" + "x" * 5000)
    assert str(error) == "a b\\x1b[2J c\\ud800"
    assert str(error.hint).startswith("d exxx")
    assert len(str(error.hint)) <= LONGEST
    assert json.loads(json.dumps(str(error))) == str(error)
    assert str(BitNetError("Grüße, 你好 🙂")) == "Grüße, 你好 🙂"

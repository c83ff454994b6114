"""Prompt lookup finds transformers' candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitnet_onnx.generation.processors.past import Past
from bitnet_onnx.generation.strategies.lookup import PromptLookup
from bitnet_onnx.generation.strategies.schedules import Constant


def drafts(ids: list[int], most: int, ngram: int, eos: tuple[int, ...] = ()) -> list[int]:
    return list(PromptLookup(ngram, eos).propose(Past(ids), most, Constant()).ids)


@pytest.mark.parametrize("ngram", [1, 2, 3, 7])
def test_candidates_are_those_of_transformers(ngram: int) -> None:
    torch: Any = pytest.importorskip("torch")
    theirs: Any = pytest.importorskip("transformers.generation.candidate_generator")
    found = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        ids = generator.integers(0, 3 + seed % 5, 1 + seed).tolist()
        most, eos = 1 + seed % 11, [1, 2][: seed % 3]
        lookup = theirs.PromptLookupCandidateGenerator(
            torch.tensor(eos) if eos else None, most, ngram, max_length=10_000
        )
        candidates, _ = lookup.get_candidates(torch.tensor([ids]))
        expected = candidates[0, len(ids) :].tolist()
        assert drafts(ids, most, ngram, tuple(eos)) == expected
        found += len(expected)
    assert found > 60


@pytest.mark.parametrize(
    ("ids", "most", "expected"),
    [
        ([5], 3, []),
        ([5, 6, 7], 3, []),
        ([5, 5], 3, [5]),
        ([1, 2, 3, 9, 1, 2], 3, [3, 9, 1]),
        ([1, 2, 3, 9, 1, 2], 0, []),
        ([1, 2, 3, 9, 1, 2], -1, []),
        ([8, 2, 4, 1, 2, 3, 1, 2], 1, [3]),  # a longer match goes first, even if it is later
    ],
)
def test_what_came_after_the_last_ids(ids: list[int], most: int, expected: list[int]) -> None:
    assert drafts(ids, most, 2) == expected

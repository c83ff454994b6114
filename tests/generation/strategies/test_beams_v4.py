"""Groups of beams and forced words against what transformers 4.45.2 found: ``beams_v4.json``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.strategies.forced_words import Progress, words_of
from tests.support.generation import beams_v4
from tests.support.text.fakes import FakeSession

CASES: list[dict[str, Any]] = json.loads(beams_v4.FILE.read_text())


def shown(ids: list[int], length: int, values: dict[str, Any]) -> list[int]:
    """Return ids as transformers pads them."""
    eos = values.get("eos_token_id", [None])
    return ids + [values.get("pad_token_id", eos[0])] * (length - len(ids))


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_search_finds_what_transformers_found(number: int) -> None:
    case = CASES[number]
    values, prompt = case["options"], case["prompt"]
    results = generate(FakeSession(beams_v4.VOCAB, 99), [prompt], GenerationConfig(**values))
    assert [shown(r.ids, len(case["ids"][0]), values) for r in results] == case["ids"]
    if case["scores"] is not None:
        assert [r.score for r in results] == pytest.approx(case["scores"], rel=2e-6)


def test_prompts_of_a_batch_are_searched_as_if_alone() -> None:
    for case in CASES[10:16]:
        config = GenerationConfig(**case["options"])
        prompts = [[2, 9], case["prompt"], [5]]
        results = generate(FakeSession(beams_v4.VOCAB, 12), prompts, config)
        each = config.num_return_sequences
        for number, prompt in enumerate(prompts):
            alone = generate(FakeSession(beams_v4.VOCAB, 12), [prompt], config)
            mine = results[number * each :][:each]
            assert [(r.ids, r.score) for r in mine] == [(r.ids, r.score) for r in alone]


def test_answers_hold_the_forced_words() -> None:
    config = GenerationConfig(
        num_beams=4, force_words_ids=[[4, 7], [[9, 2], [8]]], max_new_tokens=12, eos_token_id=3
    )
    for prompt in ([1], [5, 6], [4], [0, 17, 3]):
        (result,) = generate(FakeSession(beams_v4.VOCAB, 99), [prompt], config)
        text = " " + " ".join(map(str, prompt + result.ids)) + " "
        assert " 4 7 " in text
        assert " 9 2 " in text or " 8 " in text


def test_progress_with_words() -> None:
    words = words_of([[1, 2, 3], [[4], [5, 6]]])
    assert Progress.of(words, []).advancing() == [1, 4, 5]
    assert Progress.of(words, [1, 2]).advancing() == [3]
    assert Progress.of(words, [1, 2, 4]).advancing() == [4, 5, 1]  # the phrase begins anew
    assert Progress.of(words, [1, 2, 3, 9, 5]).advancing() == [6]
    assert [Progress.of(words, ids).rank(3) for ids in ([], [1], [1, 2], [4], [5])] == [
        0,
        1,
        2,
        3,
        2,
    ]
    assert Progress.of(words, [5, 6, 1, 2, 3]).done


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0}, "num_beam_groups is 3"),
        ({"num_beam_groups": 2, "diversity_penalty": 1.0}, "num_beam_groups is 2, expected a div"),
        ({"num_beams": 4, "num_beam_groups": 2}, r"diversity_penalty is 0\.0, expected a number"),
        ({"num_beams": 4, "diversity_penalty": 1.0}, "num_beam_groups is 1, expected at least 2"),
        ({"num_beams": 4, "diversity_penalty": -1.0}, r"diversity_penalty is -1\.0, expected a"),
        (
            {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": True},
            "do_sample is True with num_beam_groups 2, expected one of the two",
        ),
        ({"force_words_ids": [[1]]}, "force_words_ids is given without beams, expected num_beams"),
        ({"num_beams": 2, "force_words_ids": []}, r"force_words_ids is \[\], expected lists"),
        ({"num_beams": 2, "force_words_ids": 5}, "force_words_ids is 5, expected lists of ids"),
        ({"num_beams": 2, "force_words_ids": [[]]}, r"force_words_ids is \[\], expected lists"),
        ({"num_beams": 2, "force_words_ids": [[-1]]}, "force_words_ids is -1, expected an integer"),
        (
            {"num_beams": 2, "force_words_ids": [[[1, 2], [1]]]},
            r"force_words_ids is \[\[1, 2\], \[1\]\], expected sequences none of which begins",
        ),
        (
            {"num_beams": 2, "force_words_ids": [[1]], "do_sample": True},
            "do_sample is True with force_words_ids, expected one of the two",
        ),
        (
            {
                "num_beams": 2, "force_words_ids": [[1]], "num_beam_groups": 2,
                "diversity_penalty": 1.0,
            },
            "num_beam_groups is 2 with force_words_ids, expected one of the two",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        GenerationConfig(**values)


@pytest.mark.parametrize("words", [[[25]], [[[3, 25], [4]]]])
def test_a_forced_word_outside_the_vocabulary_is_refused(words: Any) -> None:
    config = GenerationConfig(num_beams=2, force_words_ids=words)
    with pytest.raises(GenerationError, match="force_words_ids holds the id 25, expected 0 to 19"):
        generate(FakeSession(beams_v4.VOCAB, 99), [[1]], config)


def test_padding_outside_the_vocabulary_is_refused() -> None:
    config = GenerationConfig(
        num_beams=2, num_beam_groups=2, diversity_penalty=1.0, pad_token_id=20, eos_token_id=3
    )
    with pytest.raises(GenerationError, match="pad_token_id holds the id 20, expected 0 to 19"):
        generate(FakeSession(beams_v4.VOCAB, 99), [[1]], config)

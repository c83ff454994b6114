"""Accuracy: choices by their likelihood, and exact match of what is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.evaluation.accuracy import exact_match, multiple_choice
from bitnet_onnx.evaluation.models import open_model
from bitnet_onnx.evaluation.pairs import likelihoods, pair_of
from bitnet_onnx.evaluation.questions import Choices, Question
from bitnet_onnx.evaluation.scorers import SessionScorer
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.model import Model
from tests.support.questions import questions

ASKED = questions()[:12]


@pytest.fixture(scope="module")
def model(demo_artifact: Path) -> Iterator[Model]:
    with open_model(demo_artifact, threads=1) as model:
        yield model


def test_choices_are_those_that_the_model_was_taught(model: Model) -> None:
    others = [record["answer"] for record in ASKED]
    asked = [
        Choices(f"line {n}", record["question"], (others[n - 1], record["answer"]), 1)
        for n, record in enumerate(ASKED)
        if record["answer"] != others[n - 1]
    ]
    scorer = SessionScorer(model.session, model.tokenizer)
    seen: list[int] = []
    found = multiple_choice(
        scorer, asked, "", chat=True, on_done=lambda done, total: seen.append(total - done)
    )
    assert found.questions == len(asked)
    assert found.acc > 0.9
    assert seen == list(range(2 * len(asked) - 1, -1, -1))


@pytest.mark.parametrize("delimiter", ["", " ", "\n\t"])
def test_lengths_and_delimiters_count(model: Model, delimiter: str) -> None:
    scorer = SessionScorer(model.session, model.tokenizer)
    choices = ("Mia", "in the library", "9")
    sums = likelihoods(
        scorer, [pair_of(model.tokenizer, "Where?", delimiter + choice) for choice in choices]
    )
    scores = [score.log_probability for score in sums]
    best = max(range(3), key=scores.__getitem__)
    normed = max(range(3), key=lambda i: scores[i] / len(choices[i]))
    for answer in range(3):
        found = multiple_choice(scorer, [Choices("1", "Where?", choices, answer)], delimiter)
        assert (found.acc, found.acc_norm) == (answer == best, answer == normed)
        assert (found.acc_stderr, found.acc_norm_stderr) == (0, 0)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_exact_match_is_that_of_the_answers(model: Model, batch_size: int) -> None:
    config = GenerationConfig(max_new_tokens=32)
    prompts = [[{"role": "user", "content": record["question"]}] for record in ASKED]
    texts = [result.text for result in model.generate_batch(prompts, config)]
    right = [text.strip() == record["answer"] for text, record in zip(texts, ASKED, strict=True)]
    asked = [Question("", record["question"], ("?", f" {record['answer']}\n")) for record in ASKED]
    asked.append(Question("", ASKED[0]["question"], ("no such answer",)))
    found = exact_match(model, asked, max_new_tokens=32, chat=True, batch_size=batch_size)
    assert found.exact_match == sum(right) / len(asked) > 0.5
    share, count = found.exact_match, len(asked)
    assert found.exact_match_stderr == pytest.approx((share * (1 - share) / (count - 1)) ** 0.5)


def test_stop_strings_end_an_answer(model: Model) -> None:
    record = ASKED[2]
    text = model.generate([{"role": "user", "content": record["question"]}]).text
    start, end = text[:-2], text[-2:]
    asked = [Question("", record["question"], (start,))]
    found = exact_match(model, asked, max_new_tokens=32, chat=True, stop_strings=[end])
    assert found.exact_match == 1


def test_lines_that_do_not_fit_are_named(model: Model) -> None:
    scorer = SessionScorer(model.session, model.tokenizer)
    with pytest.raises(GenerationError, match=r"^line 9: it has \d+ tokens, expected at most the"):
        multiple_choice(scorer, [Choices("line 9", "a " * 600, ("a", "b"), 0)])
    with pytest.raises(GenerationError, match=r"^line 9: it has \d+ tokens, expected at most the"):
        exact_match(model, [Question("line 9", "a " * 600, ("a",))], max_new_tokens=4)
    with pytest.raises(GenerationError, match=r"^line 9: .*Unicode"):
        multiple_choice(scorer, [Choices("line 9", "\ud800", ("a", "b"), 0)])
    with pytest.raises(GenerationError, match="batch_size is 0, expected 1 or more"):
        exact_match(model, [Question("1", "a", ("a",))], max_new_tokens=4, batch_size=0)

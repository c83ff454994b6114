"""The share of questions that a network answers right: by likelihood, or by what it writes.

Knows scorers, models and questions; does not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import GenerationError
from ..generation.config import GenerationConfig
from ..generation.model import Model
from ..places import Here, Place
from ..runtime.integers import integer
from ..text.tokenizer import Tokenizer
from .pairs import Pair, likelihoods, pair_of
from .questions import Choices, Question, at_line
from .scorers import ModelScorer, Scorer

__all__ = ["BATCH", "DELIMITER", "AnswerScore", "ChoiceScore", "exact_match", "multiple_choice"]

DELIMITER = " "  # lm-evaluation-harness's target_delimiter
BATCH = 8  # questions that are answered together

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class ChoiceScore:
    """Accuracies with the names of lm-evaluation-harness."""

    questions: int
    acc: float
    """The share where the right choice is the likeliest."""
    acc_stderr: float
    acc_norm: float
    """The same, with log-likelihoods divided by the characters of the choices."""
    acc_norm_stderr: float


@dataclass(frozen=True)
class AnswerScore:
    """The share of questions whose answer is exactly a right one, blanks around it aside."""

    questions: int
    exact_match: float
    exact_match_stderr: float


def multiple_choice(
    scorer: Scorer,
    questions: Sequence[Choices],
    delimiter: str = DELIMITER,
    *,
    chat: bool = False,
    on_done: Progress | None = None,
    place: Place | None = None,
) -> ChoiceScore:
    """Choose by the likelihood of each choice after its question and the delimiter.

    chat: the question is a user's message in the chat template. place: what computes, whose first
    model is such a scorer. Raises GenerationError or TokenizerError for a line that does not fit
    the network.
    """
    pairs: list[Pair] = []
    for asked in questions:
        with at_line(asked.where):
            context = _rendered(scorer.tokenizer, asked.question) if chat else asked.question
            for choice in asked.choices:
                pairs.append(pair_of(scorer.tokenizer, context, delimiter + choice))
                _check_length(len(pairs[-1].ids) - 1, scorer.context_length)
    done = 0

    def one_more(*_: object) -> None:
        nonlocal done
        done += 1
        if on_done is not None:
            on_done(done, len(pairs))

    sums = iter(likelihoods(scorer, pairs, one_more, place))
    right, normed = [], []
    for asked in questions:
        scores = np.array([next(sums).log_probability for _ in asked.choices])
        lengths = np.array([len(choice) for choice in asked.choices])
        right.append(scores.argmax() == asked.answer)
        normed.append((scores / lengths).argmax() == asked.answer)
    return ChoiceScore(len(questions), *_mean(right), *_mean(normed))


def exact_match(
    model: Model,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    stop_strings: Sequence[str] = (),
    chat: bool = False,
    batch_size: int = BATCH,
    on_done: Progress | None = None,
    place: Place | None = None,
) -> AnswerScore:
    """Answer greedily, and compare the text; of the artifact's options only its eos ids count.

    chat: the question is a user's message in the chat template. place: what computes, whose first
    model is a ModelScorer. Raises as ``multiple_choice``.
    """
    if (size := integer("batch_size", batch_size)) < 1:
        raise GenerationError(f"batch_size is {size}, expected 1 or more")
    config = GenerationConfig(max_new_tokens=max_new_tokens, stop_strings=tuple(stop_strings))
    prompts = []
    for asked in questions:
        with at_line(asked.where):
            text = asked.question
            prompts.append(model.encode([{"role": "user", "content": text}] if chat else text))
            if not prompts[-1]:
                raise GenerationError("question is '', expected one or more tokens")
            _check_length(len(prompts[-1]), model.session.context_length)
    right = [False] * len(questions)
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    items = [[prompts[number] for number in numbers] for numbers in batches]
    done = 0
    for batch, texts in (place or Here([ModelScorer(model)])).each(partial(_texts, config), items):
        for number, text in zip(batches[batch], texts, strict=True):
            answers = {answer.strip() for answer in questions[number].answers}
            right[number] = text.strip() in answers
        done += len(texts)
        if on_done is not None:
            on_done(done, len(order))
    return AnswerScore(len(questions), *_mean(right))


def _texts(
    config: GenerationConfig, models: Sequence[ModelScorer], prompts: list[list[int]]
) -> list[str]:
    """Return the answers to prompts that are computed together."""
    return [result.text for result in models[0].model.generate_batch(prompts, config)]


def _rendered(tokenizer: Tokenizer, question: str) -> str:
    return tokenizer.render_chat([{"role": "user", "content": question}])


def _check_length(fed: int, context: int) -> None:
    if fed > context:
        raise GenerationError(f"it has {fed} tokens, expected at most the context of {context}")


def _mean(right: Sequence[bool | np.bool_]) -> tuple[float, float]:
    """Return the share, and its standard error as lm-evaluation-harness has it."""
    found = np.array(right, dtype=np.float64)
    error = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
    return float(found.mean()), error

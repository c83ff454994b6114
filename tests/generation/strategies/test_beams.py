"""Beam search and beam sampling against transformers' own, over the same logits."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.largest import best
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.model import Model
from bitnet_onnx.generation.rows import GenerationResult
from bitnet_onnx.generation.strategies.beams import drawn, log_probabilities
from tests.support.generation.toy_model import transformers_generate
from tests.support.text.fakes import FakeSession, make_tokenizer

VOCAB, PAD = 20, 19
PROMPTS = [[7], [4, 5, 6, 4, 5], [1, 2], [7]]


def same(results: list[GenerationResult], theirs: Any, prompt: list[int]) -> None:
    """float32 sums of log-probabilities err by 1e-6 of the largest, ours are float64 before."""
    for row, result in enumerate(results):
        ids = theirs.sequences[row, len(prompt) :].tolist()
        assert ids[: len(result.ids)] == result.ids
        assert set(ids[len(result.ids) :]) <= {PAD}
        assert result.score == pytest.approx(float(theirs.sequences_scores[row]), rel=2e-6)


def options(seed: int) -> dict[str, Any]:
    r = random.Random(seed)
    beams = r.choice([2, 3, 4, 5])
    values: dict[str, Any] = {
        "num_beams": beams,
        "num_return_sequences": r.randint(1, beams),
        "max_new_tokens": r.choice([2, 5, 9]),
        "length_penalty": r.choice([0.0, 1.0, -1.0, 2.0, 0.5]),
        "early_stopping": r.choice([True, False, "never"]),
        "eos_token_id": r.choice([[3], [3, 11], [3, 11, 5], [3, 3], None]),
    }
    others = {
        "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 2,
        "forced_eos_token_id": 3, "bad_words_ids": [[5, 6], [9]], "renormalize_logits": True,
        "sequence_bias": [[[3], 2.5], [[4, 8], -3.0]],
        "exponential_decay_length_penalty": [2, 1.2],
    }  # fmt: skip
    chosen = {name: value for name, value in others.items() if r.random() < 0.2}
    if values["eos_token_id"] is None:
        chosen.pop("exponential_decay_length_penalty", None)
    return {**values, **chosen}


@pytest.mark.parametrize("seed", range(24))
def test_beams_are_those_of_transformers(seed: int) -> None:
    values, each = options(seed), options(seed)["num_return_sequences"]
    results = generate(FakeSession(VOCAB, 99), PROMPTS[:2], GenerationConfig(**values))
    for number, prompt in enumerate(PROMPTS[:2]):
        theirs = transformers_generate(VOCAB, prompt, {**values, "pad_token_id": PAD})
        same(results[number * each :][:each], theirs, prompt)


@pytest.mark.parametrize("seed", range(10))
def test_sampled_beams_are_those_of_transformers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same draws on both sides; ``drawn`` is compared with its distribution below."""
    import torch

    values: dict[str, Any] = {
        **options(seed), "do_sample": True, "top_k": random.Random(seed).choice([0, 15]),
        "temperature": random.Random(seed + 1).choice([0.7, 1.0, 1.8]),
    }  # fmt: skip
    if values["num_beams"] > 3 and values["eos_token_id"] not in (None, [3]):
        values["eos_token_id"] = [3]  # enough candidates of the first step
    for name in ("bad_words_ids", "forced_eos_token_id"):
        values.pop(name, None)
    config = GenerationConfig(**values, seed=seed)
    for prompt in PROMPTS[1:3]:
        (first, *_) = results = generate(FakeSession(VOCAB, 99), [prompt], config)
        random_of_row = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 0))))

        def multinomial(
            p: Any, num_samples: int, random_of_row: np.random.Generator = random_of_row
        ) -> Any:
            with np.errstate(divide="ignore"):
                return torch.from_numpy(drawn(np.log(p[0].numpy()), num_samples, random_of_row))[
                    None
                ]

        monkeypatch.setattr(torch, "multinomial", multinomial)
        theirs = transformers_generate(VOCAB, prompt, {**values, "pad_token_id": PAD})
        same(results, theirs, prompt)
        assert first.ids


def test_draws_without_replacement_have_their_distribution() -> None:
    """Of ordered pairs, p(a) * p(b) / (1 - p(a)); a chi-squared test with a fixed seed."""
    scores = np.log(np.array([0.5, 0.2, 0.2, 0.1], np.float32))
    p, generator, count = np.exp(scores.astype(np.float64)), np.random.default_rng(3), 6000
    seen = Counter(tuple(drawn(scores, 2, generator).tolist()) for _ in range(count))
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    expected = {(a, b): count * p[a] * p[b] / (1 - p[a]) for a, b in pairs}
    assert set(seen) == set(pairs)
    chi = sum((seen[pair] - expected[pair]) ** 2 / expected[pair] for pair in pairs)
    assert chi < 31.3  # the 0.999 quantile for 11 degrees of freedom
    few = np.array([-np.inf, 0, -2e9, -np.inf, -1e9, 1], np.float32)
    assert {tuple(drawn(few, 4, generator)[2:].tolist()) for _ in range(20)} == {(4, 2)}


def test_the_best_are_those_of_a_stable_sort() -> None:
    for seed in range(30):
        scores = np.random.default_rng(seed).integers(0, 6, 40).astype(np.float32)
        scores[::7] = -np.inf
        assert best(scores, 9).tolist() == np.argsort(-scores, kind="stable")[:9].tolist()


def test_log_probabilities_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(1).standard_normal((5, 300)).astype(np.float32) * 9
    logits[0, ::3] = -np.inf
    expected = torch.from_numpy(logits).log_softmax(-1).numpy()
    np.testing.assert_allclose(log_probabilities(logits), expected, rtol=3e-7, atol=1e-6)


def test_prompts_are_searched_as_if_alone_and_computed_once() -> None:
    for seed, context in ((1, 99), (2, 9), (6, 7)):
        values = {**options(seed), "max_new_tokens": 8}
        config = GenerationConfig(**{**values, "do_sample": True, "seed": 4})
        session = FakeSession(VOCAB, context)
        together = generate(session, PROMPTS, config)
        assert session.computed == sum(map(len, PROMPTS))
        each = config.num_return_sequences
        alone = generate(FakeSession(VOCAB, context), PROMPTS[:1], config)
        assert [r.ids for r in together[:each]] == [r.ids for r in alone]
        assert all(len(r.ids) + r.prompt_tokens <= context + 1 for r in together)
        assert [r.score for r in together] == sorted_within(together, each)


def sorted_within(results: list[GenerationResult], each: int) -> list[float]:
    scores = [r.score or 0.0 for r in results]
    return [
        score
        for first in range(0, len(scores), each)
        for score in sorted(scores[first : first + each], reverse=True)
    ]


def test_functions_of_the_caller_act_on_beams() -> None:
    import torch

    prompt = [4, 5]
    values: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 7, "num_return_sequences": 3}

    def ours(ids: list[int], scores: np.ndarray) -> np.ndarray:
        scores[ids[-1]] -= 2
        return scores

    def theirs(ids: Any, scores: Any) -> Any:
        return scores.scatter_add(1, ids[:, -1:], torch.full((len(ids), 1), -2.0))

    extras = Extras(
        logits_processor=ours,
        stopping_criteria=lambda ids, _: ids[-1] == 8,
        prefix_allowed_tokens_fn=lambda number, ids: [t for t in range(VOCAB) if t % 3 != number],
    )
    results = generate(
        FakeSession(VOCAB, 99), [prompt], GenerationConfig(**values, eos_token_id=3), extras
    )
    expected = transformers_generate(
        VOCAB, prompt, {**values, "eos_token_id": 3, "pad_token_id": PAD},
        logits_processor=[theirs],
        stopping_criteria=[lambda ids, _: ids[:, -1] == 8],
        prefix_allowed_tokens_fn=lambda number, ids: [t for t in range(VOCAB) if t % 3 != number],
    )  # fmt: skip
    same(results, expected, prompt)
    assert {r.finish_reason for r in results} <= {"criteria", "stop", "length"}


def test_texts_of_beams_are_cut_at_stop_strings() -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    call: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 12, "num_return_sequences": 3}
    plain = model.generate("hello", **call)
    assert [each.result.score for each in plain.sequences] == [
        each.result.score for each in model.generate_batch(["hello"], **call)
    ]
    words = list("aeiou")
    cut = model.generate("hello", stop_strings=words, early_stopping=True, **call)
    reasons = [each.result.finish_reason for each in cut.sequences]
    assert "stop_string" in reasons
    for each in cut.sequences:
        assert not set(words) & set(each.text)
        ids, ended = each.result.ids, each.result.finish_reason == "stop_string"
        assert bool(set(words) & set(model.tokenizer.decode(ids))) == ended
        assert not set(words) & set(model.tokenizer.decode(ids[:-1]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            {"num_beams": 2, "num_return_sequences": 3},
            "num_return_sequences is 3, expected at most",
        ),
        ({"num_beams": 2, "guidance_scale": 2}, r"guidance_scale is 2\.0 with num_beams 2"),
        ({"num_beams": 2, "early_stopping": "ever"}, "early_stopping is 'ever', expected True"),
        ({"num_beams": 2, "early_stopping": 1}, "early_stopping is 1, expected True"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty is nan, expected a fin"),
        ({"length_penalty": 2.0}, "length_penalty is 2.0 but acts only in a search of beams"),
        ({"early_stopping": True}, "early_stopping is True but acts only in a search of beams"),
        ({"num_beams": 0}, "num_beams is 0, expected an integer of at least 1"),
        ({"num_beams": 2, "suppress_tokens": range(300)}, "the options forbid every token"),
        ({"num_beams": 2, "eos_token_id": range(300)}, "the search needs 602 candidates of 600"),
    ],
)
def test_what_beams_cannot_obey_is_refused(call: dict[str, Any], words: str) -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match=words):
        model.generate("hello", **call)


def test_beams_are_no_stream() -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    for call in (model.stream, model.chat().send):
        with pytest.raises(GenerationError, match="num_beams is 2 for a stream, expected 1"):
            "".join(call("hello", num_beams=2))


def test_beams_of_a_network_that_is_damaged() -> None:
    class Damaged(FakeSession):
        def prefill(self, ids: Any, row: int = 0) -> np.ndarray:
            return np.full(VOCAB, np.nan, np.float32)

    with pytest.raises(GenerationError, match="the highest logit is nan"):
        generate(Damaged(VOCAB, 99), [[1]], GenerationConfig(num_beams=2))


@pytest.mark.filterwarnings("error")
def test_a_beam_without_tokens_ends_and_others_go_on() -> None:
    """transformers goes on with NaN, where renormalize_logits is on."""
    values: dict[str, Any] = {
        "num_beams": 2, "num_return_sequences": 2, "no_repeat_ngram_size": 1, "max_new_tokens": 5,
        "suppress_tokens": [1], "eos_token_id": [1],
    }  # fmt: skip
    # After 2 tokens, a beam has none left; with a vocabulary of 3, no beam has.
    with pytest.raises(GenerationError, match="forbid every token"):
        generate(FakeSession(3, 99), [[1]], GenerationConfig(**values, renormalize_logits=True))
    for vocab in (4, 5, 6):
        config = GenerationConfig(**values | {"max_new_tokens": 9}, renormalize_logits=True)
        with pytest.raises(GenerationError, match="forbid every token"):
            generate(FakeSession(vocab, 99), [[1]], config)


def test_huge_length_penalties_are_no_fault() -> None:
    for penalty in (1e300, -1e300, 200.0, -200.0):
        config = GenerationConfig(
            num_beams=2, length_penalty=penalty, max_new_tokens=5, eos_token_id=3
        )
        (result,) = generate(FakeSession(VOCAB, 99), [[1, 2]], config)
        assert bool(result.ids) == (penalty > 0)  # -1e9, where no answer is better than that

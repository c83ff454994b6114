"""The list of processors is transformers': each option alone, and many in random combination."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.processors.order import Processors
from bitnet_onnx.generation.processors.past import Past
from tests.support.toy_model import transformers_processors

VOCAB = 23
# Options that look at the past or change scores; each is off without its name.
BEFORE: dict[str, list[Any]] = {
    "sequence_bias": [
        [[[3], 1.5], [[4, 5], -3.0], [[9, 1], 4.0], [[6, 4, 5], 0.3], [[2, 5], 0.7]],
        {(1,): -0.1, (0, 1): 0.7, (2, 1): 0.3, (1, 1): float("-inf")},
        [[[7], 1.0], [[7], 2.0]],
    ],
    "encoder_repetition_penalty": [1.7, 0.3],
    "repetition_penalty": [1.3, 0.7],
    "no_repeat_ngram_size": [1, 2, 3, 40],
    "encoder_no_repeat_ngram_size": [1, 2, 3, 40],
    "bad_words_ids": [[[3], [4, 5], [2]], [[0, 1, 2], [1], [5, 1]]],
    "min_length": [3, 9, 14],
    "min_new_tokens": [1, 4],
    "forced_bos_token_id": [6],
    "forced_eos_token_id": [2, [3, 11]],
    "remove_invalid_values": [True],
    "exponential_decay_length_penalty": [[0, 1.2], [3, 0.5], [1, 30]],
    "suppress_tokens": [[4, 5, 99], [1]],
    "begin_suppress_tokens": [[0, 7], [8, 99]],
}
# They act with do_sample, after those above.
WARPERS: dict[str, list[Any]] = {
    "temperature": [0.3, 1.9],
    "top_h": [0.2, 0.6, 0.95],
    "top_k": [1, 5, 0, 90],
    "top_p": [0.3, 0.9],
    "min_p": [0.02, 0.3],
    "typical_p": [0.2, 0.9],
    "epsilon_cutoff": [0.02, 0.9],
    "eta_cutoff": [0.02, 0.6],
}
AFTER: dict[str, list[Any]] = {
    "watermarking_config": [
        {}, {"greenlist_ratio": 0.6, "bias": 1.25, "context_width": 3, "hashing_key": 77},
    ],
    "renormalize_logits": [True],
}  # fmt: skip


def drawn(options: dict[str, list[Any]], draw: random.Random, share: float) -> dict[str, Any]:
    return {name: draw.choice(values) for name, values in options.items() if draw.random() < share}


def ids_of(draw: random.Random) -> tuple[list[int], list[int]]:
    """Return a prompt and new ids, in which few tokens occur often."""
    prompt = draw.choices(range(7), k=draw.choice([1, 2, 5, 9]))
    return prompt, draw.choices(range(9), k=draw.randrange(8))


def scores_of(seed: int, valid: bool = True) -> np.ndarray:
    generator = np.random.default_rng(seed)
    scores = (generator.standard_normal(VOCAB) * 4).astype(np.float32)
    scores[generator.integers(VOCAB)] = -np.inf
    if not valid:
        scores[generator.integers(VOCAB, size=3)] = [np.nan, np.inf, -np.inf]
    return scores


def both(
    values: dict[str, Any], prompt: list[int], new: list[int], scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return our scores and transformers'."""
    torch: Any = pytest.importorskip("torch")

    past = Past(prompt)
    past.add(new)
    before = scores.copy()
    ours = Processors(GenerationConfig(**values), Extras())(past, scores)
    np.testing.assert_array_equal(scores, before)  # the caller's scores stay
    theirs = transformers_processors(VOCAB, prompt, values)
    found = theirs(torch.tensor([prompt + new]), torch.from_numpy(scores.copy())[None])
    return ours, found[0].numpy()


SINGLE = [(name, i) for name in BEFORE for i in range(len(BEFORE[name]))]


@pytest.mark.parametrize(("name", "number"), SINGLE)
def test_each_option_gives_the_scores_of_transformers(name: str, number: int) -> None:
    draw = random.Random(name)
    for seed in range(12):
        prompt, new = ids_of(draw)
        values = {name: BEFORE[name][number], "eos_token_id": [2, 3], "max_new_tokens": 6}
        ours, theirs = both(values, prompt, new, scores_of(seed, name != "remove_invalid_values"))
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.float32


def test_random_combinations_give_the_scores_of_transformers() -> None:
    for seed in range(150):
        draw = random.Random(seed)
        values = drawn(BEFORE, draw, 0.3)
        values |= {"eos_token_id": draw.choice([2, [2, 3]]), "max_new_tokens": 6}
        prompt, new = ids_of(draw)
        ours, theirs = both(values, prompt, new, scores_of(seed))
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{seed} {values} {prompt} {new}")


def test_random_combinations_of_all_options_keep_the_tokens_of_transformers() -> None:
    """The same tokens are kept, and their scores are equal up to float32's rounding."""
    for seed in range(150):
        draw = random.Random(seed)
        values = {**drawn(BEFORE, draw, 0.1), **drawn(WARPERS, draw, 0.35)}
        values |= drawn(AFTER, draw, 0.1)
        values.pop("remove_invalid_values", None)  # a score of -3e38 overflows there when divided
        values |= {"do_sample": True, "eos_token_id": [2, 3], "max_new_tokens": 6}
        prompt, new = ids_of(draw)
        ours, theirs = both(values, prompt, new, scores_of(seed))
        message = f"{seed} {values} {prompt} {new}"
        if np.isnan(theirs).all():  # transformers' renormalization of nothing
            continue
        np.testing.assert_array_equal(ours > -np.inf, theirs > -np.inf, err_msg=message)
        # log_softmax in float32 errs by half a unit in the last place of its largest summand.
        bound = 2e-6 if values.get("renormalize_logits") else 0
        np.testing.assert_allclose(ours, theirs, rtol=bound, atol=bound, err_msg=message)


def test_scores_of_no_option_are_not_copied() -> None:
    scores, past = scores_of(0), Past([1])
    assert Processors(GenerationConfig())(past, scores) is scores
    sampled = Processors(GenerationConfig(do_sample=True, top_k=0))
    assert sampled.before(past, scores) is scores
    assert sampled.after(past, scores) is scores


@pytest.mark.parametrize("count", [2, 3])
def test_beams_keep_one_more_token_than_there_are_eos(count: int) -> None:
    """Warpers of log-probabilities, with min_tokens_to_keep."""
    torch: Any = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers.generation import logits_process as lp

    from bitnet_onnx.generation.processors.warpers import Warpers

    makers = {
        "top_k": lp.TopKLogitsWarper, "top_p": lp.TopPLogitsWarper, "min_p": lp.MinPLogitsWarper,
        "typical_p": lp.TypicalLogitsWarper, "epsilon_cutoff": lp.EpsilonLogitsWarper,
        "eta_cutoff": lp.EtaLogitsWarper,
    }  # fmt: skip
    for name, make in makers.items():
        for value in [v for v in WARPERS[name] if v]:
            options = {"top_k": 0, name: value}
            warpers = Warpers(GenerationConfig(do_sample=True, **options), keep=count)
            for seed in range(8):
                scores = torch.from_numpy(scores_of(seed)).log_softmax(-1)
                theirs = make(value, min_tokens_to_keep=count)(None, scores[None])[0].numpy()
                np.testing.assert_array_equal(warpers.scores(scores.numpy()), theirs, name)


def test_penalties_of_new_tokens_are_those_of_openai() -> None:
    for presence, frequency in ((0.5, 0), (0, 1.25), (-0.75, 0.3), (2, -2)):
        config = GenerationConfig(presence_penalty=presence, frequency_penalty=frequency)
        past = Past([1, 1, 4])
        past.add([4, 5, 5, 5, 22])
        counts = np.bincount([4, 5, 5, 5, 22], minlength=VOCAB)
        scores = scores_of(3)
        expected = scores - (counts * frequency + (counts > 0) * presence).astype(np.float32)
        np.testing.assert_array_equal(Processors(config)(past, scores), expected)


def test_a_sequence_that_goes_back_is_one_that_never_went_on() -> None:
    values = {name: choices[0] for name, choices in BEFORE.items() if name != "forced_eos_token_id"}
    processors = Processors(GenerationConfig(**values, presence_penalty=1, eos_token_id=2))
    past, scores = Past([1, 2, 1]), scores_of(5)
    past.add([4, 5])
    expected = processors(past, scores)
    other = past.copy()
    for length in range(60):
        past.add([length % 7, 3])
    past.truncate(5)
    for kept in (past, other):
        np.testing.assert_array_equal(processors(kept, scores), expected)
    assert other.prompt == 3
    assert other.new.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sequence_bias": [[[VOCAB], 1.0]]}, "sequence_bias holds the id 23, expected 0 to 22"),
        ({"bad_words_ids": [[1, 30]]}, "bad_words_ids holds the id 30"),
        ({"forced_bos_token_id": 23}, "forced_bos_token_id holds the id 23"),
        ({"forced_eos_token_id": [2, 99], "max_new_tokens": 1}, "forced_eos_token_id holds the id"),
    ],
)
def test_a_token_beyond_the_vocabulary_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        Processors(GenerationConfig(**options))(Past([1]), scores_of(0))


def test_a_decay_without_eos_is_refused() -> None:
    config = GenerationConfig(exponential_decay_length_penalty=[1, 1.5])
    with pytest.raises(GenerationError, match="no token ends an answer, expected eos_token_id"):
        Processors(config)

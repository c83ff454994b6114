"""Sampling is compared with transformers' own processors, and has properties for all values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.sampling import Sampler

LOGITS = npst.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(-30, 30, width=16, allow_nan=False)
)
PARAMS = st.builds(
    GenerationConfig,
    do_sample=st.just(True),
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 80),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
    seed=st.integers(0, 2**64),
)


def random_logits(size: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * 4).astype(np.float32)


def theirs(logits: np.ndarray, seen: list[int], params: GenerationConfig) -> np.ndarray:
    """Return the probabilities [vocab] of transformers' processors, in its order."""
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from transformers.generation import logits_process as lp

    chain: list[Any] = [lp.RepetitionPenaltyLogitsProcessor(params.repetition_penalty)]
    chain.append(lp.TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        chain.append(lp.TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(lp.TopPLogitsWarper(params.top_p))
    if params.min_p:
        chain.append(lp.MinPLogitsWarper(params.min_p))
    scores = torch.from_numpy(logits.copy())[None]
    for step in chain:
        scores = step(torch.tensor([seen]), scores)
    return scores.double().softmax(-1)[0].numpy()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 0},
        {"top_k": 7},
        {"top_k": 0, "top_p": 0.9},
        {"top_k": 0, "top_p": 0.05},
        {"top_k": 40, "top_p": 0.95, "temperature": 0.6},
        {"top_k": 0, "min_p": 0.05},
        {"temperature": 1.7, "top_k": 100, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.3},
        {"top_k": 0, "temperature": 3.0, "top_p": 0.999, "repetition_penalty": 0.7},
    ],
)
@pytest.mark.parametrize("size", [11, 3001])
def test_ids_and_probabilities_are_those_of_transformers(
    options: dict[str, Any], size: int
) -> None:
    params = GenerationConfig(do_sample=True, **options)
    for seed in range(5):
        logits = random_logits(size, seed)
        seen = [1, 4, 4, size - 1, int(np.argmax(logits))]
        sampler = Sampler(params)
        sampler.observe(seen)
        ids, probabilities = sampler.distribution(logits)
        expected = theirs(logits, seen, params)
        assert ids.tolist() == np.flatnonzero(expected).tolist()
        # transformers computes in float32 (an error of 2^-24 each), the sampler in float64.
        np.testing.assert_allclose(probabilities, expected[ids], rtol=2e-6)


def test_ties_with_the_kth_logit_are_kept_as_transformers_keeps_them() -> None:
    logits = np.array([1, 3, 2, 2, 2, 0], np.float32)
    params = GenerationConfig(do_sample=True, top_k=2)
    ids, _ = Sampler(params).distribution(logits)
    assert ids.tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(theirs(logits, [5], params)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.9999])
def test_the_nucleus_of_a_flat_distribution_equals_a_full_sort(top_p: float) -> None:
    # The distribution is flat over 128,256 ids: the partial sort must grow several times.
    logits = (np.random.default_rng(3).standard_normal(128_256) * 0.1).astype(np.float32)
    ids, _ = Sampler(GenerationConfig(do_sample=True, top_k=0, top_p=top_p)).distribution(logits)
    weights = np.exp(logits.astype(np.float64))
    order = np.argsort(-weights, kind="stable")
    above = np.cumsum(weights[order]) / weights.sum()
    assert ids.tolist() == sorted(order[: int(np.searchsorted(above, top_p)) + 1].tolist())


@given(LOGITS, PARAMS, st.lists(st.integers(0, 10)))
def test_the_result_is_a_probability_distribution(
    logits: np.ndarray, params: GenerationConfig, seen: list[int]
) -> None:
    sampler = Sampler(params)
    sampler.observe([token for token in seen if token < logits.size])
    ids, probabilities = sampler.distribution(logits)
    assert np.all(np.diff(ids) > 0)
    assert ids.min() >= 0
    assert ids.max() < logits.size
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert np.all(probabilities >= 0)
    assert sampler.sample(logits) in ids


@given(LOGITS, PARAMS)
def test_the_likeliest_id_is_always_kept(logits: np.ndarray, params: GenerationConfig) -> None:
    ids, _ = Sampler(params).distribution(logits)
    assert np.argmax(logits) in ids


@given(LOGITS, PARAMS)
def test_a_seed_repeats_the_draws_and_logits_are_not_changed(
    logits: np.ndarray, params: GenerationConfig
) -> None:
    before = logits.copy()
    runs = []
    for _ in range(2):
        sampler = Sampler(params, row=1)
        sampler.observe([0])
        runs.append([sampler.sample(logits) for _ in range(5)])
    assert runs[0] == runs[1]
    np.testing.assert_array_equal(logits, before)


def test_other_rows_other_seeds_and_no_seed_draw_other_numbers() -> None:
    logits = np.zeros(1000, np.float32)

    def draw(seed: int | None, row: int) -> list[int]:
        sampler = Sampler(GenerationConfig(do_sample=True, top_k=0, seed=seed), row)
        return [sampler.sample(logits) for _ in range(8)]

    assert draw(7, 0) != draw(7, 1)
    assert draw(7, 0) != draw(8, 0)
    assert draw(None, 0) != draw(None, 0)


def test_draws_follow_the_probabilities() -> None:
    sampler = Sampler(GenerationConfig(do_sample=True, seed=1))
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    counts = np.bincount([sampler.sample(logits) for _ in range(20_000)], minlength=3)
    # 20,000 draws: the standard deviation of a share is at most 0.0036.
    np.testing.assert_allclose(counts / 20_000, [0.5, 0.3, 0.2], atol=0.015)


def test_greedy_takes_the_first_of_equal_logits_and_ignores_the_warpers() -> None:
    sampler = Sampler(GenerationConfig(temperature=5.0, top_k=1, top_p=0.1, seed=3))
    assert sampler.sample(np.array([1, 2, 2, -1], np.float32)) == 1


@pytest.mark.parametrize("penalty", [1e-300, 1e-44, 1e-39])
@pytest.mark.parametrize("do_sample", [False, True])
def test_a_penalty_that_no_float_holds_is_named(penalty: float, do_sample: bool) -> None:
    sampler = Sampler(GenerationConfig(repetition_penalty=penalty, do_sample=do_sample))
    sampler.observe([0, 1])
    with pytest.raises(GenerationError, match=r"repetition_penalty is .* infinite"):
        sampler.sample(np.array([3, -3, 1], np.float32))


def test_greedy_decoding_applies_the_repetition_penalty() -> None:
    sampler = Sampler(GenerationConfig(repetition_penalty=2.0))
    logits = np.array([4, 3, -1], np.float32)
    assert sampler.sample(logits) == 0
    assert sampler.sample(logits) == 1  # 4 / 2 < 3
    assert sampler.sample(logits) == 0  # 4 / 2 > 3 / 2
    negative = Sampler(GenerationConfig(repetition_penalty=2.0))
    negative.observe([0])
    assert negative.sample(np.array([-2, -3], np.float32)) == 1  # -2 * 2 < -3


def test_a_tiny_temperature_is_greedy_and_minus_infinity_is_never_drawn() -> None:
    logits = np.array([0, 5, 4.999, -np.inf], np.float32)
    tiny = Sampler(GenerationConfig(do_sample=True, temperature=1e-300, seed=0))
    assert {tiny.sample(logits) for _ in range(20)} == {1}
    hot = Sampler(GenerationConfig(do_sample=True, temperature=100.0, top_k=0, seed=0))
    assert {hot.sample(logits) for _ in range(200)} == {0, 1, 2}


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("logits", [[0, np.nan, 1], [0, np.inf, 1], [-np.inf, -np.inf]])
def test_logits_without_a_finite_maximum_are_an_error(logits: list[float], do_sample: bool) -> None:
    with pytest.raises(GenerationError, match="highest logit is"):
        Sampler(GenerationConfig(do_sample=do_sample)).sample(np.array(logits, np.float32))

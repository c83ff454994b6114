"""The loop is compared with a naive one that computes the whole sequence in each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.sampling import Sampler
from tests.support.text.fakes import FakeSession, fake_logits

VOCAB = 20
SAMPLED = GenerationConfig(do_sample=True, temperature=0.8, top_k=7, top_p=0.9, seed=5)
PENALTY = GenerationConfig(repetition_penalty=1.5)
PROMPTS = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9), min_size=1, max_size=4
)


def naive(
    prompt: list[int],
    *,
    row: int = 0,
    limit: int = 12,
    eos: tuple[int, ...] = (3, 11),
    context: int = 16,
    params: GenerationConfig | None = None,
) -> tuple[list[int], str]:
    sampler = Sampler(params or GenerationConfig(), row)
    sampler.observe(prompt)
    ids: list[int] = []
    while True:
        ids.append(sampler.sample(fake_logits(prompt + ids, VOCAB)))
        if ids[-1] in eos:
            return ids, "stop"
        # The last id needs no position, since it is never fed.
        if len(ids) == limit or len(prompt) + len(ids) > context:
            return ids, "length"


def session(context: int = 16) -> FakeSession:
    return FakeSession(vocab_size=VOCAB, context_length=context)


@given(PROMPTS, st.integers(1, 20), st.sampled_from([None, SAMPLED, PENALTY]))
def test_a_batch_gives_each_row_what_the_naive_loop_gives(
    prompts: list[list[int]], limit: int, params: GenerationConfig | None
) -> None:
    fake = session()
    results = generate(
        fake,
        prompts,
        (params or GenerationConfig()).changed(max_new_tokens=limit, eos_token_id=[3, 11]),
    )
    for row, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
        expected = naive(prompt, row=row, limit=limit, params=params)
        assert (result.ids, result.finish_reason) == expected
        assert result.prompt_tokens == len(prompt)


@pytest.mark.parametrize("params", [None, SAMPLED, PENALTY])
def test_a_stream_equals_row_0_of_a_batch(params: GenerationConfig | None) -> None:
    for first in range(VOCAB):
        prompt = [first, 4, 5]
        tokens = stream(
            session(),
            prompt,
            (params or GenerationConfig()).changed(max_new_tokens=12, eos_token_id=3),
        )
        ids = list(tokens)
        batch = generate(
            session(),
            [prompt, [7]],
            (params or GenerationConfig()).changed(max_new_tokens=12, eos_token_id=3),
        )
        assert ids == tokens.result.ids == batch[0].ids
        assert tokens.result.finish_reason == batch[0].finish_reason


def test_a_full_context_ends_with_length_and_never_overflows() -> None:
    # FakeSession fails when a row overflows; short rows continue after the long ones have ended.
    prompts = [[1] * 16, [2] * 15, [4], [5] * 16]
    results = generate(session(), prompts, GenerationConfig(max_new_tokens=99))
    assert [len(result.ids) for result in results] == [1, 2, 16, 1]
    assert {result.finish_reason for result in results} == {"length"}
    for prompt, result in zip(prompts, results, strict=True):
        assert result.ids == naive(prompt, limit=99, eos=())[0]


def test_a_row_that_ended_does_not_grow() -> None:
    fake = session(64)
    results = generate(
        fake,
        [[1, 2], [3]],
        GenerationConfig(max_new_tokens=40),
        on_token=lambda row, token: row == 0 and len(fake.cache[0]) == 4,
    )
    assert results[0].finish_reason == "stop_string"
    assert len(results[0].ids) == 3
    assert len(results[1].ids) == 40
    assert fake.lengths[0] <= 2 + 3


def test_on_token_sees_every_id_in_order() -> None:
    seen: list[list[int]] = [[], []]
    results = generate(
        session(),
        [[1], [2, 3]],
        GenerationConfig(max_new_tokens=5),
        on_token=lambda row, token: seen[row].append(token),
    )
    assert seen == [result.ids for result in results]


def test_a_stopped_stream_ends_and_a_paused_stream_computes_nothing() -> None:
    fake = session()
    tokens = stream(fake, [1, 2, 3], GenerationConfig(max_new_tokens=9))
    assert fake.computed == 0
    first = next(tokens)
    assert fake.lengths == [3]
    second = next(tokens)
    tokens.stop()
    assert list(tokens) == []
    assert tokens.result.ids == [first, second]
    assert tokens.result.finish_reason == "stop_string"
    assert fake.ids() == [1, 2, 3, first]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
def test_a_common_beginning_is_reused_without_changing_the_ids(
    old: list[int], new: list[int]
) -> None:
    fake = session(64)
    earlier = stream(fake, old, GenerationConfig(max_new_tokens=4))
    list(earlier)
    fake.computed = 0
    later = stream(fake, new, GenerationConfig(max_new_tokens=4))
    assert list(later) == naive(new, limit=4, eos=())[0]
    fed = old + earlier.result.ids[:-1]
    same = [a == b for a, b in zip(fed, new[:-1], strict=False)]
    common = [*same, False].index(False)
    assert later.result.cached_tokens == common
    assert fake.computed == len(new) - common


def test_ids_that_other_calls_cached_are_not_reused_by_mistake() -> None:
    fake = session()
    tokens = stream(fake, [1, 2, 3], GenerationConfig(max_new_tokens=4))
    list(tokens)
    generate(fake, [[9], [8]], GenerationConfig(max_new_tokens=3))
    again = stream(fake, [1, 2, 3], GenerationConfig(max_new_tokens=4))
    assert list(again) == tokens.result.ids
    assert again.result.cached_tokens == 0
    list(stream(fake, [9], GenerationConfig(max_new_tokens=3)))
    assert list(stream(fake, [1, 2, 3], GenerationConfig(max_new_tokens=4))) == tokens.result.ids


def test_numpy_ids_and_a_single_eos_are_accepted() -> None:
    prompt = [1, 4, 7]
    results = generate(
        session(), [np.array(prompt)], GenerationConfig(max_new_tokens=12, eos_token_id=3)
    )
    assert (results[0].ids, results[0].finish_reason) == naive(prompt, eos=(3,))
    assert all(type(token) is int for token in results[0].ids)
    assert generate(session(), [], GenerationConfig(max_new_tokens=1)) == []


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "prompt 0 is empty"),
        ([1, VOCAB], "holds the id 20, expected 0 to 19"),
        ([1, -1], "holds the id -1"),
        ([1] * 17, "has 17 tokens, expected at most the context of 16"),
        ([1.5], "not a sequence of integers"),
        (["a"], "not a sequence of integers"),
        ([[1, 2], [3]], "not a sequence of integers"),
        ([2**70], "holds the id 1180591620717411303424"),
        ([True], "not a sequence of integers: a token id is True"),
        ([1, np.True_], "not a sequence of integers"),
        (b"1", "not a sequence of integers: token ids are b'1'"),
        ({1: 2}, "not a sequence of integers"),
        (np.array([[1]]), "not a sequence of integers: token ids are an array of 2 dimensions"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(prompt: list[Any], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        stream(session(), prompt, GenerationConfig(max_new_tokens=1))
    with pytest.raises(GenerationError, match=message.replace("prompt 0", "prompt 1")):
        generate(session(), [[1], prompt], GenerationConfig(max_new_tokens=1))


WATERMARKED = {"watermarking_config": {"bias": 1e308}}
SEEDED = {"do_sample": True, "seed": 1}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance_scale": 1e39}, r"guidance_scale is 1e\+39, which makes a score infinite"),
        ({"guidance_scale": -1e308}, r"guidance_scale is -1e\+308, which makes a score infinite"),
        ({"sequence_bias": [[[5], 1e308]]}, "options and functions make the highest logit inf"),
        ({"frequency_penalty": -1e308}, "options and functions make the highest logit inf"),
        (WATERMARKED, "options and functions make the highest logit inf"),
        ({**WATERMARKED, **SEEDED}, "options and functions make the highest logit"),
        ({**SEEDED, "temperature": 1e-45, "watermarking_config": {}}, "temperature is .* larger"),
        ({**SEEDED, "temperature": 1e-320, "num_beams": 2}, "temperature is .* a larger one"),
        ({"sequence_bias": [[[5], -1e308]]}, None),
        ({"frequency_penalty": 1e308, "presence_penalty": -1e30}, None),
        ({"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1e39}, None),
    ],
)
def test_numbers_beyond_float32_are_named_or_forbid(
    options: dict[str, Any], words: str | None
) -> None:
    config = GenerationConfig(max_new_tokens=3, **options)
    if words is None:
        assert len(generate(session(), [[1, 5]], config)[0].ids) > 0
        return
    with pytest.raises(GenerationError, match=words):
        generate(session(), [[1, 5]], config)


def test_logits_with_a_nan_are_an_error() -> None:
    fake = session()
    fake.prefill = lambda ids, row=0: np.full(VOCAB, np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(GenerationError, match="highest logit is nan"):
        next(stream(fake, [1], GenerationConfig(max_new_tokens=1)))

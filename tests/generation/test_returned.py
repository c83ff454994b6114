"""Several answers to one prompt, guidance by a second prompt, and an end by the clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation import rows
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.guidance import guided
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.model import Model
from bitnet_onnx.generation.sampling import Sampler
from bitnet_onnx.generation.strategies import single
from tests.support.text.fakes import FakeSession, fake_logits, make_tokenizer
from tests.support.toy_model import transformers_generate

VOCAB = 20
PROMPTS = [[7], [4, 5, 6, 4, 5], [1, 2], [7]]
SAMPLED = GenerationConfig(
    do_sample=True, seed=5, top_k=9, max_new_tokens=8, eos_token_id=[3, 11], num_return_sequences=3
)
AWAY = [[1, 9, 9, 2, 7, 1, 3], [4], [1, 2], [12, 3]]
GUIDED = GenerationConfig(guidance_scale=2.5, max_new_tokens=9, eos_token_id=3)


def naive(
    prompt: list[int], row: int, config: GenerationConfig, away: list[int] | None = None
) -> list[int]:
    """Return the new ids, with the whole sequence computed in each step."""
    sampler, ids = Sampler(config, row), list[int]()
    sampler.observe(prompt)
    while len(ids) < config.limit(len(prompt)) and (not ids or ids[-1] not in config.eos_token_ids):
        logits = fake_logits(prompt + ids, VOCAB)
        if away is not None and config.guidance_scale is not None:
            logits = guided(logits, fake_logits(away + ids, VOCAB), config.guidance_scale)
        ids.append(sampler.sample(logits))
    return ids


def test_each_prompt_is_computed_once_for_all_its_answers() -> None:
    session = FakeSession(VOCAB, 99)
    results = generate(session, PROMPTS, SAMPLED)
    assert session.computed == sum(map(len, PROMPTS))
    expected = [naive(PROMPTS[i // 3], i, SAMPLED) for i in range(12)]
    assert [r.ids for r in results] == expected
    assert len({tuple(ids) for ids in expected}) > 6
    assert [r.prompt_tokens for r in results] == [len(PROMPTS[i // 3]) for i in range(12)]


def test_answers_are_those_of_any_other_number_of_them() -> None:
    for count in (1, 2):
        fewer = generate(
            FakeSession(VOCAB, 99), PROMPTS[:1], SAMPLED.changed(num_return_sequences=count)
        )
        all_of_them = generate(FakeSession(VOCAB, 99), PROMPTS[:1], SAMPLED)
        assert [r.ids for r in fewer] == [r.ids for r in all_of_them][:count]


def test_several_answers_of_a_model_and_their_texts() -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    options: dict[str, Any] = {"do_sample": True, "seed": 1, "max_new_tokens": 6, "top_k": 0}
    one = model.generate("hello", num_return_sequences=3, **options)
    assert one.sequences[0].result is one.result
    assert len({each.text for each in one.sequences}) == 3
    pieces: dict[int, str] = {}
    several = model.generate_batch(
        ["hello", "the"], num_return_sequences=3, **options,
        on_text=lambda row, piece: pieces.update({row: pieces.get(row, "") + piece}),
    )  # fmt: skip
    assert [each.text for each in several[:3]] == [each.text for each in one.sequences]
    assert [each.text for each in several] == [pieces.get(row, "") for row in range(6)]
    assert model.generate("hello").sequences[0].result.ids
    for call in (model.stream, model.chat().send):
        with pytest.raises(GenerationError, match="num_return_sequences is 3 for a stream"):
            "".join(call("hello", num_return_sequences=3, **options))
    with pytest.raises(GenerationError, match=r"num_return_sequences is 2, but greedy decoding"):
        model.generate("hello", num_return_sequences=2)


@pytest.mark.parametrize("scale", [2.5, 0.4, -1.0])
@pytest.mark.parametrize("given", [False, True])
def test_guided_ids_are_those_of_transformers(scale: float, given: bool) -> None:
    torch: Any = pytest.importorskip("torch")

    config = GUIDED.changed(guidance_scale=scale, repetition_penalty=1.1)
    extras = Extras(negative_prompt_ids=AWAY if given else None)
    values = {"max_new_tokens": 9, "guidance_scale": scale, "eos_token_id": 3}
    results = generate(FakeSession(VOCAB, 99), PROMPTS, config, extras)
    for number, prompt in enumerate(PROMPTS):
        ids = torch.tensor([AWAY[number]]) if given else None
        theirs = (
            transformers_generate(
                VOCAB, prompt, {**values, "repetition_penalty": 1.1}, negative_prompt_ids=ids
            )
            .sequences[0, len(prompt) :]
            .tolist()
        )
        assert results[number].ids == theirs
        alone = Extras(negative_prompt_ids=AWAY[number] if given else None)
        assert list(stream(FakeSession(VOCAB, 99), prompt, config, alone)) == theirs


def test_guided_scores_are_those_of_transformers() -> None:
    """float32 sums of log-probabilities err by 1e-6 of the largest; ours are float64."""
    torch: Any = pytest.importorskip("torch")

    for seed in range(50):
        generator = np.random.default_rng(seed)
        logits, away = (generator.standard_normal((2, 400)) * 5).astype(np.float32)
        p, q = (torch.from_numpy(each).log_softmax(-1) for each in (logits, away))
        for scale in (1.5, 7.5, -2.0):
            expected = (scale * (p - q) + q).numpy()
            found = guided(logits, away, scale)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_guided_answers_are_drawn_for_each_prompt() -> None:
    config = SAMPLED.changed(guidance_scale=1.7, num_return_sequences=2)
    results = generate(FakeSession(VOCAB, 99), PROMPTS, config, Extras(negative_prompt_ids=AWAY))
    assert [r.ids for r in results] == [
        naive(PROMPTS[i // 2], i, config, AWAY[i // 2]) for i in range(8)
    ]


def test_a_guided_stream_keeps_the_cache_of_both_prompts() -> None:
    session, extras = FakeSession(VOCAB, 99), Extras(negative_prompt_ids=[1, 2, 3, 4])
    first = stream(session, [5, 6, 7], GUIDED, extras)
    ids = list(first)
    computed = session.computed
    longer = [5, 6, 7, *ids, 9]
    again = stream(session, longer, GUIDED, extras)
    assert list(again) == naive(longer, 0, GUIDED, [1, 2, 3, 4])
    # The last id has not been fed; of the other prompt, the last id is computed again.
    assert again.result.cached_tokens == 3 + len(ids) - 1
    assert session.computed - computed == 2 + 1
    plain = stream(session, longer, GUIDED.changed(guidance_scale=None))
    assert list(plain) == naive(longer, 0, GenerationConfig(max_new_tokens=9, eos_token_id=3))


def test_a_full_context_is_that_of_the_longer_sequence() -> None:
    config = GUIDED.changed(max_new_tokens=50, eos_token_id=None)
    extras = Extras(negative_prompt_ids=list(range(10)))
    for prompt in ([1], list(range(12))):
        session = FakeSession(VOCAB, 16)
        (result,) = generate(session, [prompt], config, extras)
        assert result.finish_reason == "length"
        assert len(result.ids) == 16 - max(10, len(prompt)) + 1
        assert result.ids == naive(prompt, 0, config, list(range(10)))[: len(result.ids)]


def test_a_negative_prompt_is_a_prompt_of_any_kind() -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    options: dict[str, Any] = {"guidance_scale": 3.0, "max_new_tokens": 6}
    ids = model.encode("the cat")
    expected = model.generate("hello", negative_prompt_ids=ids, **options).result.ids
    assert expected != model.generate("hello", **options).result.ids
    for prompt in ("the cat", ids, np.array(ids)):
        assert model.generate("hello", negative_prompt=prompt, **options).result.ids == expected
    chat = [{"role": "user", "content": "the cat"}]
    assert (
        model.generate("hello", negative_prompt=chat, **options).result.ids
        == model.generate("hello", negative_prompt=model.encode(chat), **options).result.ids
    )
    both = model.generate_batch(["hello", "the"], negative_prompt=["the cat", "hello"], **options)
    assert both[0].result.ids == expected
    one = model.generate_batch(["hello", "hello"], negative_prompt="the cat", **options)
    assert [each.result.ids for each in one] == [expected] * 2
    streamed = model.stream("hello", negative_prompt="the cat", **options)
    assert "".join(streamed) == model.generate("hello", negative_prompt="the cat", **options).text
    assert model.chat().send("hello", negative_prompt="the cat", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"negative_prompt_ids": [1]}, "a negative prompt is given without guidance_scale"),
        ({"negative_prompt_ids": [], "guidance_scale": 2}, "negative prompt 0 is empty"),
        ({"negative_prompt_ids": [300], "guidance_scale": 2}, "negative prompt 0 holds the id 300"),
        ({"negative_prompt_ids": [[1], [2]], "guidance_scale": 2}, "holds 2 prompts, expected one"),
        ({"negative_prompt_ids": 5, "guidance_scale": 2}, "negative prompt 0 is not a sequence of"),
        (
            {"negative_prompt_ids": [1], "negative_prompt": "a", "guidance_scale": 2},
            "negative_prompt and negative_prompt_ids are given",
        ),
        ({"guidance_scale": "2"}, "guidance_scale is '2', expected a finite number"),
        ({"max_time": 0}, "max_time is 0, expected a number above 0"),
    ],
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any], words: str) -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match=words):
        model.generate("hello", **options)


def test_no_token_is_begun_after_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    for module in (rows, single):
        monkeypatch.setattr(module, "perf_counter", lambda: float(next(clock)))
    config = GenerationConfig(max_new_tokens=50, eos_token_id=[], max_time=9.5)
    results = generate(FakeSession(VOCAB, 99), PROMPTS[:2], config)
    assert [r.finish_reason for r in results] == ["time", "time"]
    assert 1 <= len(results[0].ids) < 6
    streamed = stream(FakeSession(VOCAB, 99), PROMPTS[1], config)
    assert len(list(streamed)) < 9
    assert streamed.result.finish_reason == "time"

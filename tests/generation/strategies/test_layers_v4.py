"""Contrastive search and DoLa against what transformers 4.45.2 found: ``layers_v4.json``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.model import Model
from bitnet_onnx.generation.rows import GenerationResult
from bitnet_onnx.generation.strategies.dola import candidate_layers, contrasted
from bitnet_onnx.runtime.hidden import Layers
from tests.support.generation import layers_v4
from tests.support.text.fakes import FakeSession, make_tokenizer

CASES: list[dict[str, Any]] = json.loads(layers_v4.FILE.read_text())
ALPHA: dict[str, Any] = {"penalty_alpha": 0.6, "top_k": 4}


def session_of(layers: int, tied: bool, context: int = 99) -> FakeSession:
    session = FakeSession(layers_v4.VOCAB, context)
    session.layers = Layers(layers, tied)
    return session


def ids_of(results: list[GenerationResult]) -> list[list[int]]:
    return [result.ids for result in results]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_it_finds_what_transformers_found(number: int) -> None:
    case = CASES[number]
    session = session_of(case["layers"], case["tied"])
    results = generate(session, case["prompts"], GenerationConfig(**case["options"]))
    for result, ids in zip(results, case["ids"], strict=True):
        assert result.ids == ids[: len(result.ids)]
        assert set(ids[len(result.ids) :]) <= {layers_v4.PAD}


@pytest.mark.parametrize("values", [ALPHA, {"dola_layers": "low"}, {"dola_layers": [0, 2, 3]}])
def test_rows_of_a_batch_and_streams_are_as_if_alone(values: dict[str, Any]) -> None:
    prompts = [[2, 9], [5, 6, 7, 7, 1], [5], [2, 9]]
    for context in (99, 8):
        config = GenerationConfig(**values, max_new_tokens=9, eos_token_id=[3, 11])
        together = generate(session_of(6, True, context), prompts, config)
        session = session_of(6, True, context)
        for prompt, result in zip(prompts, together, strict=True):
            alone = generate(session_of(6, True, context), [prompt], config)
            assert ids_of(alone) == [result.ids]
            answer = stream(session, prompt, config)  # the cache holds another prompt
            assert list(answer) == result.ids
            assert answer.result.finish_reason == result.finish_reason


def test_candidates_need_positions() -> None:
    config = GenerationConfig(**ALPHA, max_new_tokens=9)
    (result,) = generate(session_of(4, True, 6), [[1, 2, 3]], config)
    assert (len(result.ids), result.finish_reason) == (3, "length")
    with pytest.raises(GenerationError, match="has 6 tokens with penalty_alpha, expected fewer"):
        generate(session_of(4, True, 6), [[1] * 6], config)


def test_a_forbidden_token_is_no_candidate() -> None:
    """transformers would compare it, with the probability 0."""
    forbidden = [t for t in range(layers_v4.VOCAB) if t not in (4, 5)]
    config = GenerationConfig(
        penalty_alpha=1.0, top_k=9, suppress_tokens=forbidden, max_new_tokens=20
    )
    (result,) = generate(session_of(4, True), [[1]], config)
    assert set(result.ids) == {4, 5}


def test_a_search_ends_where_its_text_or_a_function_ends_it() -> None:
    config = GenerationConfig(**ALPHA, max_new_tokens=12)
    (plain,) = generate(session_of(4, True), [[1]], config)
    extras = Extras(stopping_criteria=lambda ids, _: len(ids) == 4)
    (cut,) = generate(session_of(4, True), [[1]], config, extras)
    assert (cut.ids, cut.finish_reason) == (plain.ids[:3], "criteria")
    seen: list[int] = []

    def stop(row: int, token: int) -> bool:
        seen.append(token)
        return row == 1 and len(seen) > 4

    two = generate(session_of(4, True), [[1], [2]], config, on_token=stop)
    assert two[0].ids == plain.ids
    assert two[1].finish_reason == "stop_string"
    assert len(two[1].ids) == 3


def test_dola_with_sampling_and_guidance() -> None:
    values: dict[str, Any] = {"dola_layers": "high", "max_new_tokens": 8, "eos_token_id": 3}
    sampled = GenerationConfig(**values, do_sample=True, seed=4, num_return_sequences=3)
    results = generate(session_of(6, True), [[1, 2], [7]], sampled)
    assert ids_of(results[:3]) == ids_of(generate(session_of(6, True), [[1, 2]], sampled))
    guided = GenerationConfig(**values, guidance_scale=1.5)
    plain = GenerationConfig(**values)
    found = [generate(session_of(6, True), [[1, 2]], each) for each in (guided, plain)]
    assert ids_of(found[0]) != ids_of(found[1])


@pytest.mark.parametrize("seed", range(6))
def test_scores_of_dola_are_those_of_torch(seed: int) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    final = (random.standard_normal(50) * 4).astype(np.float32)
    early = (random.standard_normal((3, 50)) * 4).astype(np.float32)
    wide, others = torch.from_numpy(final).double(), torch.from_numpy(early).double()
    mean = 0.5 * (wide.softmax(-1) + others.softmax(-1))
    apart = sum(
        torch.nn.functional.kl_div(each.log_softmax(-1), mean, reduction="none").mean(-1)
        for each in (wide.expand(3, -1), others)
    )
    late, base = wide.log_softmax(-1), others[int(apart.argmax())].log_softmax(-1)
    expected = torch.where(late < late.max() + np.log(0.1), -torch.inf, late - base)
    np.testing.assert_allclose(contrasted(final, early), expected.float().numpy(), rtol=1e-6)


def test_huge_logits_are_no_fault_of_dola() -> None:
    final = np.array([3e38, 0, -3e38], np.float32)
    found = contrasted(final, np.stack([final[::-1], final * 0]))
    assert np.isfinite(found[0])
    assert found[1:].tolist() == [-np.inf, -np.inf]


def test_the_layers_that_are_named() -> None:
    assert candidate_layers("low", Layers(30, True)) == [2, 4, 6, 8, 10, 12, 14]
    assert candidate_layers("low", Layers(50, False)) == list(range(0, 20, 2))
    assert candidate_layers("high", Layers(50, True)) == list(range(30, 50, 2))
    assert candidate_layers([5, 1, 30, 31], Layers(30, True)) == [5, 1]
    for asked, count in (("low", 3), ([3, 4], 3)):
        with pytest.raises(GenerationError, match="expected layers below 3, the number of layers"):
            candidate_layers(asked, Layers(count, True))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"penalty_alpha": -1}, "penalty_alpha is -1, expected a number of at least 0"),
        ({"penalty_alpha": "much"}, "penalty_alpha is 'much', expected a number"),
        ({"dola_layers": "middle"}, "dola_layers is 'middle', expected \"low\", \"high\" or a"),
        ({"dola_layers": []}, r"dola_layers is \[\], expected \"low\""),
        ({"dola_layers": 3}, "dola_layers is 3, expected \"low\""),
        ({"dola_layers": [-1]}, "dola_layers is -1, expected an integer"),
        ({"dola_layers": "low", "num_beams": 2}, "dola_layers is 'low' with num_beams 2, expected"),
        ({"dola_layers": "low", **ALPHA}, "dola_layers is 'low' with penalty_alpha 0.6, expected"),
        (
            {"prompt_lookup_num_tokens": 3, **ALPHA},
            "prompt_lookup_num_tokens is 3 with penalty_alpha 0.6, expected one of the two",
        ),
        ({"prompt_lookup_num_tokens": 3, "dola_layers": [0]}, r"is 3 with dola_layers \(0,\), exp"),
        ({"assistant_early_exit": 2, **ALPHA}, "assistant_early_exit is 2 with penalty_alpha 0.6"),
        ({"assistant_early_exit": 1, "dola_layers": "low"}, "is 1 with dola_layers 'low', exp"),
        ({"guidance_scale": 2, **ALPHA}, "guidance_scale is 2.0 with penalty_alpha 0.6, expected"),
        ({"num_return_sequences": 2, **ALPHA}, "num_return_sequences is 2, but greedy decoding"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        GenerationConfig(**values)


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_lookup_num_tokens": 10},  # a chat adds it by itself
        {"assistant_early_exit": 1},
        {"guidance_scale": 2.0},
    ],
)
def test_an_alpha_that_does_not_act_refuses_nothing(more: dict[str, Any]) -> None:
    """A file may hold it beside do_sample, as transformers ignores it there."""
    for off in ({"do_sample": True}, {"top_k": 1}, {"num_beams": 1, "top_k": 0}):
        assert not GenerationConfig.from_dict({"penalty_alpha": 0.6, **off, **more}).contrasts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**ALPHA, "do_sample": True}, "penalty_alpha is 0.6 but acts only in greedy decoding"),
        ({**ALPHA, "num_beams": 2}, "penalty_alpha is 0.6 but acts only in greedy decoding"),
        ({"penalty_alpha": 0.6, "top_k": 1}, "penalty_alpha is 0.6 but acts only in greedy"),
        ({"penalty_alpha": 0.6, "top_k": 301}, "top_k is 301 with penalty_alpha, expected at most"),
        ({**ALPHA, "top_p": 0.5}, "top_p is 0.5 but acts only when sampling"),
        ({"dola_layers": [9]}, r"dola_layers is \[9\], expected layers below 5"),
        ({**ALPHA, "assistant_model": FakeSession()}, "given with penalty_alpha 0.6, expected one"),
        (
            {"dola_layers": "low", "assistant_model": FakeSession()},
            "assistant_model is given with dola_layers 'low', expected one of them",
        ),
    ],
)
def test_what_a_call_cannot_obey_is_refused(changes: dict[str, Any], words: str) -> None:
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match=words):
        model.generate("hello", **changes)


def test_as_in_transformers_the_file_may_ask_for_another_way() -> None:
    """Its penalty_alpha acts in greedy decoding alone."""
    model = Model(FakeSession(), make_tokenizer(), GenerationConfig(**ALPHA))  # type: ignore[arg-type]
    contrasted = model.generate("hello", max_new_tokens=9).result.ids
    plain = model.generate("hello", max_new_tokens=9, top_k=1).result.ids
    assert plain == model.generate("hello", max_new_tokens=9, penalty_alpha=0.0).result.ids
    assert contrasted != plain
    assert model.generate("hello", num_beams=2, max_new_tokens=3).result.ids
    assert "".join(model.chat().send("hello", max_new_tokens=9))  # without drafts
    turns = model.chat()
    "".join(turns.send("hello", max_new_tokens=5, dola_layers="low", penalty_alpha=0))
    assert turns.turns


@pytest.mark.parametrize("values", [ALPHA, {"dola_layers": "low"}])
def test_without_hidden_states_it_is_refused(values: dict[str, Any]) -> None:
    session = session_of(4, True)
    session.layers = None
    for call in (generate, stream):
        prompts: Any = [[1]] if call is generate else [1]
        with pytest.raises(GenerationError, match="but the artifact gives no hidden states, exp"):
            call(session, prompts, GenerationConfig(**values))

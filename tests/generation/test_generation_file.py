"""A generation_config.json is obeyed as transformers' ``generate`` obeys it, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.fields import HARMLESS, REFUSED
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.generation.sampling import Sampler
from tests.support.generation.toy_model import transformers_generate
from tests.support.text.fakes import FakeSession, fake_logits

VOCAB = 20
PROMPTS = ([4, 5, 6, 4, 5], [7], [1, 2, 1, 2, 1, 2])
LIMIT = {"max_new_tokens": 12}
GREEDY: dict[str, dict[str, Any]] = {
    "one eos": {**LIMIT, "eos_token_id": 3},
    "many eos": {**LIMIT, "eos_token_id": [3, 11, 14, 2]},
    "no eos": {**LIMIT, "eos_token_id": None},
    "the whole length": {"max_length": 14},
    "both lengths": {"max_length": 9, "max_new_tokens": 7},
    "penalty": {**LIMIT, "repetition_penalty": 1.7},
    "a penalty below 1": {**LIMIT, "repetition_penalty": 0.6},
    "no repeated token": {**LIMIT, "no_repeat_ngram_size": 1},
    "no repeated pair": {**LIMIT, "no_repeat_ngram_size": 2},
    "no repeated triple": {"max_new_tokens": 40, "no_repeat_ngram_size": 3},
    "bad words": {
        **LIMIT, "bad_words_ids": [[3], [11, 4], [17], [0, 0], [9, 9, 9]], "eos_token_id": 3,
    },
    "least length": {**LIMIT, "min_length": 9, "eos_token_id": [3, 11, 14, 2]},
    "least new tokens": {**LIMIT, "min_new_tokens": 7, "min_length": 1, "eos_token_id": [3, 11]},
    "forced eos": {"max_new_tokens": 5, "forced_eos_token_id": 3, "eos_token_id": 3},
    "forced eos of a length": {"max_length": 11, "forced_eos_token_id": [3, 7]},
    "suppressed": {**LIMIT, "suppress_tokens": [1, 2, 3, 4, 5, 6]},
    "suppressed at the beginning": {**LIMIT, "begin_suppress_tokens": list(range(0, 20, 2))},
    "not sampled": {**LIMIT, "do_sample": False, "temperature": 0.6, "top_p": 0.9, "top_k": 3},
    "without effect": {
        **LIMIT, "use_cache": True, "length_penalty": 1.0, "early_stopping": False, "num_beams": 1,
        "num_beam_groups": 1, "diversity_penalty": 0.0, "output_scores": False, "chat_format": "x",
        "renormalize_logits": True, "guidance_scale": 1.0, "encoder_repetition_penalty": 1.0,
    },
    "biased": {
        **LIMIT, "sequence_bias": [[[3], 1.5], [[4, 5], -3.0], [[9, 17], 4.0], [[6, 4, 5], 0.25]],
    },
    "the prompt is likelier": {**LIMIT, "encoder_repetition_penalty": 2.5},
    "the prompt is not repeated": {**LIMIT, "encoder_no_repeat_ngram_size": 2},
    "no token of the prompt": {**LIMIT, "encoder_no_repeat_ngram_size": 1},
    "forced bos": {**LIMIT, "forced_bos_token_id": 9, "begin_suppress_tokens": [1, 4, 9]},
    "valid values": {**LIMIT, "remove_invalid_values": True, "suppress_tokens": [5]},
    "decay": {
        "max_new_tokens": 40, "exponential_decay_length_penalty": [4, 1.3], "eos_token_id": [3, 9],
    },
    "a decay that overflows": {
        "max_new_tokens": 9, "exponential_decay_length_penalty": [2, 1e30], "eos_token_id": 19,
    },
    "guided": {**LIMIT, "guidance_scale": 2.5},
    "guided away": {**LIMIT, "guidance_scale": 0.3, "repetition_penalty": 1.2},
    "lefthash": {**LIMIT, "watermarking_config": {"bias": 1.0, "greenlist_ratio": 0.5}},
    "all at once": {
        **LIMIT, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "bad_words_ids": [[4], [5]],
        "min_new_tokens": 3, "suppress_tokens": [7], "begin_suppress_tokens": [8, 9],
        "eos_token_id": [3, 11, 14, 2],
    },
}  # fmt: skip
SAMPLED: dict[str, dict[str, Any]] = {
    "plain": {},
    "2B-4T": {"temperature": 0.6, "top_p": 0.9},
    "top_k off": {"top_k": 0},
    "min_p": {"top_k": 0, "min_p": 0.2},
    "typical_p": {"top_k": 0, "typical_p": 0.6},
    "a low typical_p": {"top_k": 0, "typical_p": 0.05},
    "epsilon": {"top_k": 0, "epsilon_cutoff": 0.04},
    "a high epsilon": {"top_k": 0, "epsilon_cutoff": 0.9},
    "eta": {"top_k": 0, "eta_cutoff": 0.3},
    "top_h": {"top_k": 0, "top_h": 0.5},
    "top_h and top_k": {"top_k": 3, "top_h": 0.8},
    "a watermark": {"top_k": 9, "watermarking_config": {"bias": 3.0}, "renormalize_logits": True},
    "all at once": {
        "temperature": 1.3, "top_k": 15, "top_p": 0.97, "min_p": 0.01, "typical_p": 0.95,
        "top_h": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02, "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 2, "suppress_tokens": [7],
    },
}  # fmt: skip


def write(folder: Path, values: dict[str, Any]) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("kind", GREEDY)
@pytest.mark.parametrize("prompt", PROMPTS, ids=str)
def test_greedy_ids_are_those_of_transformers(kind: str, prompt: list[int], tmp_path: Path) -> None:
    write(tmp_path, GREEDY[kind])
    theirs = transformers_generate(VOCAB, prompt, tmp_path).sequences[0].tolist()
    config, _ = GenerationConfig.of_folder(tmp_path)
    (ours,) = generate(FakeSession(VOCAB, 99), [prompt], config)
    assert prompt + ours.ids == theirs


@pytest.mark.parametrize("kind", SAMPLED)
def test_sampled_probabilities_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """At each step of an answer that transformers drew."""
    write(tmp_path, {"do_sample": True, **LIMIT, **SAMPLED[kind]})
    prompt = [4, 5, 6, 4, 5]
    theirs = transformers_generate(VOCAB, prompt, tmp_path)
    sampler = Sampler(GenerationConfig.of_folder(tmp_path)[0])
    sampler.observe(prompt)
    ids = theirs.sequences[0].tolist()
    assert len(theirs.scores) == LIMIT["max_new_tokens"]
    for step, scores in enumerate(theirs.scores):
        length = len(prompt) + step
        ours, probabilities = sampler.distribution(fake_logits(ids[:length], VOCAB))
        expected = scores[0].double().softmax(-1).numpy()
        assert ours.tolist() == np.flatnonzero(expected).tolist()
        np.testing.assert_allclose(probabilities, expected[ours], rtol=1e-5)
        sampler.choose(ids[length])


WRONG: dict[str, Any] = {
    "constraints": [[1]], "token_healing": True,
    "force_bos_token_to_be_generated": True, "assistant_ensemble_weight": 0.5,
    "structured_outputs": {"regex": "a"}, "negative_prompt": "a", "negative_prompt_ids": [1],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_field_that_changes_ids_and_is_not_implemented_is_refused(
    name: str, tmp_path: Path
) -> None:
    assert set(WRONG) == {*REFUSED}
    write(tmp_path, {name: WRONG[name]})
    with pytest.raises(GenerationError, match=rf"generation_config\.json.*{name} is ") as caught:
        GenerationConfig.of_folder(tmp_path)
    assert "\n" not in str(caught.value)
    off = REFUSED[name]
    for value in (None, *off):
        write(tmp_path, {name: value})
        assert GenerationConfig.of_folder(tmp_path) == (GenerationConfig(), [])


def test_every_field_of_transformers_is_obeyed_left_out_or_refused() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = {name for name in vars(transformers.GenerationConfig()) if name[0] != "_"}
    own = {"seed", "presence_penalty", "frequency_penalty"}
    ours = GenerationConfig.__dataclass_fields__.keys() - own
    assert theirs <= ours | HARMLESS | REFUSED.keys()
    assert ours <= theirs


def test_fields_that_nobody_knows_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"chat_format": "chatml", "top_k": 3, "max_window_size": 9, "bos_token_id": 1})
    config, without_effect = GenerationConfig.of_folder(tmp_path)
    assert config == GenerationConfig(top_k=3)
    assert without_effect == ["chat_format", "max_window_size"]


def test_a_word_beyond_the_vocabulary_and_a_choice_of_nothing_are_errors() -> None:
    for options, words in (
        ({"bad_words_ids": [[VOCAB]]}, "bad_words_ids holds the id 20, expected 0 to 19"),
        ({"suppress_tokens": list(range(VOCAB))}, "forbid every token after 2 tokens"),
        ({"no_repeat_ngram_size": 1, "max_new_tokens": 40}, "forbid every token after 20 tokens"),
    ):
        with pytest.raises(GenerationError, match=words):
            generate(FakeSession(VOCAB, 99), [[1, 2]], GenerationConfig(**options))

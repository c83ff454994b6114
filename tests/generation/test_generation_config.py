"""The options of generation: wrong values are refused by name; files are those of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import SAMPLING, GenerationConfig
from bitnet_onnx.generation.model import Model
from tests.support.text.fakes import FakeSession, make_tokenizer

CONFIGS = st.builds(
    GenerationConfig,
    max_new_tokens=st.none() | st.integers(1, 999),
    max_length=st.none() | st.integers(1, 999),
    bad_words_ids=st.none() | st.lists(st.lists(st.integers(0, 9), min_size=1)),
    suppress_tokens=st.none() | st.lists(st.integers(0, 9)),
    typical_p=st.floats(0.1, 1),
    do_sample=st.booleans(),
    temperature=st.just(0) | st.floats(0.05, 5),
    top_k=st.integers(0, 80),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
    eos_token_id=st.none() | st.lists(st.integers(0, 99)).map(tuple),
    stop_strings=st.lists(st.text(min_size=1)).map(tuple),
    seed=st.none() | st.integers(0, 2**64),
    sequence_bias=st.none() | st.just([[[3], 1], [[4, 5], -2.5]]),
    exponential_decay_length_penalty=st.none() | st.just([3, 1.5]),
    watermarking_config=st.none() | st.just({"context_width": 2, "seeding_scheme": "selfhash"}),
    guidance_scale=st.none() | st.floats(-9, 9),
    max_time=st.none() | st.floats(1, 9),
)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("do_sample", [1, "yes", None]),
        ("temperature", [-1.0, float("nan"), float("inf"), True, "1", None, 10**400]),
        ("top_k", [-1, 1.5, True, "5", None]),
        ("top_p", [0, 1.01, -0.5, float("nan"), True, "0.9", None]),
        ("min_p", [-0.1, 1.5, float("nan"), False, "0", None]),
        ("repetition_penalty", [0, -2, float("inf"), True, None]),
        ("seed", [-1, 1.5, True, "1"]),
        ("max_new_tokens", [0, -1, 1.5, True, "9"]),
        ("max_length", [0, 1.5, True, "9"]),
        ("min_length", [-1, 1.5, True, None]),
        ("min_new_tokens", [-1, 1.5, True]),
        ("no_repeat_ngram_size", [-1, 1.5, True, None]),
        ("typical_p", [0, 1.5, True, None]),
        ("epsilon_cutoff", [-0.1, 1, True, None]),
        ("eta_cutoff", [-0.1, 1, True, None]),
        ("num_beams", [0, 1.5, True, None]),
        ("length_penalty", ["1", float("inf"), None]),
        ("early_stopping", ["ever", 1, None]),
        ("top_h", [0, 1.5, True, "1"]),
        ("encoder_repetition_penalty", [0, -1, None]),
        ("encoder_no_repeat_ngram_size", [-1, 1.5, None]),
        ("presence_penalty", [float("inf"), "1", None]),
        ("frequency_penalty", [float("nan"), True, None]),
        ("forced_bos_token_id", [-1, 1.5, [3]]),
        ("remove_invalid_values", [1, None]),
        ("renormalize_logits", [0, "yes", None]),
        ("guidance_scale", [float("inf"), True, "2"]),
        ("num_return_sequences", [0, 1.5, None]),
        ("max_time", [0, -1, float("nan"), "3"]),
        ("exponential_decay_length_penalty", ["ab", [3], 5, [1, 2, 3], {3: 1.1}]),
        ("sequence_bias", [[], {}, "ab", 5]),
        ("watermarking_config", [[], "lefthash", 1]),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(GenerationError, match=f"^{name} is .*, expected ") as caught:
            GenerationConfig(**{name: value})
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (
            "eos_token_id",
            [[-1], [1.5], [True], ["a"], 4.9, "7", {"a": 1}],
            "an integer of at least 0",
        ),
        (
            "sequence_bias",
            [
                [[[1], "x"]],
                [[1, 2.0]],
                [[[], 1.0]],
                [[[1], 1.0, 2]],
                [[[-1], 1.0]],
                {1: 2.0},
                {(1,): float("nan")},
                {"1": 1.0},
            ],
            "",
        ),
        ("exponential_decay_length_penalty", [[-1, 1.1], [1.5, 2], [1, 0], [1, None]], ""),
        ("stop_strings", [[""], ["a", 7], [None], 7, b"a", {"a": 1}], "texts that are not empty"),
    ],
)
def test_a_wrong_list_entry_is_refused_by_name(name: str, values: list[Any], expected: str) -> None:
    for value in values:
        with pytest.raises(GenerationError, match=f"^{name} is .*, expected {expected}"):
            GenerationConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eos_token_id", [1, 1 << 63]),
        ("suppress_tokens", [10**30]),
        ("begin_suppress_tokens", 1 << 64),
        ("pad_token_id", 1 << 63),
        ("forced_bos_token_id", 1 << 63),
        ("bad_words_ids", [[1, 1 << 63]]),
        ("sequence_bias", [[[1 << 63], 1.0]]),
        ("force_words_ids", [[[1 << 63]]]),
    ],
)
def test_an_id_that_no_array_holds_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(
        GenerationError, match=rf"^{name} is \d+, expected an integer below 2\*\*63"
    ):
        GenerationConfig(**{name: value, "num_beams": 2})


def test_a_forced_token_cannot_be_suppressed() -> None:
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        with pytest.raises(GenerationError, match=f"{name} is .*, which suppress_tokens holds"):
            GenerationConfig(**{name: 3}, suppress_tokens=[1, 3])  # type: ignore[arg-type]
    assert GenerationConfig(forced_eos_token_id=[3, 4], suppress_tokens=[3])


def test_a_single_value_means_a_list_of_one() -> None:
    config = GenerationConfig(eos_token_id=3, stop_strings="User:")
    assert (config.eos_token_id, config.stop_strings) == ((3,), ("User:",))
    assert GenerationConfig(stop_strings=None).stop_strings == ()
    assert GenerationConfig(eos_token_id=np.int64(3)).eos_token_id == (3,)  # type: ignore[arg-type]
    assert GenerationConfig(top_k=np.int32(5)).top_k == 5  # type: ignore[arg-type]


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(GenerationError, match=r"^beams is not an option of generation, expected"):
        GenerationConfig().changed(beams=4)


@pytest.mark.parametrize("name", SAMPLING)
def test_an_option_of_sampling_without_sampling_is_refused(name: str) -> None:
    value = 3 if name in ("top_k", "seed") else 0.5
    with pytest.raises(GenerationError, match=f"^{name} is .* acts only when sampling") as caught:
        GenerationConfig().changed(**{name: value})
    assert caught.value.hint == "add do_sample=True"
    for accepted in (
        GenerationConfig(do_sample=True).changed(**{name: value}),
        GenerationConfig().changed(do_sample=True, **{name: value}),
        GenerationConfig().changed(do_sample=False, **{name: value}),
    ):
        assert getattr(accepted, name) == value


def test_a_temperature_of_0_is_greedy() -> None:
    assert not GenerationConfig().changed(temperature=0).samples
    assert not GenerationConfig(do_sample=True).changed(temperature=0.0, top_p=0.5).samples
    assert not GenerationConfig().changed(temperature=0, top_k=3, seed=1).samples


def test_a_limit_is_the_one_asked_for_last() -> None:
    assert GenerationConfig().limit(5) == 256
    assert GenerationConfig(max_length=30).limit(5) == 25
    assert GenerationConfig(max_length=30, max_new_tokens=7).limit(5) == 7
    assert GenerationConfig(max_length=30).changed(max_new_tokens=7).limit(5) == 7
    assert GenerationConfig(max_new_tokens=7).changed(max_length=30).limit(5) == 25
    with pytest.raises(GenerationError, match="30 tokens, expected fewer than max_length 30"):
        GenerationConfig(max_length=30).limit(30)


@given(CONFIGS)
def test_a_written_config_reads_back_equal(config: GenerationConfig) -> None:
    assert GenerationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_config_is_saved_to_and_read_from_files(tmp_path: Path) -> None:
    config = GenerationConfig(do_sample=True, temperature=0.5, eos_token_id=(1, 2))
    config.save(tmp_path / "generation_config.json")
    assert GenerationConfig.from_file(tmp_path) == config
    assert GenerationConfig.from_file(tmp_path / "generation_config.json") == config
    (tmp_path / "bad.json").write_text('{"top_k": -1}')
    with pytest.raises(GenerationError, match=r"bad\.json: top_k is -1, expected"):
        GenerationConfig.from_file(tmp_path / "bad.json")
    with pytest.raises(GenerationError, match=r"no\.json does not exist"):
        GenerationConfig.from_file(tmp_path / "no.json")


def test_transformers_and_this_package_read_each_others_files(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    config = GenerationConfig(
        max_new_tokens=7, do_sample=True, temperature=0.5, top_k=9, top_p=0.8, min_p=0.1,
        repetition_penalty=1.2, eos_token_id=(1, 2), stop_strings=("a", "b"),
    )  # fmt: skip
    config.save(tmp_path / "generation_config.json")
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    for name, value in config.to_dict().items():
        assert getattr(theirs, name) == value
    theirs.save_pretrained(tmp_path / "again")
    assert GenerationConfig.from_file(tmp_path / "again") == config


def test_a_file_is_saved_into_a_folder_that_exists(tmp_path: Path) -> None:
    config = GenerationConfig(top_k=3)
    config.save(tmp_path)
    assert GenerationConfig.from_file(tmp_path / "generation_config.json") == config
    for missing in (tmp_path / "none" / "g.json", tmp_path / "generation_config.json" / "g"):
        with pytest.raises(GenerationError, match=r"cannot be written: .*, expected a path in"):
            config.save(missing)


def test_what_is_no_config_is_refused() -> None:
    wrong: Any
    for wrong in ([1], None, 5, "top_k", {1: 2}, [("top_k", 3)]):
        with pytest.raises(GenerationError, match="expected a mapping of names"):
            GenerationConfig.from_dict(wrong)
    for wrong in (None, 5, b"g.json"):
        with pytest.raises(GenerationError, match="expected a path"):
            GenerationConfig.from_file(wrong)
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    for wrong in ({"max_new_tokens": 1}, 5, "greedy", ()):
        for call in (model.generate, model.stream, model.chat().send):
            with pytest.raises(GenerationError, match=r"config is .*, expected a GenerationConfig"):
                call("hello", wrong)

"""Ids with drafts are those without, and they come in fewer calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.loop import generate, stream
from bitnet_onnx.generation.model import Model, load
from bitnet_onnx.generation.strategies import speculation
from tests.support.generation.toy_model import transformers_generate
from tests.support.text.fakes import FakeSession, make_tokenizer

VOCAB = 12
PROMPT = [4, 5, 6, 4, 5]
LOOKUP: dict[str, Any] = {
    "prompt_lookup_num_tokens": 5, "num_assistant_tokens_schedule": "constant",
}  # fmt: skip


class Counting(FakeSession):
    """Counts its calls."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.calls: list[int] = []  # positions of each call after the prompt's
        super().__init__(*arguments, **options)

    def decode(self, ids: Sequence[int]) -> np.ndarray:
        self.calls.append(1)
        return super().decode(ids)

    def score(self, ids: Sequence[int], row: int = 0) -> np.ndarray:
        self.calls.append(len(ids))
        return super().score(ids, row)


class Repeating(Counting):
    """Goes round in a circle of ids, so that what was said comes again."""

    period = 0

    def _append(self, row: int, *ids: int) -> None:
        super()._append(row, *ids)
        self._logits[row] = -1
        self._logits[row, (self.cache[row][-1] + 1) % (self.period or self.vocab_size)] = 5


def outcome(session: FakeSession, config: GenerationConfig, prompt: list[int] = PROMPT) -> Any:
    (result,) = generate(session, [prompt], config)
    return result.ids, result.finish_reason, list(session.ids()), session.lengths


OPTIONS: list[dict[str, Any]] = [
    {},
    {"eos_token_id": [3, 7]},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "eos_token_id": 2},
    {"min_new_tokens": 9, "eos_token_id": list(range(0, VOCAB, 2))},
    {"frequency_penalty": 0.7, "bad_words_ids": [[3, 4], [5]]},
    {"do_sample": True, "seed": 3},
    {"do_sample": True, "seed": 4, "temperature": 0.4, "top_k": 5, "eos_token_id": 9},
    {"do_sample": True, "seed": 5, "top_p": 0.8, "repetition_penalty": 1.2},
    {"watermarking_config": {"greenlist_ratio": 0.5}},
    {"forced_eos_token_id": 8, "eos_token_id": 8},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("schedule", ["constant", "heuristic", "heuristic_transient", None])
@pytest.mark.parametrize("kind", [Counting, Repeating])
def test_ids_are_those_without_drafts(
    options: dict[str, Any], schedule: str | None, kind: type[Counting]
) -> None:
    for length in (2, 40):
        plain = GenerationConfig(max_new_tokens=length, **options)
        for drafts, ngram in ((1, None), (4, 1), (30, 3)):
            config = plain.changed(
                prompt_lookup_num_tokens=drafts,
                max_matching_ngram_size=ngram,
                num_assistant_tokens_schedule=schedule,
            )
            for context in (99, 23, len(PROMPT)):
                expected = outcome(kind(VOCAB, context), plain)
                assert outcome(kind(VOCAB, context), config) == expected


@pytest.mark.parametrize("seed", range(12))
def test_ids_are_those_of_transformers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    prompt = generator.integers(0, VOCAB, 1 + 3 * (seed % 4)).tolist()
    values = {"max_new_tokens": 14, "eos_token_id": [0, 5][: seed % 3] or None}
    theirs = transformers_generate(VOCAB, prompt, values)
    config = GenerationConfig(**{**values, **LOOKUP, "max_matching_ngram_size": 1 + seed % 3})
    ids, *_ = outcome(FakeSession(VOCAB, 99), config, prompt)
    assert ids == theirs.sequences[0, len(prompt) :].tolist()


def test_text_that_repeats_takes_fewer_calls() -> None:
    session = Repeating(VOCAB, 200)
    config = GenerationConfig(max_new_tokens=100, **LOOKUP)
    outcome(session, config)
    assert session.calls.count(6) >= 14  # 5 drafts and the id before them
    assert len(session.calls) < 30


def test_drafts_are_as_many_as_the_limit_leaves() -> None:
    session = Repeating(VOCAB, 200)
    outcome(session, GenerationConfig(max_new_tokens=8, **LOOKUP), [*range(VOCAB), 0, 1])
    # One id of the prompt's call, then 5 drafts and the next id; one is left, which has no draft.
    assert session.calls == [6, 1]
    session = Repeating(VOCAB, VOCAB + 5)
    ids, reason, *_ = outcome(
        session, GenerationConfig(max_new_tokens=80, **LOOKUP), [*range(VOCAB), 0, 1]
    )
    assert (len(ids), reason, session.calls) == (4, "length", [3])


def test_a_full_number_of_drafts_is_checked_in_one_call() -> None:
    session = Repeating(3, 2000)
    config = GenerationConfig(
        max_new_tokens=300, prompt_lookup_num_tokens=1000, num_assistant_tokens_schedule="constant"
    )
    outcome(session, config, [0, 1, 2] * 200)
    assert max(session.calls) == speculation.MOST + 1


def test_what_pays_is_learned_from_call_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Repeating(VOCAB, 400)

    def clock() -> float:  # a call costs 1, and a tenth for each more position
        return sum(0.9 + 0.1 * positions for positions in session.calls)

    monkeypatch.setattr(speculation, "perf_counter", clock)
    config = GenerationConfig(max_new_tokens=60, prompt_lookup_num_tokens=10)
    circle = [*range(VOCAB), 0, 1]
    outcome(session, config, circle)
    first, session.calls = list(session.calls), []
    outcome(session, config, circle)
    assert first[:2] == [1, 2]  # one step is measured, then widths grow
    assert len(session.calls) < len(first) < 20
    assert max(session.calls) == 11
    other = Repeating(VOCAB, 400)
    monkeypatch.setattr(speculation, "perf_counter", lambda: float(sum(other.calls)))
    outcome(other, config)  # a call that costs as much as its positions
    assert sum(positions > 1 for positions in other.calls) < 20


def test_a_stream_has_the_ids_and_may_end_anywhere() -> None:
    config = GenerationConfig(max_new_tokens=30, **LOOKUP)
    expected = outcome(Repeating(VOCAB, 99), config.changed(prompt_lookup_num_tokens=None))[0]
    session = Repeating(VOCAB, 99)
    for count in range(1, 31):
        running = stream(session, PROMPT, config)
        for seen, token in enumerate(running, 1):
            assert running.result.ids == expected[:seen]
            assert token == expected[seen - 1]
            if seen == count:
                running.stop() if count % 2 else running.close()
        assert running.result.ids == expected[:count]
        if count % 2:
            assert running.result.finish_reason == ("length" if count == 30 else "stop_string")
            assert session.ids() == (PROMPT + expected)[: len(PROMPT) + count - 1]


def test_a_next_turn_keeps_the_cache_of_an_answer_that_was_cut_off() -> None:
    config = GenerationConfig(max_new_tokens=30, **LOOKUP)
    session = Repeating(VOCAB, 99)
    running = stream(session, PROMPT, config)
    cut = [next(running) for _ in range(20)]
    running.close()
    longer = [*PROMPT, *cut, 0, 3]
    again = stream(session, longer, config)
    assert list(again) == list(stream(Repeating(VOCAB, 99), longer, config))
    assert again.result.cached_tokens >= len(PROMPT) + 19


def test_a_stop_string_among_drafts_ends_the_text() -> None:
    tokenizer = make_tokenizer()
    for text in ("hello", "the cat sat hello there", "User"):
        plain = Model(FakeSession(), tokenizer)  # type: ignore[arg-type]
        long = plain.generate(text, max_new_tokens=40)
        drafts: dict[str, Any] = {"prompt_lookup_num_tokens": 6, "max_new_tokens": 40}
        for start in range(0, len(long.text), 3):
            stop = long.text[start : start + 2]
            expected = plain.generate(text, max_new_tokens=40, stop_strings=stop)
            found = plain.generate(text, **drafts, stop_strings=stop)
            assert (found.text, found.result.ids) == (expected.text, expected.result.ids)
            assert found.result.finish_reason == expected.result.finish_reason
            assert "".join(plain.stream(text, **drafts, stop_strings=stop)) == expected.text


@pytest.mark.parametrize("length", range(6, 30))
def test_a_criterion_ends_among_drafts(length: int) -> None:
    config = GenerationConfig(max_new_tokens=40, **LOOKUP)
    extras = Extras(stopping_criteria=lambda ids, _: len(ids) == length)
    (result,) = generate(Repeating(VOCAB, 99), [PROMPT], config, extras)
    assert (len(result.ids), result.finish_reason) == (length - len(PROMPT), "criteria")


def test_processors_see_the_ids_of_their_own_position() -> None:
    seen: list[list[int]] = []

    def look(ids: list[int], scores: np.ndarray) -> np.ndarray:
        seen.append(ids)
        return scores

    config = GenerationConfig(max_new_tokens=25, **LOOKUP)
    (result,) = generate(Repeating(VOCAB, 99), [PROMPT], config, Extras(logits_processor=look))
    assert seen == [PROMPT + result.ids[:n] for n in range(25)]


def test_logits_that_depend_on_the_call_are_computed_one_by_one() -> None:
    session = Repeating(VOCAB, 99)
    session.exact_in_groups = False
    outcome(session, GenerationConfig(max_new_tokens=30, **LOOKUP))
    assert set(session.calls) == {1}


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (2, {}, "prompt_lookup_num_tokens is 5 for 2 sequences, expected one"),
        (1, {"do_sample": True, "num_return_sequences": 3}, "is 5 for 3 sequences"),
        (1, {"guidance_scale": 2.0}, "is 5 with guidance_scale 2.0, expected one of them"),
    ],
)
def test_what_has_no_drafts_is_refused(count: int, options: dict[str, Any], words: str) -> None:
    config = GenerationConfig(max_new_tokens=5, **LOOKUP, **options)
    with pytest.raises(GenerationError, match=words):
        generate(FakeSession(VOCAB, 99), [PROMPT] * count, config)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("prompt_lookup_num_tokens", -1, "an integer of at least 0"),
        ("prompt_lookup_num_tokens", "3", "an integer of at least 0"),
        ("max_matching_ngram_size", -1, "an integer of at least 1"),
        ("num_assistant_tokens_schedule", "dynamic", "one of: constant, heuristic"),
        ("num_assistant_tokens_schedule", 3, "one of: constant"),
        ("num_assistant_tokens", 0, "an integer of at least 1"),
        ("assistant_confidence_threshold", 1.5, "a number from 0 to 1"),
    ],
)
def test_wrong_values_are_refused_by_name(option: str, value: Any, words: str) -> None:
    with pytest.raises(GenerationError, match=f"{option} is {value!r}, expected {words}"):
        GenerationConfig(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("max_matching_ngram_size", 3, "prompt_lookup_num_tokens"),
        ("num_assistant_tokens_schedule", "constant", "prompt_lookup_num_tokens"),
        ("num_assistant_tokens", 3, "assistant_model"),
        ("assistant_confidence_threshold", 0.5, "assistant_model"),
    ],
)
def test_an_option_of_drafts_needs_drafts(option: str, value: Any, needed: str) -> None:
    words = f"{option} is {value!r} but acts only on drafts, expected {needed} with it"
    model = Model(FakeSession(), make_tokenizer())  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match=words):
        model.generate("hello", **{option: value})
    config = GenerationConfig(**{option: value})  # a file may hold it beside no drafts
    assert config.changed(max_new_tokens=3).to_dict() == {"max_new_tokens": 3, option: value}


def test_a_networks_ids_are_the_same_with_drafts(demo_artifact: Path) -> None:
    with load(demo_artifact, threads=1) as model:
        question = [{"role": "user", "content": "What is 27 + 5? What is 27 + 6?"}]
        several: list[dict[str, Any]] = [{}, {"do_sample": True, "seed": 2}]
        for options in several:
            plain = model.generate(question, max_new_tokens=40, eos_token_id=None, **options)
            found = model.generate(
                question, max_new_tokens=40, eos_token_id=None, **LOOKUP, **options
            )
            assert found.result.ids == plain.result.ids


def test_the_commands_take_drafts(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["generate", str(demo_artifact), "Spell the word STONE.", "--max-new-tokens", "20"]
    assert main(command) == 0
    plain = capsys.readouterr()
    assert main([*command, "--prompt-lookup-num-tokens", "4"]) == 0
    found = capsys.readouterr()
    assert found.out == plain.out
    assert "note" not in found.err
    monkeypatch.setattr("bitnet_onnx.runtime.session.Session.exact_for", lambda *_: False)
    assert main([*command, "--prompt-lookup-num-tokens", "4"]) == 0
    found = capsys.readouterr()
    assert found.out == plain.out
    assert found.err.startswith("note: no drafts are checked, since the logits of this artifact")
    assert main([*command, "--max-matching-ngram-size", "4"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: --max-matching-ngram-size acts only on drafts, expected --prompt-lookup-num-tokens"
    )


def test_a_chat_looks_up_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "perf_counter", lambda: 1.0)
    texts, calls = [], []
    for options in ({}, {"prompt_lookup_num_tokens": 0}, LOOKUP, {"guidance_scale": 1.5}):
        session = Repeating(300, 256)
        chat = Model(session, make_tokenizer()).chat()  # type: ignore[arg-type]
        asked: dict[str, Any] = {"max_new_tokens": 40, "eos_token_id": None, **options}
        session.period = 12
        texts.append("".join(chat.send("hello there", **asked)))
        calls.append(set(session.calls))
    assert texts[0] == texts[1] == texts[2]
    assert calls[1] == calls[3] == {1}
    assert 6 in calls[2]

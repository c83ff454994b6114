"""Stop strings and streamed text do not depend on how the text is cut into pieces."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.text import generate_text, text_stream
from bitnet_onnx.text.streaming import StopStrings
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text.fakes import FakeSession, ScriptedSession, backend_json, make_tokenizer

TOKENIZER = make_tokenizer()
STRINGS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


def by_definition(text: str, strings: list[str]) -> tuple[str, bool]:
    """Return the text before the stop string that ends first, the longest of those."""
    for end in range(1, len(text) + 1):
        found = [string for string in strings if text[:end].endswith(string)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(st.lists(st.text("ab\nc", max_size=5)), STRINGS)
def test_text_is_cut_before_the_stop_string_that_ends_first(
    pieces: list[str], strings: list[str]
) -> None:
    stop = StopStrings(strings)
    shown = ""
    for piece in pieces:
        shown += stop.push(piece)
    shown += stop.flush()
    assert (shown, stop.found) == by_definition("".join(pieces), strings)


def test_a_possible_stop_string_is_held_back_no_longer_than_needed() -> None:
    stop = StopStrings(["###", "\n\n"])
    assert [stop.push(piece) for piece in ["a#", "#", "b", "\n", "c", "#", "##", "x"]] == [
        "a", "", "##b", "", "\nc", "", "", "",
    ]  # fmt: skip
    assert stop.found
    assert stop.flush() == ""


def script(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def test_a_stop_string_ends_the_row_and_is_not_shown() -> None:
    ids = script("hello world\nUser: more")
    answer = text_stream(
        ScriptedSession(ids),
        TOKENIZER,
        [5],
        GenerationConfig(max_new_tokens=99, stop_strings="\nUser:"),
    )
    assert "".join(answer) == answer.text == "hello world"
    assert answer.result.finish_reason == "stop_string"
    assert len(answer.result.ids) < len(ids)


def test_an_eos_whose_text_is_a_stop_string_finishes_with_stop() -> None:
    (token,) = script("e")
    backend = tokenizers.Tokenizer.from_str(backend_json())
    tokenizer = Tokenizer(backend, generation_config={"eos_token_id": token})
    config = GenerationConfig(max_new_tokens=9, stop_strings="e")
    answer = text_stream(ScriptedSession([token]), tokenizer, [5], config)
    assert "".join(answer) == ""
    assert answer.result.finish_reason == "stop"


def test_text_held_back_is_shown_when_the_row_ends_otherwise() -> None:
    for ids, reason in ((script("a\nUser"), "length"), ([*script("a\nUser"), 2], "stop")):
        answer = text_stream(
            ScriptedSession(ids),
            TOKENIZER,
            [5],
            GenerationConfig(max_new_tokens=len(ids), stop_strings=["\nUser:"]),
        )
        assert "".join(answer) == "a\nUser"
        assert answer.result.finish_reason == reason


def test_a_character_cut_by_the_token_limit_is_shown_as_a_replacement() -> None:
    ids = script("a🙂")[:-1]
    answer = text_stream(
        ScriptedSession(ids), TOKENIZER, [5], GenerationConfig(max_new_tokens=len(ids))
    )
    assert "".join(answer) == TOKENIZER.decode(ids)
    assert answer.text.endswith("\ufffd")


def test_a_batch_gives_the_texts_of_single_prompts() -> None:
    prompts = [script(text) for text in ("hello", "the cat sat", "Tür", "world there")]
    strings = ["e", "a", "o"]
    shown = [""] * len(prompts)

    def show(row: int, piece: str) -> None:
        shown[row] += piece

    batch = generate_text(
        FakeSession(),
        TOKENIZER,
        prompts,
        GenerationConfig(max_new_tokens=60, stop_strings=strings),
        on_text=show,
    )
    assert shown == [answer.text for answer in batch]
    assert {answer.result.finish_reason for answer in batch} >= {"stop_string"}
    for prompt, answer in zip(prompts, batch, strict=True):
        alone = text_stream(
            FakeSession(),
            TOKENIZER,
            prompt,
            GenerationConfig(max_new_tokens=60, stop_strings=strings),
        )
        assert "".join(alone) == answer.text
        assert alone.result.ids == answer.result.ids
        assert alone.result.finish_reason == answer.result.finish_reason


SPECIAL_TEXT = "<|im_end|>"


def special(text: str = SPECIAL_TEXT) -> int:
    (token,) = script(text)
    return token


@pytest.mark.parametrize(
    ("string", "shown"),
    [
        (SPECIAL_TEXT, "hello"),
        (f"{SPECIAL_TEXT} w", "hello"),
        (f"lo{SPECIAL_TEXT}", "hel"),
        ("<|im_start|>", "hello world"),
        ("hello world", "hello world"),  # a special token stands between the words
        ("im_end", "hello"),
    ],
)
def test_a_stop_string_may_hold_the_text_of_a_special_token(string: str, shown: str) -> None:
    """The stop string counts where transformers' own criterion counts it; the text stays hidden."""
    ids = [*script("hello"), special(), *script(" world")]
    config = GenerationConfig(max_new_tokens=len(ids), stop_strings=string)
    answer = text_stream(ScriptedSession(ids), TOKENIZER, [5], config)
    assert "".join(answer) == answer.text == shown
    ended = string not in ("<|im_start|>", "hello world")
    assert answer.result.finish_reason == ("stop_string" if ended else "length")
    (batch,) = generate_text(ScriptedSession(ids), TOKENIZER, [[5]], config)
    assert (batch.text, batch.result.ids) == (shown, answer.result.ids)


def test_a_stop_string_of_an_eos_stays_an_eos() -> None:
    config = GenerationConfig(max_new_tokens=9, stop_strings="<|eot_id|>")
    answer = text_stream(ScriptedSession([*script("a"), 2]), TOKENIZER, [5], config)
    assert "".join(answer) == "a"
    assert answer.result.finish_reason == "stop"


def test_a_character_split_by_a_special_token_is_decoded_as_the_tokenizer_decodes_it() -> None:
    halves = script("🙂")
    ids = [*halves[:1], special(), *halves[1:], *script("!")]
    config = GenerationConfig(max_new_tokens=len(ids), stop_strings="#")
    answer = text_stream(ScriptedSession(ids), TOKENIZER, [5], config)
    assert "".join(answer) == TOKENIZER.decode(ids)

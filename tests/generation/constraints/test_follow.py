"""A constraint over the past of one sequence: ids taken back, wrong drafts, several sequences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.constraints.compiled import Constraint
from bitnet_onnx.generation.constraints.follow import Constrained
from bitnet_onnx.generation.constraints.outputs import StructuredOutputs
from bitnet_onnx.generation.extras import Extras
from bitnet_onnx.generation.processors.order import Processors
from bitnet_onnx.generation.processors.past import Past
from tests.support.text.fakes import fake_logits, make_tokenizer

pytest.importorskip("llguidance")

TOKENIZER, VOCAB, EOS = make_tokenizer(), 310, (1, 2)


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def compiled(vocab: int = VOCAB, eos: Sequence[int] = EOS, **form: Any) -> Constraint:
    return Constraint(StructuredOutputs(**form), TOKENIZER, vocab, eos)


def allowed(follow: Constrained, past: Past, vocab: int = VOCAB) -> set[str]:
    """Return the texts of the tokens that are left; those that end an answer are "eos"."""
    scores = follow(past, np.zeros(vocab, np.float32))
    ids = np.flatnonzero(scores == 0)
    assert set(scores[scores != 0]) <= {-np.inf}
    return {"eos" if i in EOS else TOKENIZER.decode([i]) for i in ids.tolist()}


def after(text: str, prompt: Sequence[int] = (7, 8)) -> Past:
    past = Past(prompt)
    past.add(ids_of(text))
    return past


def test_eos_is_left_exactly_behind_a_complete_answer() -> None:
    follow = Constrained(compiled(choice=["a", "ab", "c"]))
    assert allowed(follow, after("")) == {"a", "c"}
    assert allowed(follow, after("a")) == {"b", "eos"}
    assert allowed(follow, after("ab")) == {"eos"}
    assert allowed(follow, after("c")) == {"eos"}


def test_ids_beyond_the_tokenizer_are_never_left() -> None:
    anything = Constrained(compiled(regex="(?s).*"))
    scores = anything(Past([5]), np.zeros(VOCAB, np.float32))
    assert (scores[TOKENIZER.vocab_size :] == -np.inf).all()
    few = Constrained(compiled(vocab=200, regex="(?s).*"))  # and fewer logits than tokens
    assert few(Past([5]), np.zeros(200, np.float32)).shape == (200,)


def test_ids_that_are_taken_back_never_were() -> None:
    constraint = compiled(json={"type": "array", "items": {"type": "integer"}})
    follow, past, random = Constrained(constraint), Past([5]), np.random.default_rng(1)
    for _ in range(300):
        if random.random() < 0.3:
            past.truncate(int(random.integers(past.prompt, len(past) + 1)))
        logits = random.standard_normal(VOCAB, dtype=np.float32)
        fresh = Constrained(constraint)(past, logits.copy())
        scores = follow(past, logits.copy())
        assert scores.tobytes() == fresh.tobytes()
        past.append(int(np.argmax(scores)))
        if past.ids[-1] in EOS:
            past.truncate(len(past) - 1)


def test_a_wrong_draft_leaves_only_eos_until_it_is_taken_back() -> None:
    follow, past = Constrained(compiled(regex="[0-9]{4}")), after("12")
    past.add(ids_of("x5"))
    assert allowed(follow, past) == {"eos"}
    past.truncate(len(past) - 2)
    assert allowed(follow, past) == set("0123456789")
    past.add([1, 40])  # an eos too early, and what follows it
    assert allowed(follow, past) == {"eos"}
    assert allowed(follow, after("12")) == set("0123456789")


def test_one_processor_serves_several_sequences() -> None:
    follow = Constrained(compiled(regex="a[0-9]|b[x-z]"))
    for _ in range(3):
        assert allowed(follow, after("a", prompt=[3])) == set("0123456789")
        assert allowed(follow, after("b")) == {"x", "y", "z"}
        assert allowed(follow, after("")) == {"a", "b"}


def test_an_eos_that_is_also_a_text_ends_no_answer_early() -> None:
    (line,) = ids_of("!")
    follow = Constrained(compiled(eos=[line], regex="a!?b|c"))
    past = after("a")
    scores = follow(past, np.zeros(VOCAB, np.float32))
    assert scores[line] == -np.inf
    assert follow(after("c"), np.zeros(VOCAB, np.float32))[line] == 0


def test_it_is_the_last_of_the_processors_before_sampling() -> None:
    """remove_invalid_values would make a forbidden token possible."""
    config = GenerationConfig(remove_invalid_values=True, repetition_penalty=1.3)
    form = Extras(
        structured_outputs=compiled(choice=["yes", "no"]), logits_processor=lambda _, s: s + 1
    )
    scores = Processors(config, form)(Past([5]), fake_logits([5], VOCAB))
    assert {TOKENIZER.decode([i]) for i in np.flatnonzero(scores > -np.inf).tolist()} <= {
        "y",
        "ye",
        "n",
        "no",
    }


@pytest.mark.parametrize(
    "words",
    [["yes", "no"], ['"', "\\", "/", "\n", "\r\n"], ["é", "🙂", "\u2028", "\x7f", "\x00"],
     ["a", "", "aa"], ["/i", "|", "[a]", "a*", "%ignore"], ["<|eot_id|>"], ["start", "x: y"]],
    ids=str,
)  # fmt: skip
def test_choices_are_taken_literally(words: list[str]) -> None:
    constraint = compiled(choice=words)
    for word in [*words, "b", words[0] + "!"]:
        # A special token's text is no special token.
        ids = [i for letter in word for i in ids_of(letter)]
        matcher = constraint.matcher()
        taken = not ids or (
            matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids)
        )
        assert (bool(taken) and matcher.is_accepting()) == (word in words), word


def test_choices_may_be_many() -> None:
    """llguidance's grammars hold 2,000 at a place, and fail in the middle of an answer."""
    follow = Constrained(compiled(choice=[f"item {number}" for number in range(100, 3100)]))
    assert allowed(follow, after("item 30")) == {*"0123456789"}
    assert allowed(follow, after("item 309")) == {*"0123456789", "eos"}
    assert allowed(follow, after("item 3099")) == {"eos"}


@pytest.mark.parametrize(
    "regex", [r"\d{2}", r"[a-c]+x?", r"(?i)ok", r"é|ü", r"[^a]", r"", r"a/b", "a\nb"]
)
def test_expressions_match_the_whole_answer(regex: str) -> None:
    constraint = compiled(regex=regex)
    for text in ("", "12", "123", "abcx", "abc", "OK", "ok", "é", "b", "a/b", "a\nb", "x"):
        ids, matcher = ids_of(text), constraint.matcher()
        taken = matcher.validate_tokens(ids) == len(ids) if ids else True
        if taken and ids:
            matcher.consume_tokens(ids)
        found = taken and matcher.is_accepting()
        assert found == bool(re.fullmatch(regex, text)), text


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"regex": "a(b"}, "unclosed group at character 2 of the expression 'a(b'"),
        ({"regex": "ab)"}, "unopened group at character 3"),
        ({"regex": "x{3,1}"}, "invalid repetition count range"),
        ({"regex": r"(a)\1"}, "backreferences are not supported"),
        ({"regex": "(?<=a)b"}, "look-around"),
        ({"regex": "[a&&b]"}, "it allows no text"),
        ({"regex": "\ud800"}, "has \\ud800, half of a surrogate pair"),
        ({"grammar": 'start: "a" foo'}, "line 1, column 8: unknown name"),
        ({"grammar": 'start: "a" |\n  "b" )'}, "line 2, column 3: expecting rule"),
        ({"grammar": 'start: start "a"'}, "it allows no text"),
        ({"grammar": 'start: "a" x\nx: /(/'}, "line 2, column 4: unclosed group"),
        ({"grammar": ""}, "no start rule found"),
        ({"grammar": "start: <|no|>"}, "unknown special token"),
        ({"grammar": 'start: %json {"not": {}}'}, "not"),
        ({"grammar": "\ud800"}, "has \\ud800, half of a surrogate pair"),
        ({"choice": ["a", "b\udfff"]}, "has \\udfff, half of"),
        ({"json": '{"a":'}, "not JSON"),
        ({"json": '{"const": "\\ud800"}'}, "it has \\ud800, half of a surrogate pair"),
        ({"json": '{"const": ' + "9" * 5000 + "}"}, "an integer has 5000 digits"),
        ({"json": [1]}, "expected an object"),
        ({"json": False}, "expected an object"),
        ({"json": {"a": object()}}, "not JSON"),
        ({"regex": 3}, "regex of structured_outputs is 3, expected a text"),
        ({"choice": "yes"}, "expected a list of texts"),
        ({"choice": []}, "expected a list of texts"),
        ({"choice": [1]}, "expected a list of texts"),
        ({}, "no form, expected one of: json, regex, choice, grammar"),
        ({"json": {}, "regex": "a"}, "json and regex, expected one of"),
        ({"json_object": True}, "'json_object', expected one of"),
        (["json"], "expected a mapping"),
        ("a", "expected a mapping"),
    ],
)
def test_a_wrong_form_is_one_sentence(form: Any, reason: str) -> None:
    with pytest.raises(GenerationError, match=re.escape(reason)) as caught:
        Constraint(Extras(structured_outputs=form).structured_outputs, TOKENIZER, VOCAB, EOS)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert ", expected " in str(caught.value)


def test_an_answer_that_nothing_ends_is_refused() -> None:
    for eos in ([], [VOCAB + 1]):
        with pytest.raises(GenerationError, match="no token ends an answer"):
            compiled(eos=eos, regex="a")


def test_a_form_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(GenerationError, match="ids without text"):
        Processors(GenerationConfig(), Extras(structured_outputs={"regex": "a"}))

"""Files of questions: what a line holds, and lines that are refused by their number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.evaluation.questions import Choices, choices_of, questions_of

GOOD: dict[str, Any] = {"question": "q", "choices": ["a", "b"], "answer": 1, "kind": "other"}


def test_lines_are_read_in_any_form_of_file() -> None:
    separated = GOOD | {"question": "\u2028"}
    text = f"{json.dumps(GOOD)}\r\n\n  \r{json.dumps(separated, ensure_ascii=False)}"
    first, second = choices_of(text, "f")
    assert first == Choices("f, line 1", "q", ("a", "b"), 1)
    assert second == Choices("f, line 4", "\u2028", ("a", "b"), 1)
    lines = [{"question": "", "answer": "x"}, {"question": "q", "answer": ["x", "y"]}]
    one, two = questions_of("\n".join(map(json.dumps, lines)), "f")
    assert (one.answers, two.answers) == (("x",), ("x", "y"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("nothing", "it is not JSON"),
        ("{" * 100_000, "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("9" * 5000, "it is not JSON"),
        ('{"question": "q", "question": "q"}', "it is not JSON: 'question' is given more than"),
        ('{"kind": {"a": 1, "a": 2}}', "it is not JSON: 'a' is given more than once"),
        ("[]", r"it is \[\], expected an object"),
        ("null", "it is null, expected an object"),
        ("{}", "question is missing"),
        ({"question": 3}, "question is 3, expected a text"),
        ({"choices": "ab"}, 'choices is "ab", expected a list of two or more texts'),
        ({"choices": ["a"]}, "choices is .*, expected a list of two or more texts"),
        ({"choices": ["a", ""]}, "choices is .*, expected a list of two or more texts"),
        ({"choices": ["a", None]}, "choices is .*, expected a list of two or more texts"),
        ({"answer": 2}, "answer is 2, expected the place of a choice, 0 to 1"),
        ({"answer": -1}, "answer is -1, expected"),
        ({"answer": True}, "answer is true, expected"),
        ({"answer": "b"}, 'answer is "b", expected'),
        ({"answer": 1.0}, "answer is 1.0, expected"),
        ({"answer": None}, "answer is null, expected"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line: Any, what: str) -> None:
    bad = line if isinstance(line, str) else json.dumps(GOOD | line)
    with pytest.raises(GenerationError, match=f"^f, line 2: {what}"):
        choices_of(f"{json.dumps(GOOD)}\n{bad}", "f")


def test_a_key_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(GenerationError, match="f, line 1: it is not JSON: 'answer' is given more"):
        questions_of('{"question": "q", "answer": "a", "answer": "b"}', "f")


@pytest.mark.parametrize("answer", [0, "", " ", [], ["a", 1], [""], None, {"a": 1}])
def test_an_answer_that_is_no_text_is_refused(answer: Any) -> None:
    with pytest.raises(
        GenerationError, match=r"f, line 1: answer is .*, expected a text, or a list"
    ):
        questions_of(json.dumps({"question": "q", "answer": answer}), "f")


@pytest.mark.parametrize("key", ["question", "choices", "answer"])
def test_a_missing_key_is_named(key: str) -> None:
    line = json.dumps({name: value for name, value in GOOD.items() if name != key})
    with pytest.raises(GenerationError, match=f"line 1: {key} is missing, expected it beside"):
        choices_of(line, "f")


@pytest.mark.parametrize("text", ["", "\n\n", "  \r\n"])
def test_a_file_without_lines_is_refused(text: str) -> None:
    for read in (choices_of, questions_of):
        with pytest.raises(GenerationError, match="f has no lines, expected one question a line"):
            read(text, "f")

"""Documents of 200 JSON schemas, written from random logits, are all valid."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.constraints.compiled import Constraint
from bitnet_onnx.generation.constraints.follow import Constrained
from bitnet_onnx.generation.constraints.outputs import StructuredOutputs
from bitnet_onnx.generation.processors.past import Past
from tests.support.paths import ROOT
from tests.support.text.fakes import make_tokenizer

pytest.importorskip("llguidance")

FILE = ROOT / "tests" / "generation" / "constraints" / "schemas.jsonl"
SCHEMAS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
TOKENIZER, VOCAB, EOS = make_tokenizer(), 310, [1, 2]  # ids 300 to 309 are no tokens
STEPS = 400


def compiled(schema: object) -> Constraint:
    return Constraint(StructuredOutputs(json=schema), TOKENIZER, VOCAB, EOS)  # type: ignore[arg-type]


def one(letter: str) -> int:
    return TOKENIZER.encode(letter, add_special_tokens=False)[0]


def raised(letters: str, by: float) -> np.ndarray:
    bias = np.zeros(VOCAB, np.float32)
    bias[[one(letter) for letter in letters]] = by
    return bias


# What ends a document, and letters without which some patterns never end.
ENDS = raised(",", 3) + raised('"]}', 6)
ENDS[EOS] = 9
NEEDED = [one(letter) for letter in "aqz0@:."]


def written(constraint: Constraint, seed: list[int], bias: np.ndarray) -> str | None:
    """Return a random document, None where it did not end."""
    follow, past, random = Constrained(constraint), Past([5]), np.random.default_rng(seed)
    for step in range(STEPS):
        scores = random.standard_normal(VOCAB, dtype=np.float32) + bias
        if step > 20:
            scores += ENDS
            if random.random() < 0.4:
                scores[NEEDED[random.integers(len(NEEDED))]] += 12
        past.append(int(np.argmax(follow(past, scores))))
        if past.ids[-1] in EOS:
            return TOKENIZER.decode(past.new)
    return None


def test_there_are_200_schemas() -> None:
    assert len({json.dumps(schema) for schema in SCHEMAS}) >= 200


# The letters that are likelier make names that repeat, long numbers, escapes, and deep documents.
@pytest.mark.parametrize("likelier", ["", '"a1:,', "0123456789.eE-", "\\u0d8", "{[,1"])
def test_every_document_is_valid(likelier: str) -> None:
    ended = 0
    for number, schema in enumerate(SCHEMAS):
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
        text = written(compiled(schema), [number, len(likelier)], raised(likelier, 2.5))
        if text is not None:
            ended += 1
            assert validator.is_valid(json.loads(text)), (schema, text)
    assert ended >= 190  # the others go on: a list in a list in a list, for example


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "does not support not"),
        ({"type": "array", "uniqueItems": True}, "does not support uniqueItems"),
        ({"properties": {"a": {"contains": {}}}}, "does not support contains"),
        ({"if": {}, "then": {}}, "does not support if, then"),
        ({"propertyNames": {"maxLength": 2}}, "does not support propertyNames"),
        ({"dependentRequired": {"a": ["b"]}}, "does not support dependentRequired"),
        ({"unevaluatedProperties": False}, "does not support unevaluatedProperties"),
        ({"contains": {}, "x-guidance": {"lenient": True}}, "does not support contains"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf constraints are not supp"),
        ({"oneOf": [{}, {}], "x-guidance": {"coerce_one_of": True}}, "oneOf not fully supported"),
        ({"type": "string", "format": "iri"}, "Unknown format: iri"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
        ({"type": "string", "pattern": "a(b"}, "unclosed group at character 2"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, r"minimum \(3\) is greater"),
        ({"type": "strin"}, "Invalid type: strin"),
        ({"$ref": "#/$defs/a"}, "'/.defs/a' does not exist"),
        ({"$ref": "https://example.com/a"}, "https://example.com/a"),
        ({"enum": []}, "anyOf is empty"),
        ({"type": "object", "minProperties": 2}, "minProperties is 2 with 0 required names"),
        ({"properties": {"a": {"minProperties": 3, "required": ["b"]}}}, "minProperties is 3"),
        ({"minLength": "a"}, "Expected positive integer for 'minLength'"),
        ({"const": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_followed_is_refused(schema: object, reason: str) -> None:
    with pytest.raises(GenerationError, match=reason) as caught:
        compiled(schema)
    assert str(caught.value).startswith("the JSON schema cannot be followed: ")
    assert "\n" not in str(caught.value)


def test_schemas_nested_too_deeply_are_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(300):
        deep = {"items": deep}
    with pytest.raises(GenerationError, match="JSON schema"):
        compiled(deep)


@pytest.mark.parametrize(
    ("date", "exists"),
    [("2024-02-29", True), ("2023-02-29", False), ("1900-02-29", False), ("2000-02-29", True),
     ("2023-04-31", False), ("2023-12-31", True), ("0000-01-01", False)],
)  # fmt: skip
def test_dates_are_those_of_the_calendar(date: str, exists: bool) -> None:
    for form, text in (("date", date), ("date-time", f"{date}T10:00:00Z")):
        constraint = compiled({"type": "string", "format": form})
        ids = TOKENIZER.encode(f'"{text}"', add_special_tokens=False)
        assert (constraint.matcher().validate_tokens(ids) == len(ids)) == exists


@pytest.mark.parametrize(
    ("text", "allowed"),
    [('{"a":[1,2]}', True), ('{"a": [1, 2]}', True), ('{\n  "a": [\n    1\n  ]\n}', True),
     ('{   "a":[]}', False), ('{"a":\n\n[]}', False), (' {"a":[]}', False)],
)  # fmt: skip
def test_blanks_are_few(text: str, allowed: bool) -> None:
    """A small model would write them until its limit."""
    constraint = compiled({"type": "object", "additionalProperties": {"type": "array"}})
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert (constraint.matcher().validate_tokens(ids) == len(ids)) == allowed


def test_the_schema_itself_can_choose_its_blanks() -> None:
    constraint = compiled({"type": "array", "x-guidance": {"whitespace_flexible": False}})
    ids = TOKENIZER.encode("[ ]", add_special_tokens=False)
    assert constraint.matcher().validate_tokens(ids) == 1

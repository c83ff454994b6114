"""The questions on which the bundled model is trained and evaluated, and their answers."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from training import data, words

STREAM = 20_000


@pytest.fixture(scope="module")
def examples() -> list[data.Example]:
    return list(islice(data.training(1), STREAM))


@pytest.fixture(scope="module")
def held_out() -> list[data.Example]:
    return data.held_out(1000, seed=7)


def integers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_the_same_seed_gives_the_same_questions(examples: list[data.Example]) -> None:
    assert examples[:500] == list(islice(data.training(1), 500))
    assert examples[:500] != list(islice(data.training(2), 500))


def test_no_held_out_question_is_trained_on(
    examples: list[data.Example], held_out: list[data.Example]
) -> None:
    assert not {e.question for e in held_out} & {e.question for e in examples}
    contents = {(e.kind, e.content) for e in examples}
    assert not {(e.kind, e.content) for e in held_out} & contents


def test_every_kind_has_many_held_out_questions(held_out: list[data.Example]) -> None:
    assert len({e.question for e in held_out}) == 1000
    for kind in data.KINDS:
        assert sum(e.kind == kind for e in held_out) >= 100


def arithmetic(example: data.Example) -> str:
    a, b = integers(example.question)
    minus = re.search(r" - |minus|[Ss]ubtract|difference|away|left|out", example.question)
    return str(abs(a - b) if minus else a + b)


def numbers(example: data.Example) -> str:
    values = sorted(integers(example.question))
    if re.search(r"larger|bigger|largest", example.question) and "from" not in example.question:
        return str(values[-1])
    if re.search(r"smaller|lower|smallest", example.question) and "from" not in example.question:
        return str(values[0])
    return ", ".join(map(str, values))


def stories(example: data.Example) -> str:
    *sentences, question = re.findall(r"[^.?]+[.?]", example.question)
    where: dict[str, str] = {}
    for sentence in sentences:
        place = next(p for p in words.PLACES if f"the {p}." in sentence)
        thing = next((o for o in words.OBJECTS if f"the {o} " in sentence), None)
        where[thing or sentence.split()[0]] = place
    asked = next(name for name in (*where, *where.values()) if re.search(rf"\b{name}\b", question))
    return where.get(asked) or next(who for who, place in where.items() if place == asked)


def spelled(example: data.Example) -> str:
    word = re.findall(r"[A-Z]{3,}", example.question)[0]
    if re.search(r"first|start|begin", example.question):
        return word[0]
    if re.search(r"last|end", example.question):
        return word[-1]
    if re.search(r"[Rr]everse|backwards|around", example.question):
        return "".join(reversed(word))
    return "-".join(word)


def dates(example: data.Example) -> str:
    question = example.question
    day = next((d for d in words.DAYS if d in question), None)
    if day:
        step = integers(question)[0]
        back = re.search(r"before|ago|earlier|minus|back|after which", question)
        return words.DAYS[(words.DAYS.index(day) + (-step if back else step)) % 7]
    month = next(i for i, name in enumerate(words.MONTHS) if name in question)
    if "days" in question:
        short = words.MONTHS[month] in ("April", "June", "September", "November")
        return "28" if month == 1 else "30" if short else "31"
    back = re.search(r"before|precedes|last|Before", question)
    return words.MONTHS[(month + (-1 if back else 1)) % 12]


def units(example: data.Example) -> str:
    names = re.findall(r"[a-z]+", example.question)
    for large, small, factor, _ in data.UNITS:
        if small in names and {large, large[:-1]} & set(names):
            return str(integers(example.question)[0] * factor)
    raise AssertionError(example.question)


SOLVERS = {
    "arithmetic": arithmetic, "numbers": numbers, "stories": stories,
    "words": spelled, "dates": dates, "units": units,
}  # fmt: skip


@pytest.mark.parametrize("kind", data.KINDS)
def test_answers_are_right(kind: str, examples: list[data.Example]) -> None:
    some = [e for e in examples if e.kind == kind][:2000]
    assert len(some) == 2000
    for example in some:
        assert SOLVERS[kind](example) == example.answer, example.question


def test_every_wording_is_used(examples: list[data.Example]) -> None:
    pattern = re.compile(r"\d+|[A-Z]{3,}|" + "|".join((*words.DAYS, *words.MONTHS, *words.NAMES)))
    for kind in data.KINDS:
        shapes = {pattern.sub("_", e.question) for e in examples if e.kind == kind}
        assert len(shapes) >= 6

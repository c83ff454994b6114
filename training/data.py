"""Seeded generators of short questions with checkable answers.

Knows the kinds of question, their wordings and which of them are held out; does not know tokens or
the network. A held-out question is never yielded for training. For arithmetic, numbers, stories and
words the rule looks at the content (the numbers, the story, the word), so that other wordings are
held out too. For dates and units, small tables that must be learned by heart, the rule looks at the
literal question.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from training import wordings as say
from training import words as w

HELD_OUT_PERCENT = {"dates": 15, "units": 10}  # kinds with few questions; the other kinds: 5

ATTEMPTS = 20_000  # a kind is exhausted after this many draws without a new held-out question


class Example(NamedTuple):
    """One question; the string ``content`` decides whether it is held out."""

    kind: str
    question: str
    answer: str
    content: str


def is_held_out(example: Example) -> bool:
    """Decide by a hash of kind and content, which is stable over machines and Python versions."""
    digest = hashlib.blake2b(f"{example.kind}|{example.content}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % 100 < HELD_OUT_PERCENT.get(example.kind, 5)


def arithmetic(rng: random.Random, reach: int = 0) -> Example:
    """Ask for a two-digit number plus or minus a one-digit one; at first, any two below 100."""
    a, b = rng.randrange(100), rng.randrange(100)
    size = rng.random()
    if reach <= 1:
        a, b = rng.randrange(10, 100), rng.randrange(1, 10)
    elif size < (0.15 if reach == 3 else 0.4):
        b = rng.randrange(10)
    elif size < 0.6 and reach == 2:
        b = 10 * rng.randrange(10)
    x, y = rng.sample(w.NAMES, 2)
    if rng.random() < 0.5:
        text, answer, content = (
            rng.choice(say.PLAIN_ADD if reach <= 1 else say.ADD),
            a + b,
            f"+{min(a, b)},{max(a, b)}",
        )
    else:
        a, b = max(a, b), min(a, b)
        text, answer, content = (
            rng.choice(say.PLAIN_SUBTRACT if reach <= 1 else say.SUBTRACT),
            a - b,
            f"-{a},{b}",
        )
    question = text.format(a=a, b=b, x=x, y=y, f=rng.choice(w.FRUITS))
    return Example("arithmetic", question, str(answer), content)


def numbers(rng: random.Random, reach: int = 0) -> Example:
    """Ask to compare two numbers, for an extreme of three, or to sort three (at first, four)."""
    form = rng.choice(("compare", "extreme", "sort", "sort"))
    count = {"compare": 2, "extreme": 3}.get(form) or (rng.choice((3, 3, 4)) if reach == 3 else 3)
    values = rng.sample(range(100), count)
    ordered = sorted(values)
    listed = ", ".join(map(str, values))
    big = rng.random() < 0.5
    answer = str(ordered[-1] if big else ordered[0])
    if form == "compare":
        adjective = rng.choice(("larger", "bigger") if big else ("smaller", "lower"))
        question = rng.choice(say.COMPARE).format(adjective, *values)
    elif form == "extreme":
        adjective = "largest" if big else "smallest"
        question = rng.choice(say.EXTREME).format(adjective, listed)
    else:
        question, answer = rng.choice(say.SORT).format(listed), ", ".join(map(str, ordered))
    return Example("numbers", question, answer, ",".join(map(str, ordered)))


def journey(rng: random.Random) -> Example:
    """Tell two or three places that one person or thing comes to; ask for the last place."""
    thing = rng.random() < 0.4
    mover = rng.choice(w.OBJECTS if thing else w.NAMES)
    places = rng.sample(w.PLACES, rng.choice((2, 2, 3)))
    if thing:
        story = " ".join(rng.choice(say.PUTS).format(rng.choice(w.NAMES), mover, p) for p in places)
    else:
        story = " ".join(rng.choice(say.MOVES).format(mover, place) for place in places)
    question = rng.choice(say.WHERE_THING if thing else say.WHERE).format(mover)
    return Example("stories", f"{story} {question}", places[-1], story)


def stories(rng: random.Random, reach: int = 0) -> Example:
    """Ask where one person or thing is; at first, of two or three, and also who is there."""
    if reach == 0:
        return journey(rng)
    things = rng.random() < 0.35 and reach > 1
    names = rng.sample(w.NAMES, 3)
    if reach == 1:
        movers, moves = names[:2], rng.choice((0, 0, 1))
    else:
        movers = rng.sample(w.OBJECTS, 2) if things else names[: rng.choice((2, 2, 3))]
    where: dict[str, str] = {}
    sentences = []
    order = rng.sample(movers, len(movers))
    moves = rng.randrange(0, 5 - len(movers)) if reach > 1 else moves
    order += [rng.choice(movers) for _ in range(moves)]
    for mover in order:
        place = rng.choice([p for p in w.PLACES if p not in where.values()])
        where[mover] = place
        if things:
            sentences.append(rng.choice(say.PUTS).format(rng.choice(names[:2]), mover, place))
        else:
            sentences.append(rng.choice(say.MOVES).format(mover, place))
    story, asked = " ".join(sentences), rng.choice(movers)
    if things:
        question, answer = rng.choice(say.WHERE_THING).format(asked), where[asked]
    elif rng.random() < 0.4:
        question, answer = rng.choice(say.WHO).format(where[asked]), asked
    else:
        question, answer = rng.choice(say.WHERE).format(asked), where[asked]
    return Example("stories", f"{story} {question}", answer, story)


def pseudo_word(rng: random.Random, lengths: tuple[int, ...]) -> str:
    """Return capital letters, of which consonants and vowels mostly alternate."""
    letters: list[str] = []
    vowel = rng.random() < 0.3
    for _ in range(rng.choice(lengths)):
        letters.append(rng.choice("AEIOU" if vowel else "BCDFGHJKLMNPQRSTVWXYZ"))
        vowel = not vowel if rng.random() < 0.85 else vowel
    return "".join(letters)


REAL_WORDS = tuple(word.upper() for word in w.WORDS if 3 <= len(word) <= 6)
SHORT_WORDS = tuple(word for word in REAL_WORDS if len(word) <= 5)


def words(rng: random.Random, reach: int = 0) -> Example:
    """Ask to reverse or spell a word, or for its first or last letter; a capital is one token."""
    if rng.random() < 0.4:
        word = rng.choice(REAL_WORDS if reach == 3 else SHORT_WORDS)
    else:
        word = pseudo_word(rng, (3, 4, 4, 5, 5, 6) if reach == 3 else (3, 4, 4, 5))
    forms = (
        (say.REVERSE, word[::-1]),
        (say.REVERSE, word[::-1]),
        (say.SPELL, "-".join(word)),
        (say.FIRST, word[0]),
        (say.LAST, word[-1]),
    )
    wordings, answer = rng.choice(forms)
    return Example("words", rng.choice(wordings).format(word), answer, word)


def dates(rng: random.Random, reach: int = 0) -> Example:
    """Ask for a weekday some days away, a neighbouring month, or a common year's month length."""
    if rng.random() < 0.65:
        day, n = rng.randrange(7), rng.randrange(1, {3: 11, 2: 8}.get(reach, 4))
        after = rng.random() < 0.5
        text = rng.choice(say.DAY_AFTER if after else say.DAY_BEFORE).format(n=n, d=w.DAYS[day])
        text = text.replace(" 1 days", " 1 day")
        answer = w.DAYS[(day + n if after else day - n) % 7]
    else:
        month = rng.randrange(12)
        text, answer = rng.choice(
            (
                (rng.choice(say.MONTH_AFTER), w.MONTHS[(month + 1) % 12]),
                (rng.choice(say.MONTH_BEFORE), w.MONTHS[month - 1]),
                (rng.choice(say.MONTH_LENGTH), str(w.MONTH_DAYS[month])),
            )
        )
        text = text.format(w.MONTHS[month])
    return Example("dates", text, answer, text)


# (large unit, small unit, factor, largest count in a question)
UNITS = (
    ("metres", "centimetres", 100, 99),
    ("kilometres", "metres", 1000, 99),
    ("kilograms", "grams", 1000, 99),
    ("euros", "cents", 100, 99),
    ("hours", "minutes", 60, 12),
    ("minutes", "seconds", 60, 12),
    ("weeks", "days", 7, 12),
    ("days", "hours", 24, 7),
    ("years", "months", 12, 10),
    ("dozens", "eggs", 12, 10),
)


def units(rng: random.Random, reach: int = 0) -> Example:
    """Ask to convert a larger unit to a smaller one."""
    large, small, factor, top = rng.choice(UNITS)
    n = rng.randrange(1, top + 1)
    text = rng.choice(say.CONVERT).format(n=n, l=large[:-1] if n == 1 else large, s=small)
    return Example("units", text, str(n * factor), text)


KINDS: dict[str, Callable[[random.Random, int], Example]] = {
    "arithmetic": arithmetic,
    "numbers": numbers,
    "stories": stories,
    "words": words,
    "dates": dates,
    "units": units,
}


def training(
    seed: int | str, weights: dict[str, float] | None = None, reach: int = 0
) -> Iterator[Example]:
    """Yield questions without end, none held out; the same seed gives the same stream.

    ``reach`` sets the ranges, from 0 (the final and the held-out questions) to 3 (the first ones):
    larger numbers, longer words, lists and stories, weekdays further away.
    """
    rng = random.Random(seed)
    kinds = list(KINDS)
    shares = [(weights or {}).get(kind, 1.0) for kind in kinds]
    while True:
        example = KINDS[rng.choices(kinds, shares)[0]](rng, reach)
        if not is_held_out(example):
            yield example


def held_out(count: int, seed: int) -> list[Example]:
    """Return ``count`` different held-out questions, of each kind in turn until it is exhausted."""
    rng = random.Random(f"held-out {seed}")
    kinds, seen, found = list(KINDS), set[str](), list[Example]()
    while len(found) < count and kinds:
        kind = kinds.pop(0)
        for _ in range(ATTEMPTS):
            example = KINDS[kind](rng, 0)
            if example.question not in seen and is_held_out(example):
                seen.add(example.question)
                found.append(example)
                kinds.append(kind)
                break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Write held-out questions as JSON lines.")
    parser.add_argument("--heldout", type=int, default=1000, metavar="N", help="their number")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    for example in held_out(args.heldout, args.seed):
        record = {"kind": example.kind, "question": example.question, "answer": example.answer}
        print(json.dumps(record))


if __name__ == "__main__":
    main()

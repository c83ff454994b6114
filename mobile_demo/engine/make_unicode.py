"""Write the engine's Unicode tables, as the installed tokenizers package has them.

    python mobile_demo/engine/make_unicode.py > mobile_demo/engine/src/unicode/unicode_tables.inc

The package knows Unicode three times over, each of another version: its regular expressions, those
of its added tokens, and its normalizers. So it is asked about every code point.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# The bits of a character's class, in order; unicode.h has the same.
PATTERNS = (r"\p{L}", r"\p{N}", r"\p{M}", r"\s", r"\d")
HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed and decomposed by a formula
STOP, LONGEST = 32, 4  # unicode.cc has the latter
AT_ONCE = 1 << 12  # characters asked about in one text; the package takes longer for one long text
NFC, NFD = (form.normalize_str for form in (normalizers.NFC(), normalizers.NFD()))


def main() -> None:
    print("// Made by mobile_demo/engine/make_unicode.py: do not edit.")
    print("// clang-format off")
    classes = _classes()
    _print("uint8_t kAsciiClass[128]", classes[:128])
    _print_runs("Class", zip(CHARACTERS, classes, strict=True))
    combining = _combining()
    _print_runs("Combining", ((c, combining.get(c, 0)) for c in CHARACTERS))
    pairs, replaced = _compositions()
    _print("uint8_t kPairs[]", _pairs(pairs))
    _print("uint8_t kReplaced[]", _replaced(replaced))


def _print(name: str, numbers: Iterable[int | str]) -> None:
    print(f"constexpr {name} = {{")
    line = ""
    for number in numbers:
        if len(line) + len(f"{number},") > 100:
            print(line)
            line = ""
        line += f"{number},"
    print(f"{line}}};")


def _bytes(number: int) -> list[int]:
    """Seven bits a byte, the low ones first; the last byte has the highest bit clear."""
    found = []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return [*found, number]


def _unsigned(number: int) -> int:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


def _print_runs(name: str, values: Iterable[tuple[str, int]]) -> None:
    """Print where each run of characters with one value starts, as the distance to the one before.

    A number is a distance and, in its rest, the value's place in a list. Every so many runs there
    is a stop, from which a search can begin.
    """
    runs = [next(run) for _, run in itertools.groupby(values, lambda pair: pair[1])]
    known = sorted({value for _, value in runs})
    written: list[int] = []
    stops, last = [], 0
    for number, (character, value) in enumerate(runs):
        if number % STOP == 0:
            stops.append(f"{{{ord(character)},{len(written)}}}")
        written += _bytes((ord(character) - last) * len(known) + known.index(value))
        last = ord(character)
    _print(f"uint8_t k{name}Values[]", known)
    _print(f"Stop k{name}Stops[]", stops)
    _print(f"uint8_t k{name}Runs[]", written)


def _classes() -> list[int]:
    members = []
    for pattern in PATTERNS:
        split = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
        pieces = (split.pre_tokenize_str("".join(some)) for some in _parts(CHARACTERS))
        members.append({c for part in pieces for piece, _ in part for c in piece})
    members.append(_word_characters())
    digits = pre_tokenizers.Digits(individual_digits=True)
    # Between letters, so that a piece of one character is a digit.
    texts = ("".join(f"{c}aa" for c in some) for some in _parts(CHARACTERS))
    pieces = (digits.pre_tokenize_str(text) for text in texts)
    members.append({piece for part in pieces for piece, _ in part if len(piece) == 1})
    if _stripped() != members[PATTERNS.index(r"\s")]:
        raise SystemExit("added tokens strip other characters than \\s, expected the same")
    found = dict.fromkeys(CHARACTERS, 0)
    for bit, some in enumerate(members):
        for c in some:
            found[c] |= 1 << bit
    return list(found.values())


def _parts(characters: Sequence[str], size: int = AT_ONCE) -> Iterator[Sequence[str]]:
    for start in range(0, len(characters), size):
        yield characters[start : start + size]


def _added(form: str, place: tuple[int, int], **flags: bool) -> set[str]:
    """Return the characters for which an added token "@" is found at a place of a text.

    The form is that text of three characters: "@", "?" for the one asked about, and another.
    """
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("@", normalized=False, **flags)])
    start, end = place
    members = set()
    for some in _parts([c for c in CHARACTERS if c != "@"]):
        found = tokenizer.encode("".join(form.replace("?", c) for c in some))
        places = zip(found.ids, found.offsets, strict=True)
        known = {place for number, place in places if number == 1}
        members |= {c for i, c in enumerate(some) if (3 * i + start, 3 * i + end) in known}
    return members


def _word_characters() -> set[str]:
    """Return the characters beside which an added token is no single word."""
    return set(CHARACTERS) - {"@"} - _added(" @?", (1, 2), single_word=True)


def _stripped() -> set[str]:
    return _added("@?a", (0, 2), rstrip=True)


def _combining() -> dict[str, int]:
    """Return the canonical combining classes that the package knows, other than 0.

    Python's own are the candidates. Two marks are of one class where neither order is changed.
    """
    low, high = "\u0334", "\u0345"  # of the classes 1 and 240
    known = (_decomposed(f"?{low}") | _decomposed(f"{high}?")) - _decomposed("?")
    found: dict[str, int] = {}
    first: dict[int, str] = {}
    for c in sorted(known):
        number = unicodedata.combining(c)
        other = first.setdefault(number, c)
        if number == 0 or NFD(c + other) != c + other or NFD(other + c) != other + c:
            raise SystemExit(f"U+{ord(c):04X} is of another combining class, expected {number}")
        found[c] = number
    marks = [first[number] for number in sorted(first)]
    if any(NFD(after + before) != before + after for before, after in _neighbours(marks)):
        raise SystemExit("the combining classes are in another order")
    return found


@functools.cache
def _decomposed(form: str) -> frozenset[str]:
    """Return the characters with which NFD changes a text, in which they stand for "?"."""
    found: set[str] = set()
    for some in _parts(CHARACTERS, 256):
        texts = [form.replace("?", c) for c in some]
        whole = "a".join(texts)  # no mark passes a letter
        if NFD(whole) != whole:
            found |= {c for c, text in zip(some, texts, strict=True) if NFD(text) != text}
    return frozenset(found)


def _neighbours(items: Sequence[str]) -> Iterator[tuple[str, str]]:
    return itertools.pairwise(items)


def _compositions() -> tuple[list[tuple[int, int, int]], list[tuple[int, str]]]:
    """Return pairs that compose, as (second, first, whole), and what NFC replaces for good."""
    pairs, replaced = [], []
    for c in sorted(_decomposed("?")):
        parts = NFD(c)
        if ord(c) in HANGUL:
            continue
        if NFC(c) != c:
            replaced.append((ord(c), NFC(c)))
            continue
        first, second = NFC(parts[:-1]), parts[-1]
        if len(first) != 1:
            raise SystemExit(f"U+{ord(c):04X} is composed in another way, expected a pair")
        pairs.append((ord(second), ord(first), ord(c)))
    return sorted(pairs), replaced


def _pairs(pairs: Iterable[tuple[int, int, int]]) -> Iterator[int]:
    """For each second character: how many pairs it has, and their first and whole characters."""
    last = 0
    for second, group in itertools.groupby(pairs, lambda pair: pair[0]):
        members = [pair[1:] for pair in group]
        yield from _bytes(second - last)
        yield from _bytes(len(members))
        last, before = second, (0, 0)
        for first, whole in members:
            step = first - before[0]
            yield from _bytes(step)
            yield from _bytes(_unsigned(whole - before[1] - step))
            before = (first, whole)


def _replaced(replaced: Iterable[tuple[int, str]]) -> Iterator[int]:
    """Each character with the number of those that replace it, and these."""
    last = before = 0
    for c, text in replaced:
        if len(text) > LONGEST:
            raise SystemExit(f"U+{c:04X} is replaced by {len(text)}, expected at most {LONGEST}")
        yield from _bytes((c - last) * LONGEST + len(text) - 1)
        last = c
        for part in map(ord, text):
            yield from _bytes(_unsigned(part - before))
            before = part


if __name__ == "__main__":
    main()

"""Write the engine's Unicode tables, as the installed tokenizers package has them.

    python mobile_demo/engine/make_unicode.py > mobile_demo/engine/src/unicode/unicode_tables.inc

The package knows Unicode three times over, each of another version: its regular expressions, those
of its added tokens, and its normalizers. So it is asked about every code point.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# The bits of a character's class, in order; unicode.h has the same.
PATTERNS = (r"\p{L}", r"\p{N}", r"\p{M}", r"\s", r"\d")
HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed and decomposed by a formula
NFC, NFD = (form.normalize_str for form in (normalizers.NFC(), normalizers.NFD()))


def main() -> None:
    print("// Made by mobile_demo/engine/make_unicode.py: do not edit.")
    print("// clang-format off")
    classes = _classes()
    _print("uint8_t kAsciiClass[128]", classes[:128])
    _print("uint32_t kClassRuns[]", _runs(zip(CHARACTERS, classes, strict=True)))
    combining = _combining()
    _print("uint32_t kCombiningRuns[]", _runs((c, combining.get(c, 0)) for c in CHARACTERS))
    _print_compositions()


def _print(name: str, numbers: Iterable[int]) -> None:
    print(f"constexpr {name} = {{")
    line = ""
    for number in numbers:
        if len(line) + len(f"{number},") > 100:
            print(line)
            line = ""
        line += f"{number},"
    print(f"{line}}};")


def _runs(values: Iterable[tuple[str, int]]) -> list[int]:
    """Return where each run of characters with one value starts, with the value in 8 bits."""
    runs, last = [], -1
    for character, value in values:
        if value != last:
            runs.append(ord(character) << 8 | value)
            last = value
    return runs


def _classes() -> list[int]:
    text = "".join(CHARACTERS)
    members = []
    for pattern in PATTERNS:
        split = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
        members.append({c for piece, _ in split.pre_tokenize_str(text) for c in piece})
    members.append(_word_characters())
    digits = pre_tokenizers.Digits(individual_digits=True)
    # Between letters, so that a piece of one character is a digit.
    pieces = digits.pre_tokenize_str("".join(f"{c}aa" for c in CHARACTERS))
    members.append({piece for piece, _ in pieces if len(piece) == 1})
    if _stripped() != members[PATTERNS.index(r"\s")]:
        raise SystemExit("added tokens strip other characters than \\s, expected the same")
    return [sum((c in some) << bit for bit, some in enumerate(members)) for c in CHARACTERS]


def _added(text: str, **flags: bool) -> set[tuple[int, int]]:
    """Return where an added token "@" is found in a text."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("@", normalized=False, **flags)])
    found = tokenizer.encode(text)
    places = zip(found.ids, found.offsets, strict=True)
    return {place for number, place in places if number == 1}


def _word_characters() -> set[str]:
    """Return the characters beside which an added token is no single word."""
    others = [c for c in CHARACTERS if c != "@"]
    found = _added("".join(f" @{c}" for c in others), single_word=True)
    return {c for i, c in enumerate(others) if (3 * i + 1, 3 * i + 2) not in found}


def _stripped() -> set[str]:
    others = [c for c in CHARACTERS if c != "@"]
    found = _added("".join(f"@{c}a" for c in others), rstrip=True)
    return {c for i, c in enumerate(others) if (3 * i, 3 * i + 2) in found}


def _combining() -> dict[str, int]:
    """Return the canonical combining classes that the package knows, other than 0.

    Python's own are the candidates. Two marks are of one class where neither order is changed.
    """
    whole = [c for c in CHARACTERS if NFD(c) == c]
    low, high = "\u0334", "\u0345"  # of the classes 1 and 240
    known = {c for c in whole if NFD(c + low) != c + low or NFD(high + c) != high + c}
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


def _neighbours(items: Sequence[str]) -> Iterator[tuple[str, str]]:
    return itertools.pairwise(items)


def _print_compositions() -> None:
    """Print pairs that compose, and what is replaced where NFC does not give it back.

    A pair's three characters are of one plane, and the planes follow each other, so 16 bits are
    enough for each.
    """
    pairs, replaced = [], []
    for c in CHARACTERS:
        parts = NFD(c)
        if parts == c or ord(c) in HANGUL:
            continue
        if NFC(c) != c:
            replaced.append((c, NFC(c)))
            continue
        first, second = NFC(parts[:-1]), parts[-1]
        if len(first) != 1 or len({ord(x) >> 16 for x in (first, second, c)}) != 1:
            raise SystemExit(f"U+{ord(c):04X} is composed in another way, expected a pair")
        pairs.append((c, first, second))
    _print("uint16_t kPairs[]", (ord(x) & 0xFFFF for pair in pairs for x in pair))
    print(f"constexpr size_t kFirstPairOfPlane1 = {sum(ord(c) < 0x10000 for c, _, _ in pairs)};")
    order = sorted(range(len(pairs)), key=lambda i: pairs[i][1:])
    _print("uint16_t kPairsByParts[]", order)
    units, starts = [], []
    for _, text in replaced:
        starts.append(len(units))
        units += memoryview(text.encode("utf-16-le")).cast("H").tolist()
    _print("uint16_t kReplaced[]", (ord(c) & 0xFFFF for c, _ in replaced))
    for plane in (1, 2):
        count = sum(ord(c) < plane << 16 for c, _ in replaced)
        print(f"constexpr size_t kFirstReplacedOfPlane{plane} = {count};")
    _print("uint16_t kReplacedStart[]", [*starts, len(units)])
    _print("uint16_t kReplacedBy[]", units)


if __name__ == "__main__":
    main()

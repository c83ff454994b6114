"""The text part of the engine for native apps: its test program, called from Python."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.paths import ROOT

__all__ = ["ENGINE", "SCRIPTS", "called", "ids_of", "opened", "records", "strings"]

ENGINE = ROOT / "mobile_demo" / "engine"

SCRIPTS = [
    "The quick brown fox's don't I'LL we'Re'", "Привет, мир! Ёлка ещё", "Γειά σου Κόσμε",
    "שלום עולם", "مرحبا بالعالم ١٢٣", "नमस्ते दुनिया १२३", "বাংলা ভাষা", "สวัสดีชาวโลก",
    "你好世界，今天天气", "こんにちは世界カタカナ", "안녕하세요 세계", "Xin chào thế giới",
    "ქართული ენა", "Հայերեն", "አማርኛ", "தமிழ் மொழி", "ພາສາລາວ", "ᚠᚢᚦ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽", "e\u0301 A\u030a o\u0308\u0323 \u1100\u1161\u11a8 가\u11a8",
    "\0\0a\0", "  \n\n \t\r\n  x", "12345678 ½ ² ① Ⅷ", "def f(x):\n\treturn x**2 # ...",
    "'ſ 'S 'd 'LL 'vE", "\u00a0\u2003\u3000\u200b\ufeff", "==>>|`~^$+", "ﬃ ß ŉ \u212b \u212a",
]  # fmt: skip
MARKS = "\u0300\u0301\u0308\u0323\u0327\u0345\u05b0\u093c\u3099"


def records(contents: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def opened(program: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Return what opening a folder says: nothing, or a code and a sentence."""
    return subprocess.run([program, folder, "encode"], input=b"", capture_output=True)


def called(program: Path, folder: Path, what: str, contents: Iterable[bytes]) -> list[bytes]:
    done = subprocess.run([program, folder, what], input=records(contents), capture_output=True)
    assert done.returncode == 0, done.stderr
    found, place = [], 0
    while place < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, place)
        found.append(done.stdout[place + 4 : place + 4 + size])
        place += 4 + size
    return found


def ids_of(content: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(content) // 4}i", content))


def strings(tokens: Sequence[str], count: int, seed: int = 1) -> list[str]:
    """Return texts of many scripts, whole and cut tokens, combining marks and any characters."""
    chance = random.Random(seed)
    found = [*SCRIPTS, ""]
    while len(found) < count:
        found.append("".join(_part(chance, tokens) for _ in range(chance.randint(1, 6))))
    return found


def _part(chance: random.Random, tokens: Sequence[str]) -> str:
    def some(letters: Sequence[str], most: int) -> str:
        return "".join(chance.choice(letters) for _ in range(chance.randint(1, most)))

    def any_of(end: int) -> str:
        numbers = (chance.randrange(end) for _ in range(chance.randint(1, 9)))
        return "".join(chr(n) for n in numbers if not 0xD800 <= n < 0xE000)

    kind = chance.randrange(7)
    if kind == 0:
        text = chance.choice(SCRIPTS)
        start = chance.randrange(len(text))
        return text[start : start + chance.randint(1, 30)]
    if kind == 1:
        return any_of(0x110000)
    if kind == 2:
        token = chance.choice([*tokens, "<|x|>"])
        return token if chance.random() < 0.5 else token[: chance.randint(1, len(token))]
    if kind == 3:
        return any_of(0x3000)
    if kind == 4:
        return chance.choice([" ", "\n", "\t", " \n ", "\r\n", "\u00a0"]) * chance.randint(1, 5)
    if kind == 5:
        return some("abcXYZ '1239.,-\n", 20)
    return chance.choice("aeouAO") + some(MARKS, 3)

"""The lines of a file of requests, in OpenAI's form, and the key of each.

A key stands for the line's custom_id, or for its number where it has none. Knows bytes and JSON;
does not know answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError
from ..api.errors import ApiError
from ..api.reading import json_of

__all__ = ["ENDPOINTS", "KEY", "Input", "Line", "as_array", "line_of", "scanned"]

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
FIELDS = ("custom_id", "method", "url", "body")
LONGEST = 8 << 20  # bytes of a line
WINDOW = 1000  # lines that are sorted by length
KEY = 16  # bytes
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """A request, or what is wrong with it."""

    key: bytes
    custom_id: str | None
    url: str = ""
    body: bytes = b""
    code: str = ""
    wrong: str = ""
    """Why the line is no request; empty where it is one."""


@dataclass(frozen=True)
class Input:
    """A file of requests as it was when it was read through."""

    path: Path
    size: int
    sha256: str
    keys: bytes
    """Of all lines that are not blank, in their order."""
    is_as_before: bool
    """Whether it begins with what a former run read."""

    def __len__(self) -> int:
        return len(self.keys) // KEY

    def windows(self, done: np.ndarray, size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield the lines that are not done, with their numbers, so many at a time.

        done: keys in order. Raises ConfigError where the file changes meanwhile.
        """
        window: list[tuple[int, bytes]] = []
        place = number = 0
        for number, text in _texts(self.path):
            key = _key(number, text)[0]
            if key != self.keys[place * KEY : (place + 1) * KEY]:
                break
            place += 1
            own = as_array(key)
            found = int(np.searchsorted(done, own)[0])
            if found == len(done) or done[found] != own[0]:
                window.append((number, text))
            if len(window) == size:
                yield window
                window = []
            if place == len(self):
                break
        if place < len(self):
            raise ConfigError(
                f"{self.path} changed at line {number} while it was read, expected it to stay",
                hint="what is answered is kept; run the command again with the former file",
            )
        yield window

    def by_length(self, done: np.ndarray) -> Iterator[Line]:
        """Yield the lines that are not done, the longest of each window first."""
        for window in self.windows(done, WINDOW):
            for number, text in sorted(window, key=lambda each: -len(each[1])):
                yield line_of(number, text)


def scanned(path: Path, before: tuple[int, str] | None = None) -> Input:
    """Read a file through.

    before: how many bytes a former run read, and their SHA-256; the file may have further lines
    now. Raises ConfigError for a custom_id that two lines have: nobody could tell whose an answer
    is.
    """
    digest, size, keys = hashlib.sha256(), 0, bytearray()
    is_as_before = before is None or before[0] == 0

    def hashed(part: bytes) -> None:
        nonlocal size, is_as_before
        if before is not None and size < before[0] <= size + len(part):
            former = digest.copy()
            former.update(part[: before[0] - size])
            # A last line without its end may get it, and nothing else.
            added = part[before[0] - size :]
            is_as_before = former.hexdigest() == before[1] and not added.strip(b"\r\n")
        digest.update(part)
        size += len(part)

    for number, text in _texts(path, hashed):
        keys += _key(number, text)[0]
    found = as_array(bytes(keys))
    order = np.argsort(found, kind="stable")
    twice = np.flatnonzero(found[order][1:] == found[order][:-1])
    if len(twice):
        _refuse_twice(path, bytes(found[order[twice[0]]]).ljust(KEY, b"\0"))
    return Input(path, size, digest.hexdigest(), bytes(keys), is_as_before)


def _refuse_twice(path: Path, key: bytes) -> None:
    same = ((n, found[1]) for n, text in _texts(path) if (found := _key(n, text))[0] == key)
    (first, name), (second, _) = next(same), next(same)
    raise ConfigError(
        f"lines {first} and {second} of {path} have the custom_id {name!r:.80}, expected one of"
        " its own for each line"
    )


def as_array(keys: bytes) -> np.ndarray:
    """Return keys as an array that can be sorted."""
    # NumPy leaves out zeros at the end of such a text; all have one length, so none become equal.
    return np.frombuffer(keys, dtype=f"S{KEY}")


def _texts(
    path: Path, seen: Callable[[bytes], None] = lambda part: None
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers; of a longer one, what is too much.

    seen: gets the file's bytes in whole lines or parts of them.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while text := file.readline(LONGEST + 1):
                seen(text)
                number += 1
                last = text
                while len(last) > LONGEST and not last.endswith(b"\n"):
                    last = file.readline(LONGEST + 1)
                    seen(last)
                shown = text.removeprefix(BOM) if number == 1 else text
                if shown.strip():
                    yield number, shown
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _key(number: int, text: bytes) -> tuple[bytes, str | None]:
    """Return the key of a line, and its custom_id where it has one."""
    custom_id: Any = None
    if len(text) <= LONGEST:
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
            custom_id = found.get("custom_id") if isinstance(found, dict) else None
    if isinstance(custom_id, str):
        named = b"i" + custom_id.encode("utf-8", "surrogatepass")
    else:
        named, custom_id = b"n%d" % number, None
    return hashlib.blake2b(named, digest_size=KEY).digest(), custom_id


def line_of(number: int, text: bytes) -> Line:
    """Return what a line asks for, or what is wrong with it."""
    key, custom_id = _key(number, text)
    try:
        if len(text) > LONGEST:
            raise ApiError(
                400,
                f"the line has more than {LONGEST} bytes, expected at most so many",
                code="line_too_long",
            )
        url, body = _request(json_of(text))
    except ApiError as error:
        wrong = f"line {number}: {error.message}".replace("the body is", "it is")
        return Line(key, custom_id, code=error.code or "invalid_value", wrong=wrong)
    return Line(key, custom_id, url, body)


def _request(found: dict[str, Any]) -> tuple[str, bytes]:
    """Return the endpoint and the body; raise ApiError where there are none."""
    _refuse_fields(found)
    if not isinstance(found["custom_id"], str):
        _refuse("custom_id", found["custom_id"], "a string")
    if found["method"] != "POST":
        _refuse("method", found["method"], "POST", "invalid_method")
    if found["url"] not in ENDPOINTS:
        _refuse("url", found["url"], f"one of: {', '.join(ENDPOINTS)}", "invalid_url")
    body = found["body"]
    if not isinstance(body, dict):
        _refuse("body", body, "an object of fields")
    if body.get("stream"):
        _refuse("body.stream", body["stream"], "false: answers are written whole")
    return found["url"], json.dumps(body).encode()


def _refuse_fields(found: Iterable[str]) -> None:
    for name in found:
        if name not in FIELDS:
            raise ApiError(
                400,
                f"{name!r:.80} is not a field of a line, expected {', '.join(FIELDS)}",
                code="unknown_parameter",
            )
    for name in FIELDS:
        if name not in found:
            raise ApiError(
                400, f"{name} is missing, expected it", code="missing_required_parameter"
            )


def _refuse(name: str, value: Any, expected: str, code: str = "invalid_value") -> None:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 120 else f"{shown[:100]}..."
    raise ApiError(400, f"{name} is {shown}, expected {expected}", code=code)

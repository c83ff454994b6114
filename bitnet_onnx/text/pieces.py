"""The bytes and the text of single tokens.

Knows the tokenizer; does not know which tokens come before.
"""

from __future__ import annotations

import json
import re
from functools import cached_property

from ..errors import TokenizerError
from .tokenizer import Tokenizer

__all__ = ["Pieces"]


class Pieces:
    """What each token adds to a text that it does not begin.

    The bytes of a token may be a part of a character; its text then has U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}

    def raw(self, token: int) -> bytes:
        """Return a token's bytes; none for an id that no token has."""
        found = self._known.get(token)
        if found is None:
            found = self._known[token] = self._found(token)
        return found

    def text(self, token: int) -> str:
        """Return a token's text."""
        return self.raw(token).decode("utf-8", "replace")

    def _found(self, token: int) -> bytes:
        name = self._names.get(token)
        if name is None:
            return b""
        if token in self._tokenizer.special_ids:
            return name.encode()
        if token in self._tokenizer.byte_ids:
            return bytes([int(name[3:5], 16)])
        if self._alphabet and all(character in self._alphabet for character in name):
            return bytes(self._alphabet[character] for character in name)
        before = self._tokenizer.decode_raw(self._before, skip_special_tokens=False)
        both = self._tokenizer.decode_raw([*self._before, token], skip_special_tokens=False)
        return both[len(before) :].encode("utf-8", "replace")

    @cached_property
    def _names(self) -> dict[int, str]:
        return {token: name for name, token in self._tokenizer.vocabulary.items()}

    @cached_property
    def _before(self) -> list[int]:
        """A token that another one follows: some decoders strip a blank at the start."""
        try:
            return self._tokenizer.encode("a", add_special_tokens=False)[-1:]
        except TokenizerError:
            return []

    @cached_property
    def _alphabet(self) -> dict[str, int]:
        """The byte of each character of names, where the decoder is of bytes."""
        decoder = json.dumps(json.loads(self._tokenizer.to_json()).get("decoder"))
        return ALPHABET if re.search(r'"type": "ByteLevel"', decoder) else {}


def _alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones are themselves, the others follow 255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    made = {chr(byte): byte for byte in plain}
    return made | {chr(256 + place): byte for place, byte in enumerate(others)}


ALPHABET = _alphabet()

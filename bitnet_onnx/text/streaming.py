"""Text that comes in pieces: whole characters only, and cut at stop strings.

Knows the tokenizer; knows no session and no loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from .tokenizer import Tokenizer

__all__ = ["StopStrings", "StreamDecoder"]


class StreamDecoder:
    """Ids one by one to text whose pieces, joined, equal Tokenizer.decode of all of them.

    A character whose bytes are spread over several tokens is held until it is whole. Decoders
    with byte fallback (not byte-level BPE) may show a run of invalid bytes in another way.
    """

    # An unfinished UTF-8 character is at most 3 bytes, so at most 3 replacement characters.
    _HELD = 3

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.special_ids if skip_special_tokens else frozenset()
        # The chunk before keeps decoders that strip the first space from doing so mid-text.
        self._before: list[int] = []
        self._window: list[int] = []
        self._emitted = 0  # characters of the window that were handed out

    def push(self, id: int) -> str:
        """The text that this id completes; may be empty."""
        if id in self._hidden:
            return ""
        self._window.append(id)
        text = self._window_text()
        whole = text.rstrip("\ufffd")
        end = max(len(whole), len(text) - self._HELD)
        piece = text[self._emitted : end]
        self._emitted = max(self._emitted, end)
        if text and len(whole) == len(text):
            self._before, self._window, self._emitted = self._window, [], 0
        return piece

    def flush(self) -> str:
        """What is held at the end: bytes that no token completed."""
        piece = self._window_text()[self._emitted :]
        self._before, self._window, self._emitted = [], [], 0
        return piece

    def _window_text(self) -> str:
        before = self._tokenizer.decode(self._before, skip_special_tokens=False)
        both = self._tokenizer.decode(self._before + self._window, skip_special_tokens=False)
        return both[len(before) :]


class StopStrings:
    """Cuts a text that comes in pieces before the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until that is decided, so
    nothing of a stop string is ever handed out. Where two are complete at the same character,
    the longer counts.
    """

    def __init__(self, strings: Sequence[str] = ()) -> None:
        self._strings = strings
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """The text that is now certain; nothing after a stop string was found."""
        if self.found:
            return ""
        text = self._held + piece
        ends = [
            (start + len(string), start)
            for string in self._strings
            if (start := text.find(string)) >= 0
        ]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)[1]]
        held = max((_overlap(text, string) for string in self._strings), default=0)
        cut = len(text) - held
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back and turned out to be text, since no more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Characters at the end of text that begin the string; the whole string is not in text."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)

"""Streamed text: whole characters only, cut at stop strings.

Knows the tokenizer; does not know sessions or the loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from .backend import cleaned
from .tokenizer import Tokenizer

__all__ = ["StopStrings", "StreamDecoder"]


# No blank of these can be cleaned up together with a letter outside them.
_CLEANED_WITH = frozenset(" .?!,'ntmsver")


class StreamDecoder:
    """Decodes ids one by one; the joined pieces equal ``Tokenizer.decode`` of all ids.

    A character whose bytes span several tokens is held back until it is complete. So is a run of
    byte tokens, such as <0xE2>, since one wrong byte in it changes how all of it is shown. Special
    tokens around thoughts and tool calls are always shown: an answer cannot be read without them.
    """

    # An incomplete UTF-8 character is at most 3 bytes, hence at most 3 replacement characters.
    _HELD = 3

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._hidden = tokenizer.hidden_ids if skip_special_tokens else frozenset()
        # Some decoders strip a leading space: with the ids before, the window does not lead.
        self._before: list[int] = []
        self._window: list[int] = []
        self._emitted = 0  # characters of the window that were returned
        self._raw = ""  # what the next pieces can still change when blanks are cleaned up

    def push(self, token: int) -> str:
        """Return the text that this id completes; it may be empty."""
        if token in self._hidden or not self._tokenizer.knows(token):
            return ""
        self._window.append(token)
        if token in self._tokenizer.byte_ids:
            return ""
        text = self._window_text()
        whole = text.rstrip("\ufffd")
        end = max(len(whole), len(text) - self._HELD)
        piece = text[self._emitted : end]
        self._emitted = max(self._emitted, end)
        if text and len(whole) == len(text):
            self._before, self._window, self._emitted = self._window, [], 0
        return self._cleaned(piece)

    def flush(self) -> str:
        """Return what is held back at the end: bytes that no token completed."""
        piece = self._window_text()[self._emitted :]
        self._before, self._window, self._emitted = [], [], 0
        return self._cleaned(piece, last=True)

    def _window_text(self) -> str:
        before = self._tokenizer.decode_raw(self._before, skip_special_tokens=False)
        both = self._tokenizer.decode_raw(self._before + self._window, skip_special_tokens=False)
        return both[len(before) :]

    def _cleaned(self, piece: str, last: bool = False) -> str:
        if not self._tokenizer.cleans_up:
            return piece
        raw = self._raw + piece
        kept = len(raw)
        while not last and kept and raw[kept - 1] in _CLEANED_WITH:
            kept -= 1
        self._raw = raw[kept:]
        return cleaned(raw[:kept])


class StopStrings:
    """Cuts streamed text before the stop string that ends first.

    Text that may begin a stop string is held back until the next pieces decide it, so no part of a
    stop string is ever returned. Where two stop strings end at the same character, the longer one
    counts.
    """

    def __init__(self, strings: Sequence[str] = ()) -> None:
        self._strings = strings
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Return the text that is now certain: nothing once a stop string was found."""
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
        """Return the held-back text at the end of the stream."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Count the characters at the end of ``text`` that begin ``string``, which it lacks."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)

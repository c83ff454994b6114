"""Generated ids as text, as they come: whole characters only, cut at stop strings.

Knows the tokenizer and the loop. Knows no chat and no screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import GenerationError
from ..text.tokenizer import StreamDecoder, Tokenizer
from .loop import GenerationResult, SessionLike, TokenStream, generate, stream
from .sampling import SamplingParams

__all__ = ["StopStrings", "TextResult", "TextStream", "generate_text", "text_stream"]


class StopStrings:
    """Cuts a text that comes in pieces before the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until that is decided, so
    nothing of a stop string is ever handed out. Where two are complete at the same character,
    the longer counts.
    """

    def __init__(self, stop_strings: str | Sequence[str] = ()) -> None:
        strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
        for string in strings:
            if not isinstance(string, str) or not string:
                raise GenerationError(f"A stop string is {string!r}; it must be a non-empty text.")
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


class _Writer:
    """Ids of one row to text that is safe to show."""

    def __init__(self, tokenizer: Tokenizer, stop_strings: str | Sequence[str]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._stop = StopStrings(stop_strings)

    def push(self, id: int) -> tuple[str, bool]:
        """The text that became certain, and whether a stop string is complete."""
        return self._stop.push(self._decoder.push(id)), self._stop.found

    def flush(self) -> str:
        return self._stop.push(self._decoder.flush()) + self._stop.flush()


class TextStream(Iterator[str]):
    """Pieces of valid text of one running sequence; `result` and `text` are filled as they come."""

    def __init__(self, tokens: TokenStream, writer: _Writer) -> None:
        self.tokens = tokens
        self.text = ""
        self._pieces = self._write(writer)

    @property
    def result(self) -> GenerationResult:
        return self.tokens.result

    def __next__(self) -> str:
        return next(self._pieces)

    def _write(self, writer: _Writer) -> Iterator[str]:
        for id in self.tokens:
            piece, stopped = writer.push(id)
            if stopped:
                self.tokens.stop()
            if piece:
                self.text += piece
                yield piece
        if rest := writer.flush():
            self.text += rest
            yield rest


def text_stream(
    session: SessionLike,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    sampling: SamplingParams | None = None,
    stop_strings: str | Sequence[str] = (),
    num_beams: int = 1,
    cached_ids: Sequence[int] = (),
) -> TextStream:
    """Continues one prompt and yields its text, ending at an eos of the tokenizer."""
    writer = _Writer(tokenizer, stop_strings)
    tokens = stream(
        session,
        ids,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_ids,
        sampling=sampling,
        num_beams=num_beams,
        cached_ids=cached_ids,
    )
    return TextStream(tokens, writer)


@dataclass(frozen=True)
class TextResult:
    """The text of one prompt's continuation and how it came about."""

    text: str
    result: GenerationResult


def generate_text(
    session: SessionLike,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: SamplingParams | None = None,
    stop_strings: str | Sequence[str] = (),
    num_beams: int = 1,
    on_text: Callable[[int, str], None] | None = None,
) -> list[TextResult]:
    """Continues all prompts in one batch; on_text(row, piece) sees the text as it comes."""
    writers = [_Writer(tokenizer, stop_strings) for _ in prompts]
    texts = [""] * len(writers)

    def write(row: int, piece: str) -> None:
        texts[row] += piece
        if piece and on_text is not None:
            on_text(row, piece)

    def on_token(row: int, id: int) -> bool:
        piece, stopped = writers[row].push(id)
        write(row, piece)
        return stopped

    results = generate(
        session,
        prompts,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_ids,
        sampling=sampling,
        num_beams=num_beams,
        on_token=on_token,
    )
    for row, writer in enumerate(writers):
        write(row, writer.flush())
    return [TextResult(text, result) for text, result in zip(texts, results, strict=True)]

"""Generated ids as streamed text: whole characters only, cut at stop strings.

Knows the tokenizer and the loop; does not know chats or the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..text.streaming import StopStrings, StreamDecoder
from ..text.tokenizer import Tokenizer
from .config import GenerationConfig
from .constraints.compiled import Constraint
from .constraints.outputs import StructuredOutputs, structured_outputs
from .extras import Extras
from .leases import SessionLike
from .loop import TokenStream, generate, stream
from .rows import GenerationResult, Prompt
from .strategies.universal import Foreign

__all__ = [
    "TextResult",
    "TextStream",
    "Writer",
    "compiled",
    "generate_text",
    "of_chat",
    "prepared",
    "text_stream",
]


class Writer:
    """Turns the ids of one row into text that is safe to show.

    Stop strings are looked for in the text with special tokens, as transformers does, so that the
    text of a special token can be one. That text is not shown.
    """

    def __init__(self, tokenizer: Tokenizer, config: GenerationConfig) -> None:
        self._tokenizer = tokenizer
        self._decoder = StreamDecoder(tokenizer)
        self._stop = StopStrings(config.stop_strings or ())
        self._waiting: list[tuple[str, bool]] = []  # pushed but not yet certain; whether shown

    def push(self, token: int) -> tuple[str, bool]:
        """Return the text that is now certain, and whether a stop string is complete."""
        hidden = token in self._tokenizer.hidden_ids
        if hidden:
            text = self._tokenizer.decode([token], skip_special_tokens=False)
        else:
            text = self._decoder.push(token)
        return self._shown(text, not hidden), self._stop.found

    def flush(self) -> str:
        """Return what is held back at the end."""
        return self._shown(self._decoder.flush(), True) + self._certain(len(self._stop.flush()))

    def _shown(self, text: str, visible: bool) -> str:
        self._waiting.append((text, visible))
        return self._certain(len(self._stop.push(text)))

    def _certain(self, count: int) -> str:
        """Return what is visible of the next ``count`` waiting characters."""
        shown = ""
        while count:
            text, visible = self._waiting.pop(0)
            if visible:
                shown += text[:count]
            if len(text) > count:
                self._waiting.insert(0, (text[count:], visible))
            count -= min(count, len(text))
        return shown


class TextStream(Iterator[str]):
    """The text of one running sequence in valid pieces; ``result`` and ``text`` grow with them."""

    def __init__(self, tokens: TokenStream, writer: Writer) -> None:
        self._tokens = tokens
        self.text = ""
        self._pieces = self._write(writer)

    @property
    def result(self) -> GenerationResult:
        return self._tokens.result

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """End the sequence here and release the session."""
        self._tokens.close()

    def _write(self, writer: Writer) -> Iterator[str]:
        for token in self._tokens:
            piece, stopped = writer.push(token)
            if stopped:
                self._tokens.stop()
            if piece:
                self.text += piece
                yield piece
        if rest := writer.flush():
            self.text += rest
            yield rest


def text_stream(
    session: SessionLike,
    tokenizer: Tokenizer,
    ids: Prompt,
    config: GenerationConfig | None = None,
    extras: Extras | None = None,
) -> TextStream:
    """Continue one prompt and yield its text; arguments and errors are those of ``loop.stream``."""
    config, extras = prepared(session, tokenizer, config, extras)
    return TextStream(stream(session, ids, config, extras), Writer(tokenizer, config))


@dataclass(frozen=True)
class TextResult:
    """The text of one prompt's continuation; ``result`` holds its ids and how they were made."""

    text: str
    result: GenerationResult
    sequences: tuple[TextResult, ...] = ()
    """Of ``Model.generate``: all ``num_return_sequences`` results, of which this is the first."""


def generate_text(
    session: SessionLike,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerationConfig | None = None,
    extras: Extras | None = None,
    *,
    on_text: Callable[[int, str], None] | None = None,
) -> list[TextResult]:
    """Continue all prompts in one batch; on_text(row, piece) sees each piece of text.

    The results, and the rows of on_text, are those of ``loop.generate``.
    """
    config, extras = prepared(session, tokenizer, config, extras)
    writers = [Writer(tokenizer, config) for _ in range(len(prompts) * config.num_return_sequences)]
    texts = [""] * len(writers)

    def write(row: int, piece: str) -> None:
        texts[row] += piece
        if piece and on_text is not None:
            on_text(row, piece)

    def on_token(row: int, token: int) -> bool:
        piece, stopped = writers[row].push(token)
        write(row, piece)
        return stopped

    stopped = partial(_stopped, tokenizer, config) if config.stop_strings else None
    results = generate(session, prompts, config, extras, on_token=on_token, stopped=stopped)
    for row, writer in enumerate(writers):
        write(row, writer.flush())
    return [TextResult(text, result) for text, result in zip(texts, results, strict=True)]


def _stopped(tokenizer: Tokenizer, config: GenerationConfig, ids: Sequence[int]) -> bool:
    """Return whether the text of new ids holds a stop string."""
    writer = Writer(tokenizer, config)
    return any(writer.push(token)[1] for token in ids)


def prepared(
    session: SessionLike,
    tokenizer: Tokenizer,
    config: GenerationConfig | None,
    extras: Extras | None,
) -> tuple[GenerationConfig, Extras | None]:
    """Return options and extras with what the tokenizer adds."""
    config = _ending(tokenizer, config)
    return config, _bound(session, tokenizer, config, extras)


def _ending(tokenizer: Tokenizer, config: GenerationConfig | None) -> GenerationConfig:
    """Return the options, with the tokenizer's eos where they name none."""
    config = config or GenerationConfig()
    if config.eos_token_id is not None:
        return config
    return config.changed(eos_token_id=tokenizer.eos_token_ids)


def _bound(
    session: SessionLike, tokenizer: Tokenizer, config: GenerationConfig, extras: Extras | None
) -> Extras | None:
    """Return the extras, bound to the tokenizer.

    The form of the answer is compiled for it, and an assistant_model with another tokenizer comes
    with both.
    """
    if extras is None:
        return None
    outputs, assistant = extras.structured_outputs, extras.assistant_model
    if isinstance(outputs, StructuredOutputs):
        outputs = compiled(session, tokenizer, config, outputs)
    other = getattr(assistant, "tokenizer", None)
    if isinstance(other, Tokenizer) and other.vocabulary != tokenizer.vocabulary:
        assistant = Foreign(assistant, other, tokenizer)
    return replace(extras, structured_outputs=outputs, assistant_model=assistant)


def compiled(
    session: SessionLike, tokenizer: Tokenizer, config: GenerationConfig, form: Any
) -> Constraint | None:
    """Return the form of answers, for any number of them; None where there is none."""
    outputs = structured_outputs(form)
    if outputs is None:
        return None
    eos = _ending(tokenizer, config).eos_token_ids
    return Constraint(outputs, tokenizer, session.vocab_size, eos)


def of_chat(config: GenerationConfig, tokenizer: Tokenizer) -> GenerationConfig:
    """Return the options of a chat, in which the token that ends a turn ends an answer, too.

    Some files name only the token that ends a text.
    """
    if config.eos_token_id is None:
        return config
    both = dict.fromkeys((*config.eos_token_ids, *tokenizer.eos_token_ids))
    return config.changed(eos_token_id=tuple(both))

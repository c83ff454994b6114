"""A conversation of several turns, whose cache is kept from turn to turn.

Knows the template's order of turns and the ids of each reply; does not know ONNX or the screen. A
reply stays the ids that the model chose: its text, encoded again, can give different ids.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import GenerationError, SessionError
from ..text.tokenizer import Tokenizer
from .config import GenerationConfig, checked
from .loop import GenerationResult, SessionLike
from .text import TextStream, text_stream

__all__ = ["Chat", "Turn"]


@dataclass(frozen=True)
class Turn:
    """One question (``user``) and its answer (``reply``).

    ``reply_ids`` leave out the eos that ended them.
    """

    user: str
    reply: str
    reply_ids: tuple[int, ...]


Fitted = tuple[list[Turn], list[int]]  # the turns to keep, and the ids of the prompt


class Chat:
    """A conversation in one session, which belongs to this chat while it lasts.

    When the context is full, the chat forgets the oldest turns, never the system prompt, and tells
    ``on_notice`` in one sentence.
    """

    def __init__(
        self,
        session: SessionLike,
        tokenizer: Tokenizer,
        system: str | None = None,
        *,
        config: GenerationConfig | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._session, self._tokenizer = session, tokenizer
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self._config = config or GenerationConfig(max_new_tokens=512)
        self._on_notice = on_notice
        self.turns: list[Turn] = []
        self.result: GenerationResult | None = None
        """Of the last answer."""
        self._open: tuple[str, TextStream] | None = None  # the question and answer in progress

    def __reduce__(self) -> NoReturn:
        raise SessionError(
            "a chat cannot be pickled or copied, since its session belongs to one process",
            hint="keep its messages, and start a chat with a session of its own there",
        )

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation so far, as messages of text."""
        return self._messages(self.turns)

    def reset(self) -> None:
        """Forget every turn; the system prompt stays, and so does its part of the cache."""
        self.turns, self.result, self._open = [], None, None

    def send(
        self, text: str, config: GenerationConfig | None = None, **changes: Any
    ) -> Generator[str, None, None]:
        """Answer ``text`` piece by piece; ``changes`` are options of ``config``.

        Closing the iterator early keeps the answer so far, and so does the start of another answer,
        after which the iterator raises SessionError. A message that the context cannot hold raises
        GenerationError and leaves the conversation as it was.
        """
        options = (checked(config) or self._config).changed(**changes)
        return self._answer(text, options, list(self.turns), self._fit(text))

    def _answer(
        self, text: str, options: GenerationConfig, sent: list[Turn], fitted: Fitted
    ) -> Generator[str, None, None]:
        self._finish()
        # The conversation may have gone on since the message was sent.
        turns, ids = fitted if self.turns == sent else self._fit(text)
        answer = text_stream(self._session, self._tokenizer, ids, options)
        if forgotten := len(self.turns) - len(turns):
            self.turns = turns
            if self._on_notice is not None:
                noun = "turn was" if forgotten == 1 else "turns were"
                self._on_notice(f"the context is full: the oldest {forgotten} {noun} forgotten")
        self.result, self._open = answer.result, (opened := (text, answer))
        try:
            for piece in answer:
                yield piece
                if self._open is not opened:
                    raise SessionError(
                        "the chat was reset or has begun another answer, expected one at a time",
                        hint="read or close an answer before the next message",
                    )
        finally:  # also when the caller stops early or interrupts
            answer.close()
            if self._open is opened:
                self._finish()

    def _finish(self) -> None:
        """Keep the answer in progress, as far as it was given, as a turn."""
        opened, self._open = self._open, None
        if opened is not None and (ids := opened[1].result.ids):
            if opened[1].result.finish_reason == "stop":
                ids = ids[:-1]
            self.turns.append(Turn(opened[0], opened[1].text, tuple(ids)))

    def _fit(self, text: str) -> Fitted:
        """Return the turns to keep and the ids of a prompt that leaves room for an answer."""
        context = self._session.context_length
        room = context // 4
        turns = self.turns
        ids = self._encode(turns, text)
        if turns and len(ids) + room > context:
            # Half the context at once: after each removal the remaining turns are computed again.
            while turns and len(ids) > context // 2:
                turns = turns[1:]
                ids = self._encode(turns, text)
        if len(ids) > context:
            raise GenerationError(
                f"the message makes a prompt of {len(ids)} tokens without any earlier turn,"
                f" expected at most the context of {context}",
                hint="shorten the message or the system prompt",
            )
        return turns, ids

    def _encode(self, turns: Sequence[Turn], text: str) -> list[int]:
        """Return the ids of the whole conversation, each answer with the ids the model chose."""
        messages = self._messages(turns)
        messages.append({"role": "user", "content": text})
        start = len(self._system) + 1
        ids = self._tokenizer.encode_chat(messages[:start])
        for turn, place in zip(turns, range(start, len(messages), 2), strict=True):
            after = self._tokenizer.encode_after_reply(
                messages[:place], messages[place + 1 : place + 2]
            )
            if after is None:
                # The template rewrites earlier turns: encode the text of the whole chat.
                return self._tokenizer.encode_chat(messages)
            ids += [*turn.reply_ids, *after]
        return ids

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        messages = list(self._system)
        for turn in turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.reply})
        return messages

"""A conversation of several turns, whose cache is kept from turn to turn.

Knows messages and the ids of each reply; does not know ONNX, templates or the screen. A reply stays
the ids that the model chose, as long as the chat template says the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

from ..errors import GenerationError, SessionError
from ..text.chat_input import Message
from ..text.replies import Reply
from ..text.tokenizer import Tokenizer
from .config import GenerationConfig, checked
from .extras import Extras, of_call
from .leases import SessionLike
from .loop import check_stream
from .rows import GenerationResult
from .strategies.speculation import LOOKED_UP, may_look_up
from .text import TextStream, text_stream

__all__ = ["Chat", "Turn"]

# Drafts of prompt lookup: as they are tried as far as they pay, text that repeats nothing loses a
# hundredth.
_TAIL = 16  # ids of a prompt that decide how the text after it begins


@dataclass(frozen=True)
class Turn:
    """What was asked and its answer: one question (``user``) and its ``reply``, most often.

    ``reply_ids`` leave out the eos that ended them.
    """

    user: str
    reply: str
    reply_ids: tuple[int, ...]
    said: str | None = None
    """The text of ``reply_ids`` after their prompt; None where it is ``reply``."""
    asked: tuple[Message, ...] = ()
    """The messages of the turn, where they are not one question: results of tools, for example."""
    answer: Message | None = None
    """The reply as the caller read it, with its "tool_calls"; None where it is text."""

    @property
    def messages(self) -> list[Message]:
        """What was asked, and the answer."""
        question = self.asked or ({"role": "user", "content": self.user},)
        return [*question, self.answer or {"role": "assistant", "content": self.reply}]


Fitted = tuple[list[Turn], list[int]]  # the turns to keep, and the ids of the prompt


class _Open(NamedTuple):
    """An answer in progress."""

    turn: Turn
    prompt: list[int]
    answer: TextStream


class Chat:
    """A conversation in one session, which belongs to this chat while it lasts.

    When the context is full, the chat forgets the oldest turns, never the system prompt, and tells
    ``on_notice`` in one sentence. tools, documents and chat_template_kwargs are those of
    ``Tokenizer.encode_chat``.
    """

    def __init__(
        self,
        session: SessionLike,
        tokenizer: Tokenizer,
        system: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        config: GenerationConfig | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._session, self._tokenizer = session, tokenizer
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self._template: dict[str, Any] = {
            "tools": tools,
            "documents": documents,
            "chat_template_kwargs": chat_template_kwargs,
        }
        self._config = config or GenerationConfig(max_new_tokens=512)
        self._on_notice = on_notice
        self.turns: list[Turn] = []
        self.result: GenerationResult | None = None
        """Of the last answer."""
        self._open: _Open | None = None

    def __reduce__(self) -> NoReturn:
        raise SessionError(
            "a chat cannot be pickled or copied, since its session belongs to one process",
            hint="keep its messages, and start a chat with a session of its own there",
        )

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, as messages."""
        return [*self._system, *(message for turn in self.turns for message in turn.messages)]

    def reset(self) -> None:
        """Forget every turn; the system prompt stays, and so does its part of the cache."""
        self.turns, self.result, self._open = [], None, None

    def send(
        self, text: str, config: GenerationConfig | None = None, **changes: Any
    ) -> Generator[str, None, None]:
        """Answer ``text`` piece by piece; ``changes`` are options of ``config``, and extras.

        Closing the iterator early keeps the answer so far, and so does the start of another answer,
        after which the iterator raises SessionError. A message that the context cannot hold raises
        GenerationError and leaves the conversation as it was.
        """
        return self._send(list(self.turns), Turn(text, "", ()), config, changes)

    def send_messages(
        self,
        messages: Sequence[Message],
        config: GenerationConfig | None = None,
        **changes: Any,
    ) -> Generator[str, None, None]:
        """Answer messages of any role but "assistant", such as the results of tools.

        The first message may be the assistant's: it is the last answer as the caller read it, for
        example ``parse_tool_calls(answer).to_message()``, and stands in its place.
        """
        turns, asked = list(self.turns), list(messages)
        if not all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in asked):
            raise GenerationError(
                "messages hold something else than a message, expected mappings with a role"
            )
        if turns and asked and asked[0]["role"] == "assistant":
            turns[-1] = replace(turns[-1], answer=asked.pop(0))
        if not asked or any(message["role"] == "assistant" for message in asked):
            raise GenerationError(
                "messages have no message to answer, or one of the assistant that is not the first"
                " after an answer, expected the last answer at most and then other messages"
            )
        content = asked[0].get("content")
        user = content if isinstance(content, str) else ""
        return self._send(turns, Turn(user, "", (), asked=tuple(asked)), config, changes)

    def _send(
        self, past: list[Turn], turn: Turn, config: GenerationConfig | None, changes: Any
    ) -> Generator[str, None, None]:
        asked, extras = of_call(checked(config) or self._config, changes, self._tokenizer.encode)
        check_stream(asked)
        if self._session.exact_in_groups and may_look_up(asked, extras):
            asked = replace(asked, prompt_lookup_num_tokens=LOOKED_UP)
        call = asked, extras
        return self._answer(turn, call, list(self.turns), past, self._fit(past, turn))

    def _answer(
        self,
        turn: Turn,
        call: tuple[GenerationConfig, Extras],
        sent: list[Turn],
        past: list[Turn],
        fitted: Fitted,
    ) -> Generator[str, None, None]:
        """``sent``: the turns when the message was sent; ``past``: what it takes for them."""
        self._finish()
        if self.turns != sent:  # the conversation has gone on meanwhile
            if past != sent:
                raise GenerationError(
                    "the conversation has gone on since its last answer was replaced, expected the "
                    "answer to be read before the next message",
                )
            past = list(self.turns)
            fitted = self._fit(past, turn)
        kept, ids = fitted
        answer = text_stream(self._session, self._tokenizer, ids, *call)
        self.turns = list(kept)
        if (forgotten := len(past) - len(kept)) and self._on_notice is not None:
            noun = "turn was" if forgotten == 1 else "turns were"
            self._on_notice(f"the context is full: the oldest {forgotten} {noun} forgotten")
        self.result, self._open = answer.result, (opened := _Open(turn, ids, answer))
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
        if opened is not None and (ids := opened.answer.result.ids):
            if opened.answer.result.finish_reason == "stop":
                ids = ids[:-1]
            said = self._said(opened.prompt, ids)
            turn = replace(opened.turn, reply=opened.answer.text, reply_ids=tuple(ids), said=said)
            self.turns.append(turn)

    def _said(self, prompt: list[int], ids: Sequence[int]) -> str:
        """Return the text of the ids behind the prompt, special tokens and first blank included."""
        tail = prompt[-_TAIL:]
        before, both = (
            self._tokenizer.decode(found, skip_special_tokens=False)
            for found in (tail, [*tail, *ids])
        )
        return both[len(before) :]

    def _fit(self, turns: list[Turn], turn: Turn) -> Fitted:
        """Return the turns to keep and the ids of a prompt that leaves room for an answer."""
        context = self._session.context_length
        room = context // 4
        ids = self._encode(turns, turn)
        if turns and len(ids) + room > context:
            turns, ids = self._newest(turns, turn, context // 2)
        if len(ids) > context:
            raise GenerationError(
                f"the message makes a prompt of {len(ids)} tokens without any earlier turn,"
                f" expected at most the context of {context}",
                hint="shorten the message or the system prompt",
            )
        return turns, ids

    def _newest(self, turns: list[Turn], turn: Turn, most: int) -> Fitted:
        """Leave out as few turns as make it at most so many ids, and all where none do.

        It is half the context at once: what is left is computed again. Halving asks for few
        encodings of a long conversation.
        """
        tools = [turn.messages[0]["role"] == "tool" for turn in turns]  # its call is forgotten
        starts = [0, *(i for i, tool in enumerate(tools) if i and not tool), len(turns)]
        too_long, first = 0, len(starts) - 1
        ids = self._encode([], turn)
        while first - too_long > 1 and len(ids) <= most:
            middle = (too_long + first) // 2
            found = self._encode(turns[starts[middle] :], turn)
            if len(found) > most:
                too_long = middle
            else:
                first, ids = middle, found
        return turns[starts[first] :], ids

    def _encode(self, turns: Sequence[Turn], turn: Turn) -> list[int]:
        """Return the ids of the whole conversation, each answer with the ids the model chose."""
        messages: list[Message] = list(self._system)
        replies = {}
        for past in turns:
            messages += past.messages
            said = past.reply if past.said is None else past.said
            replies[len(messages) - 1] = Reply(past.reply_ids, past.reply, said)
        return self._tokenizer.encode_chat(
            [*messages, *turn.messages[:-1]], replies=replies, **self._template
        )

"""Text to ids and back, with the tokenizer files and chat template of a folder.

Knows text, ids and special ids; does not know the model, the cache or sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from ..errors import TokenizerError
from .backend import added_around, cleaned, cleans_up, encoded, load_backend, named_tokens, token_id
from .chat_input import MARKERS, ChatInput, Message, guard
from .chat_template import DEFAULT, ChatTemplates, read_templates
from .guarded import GuardedEncoder, check_written
from .library import in_a_sentence
from .replies import Reply, around_replies

__all__ = ["Tokenizer"]

# Stands for a reply, at which a rendered chat is split; trimming and quoting do not change it.
_REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet"


class Tokenizer:
    """A folder's tokenizer.json, with the special ids and the template of the files beside it.

    The ids are those of transformers' AutoTokenizer. eos_token_ids end an answer: the ids of both
    configuration files, and what the template writes after an assistant's turn. pad_token_id is
    known to the model, names are the named tokens, templates the chat's. It can be pickled.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        config: Mapping[str, Any] | None = None,
        generation_config: Mapping[str, Any] | None = None,
        chat_template: str | Mapping[str, str] | None = None,
    ) -> None:
        config, generation_config = config or {}, generation_config or {}
        self._made_of = (backend, config, generation_config, chat_template)
        # A tokenizer.json may still hold the truncation, padding and dropout of a training run.
        backend.no_truncation()
        backend.no_padding()
        if isinstance(backend.model, tokenizers.models.BPE):
            backend.model.dropout = None
        backend.encode_special_tokens = bool(config.get("split_special_tokens"))
        self._backend = backend
        self.names = named_tokens(config)
        added = backend.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items() if token.special}
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        """Tokens, the added ones included; a model may have more ids than that."""
        self.cleans_up = cleans_up(backend, config)
        """Whether decode removes blanks before punctuation (clean_up_tokenization_spaces)."""
        self._eos = self._ids("eos_token", generation_config)
        self._pad = self._ids("pad_token", generation_config)
        self._head, self._tail = added_around(backend)
        while self._tail and self._tail[-1] in self._eos:
            self._tail.pop()
        self.templates: ChatTemplates | None = None
        if isinstance(chat_template, str):
            chat_template = {DEFAULT: chat_template}
        if chat_template is not None:
            self.templates = ChatTemplates(chat_template, self.names)

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Any, ...]]:
        return type(self), self._made_of

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja.

        The first two must exist; config.json, special_tokens_map.json and added_tokens.json count
        as in transformers. Raises TokenizerError naming the file.
        """
        folder = Path(path)
        loaded = load_backend(folder)
        templates = read_templates(folder, loaded.config)
        return cls(loaded.backend, loaded.config, loaded.generation_config, templates)

    @property
    def bos_token_id(self) -> int | None:
        """The id that the tokenizer itself puts before a text, None where it puts none."""
        return self._head[0] if self._head else None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a prompt; special tokens in its text become special ids.

        With add_special_tokens the ids have what the tokenizer's post-processor adds: a bos, most
        often, and only once. An eos that it adds at the end is left out, since a prompt is to be
        continued. Raises TokenizerError for text that is not valid Unicode.
        """
        ids = encoded(self._backend, text)
        if not add_special_tokens:
            return ids
        while self._head and ids[: len(self._head)] == self._head:
            ids = ids[len(self._head) :]
        return self._head + ids + self._tail

    def encode_whole(self, text: str) -> list[int]:
        """Return the ids of a text that nothing continues: those of transformers, with an eos."""
        return encoded(self._backend, text, add_special_tokens=True)

    def decode(
        self, ids: Sequence[int] | npt.NDArray[np.integer[Any]], skip_special_tokens: bool = True
    ) -> str:
        """Return the text of ids: U+FFFD for invalid UTF-8, nothing for unknown ids, or raise."""
        text = self.decode_raw(ids, skip_special_tokens)
        return cleaned(text) if self.cleans_up else text

    def decode_raw(
        self, ids: Sequence[int] | npt.NDArray[np.integer[Any]], skip_special_tokens: bool = True
    ) -> str:
        """Return the text of ids before it is cleaned up, which is where it can be joined."""
        known = [token_id(i) for i in ids]
        with in_a_sentence("the ids cannot be decoded"):
            return self._backend.decode(known, skip_special_tokens=skip_special_tokens)

    def knows(self, token: int) -> bool:
        """Say whether an id is a token's; a model can have more ids."""
        return self._backend.id_to_token(token) is not None

    def to_json(self) -> str:
        """Return the text of a tokenizer.json, added tokens included."""
        return str(self._backend.to_str())

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The id of each token."""
        return self._backend.get_vocab(with_added_tokens=True)

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """The ids of tokens for single bytes, such as <0xE2>, where decode joins them."""
        decoder = self._backend.decoder
        if decoder is None or b'"ByteFallback"' not in decoder.__getstate__():
            return frozenset()
        ids = (self._backend.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(number for number in ids if number is not None)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of control tokens, which decode leaves out."""
        return frozenset(self._special.values())

    @cached_property
    def hidden_ids(self) -> frozenset[int]:
        """Control tokens that answers leave out; those around tool calls are shown."""
        hidden = (i for token, i in self._special.items() if token not in MARKERS)
        return frozenset(i for i in hidden if not self.decode_raw([i]))

    @property
    def has_chat_template(self) -> bool:
        """Whether render_chat and encode_chat can be used."""
        return self.templates is not None

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        ids = dict.fromkeys(self._eos)
        if self.templates is not None:
            try:
                after = self.encode_after_reply([{"role": "user", "content": "a"}], []) or []
            except TokenizerError:  # the template refuses a chat of one message
                after = []
            ids.update(dict.fromkeys(token for token in after[:1] if token in self.special_ids))
        return tuple(ids)

    @property
    def pad_token_id(self) -> int:
        return (*self._pad, *self.eos_token_ids, 0)[0]

    def render_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text that the chat template makes of messages {"role": ..., "content": ...}.

        tools: JSON schemas of functions. documents: objects with title and text.
        chat_template_kwargs: further variables of the template, such as enable_thinking. Raises
        TokenizerError where the template is missing, fails, or does not use what is given.
        """
        chat = ChatInput.of(messages, tools, documents, chat_template_kwargs)
        return self._chat_template.render(chat, add_generation_prompt)

    def encode_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        replies: Mapping[int, Reply] | None = None,
    ) -> list[int]:
        """Return the ids of a rendered chat.

        A template that writes no bos gets the one that the tokenizer itself puts before a text.
        Special tokens inside the messages, tools and documents stay text: only the template writes
        special ids. Else they are those of transformers' apply_chat_template. replies: the model's
        own answers by the place of their message, which keep their ids where the chat holds them.
        """
        chat = ChatInput.of(messages, tools, documents, chat_template_kwargs)
        replies = replies or {}
        guarded, mark, texts = chat.guarded(
            self._guarded.tokens, [r.text for r in replies.values()]
        )
        own = {place: (replies[place], text) for place, text in zip(replies, texts, strict=True)}

        def render(messages: list[dict[str, Any]]) -> str:
            changed = replace(guarded, messages=messages)
            text = self._chat_template.render(changed, add_generation_prompt)
            # A template that writes JSON in ASCII writes the mark as an escape.
            return text.replace(f"\\u{ord(mark):04x}", mark)

        if guarded != chat:
            plain = self._chat_template.render(chat, add_generation_prompt)
            check_written(plain, render(guarded.messages), mark)
        ids: list[int] = []
        for piece in around_replies(render, guarded.messages, own, mark):
            if not isinstance(piece, str):
                ids += piece
            elif ids:
                ids += self._encode_inside(piece, mark)
            else:
                ids = self._encode_guarded(piece, mark)
        return ids if ids[:1] == self._head[:1] else self._head + ids

    @property
    def _chat_template(self) -> ChatTemplates:
        if self.templates is None:
            raise TokenizerError(
                "the tokenizer has no chat template, expected chat_template.jinja or chat_template"
                " in tokenizer_config.json",
                hint="continue plain text with: bitnet-onnx generate",
            )
        return self.templates

    def encode_after_reply(
        self, before: Sequence[Message], after: Sequence[Message]
    ) -> list[int] | None:
        """Return the ids after the assistant's reply to ``before``: the turn's end, then ``after``.

        They end with the generation prompt unless ``after`` is empty. Returns None where the
        template rewrites earlier turns: then only the whole chat can be encoded.
        """
        messages = [*before, {"role": "assistant", "content": _REPLY}, *after]
        guarded, mark = guard(messages, self._guarded.tokens)
        prompt = self.render_chat(guarded[: len(before)])
        whole = self.render_chat(guarded, add_generation_prompt=bool(after))
        head, found, tail = whole.partition(_REPLY)
        if not found or head != prompt or _REPLY in tail:
            return None
        if whole.replace(mark, "") != self.render_chat(messages, bool(after)):
            return None
        return self._encode_inside(tail, mark)

    @cached_property
    def _guarded(self) -> GuardedEncoder:
        return GuardedEncoder(self._backend, self.names.values())

    def _encode_guarded(self, rendered: str, mark: str) -> list[int]:
        """Return the ids of a rendered chat; special tokens with a mark in them are text."""
        if self._guarded.needed(rendered, mark):
            return self._guarded.encode(rendered, mark)
        return encoded(self._backend, rendered)

    def _encode_inside(self, rendered: str, mark: str) -> list[int]:
        """Return the ids of a part of a chat that text comes before."""
        if line := self._guarded.line:
            ids = self._encode_guarded("\n" + rendered, mark)
            if ids[: len(line)] == line:
                return ids[len(line) :]
        return self._encode_guarded(rendered, mark)

    def _ids(self, name: str, generation_config: Mapping[str, Any]) -> list[int]:
        """Return the ids that both configuration files give a named token."""
        token = self._backend.token_to_id(self.names[name]) if name in self.names else None
        ids = [token] if token is not None else []  # transformers adds one that the model lacks
        value = generation_config.get(f"{name}_id")
        for token in value if isinstance(value, list) else [] if value is None else [value]:
            if isinstance(token, bool) or not isinstance(token, int) or token < 0:
                raise TokenizerError(
                    f"{name}_id in generation_config.json is {value!r},"
                    " expected an id or a list of ids"
                )
            ids.append(token)
        return ids

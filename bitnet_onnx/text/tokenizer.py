"""Text to ids and back, with the tokenizer files and chat template of a folder.

Knows text, ids and special ids; does not know the model, the cache or sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import TokenizerError
from ..files import read_object
from .chat_input import MARKERS, ChatInput, Message, guard
from .chat_template import DEFAULT, ChatTemplates, read_templates
from .replies import Reply, around_replies

__all__ = ["Tokenizer"]

# Stands for a reply, at which a rendered chat is split; trimming and quoting do not change it.
_REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet"
_NAMES = tuple(f"{name}_token" for name in "bos eos unk sep pad cls mask".split())
_FILES = "choose a checkpoint or artifact folder with tokenizer.json and tokenizer_config.json"


class Tokenizer:
    """A folder's tokenizer.json, with the special ids and the template of the files beside it.

    bos_token_id is None where the configuration asks for no bos. eos_token_ids are all ids that
    end an answer: those of both configuration files, and the token that the template writes
    after an assistant's turn. pad_token_id always exists, so that a batch can be padded.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        config: Mapping[str, Any] | None = None,
        generation_config: Mapping[str, Any] | None = None,
        chat_template: str | Mapping[str, str] | None = None,
    ) -> None:
        config, generation_config = config or {}, generation_config or {}
        # A tokenizer.json may still hold the truncation and padding of a training run.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._names = _named_tokens(config)
        added = backend.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items() if token.special}
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        """Tokens, the added ones included; a model may have more ids than that."""
        self.bos_token_id = self._bos(config, generation_config)
        self._eos = self._ids("eos_token", generation_config)
        self._pad = self._ids("pad_token", generation_config)
        self._template: ChatTemplates | None = None
        if isinstance(chat_template, str):
            chat_template = {DEFAULT: chat_template}
        if chat_template is not None:
            self._template = ChatTemplates(chat_template, self._names)

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja.

        The first two files must exist; tokenizer_config.json may hold the template too. Raises
        TokenizerError naming the file.
        """
        folder = Path(path)
        content = _read(folder / "tokenizer.json")
        try:
            backend = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the tokenizers package raises plain Exception
            raise TokenizerError(
                f"{folder / 'tokenizer.json'} is not a readable tokenizer: {error}"
            ) from error
        config = read_object(folder / "tokenizer_config.json", TokenizerError, hint=_FILES)
        generation_config = {}
        if (folder / "generation_config.json").exists():
            generation_config = read_object(folder / "generation_config.json", TokenizerError)
        return cls(backend, config, generation_config, read_templates(folder, config))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a prompt; special tokens in its text become special ids.

        With add_special_tokens the ids begin with exactly one bos, whatever the text contains. An
        eos that a post-processor would add is left out, since a prompt is to be continued. Raises
        TokenizerError for text that is not valid Unicode.
        """
        try:
            ids = self._backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError) as error:
            raise TokenizerError(
                f"the text cannot be encoded, expected valid Unicode: {error}"
            ) from error
        return self._with_bos(ids) if add_special_tokens else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids; invalid UTF-8 becomes U+FFFD, unknown ids become nothing."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of control tokens, which decode leaves out."""
        return frozenset(self._special.values())

    @property
    def hidden_ids(self) -> frozenset[int]:
        """The control tokens that an answer does not show: all but those around tool calls."""
        return frozenset(i for token, i in self._special.items() if token not in MARKERS)

    @property
    def has_chat_template(self) -> bool:
        """Whether render_chat and encode_chat can be used."""
        return self._template is not None

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        ids = dict.fromkeys(self._eos)
        if self._template is not None:
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
        """Return the ids of a rendered chat, with exactly one bos.

        Special tokens inside the messages, tools and documents stay text: only the template writes
        special ids. replies: the model's own answers by the place of their message; each keeps its
        ids where the rendered chat holds its text as it is.
        """
        chat = ChatInput.of(messages, tools, documents, chat_template_kwargs)
        replies = replies or {}
        guarded, mark, texts = chat.guarded(self._special, [r.text for r in replies.values()])
        own = {place: (replies[place], text) for place, text in zip(replies, texts, strict=True)}

        def render(messages: list[dict[str, Any]]) -> str:
            changed = replace(guarded, messages=messages)
            text = self._chat_template.render(changed, add_generation_prompt)
            # A template that writes JSON in ASCII writes the mark as an escape.
            return text.replace(f"\\u{ord(mark):04x}", mark)

        ids: list[int] = []
        for piece in around_replies(render, guarded.messages, own, mark):
            if not isinstance(piece, str):
                ids += piece
            elif ids:
                ids += self._encode_behind(piece, mark)
            else:
                ids = self._encode_guarded(piece, mark)
        return self._with_bos(ids)

    @property
    def _chat_template(self) -> ChatTemplates:
        if self._template is None:
            raise TokenizerError(
                "the tokenizer has no chat template, expected chat_template.jinja or chat_template"
                " in tokenizer_config.json",
                hint="continue plain text with: bitnet-onnx generate",
            )
        return self._template

    def encode_after_reply(
        self, before: Sequence[Message], after: Sequence[Message]
    ) -> list[int] | None:
        """Return the ids after the assistant's reply to ``before``: the turn's end, then ``after``.

        They end with the generation prompt unless ``after`` is empty. Returns None where the
        template rewrites earlier turns: then only the whole chat can be encoded.
        """
        guarded, mark = guard(
            [*before, {"role": "assistant", "content": _REPLY}, *after], self._special
        )
        prompt = self.render_chat(guarded[: len(before)])
        whole = self.render_chat(guarded, add_generation_prompt=bool(after))
        head, found, tail = whole.partition(_REPLY)
        if not found or head != prompt or _REPLY in tail:
            return None
        return self._encode_guarded(tail, mark)

    def _encode_guarded(self, rendered: str, mark: str) -> list[int]:
        pieces = rendered.split(mark)
        return [token for piece in pieces for token in self.encode(piece, add_special_tokens=False)]

    def _encode_behind(self, piece: str, mark: str) -> list[int]:
        """Return the ids of text that follows other text, without the blank of a beginning."""
        if self._backend.encode("a", add_special_tokens=False).tokens[:1] != ["a"]:
            line = self._encode_guarded("\n", mark)
            ids = self._encode_guarded("\n" + piece, mark)
            if ids[: len(line)] == line:
                return ids[len(line) :]
        return self._encode_guarded(piece, mark)

    def _with_bos(self, ids: list[int]) -> list[int]:
        if self.bos_token_id is None:
            return ids
        start = next((i for i, token in enumerate(ids) if token != self.bos_token_id), len(ids))
        return [self.bos_token_id, *ids[start:]]

    def _bos(self, config: Mapping[str, Any], generation_config: Mapping[str, Any]) -> int | None:
        # "bos_token": null means no bos, whatever generation_config.json says.
        if config.get("add_bos_token") is False or (
            "bos_token" in config and config["bos_token"] is None
        ):
            return None
        return next(iter(self._ids("bos_token", generation_config)), None)

    def _ids(self, name: str, generation_config: Mapping[str, Any]) -> list[int]:
        """Return the ids that both configuration files give a named token."""
        ids = []
        if name in self._names:
            token = self._backend.token_to_id(self._names[name])
            if token is None:
                raise TokenizerError(
                    f"{name} in tokenizer_config.json is {self._names[name]!r},"
                    " expected a token of tokenizer.json"
                )
            ids.append(token)
        value = generation_config.get(f"{name}_id")
        for token in value if isinstance(value, list) else [] if value is None else [value]:
            if isinstance(token, bool) or not isinstance(token, int) or token < 0:
                raise TokenizerError(
                    f"{name}_id in generation_config.json is {value!r},"
                    " expected an id or a list of ids"
                )
            ids.append(token)
        return ids


def _read(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is damaged, expected UTF-8: {error}") from error
    except OSError as error:
        raise TokenizerError(
            f"{path} cannot be read: {error.strerror}",
            hint=_FILES,
        ) from error
    if not content.strip():
        raise TokenizerError(f"{path} is empty", hint="copy or download the file again")
    return content


def _named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the tokens that a tokenizer_config.json names, such as bos_token and image_token."""
    named = {name: _token_text(config[name]) for name in _NAMES if config.get(name) is not None}
    for name, token in config.items():
        if name.endswith("_token") and name not in _NAMES and isinstance(token, (str, dict)):
            named[name] = _token_text(token)
    extra = config.get("extra_special_tokens")
    if isinstance(extra, dict):
        named |= {name: _token_text(token) for name, token in extra.items()}
    return named


def _token_text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TokenizerError(
            f"tokenizer_config.json holds the special token {token!r}, expected a string"
        )
    return text

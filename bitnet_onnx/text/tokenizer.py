"""Text to ids and back: the tokenizer files of a checkpoint or artifact folder, the chat template.

Knows text, ids and which ids are special. Knows no model, no cache, no sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import TokenizerError
from ..files import read_object
from .chat_template import ChatTemplate, Message, guard

__all__ = ["Tokenizer"]

# Stands for a reply while a template is split around it; trimming and quoting leave it whole.
_REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet"
_FILES = "A checkpoint or artifact folder holds tokenizer.json and tokenizer_config.json."


class Tokenizer:
    """The tokenizer.json of a folder with the ids and the template that its neighbours name.

    bos_token_id is None where the configuration asks for no bos. eos_token_ids are all ids that
    end an answer: those of both configuration files, and the token that the template writes
    after an assistant's turn. pad_token_id always exists, so that a batch can be padded.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        config: Mapping[str, Any] | None = None,
        generation_config: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ) -> None:
        config, generation_config = config or {}, generation_config or {}
        # A tokenizer.json may carry the cutting and padding of somebody's training run.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._names = {
            name: _token_text(config[name])
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if config.get(name) is not None
        }
        added = backend.get_added_tokens_decoder()
        self._special = {token.content: id for id, token in added.items() if token.special}
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        """Tokens, the added ones included; a model may have more ids than that."""
        self.bos_token_id = self._bos(config, generation_config)
        self._eos = self._ids("eos_token", generation_config)
        self._pad = self._ids("pad_token", generation_config)
        self._template: ChatTemplate | None = None
        if chat_template is not None:
            self._template = ChatTemplate(chat_template, self._names)

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Reads tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja.

        The first two must exist; the template may also stand in tokenizer_config.json.
        """
        folder = Path(path)
        content = _read(folder / "tokenizer.json")
        try:
            backend = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the tokenizers package raises plain Exception
            raise TokenizerError(
                f"{folder / 'tokenizer.json'} is no tokenizer: {error}."
            ) from error
        config = read_object(folder / "tokenizer_config.json", TokenizerError, hint=_FILES)
        generation_config = {}
        if (folder / "generation_config.json").exists():
            generation_config = read_object(folder / "generation_config.json", TokenizerError)
        if (folder / "chat_template.jinja").exists():
            template: str | None = _read(folder / "chat_template.jinja")
        else:
            template = _configured_template(config)
        return cls(backend, config, generation_config, template)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Ids of a prompt; special tokens written in it count as such.

        With add_special_tokens the ids begin with bos exactly once, whatever the text holds;
        an eos that a post-processor would add is left out, since a prompt is to be continued.
        """
        try:
            ids = self._backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError) as error:
            raise TokenizerError(
                f"The text cannot be encoded, it is no valid Unicode: {error}."
            ) from error
        return self._with_bos(ids) if add_special_tokens else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD, ids beyond the vocabulary nothing."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of control tokens, which decode leaves out."""
        return frozenset(self._special.values())

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
            except TokenizerError:  # a template that wants more than one message: no such token
                after = []
            ids.update(dict.fromkeys(id for id in after[:1] if id in self.special_ids))
        return tuple(ids)

    @property
    def pad_token_id(self) -> int:
        return (*self._pad, *self.eos_token_ids, 0)[0]

    def render_chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The text that the chat template makes of messages ({"role": ..., "content": ...})."""
        if self._template is None:
            raise TokenizerError(
                "The tokenizer has no chat template; chat needs chat_template.jinja or"
                " chat_template in tokenizer_config.json.",
                hint="Use `bitnet-onnx generate` for models without a chat template.",
            )
        return self._template.render(messages, add_generation_prompt)

    def encode_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True
    ) -> list[int]:
        """Ids of a rendered chat, with bos exactly once.

        Special tokens inside the messages stay text: only the template speaks with them.
        """
        messages, mark = guard(messages, self._special)
        return self._with_bos(
            self._encode_guarded(self.render_chat(messages, add_generation_prompt), mark)
        )

    def encode_after_reply(
        self, before: Sequence[Message], after: Sequence[Message]
    ) -> list[int] | None:
        """Ids that follow the assistant's reply to `before`: the end of its turn, then `after`.

        Ends with the generation prompt when `after` holds anything. None where the template
        rewrites what was said before, so that only encoding the whole chat gives its meaning.
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
        return [id for piece in pieces for id in self.encode(piece, add_special_tokens=False)]

    def _with_bos(self, ids: list[int]) -> list[int]:
        if self.bos_token_id is None:
            return ids
        start = next((i for i, id in enumerate(ids) if id != self.bos_token_id), len(ids))
        return [self.bos_token_id, *ids[start:]]

    def _bos(self, config: Mapping[str, Any], generation_config: Mapping[str, Any]) -> int | None:
        # "bos_token": null says that there is none, whatever generation_config holds.
        if config.get("add_bos_token") is False or (
            "bos_token" in config and config["bos_token"] is None
        ):
            return None
        return next(iter(self._ids("bos_token", generation_config)), None)

    def _ids(self, name: str, generation_config: Mapping[str, Any]) -> list[int]:
        """Ids of a named token: the tokenizer's for bos and pad, and generation_config's."""
        ids = []
        if name in self._names:
            id = self._backend.token_to_id(self._names[name])
            if id is None:
                raise TokenizerError(
                    f"tokenizer_config.json names {name} {self._names[name]!r},"
                    " which tokenizer.json does not hold."
                )
            ids.append(id)
        value = generation_config.get(f"{name}_id")
        for id in value if isinstance(value, list) else [] if value is None else [value]:
            if isinstance(id, bool) or not isinstance(id, int) or id < 0:
                raise TokenizerError(
                    f"generation_config.json holds {name}_id {value!r};"
                    " expected an id or a list of ids."
                )
            ids.append(id)
        return ids


def _read(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is damaged: it is no UTF-8 ({error}).") from error
    except OSError as error:
        raise TokenizerError(
            f"{path} cannot be read: {error.strerror}.",
            hint=_FILES,
        ) from error
    if not content.strip():
        raise TokenizerError(f"{path} is empty.", hint="Copy or download the file again.")
    return content


def _configured_template(config: Mapping[str, Any]) -> str | None:
    """chat_template of tokenizer_config.json: a string, or named templates of which "default"."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {
            entry.get("name"): entry.get("template")
            for entry in template
            if isinstance(entry, dict)
        }
        template = named.get("default", False)
    if template is not None and not isinstance(template, str):
        raise TokenizerError(
            "chat_template in tokenizer_config.json is neither a string nor a list of"
            ' {"name", "template"} with one named "default".'
        )
    return template


def _token_text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TokenizerError(
            f"tokenizer_config.json names the special token {token!r}; not a string."
        )
    return text

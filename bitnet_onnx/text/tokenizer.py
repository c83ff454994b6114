"""Text to ids and back, with the tokenizer files and chat template of a folder.

Knows text, ids and special ids; does not know the model, the cache or sampling.
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
from .library import in_a_sentence, load

__all__ = ["Tokenizer"]

# Stands for a reply, at which a rendered chat is split; trimming and quoting do not change it.
_REPLY = "bitnetREPLYcb1f4e7dREPLYbitnet"
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
        chat_template: str | None = None,
    ) -> None:
        config, generation_config = config or {}, generation_config or {}
        # A tokenizer.json may still hold the truncation and padding of a training run.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._names = {
            name: _token_text(config[name])
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if config.get(name) is not None
        }
        added = backend.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items() if token.special}
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
        """Read tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja.

        The first two files must exist; tokenizer_config.json may hold the template too. Raises
        TokenizerError naming the file.
        """
        folder = Path(path)
        backend = load(_read(folder / "tokenizer.json"), str(folder / "tokenizer.json"))
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
        """Return the ids of a prompt; special tokens in its text become special ids.

        With add_special_tokens the ids begin with exactly one bos, whatever the text contains. An
        eos that a post-processor would add is left out, since a prompt is to be continued. Raises
        TokenizerError for text that is not valid Unicode.
        """
        with in_a_sentence("the text cannot be encoded, expected valid Unicode"):
            ids = self._backend.encode(text, add_special_tokens=False).ids
        return self._with_bos(ids) if add_special_tokens else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids; invalid UTF-8 becomes U+FFFD, unknown ids become nothing."""
        with in_a_sentence("the ids cannot be decoded"):
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
            except TokenizerError:  # the template refuses a chat of one message
                after = []
            ids.update(dict.fromkeys(token for token in after[:1] if token in self.special_ids))
        return tuple(ids)

    @property
    def pad_token_id(self) -> int:
        return (*self._pad, *self.eos_token_ids, 0)[0]

    def render_chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """Return the text that the chat template makes of messages {"role": ..., "content": ...}.

        Raises TokenizerError where the template is missing or fails.
        """
        if self._template is None:
            raise TokenizerError(
                "the tokenizer has no chat template, expected chat_template.jinja or chat_template"
                " in tokenizer_config.json",
                hint="continue plain text with: bitnet-onnx generate",
            )
        return self._template.render(messages, add_generation_prompt)

    def encode_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the ids of a rendered chat, with exactly one bos.

        Special tokens inside the messages stay text: only the template writes special ids.
        """
        messages, mark = guard(messages, self._special)
        return self._with_bos(
            self._encode_guarded(self.render_chat(messages, add_generation_prompt), mark)
        )

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


def _configured_template(config: Mapping[str, Any]) -> str | None:
    """Return chat_template of tokenizer_config.json: a string, or the list's entry "default"."""
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
            "chat_template in tokenizer_config.json is of an unknown form, expected a string or a"
            ' list of {"name", "template"} with one named "default"'
        )
    return template


def _token_text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TokenizerError(
            f"tokenizer_config.json holds the special token {token!r}, expected a string"
        )
    return text

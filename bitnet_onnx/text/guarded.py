"""Encode a chat whose messages contain the text of special tokens.

Knows the tokenizers package and the mark of ``chat_template.guard``; does not know templates.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from functools import cached_property

import tokenizers

from ..errors import TokenizerError
from .backend import encoded
from .library import load

__all__ = ["GuardedEncoder", "check_written"]

_LEAVE = "leave texts that look like special tokens out of the messages"


def check_written(plain: str, rendered: str, mark: str) -> None:
    """Raise TokenizerError where the marks changed more of a rendered chat than its tokens."""
    if rendered.replace(mark, "") != plain:
        raise TokenizerError(
            "the chat template looks into a message's text that reads like a special token, for"
            " its length or its parts, expected it only to write the text",
            hint=_LEAVE,
        )


class GuardedEncoder:
    """Special tokens that the template writes become ids; those of the messages stay text.

    Cutting a message in pieces would not do: SentencePiece puts a blank before each piece. So the
    whole chat is encoded at once by a copy of the tokenizer that ignores special tokens, and knows
    each of them under a second, secret name, which is put in for those of the template.
    """

    def __init__(self, backend: tokenizers.Tokenizer, names: Iterable[str]) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self._special = {i: token for i, token in added.items() if token.special}
        self._missing = {name for name in names if backend.token_to_id(name) is None}
        contents = {token.content for token in self._special.values()}
        self.tokens = frozenset(contents | self._missing)
        """What is not text where the template writes it."""
        self._secret = secrets.token_hex(16)
        # After a normalizer, such as one to lower case, another spelling can match the token.
        self._always = backend.normalizer is not None and any(
            token.normalized for token in self._special.values()
        )

    @cached_property
    def line(self) -> list[int]:
        """The ids of a line break, where a text after it has other ids than at the start.

        SentencePiece puts a blank at the start. Empty where there is no difference.
        """
        line, text, both = (encoded(self._backend, text) for text in ("\n", "a", "\na"))
        return line if both != line + text else []

    @cached_property
    def _unknown(self) -> set[int]:
        """The token that stands for characters that the vocabulary lacks, as in any text."""
        model = json.loads(self._backend.model.__getstate__())
        named = self._backend.token_to_id(model.get("unk_token") or "")
        return {i for i in (named, model.get("unk_id")) if i is not None}

    def needed(self, rendered: str, mark: str) -> bool:
        """Say whether a chat differs here from any text; raise TokenizerError for an unknown token.

        transformers gives a named token that the tokenizer lacks an id that the model lacks.
        """
        for token in self._missing:
            if token in rendered:
                raise TokenizerError(
                    f"the chat template writes {token!r}, expected a token of tokenizer.json"
                )
        split = self._backend.encode_special_tokens  # then the template's are text, too
        return mark in rendered or (self._always and not split)

    def encode(self, rendered: str, mark: str) -> list[int]:
        """Return the ids of a rendered chat; a token of a message has ``mark`` in it."""
        written = 0
        longest = sorted((t.content for t in self._special.values()), key=len, reverse=True)
        if longest and not self._backend.encode_special_tokens:
            # The mark follows the first letter, which may be the only one.
            pattern = "|".join(map(re.escape, longest))
            renamed = f"{self._secret}\\g<0>"
            rendered, written = re.subn(f"(?:{pattern})(?!{mark})", renamed, rendered)
        backend, ids = self._renamed
        found = encoded(backend, rendered.replace(mark, ""))
        for token in self._special.keys() & set(found) - self._unknown:
            raise TokenizerError(
                f"a message contains {self._special[token].content!r}, which the tokenizer cannot"
                " read as text, expected no special token in a message"
            )
        if sum(token in ids for token in found) != written:  # the secret would be left as text
            raise TokenizerError(
                "the tokenizer does not tell the template's special tokens from a message's text,"
                " expected each of them to be one token",
                hint=_LEAVE,
            )
        return [ids.get(token, token) for token in found]

    @cached_property
    def _renamed(self) -> tuple[tokenizers.Tokenizer, dict[int, int]]:
        """The copy, and the ids of special tokens by those that it has for the secret names."""
        # A damaged one may be read from its file and not from its own text.
        copy = load(self._backend.to_str(), "a copy of tokenizer.json")
        copy.encode_special_tokens = True
        ids = {}
        for number, token in self._special.items():
            name = self._secret + token.content
            flags = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip")}
            # Not added as special ones, which the copy ignores.
            copy.add_tokens([tokenizers.AddedToken(name, normalized=token.normalized, **flags)])
            new = copy.token_to_id(name)
            if new is None:
                raise TokenizerError(
                    f"tokenizer.json does not take {name!r} as a new token, expected it to"
                )
            ids[new] = number
        return copy, ids

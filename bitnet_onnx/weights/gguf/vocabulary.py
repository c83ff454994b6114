"""The fields ``tokenizer.ggml.*`` of a GGUF file, each checked when it is asked for.

Knows llama.cpp's keys, types and defaults; knows no tokenizer.json.
"""

from __future__ import annotations

from functools import cached_property
from typing import NoReturn

import numpy as np

from .container import GgufFile
from .words import WORDS, Words

__all__ = [
    "BPE",
    "BYTE",
    "CONTROL",
    "NORMAL",
    "SENTENCEPIECE",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Vocabulary",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BPE, SENTENCEPIECE = "gpt2", "llama"
# The ids of llama.cpp where the keys are missing.
IDS: dict[str, dict[str, int]] = {BPE: {}, SENTENCEPIECE: {"bos": 1, "eos": 2, "unknown": 0}}
PREFIX = "tokenizer.ggml."
NOT_OBEYED = (
    "add_sep_token",
    "remove_extra_whitespaces",
    "precompiled_charsmap",
    "normalizer.lowercase",
)
BESIDE = "put the model's own tokenizer.json and tokenizer_config.json beside the file"


class Vocabulary:
    """Tokens by id, and what the file says of them; raises CheckpointError naming file and key.

    words: the rule where the file does not name one, a key of ``WORDS``.
    """

    def __init__(self, file: GgufFile, words: str) -> None:
        self._file = file
        self._words = words

    def refuse(self, name: str, found: str) -> NoReturn:
        """Raise CheckpointError for the field ``tokenizer.ggml.<name>``."""
        self._file.refuse(PREFIX + name, found, BESIDE)

    def has(self, name: str) -> bool:
        return PREFIX + name in self._file.fields

    @cached_property
    def model(self) -> bool | int | float | str | None:
        """The value of ``tokenizer.ggml.model``."""
        return self._scalar("model")

    @property
    def kind(self) -> str:
        """The model, where it is one that is read."""
        if self.model not in IDS:
            self.refuse("model", f"is {self.model!r}, expected one of: {', '.join(IDS)}")
        return str(self.model)

    @cached_property
    def tokens(self) -> list[str]:
        """The tokens by id; an empty one has the name that llama.cpp gives it."""
        texts = self._texts("tokens")
        table = self._file.tensors.get("token_embd.weight")
        if table is not None and len(texts) > table.shape[0]:
            rows = f"the {table.shape[0]} rows of {table.name}"
            self.refuse("tokens", f"holds {len(texts)} tokens, expected at most {rows}")
        return [token or f"[EMPTY_{id}]" for id, token in enumerate(texts)]

    @cached_property
    def ids(self) -> dict[str, int]:
        """The ids by token; refuses a token that is there twice."""
        ids = {token: id for id, token in enumerate(self.tokens)}
        if len(ids) < len(self.tokens):
            twice = next(token for id, token in enumerate(self.tokens) if ids[token] != id)
            self.refuse("tokens", f"holds {twice[:60]!r} twice")
        return ids

    @cached_property
    def types(self) -> np.ndarray:
        """The type of each token."""
        types = self._file.fields.get(f"{PREFIX}token_type")
        if types is None:
            return np.full(len(self.tokens), NORMAL)
        return self._one_per_token("token_type", types)

    def of_type(self, *types: int) -> list[int]:
        """Return the ids of the tokens of these types, in order."""
        return list(np.flatnonzero(np.isin(self.types, types)).tolist())

    @property
    def scores(self) -> list[float]:
        """The score of each token."""
        scores = self._one_per_token("scores", self._file.fields.get(f"{PREFIX}scores"))
        if not np.isfinite(scores).all():
            self.refuse("scores", "holds a NaN or an infinity")
        return list(scores.astype(np.float32).tolist())

    @property
    def merges(self) -> list[list[str]]:
        """The pairs that are joined, the first one first."""
        merges: dict[tuple[str, str], None] = {}
        for number, text in enumerate(self._texts("merges")):
            left, _, right = text.partition(" ")
            if not {left, right, left + right} <= self.ids.keys():
                self.refuse(
                    "merges",
                    f"holds {text[:60]!r} at {number}, expected two tokens that join to a token",
                )
            merges.setdefault((left, right))  # of two equal ones the first counts
        return [list(pair) for pair in merges]

    @property
    def words(self) -> Words:
        """The rule that cuts text into words."""
        name = self._scalar("pre") if self.has("pre") else self._words
        if name not in WORDS:
            self.refuse("pre", f"is {name!r}, expected one of: {', '.join(WORDS)}")
        return WORDS[str(name)]

    @property
    def space_prefix(self) -> bool:
        """Whether a blank is put before a text."""
        prefix = self.flag("add_space_prefix", self.kind == SENTENCEPIECE)
        if prefix and self.kind == BPE:
            self.refuse("add_space_prefix", f"is true, expected false for the model {BPE!r}")
        return prefix

    def check_flags(self) -> None:
        """Refuse what would change a text before it is cut, or cut it elsewhere."""
        for name in NOT_OBEYED:
            if self._file.fields.get(PREFIX + name, False) is not False:
                self.refuse(name, "is not false, which is not supported")
        whole = {self.tokens[id] for id in self.of_type(UNKNOWN, CONTROL, USER_DEFINED)}
        for token in self._texts("added_tokens") if self.has("added_tokens") else []:
            if token not in whole:
                found = f"holds {str(token)[:60]!r}, which token_type does not mark as added"
                self.refuse("added_tokens", found)

    def flag(self, name: str, default: bool) -> bool:
        value = self._scalar(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, f"is {value!r}, expected true or false")
        return default if value is None else value

    def adds(self, name: str) -> bool:
        """Return whether ``bos`` or ``eos`` is added to a text."""
        default = name == "bos" and (self.kind == SENTENCEPIECE or self.words.add_bos)
        adds = self.flag(f"add_{name}_token", default)
        if adds and self.id(name) is None:
            self.refuse(f"{name}_token_id", "is missing, but it is added to every text")
        return adds

    def id(self, name: str) -> int | None:
        """Return the id of ``bos``, ``eos``, ``eot``, ``padding`` or ``unknown``."""
        key, count = f"{name}_token_id", len(self.tokens)
        id = self._scalar(key)
        if id is None:
            id = IDS.get(str(self.model), {}).get(name, -1)
            return id if 0 <= id < count else None
        if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < count:
            self.refuse(key, f"is {id!r}, expected 0 to {count - 1}")
        return id

    def token(self, name: str) -> str | None:
        """Return the token of that id."""
        id = self.id(name)
        return None if id is None else self.tokens[id]

    def _texts(self, name: str) -> list[str]:
        texts = self._file.fields.get(PREFIX + name)
        if not isinstance(texts, list):
            self.refuse(name, "is missing or not an array of texts")
        return texts

    def _one_per_token(self, name: str, values: object) -> np.ndarray:
        if not isinstance(values, np.ndarray) or len(values) != len(self.tokens):
            self.refuse(name, f"is not an array of {len(self.tokens)} numbers, one per token")
        return values

    def _scalar(self, name: str) -> bool | int | float | str | None:
        return self._file.scalar(PREFIX + name)

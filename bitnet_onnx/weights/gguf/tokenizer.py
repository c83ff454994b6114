"""The tokenizer and chat template in a GGUF file's metadata, as the text files of a folder.

Knows tokenizer.json, and how it says what llama.cpp does with byte-level BPE (``gpt2``) and
SentencePiece (``llama``). ``tokenizer.huggingface.json`` (GGUF specification) is preferred.
"""

from __future__ import annotations

import json
from typing import Any

from .container import GgufFile
from .sentencepiece import BLANK, Tie, merges_by_score, sentencepiece
from .vocabulary import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)
from .words import DEFAULT

__all__ = ["JSON_KEY", "TEMPLATE_KEY", "GgufText"]

LLAMA3_TURN_END = "<|eot_id|>"  # ends a turn; llama.cpp also finds it by its text
PLACEHOLDER = "BITNETAssistant"  # in the template that microsoft/BitNet's converter always writes
MAX_CHARACTERS = 1024  # of a token of SentencePiece, which itself makes at most 16
NO_TOKENIZER = ("no_vocab", "none")
NAMED = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
JSON_KEY, TEMPLATE_KEY = "tokenizer.huggingface.json", "tokenizer.chat_template"


class GgufText:
    """The text files made from a GGUF file's metadata; none where it has no tokenizer.

    words: the rule that cuts text into words where the file does not name one.
    """

    def __init__(self, file: GgufFile, words: str = DEFAULT) -> None:
        self._file = file
        self._words = words
        self._vocabulary = Vocabulary(file, words)
        self._whole = JSON_KEY in file.fields

    @property
    def notes(self) -> list[str]:
        """What is assumed where the file says nothing."""
        vocabulary = self._vocabulary
        if self._whole or vocabulary.has("pre") or vocabulary.model != BPE:
            return []
        return [f"tokenizer.ggml.pre is missing: text is cut into words as {self._words!r} does"]

    def files(self) -> dict[str, bytes]:
        """Return name -> content; raise CheckpointError for a tokenizer of an unsupported kind."""
        if not self._whole and self._vocabulary.model in (None, *NO_TOKENIZER):
            return {}
        if self._whole:
            text = self._file.fields[JSON_KEY]
            if not isinstance(text, str):
                self._file.refuse(JSON_KEY, "is not a text, expected a tokenizer.json")
        else:
            text = json.dumps(self._tokenizer(), ensure_ascii=False)
        return {
            "tokenizer.json": text.encode(),
            "tokenizer_config.json": _json(self._tokenizer_config()),
            "generation_config.json": _json(self._generation_config()),
        }

    def _tokenizer(self) -> dict[str, Any]:
        vocabulary = self._vocabulary
        make = self._byte_level if vocabulary.kind == BPE else self._sentencepiece
        vocabulary.check_flags()
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_tokens(),
            "post_processor": self._post_processor(),
            **make(),
        }

    def _byte_level(self) -> dict[str, Any]:
        vocabulary, words = self._vocabulary, self._vocabulary.words
        assert not vocabulary.space_prefix
        split = {"type": "Split", "behavior": "Isolated", "invert": False}
        splits = [{**split, "pattern": {"Regex": pattern}} for pattern in words.patterns]
        return {
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, BYTES]},
            "decoder": {**BYTES, "add_prefix_space": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": words.ignore_merges,
                "vocab": vocabulary.ids,
                "merges": vocabulary.merges,
            },
        }

    def _sentencepiece(self) -> dict[str, Any]:
        vocabulary = self._vocabulary
        tokens, scores = vocabulary.tokens, vocabulary.scores
        longest = max(map(len, tokens), default=0)
        if longest > MAX_CHARACTERS:
            found = f"holds a token of {longest} characters, expected at most {MAX_CHARACTERS}"
            vocabulary.refuse("tokens", found)
        # A user-defined token is found before text is joined, unless a blank changes it.
        blank = [id for id in vocabulary.of_type(USER_DEFINED) if BLANK in tokens[id]]
        joined = sorted([*vocabulary.of_type(NORMAL, UNUSED), *blank])
        parts = vocabulary.ids.keys() - {tokens[id] for id in vocabulary.of_type(BYTE)}
        try:
            merges = merges_by_score(parts, [(tokens[id], scores[id]) for id in joined])
        except Tie as tie:
            one, other = (token[:60] for token in tie.args)
            found = f"gives {one!r} and {other!r} the same score, expected an order of merges"
            vocabulary.refuse("scores", found)
        unknown, prefix = vocabulary.token("unknown"), vocabulary.space_prefix
        return sentencepiece(vocabulary.ids, merges, unknown, prefix)

    def _added_tokens(self) -> list[dict[str, Any]]:
        """Return the tokens that are found in a text before it is split into words."""
        vocabulary = self._vocabulary
        text = set(vocabulary.of_type(USER_DEFINED))
        return [
            {
                "id": token_id,
                "content": vocabulary.tokens[token_id],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": token_id not in text,
            }
            for token_id in vocabulary.of_type(UNKNOWN, CONTROL, USER_DEFINED)
        ]

    def _post_processor(self) -> dict[str, Any] | None:
        """Return the step that puts bos before every text, and eos after it, or None."""
        ends = {name: self._vocabulary.token(name) for name in self._added_ends()}
        if not ends:
            return None

        def around(name: str, type_id: int) -> list[dict[str, Any]]:
            pieces = {
                end: [{"SpecialToken": {"id": token, "type_id": type_id}}]
                for end, token in ends.items()
            }
            text = {"Sequence": {"id": name, "type_id": type_id}}
            return [*pieces.get("bos", []), text, *pieces.get("eos", [])]

        return {
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": [*around("A", 0), *around("B", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [self._vocabulary.id(name)], "tokens": [token]}
                for name, token in ends.items()
            },
        }

    def _added_ends(self) -> list[str]:
        return [name for name in ("bos", "eos") if self._vocabulary.adds(name)]

    def _tokenizer_config(self) -> dict[str, Any]:
        vocabulary = self._vocabulary
        named = {name: vocabulary.token(key) for name, key in NAMED.items()}
        # A tokenizer.json decides by itself where no key does.
        ends = [e for e in ("bos", "eos") if not self._whole or vocabulary.has(f"add_{e}_token")]
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{f"add_{end}_token": self._adds(end) for end in ends},
            **{f"{name}_token": token for name, token in named.items() if token is not None},
        }
        if templates := self._templates():
            config["chat_template"] = [
                {"name": name, "template": text} for name, text in templates.items()
            ]
            if [*templates] == ["default"]:
                config["chat_template"] = templates["default"]
        return config

    def _templates(self) -> dict[str, str]:
        """Return the chat templates by name, such as tool_use; the unnamed one is the default."""
        fields = self._file.fields
        found = {"default": fields.get(TEMPLATE_KEY)}
        for key in fields:
            if key.startswith(f"{TEMPLATE_KEY}."):
                found[key.removeprefix(f"{TEMPLATE_KEY}.")] = fields[key]
        texts = {name: text for name, text in found.items() if isinstance(text, str)}
        return {name: text for name, text in texts.items() if PLACEHOLDER not in text}

    def _adds(self, end: str) -> bool:
        vocabulary = self._vocabulary
        return vocabulary.flag(f"add_{end}_token", False) if self._whole else vocabulary.adds(end)

    def _generation_config(self) -> dict[str, Any]:
        """Return bos, pad, and the ids that end an answer: eos and the end of a turn."""
        vocabulary = self._vocabulary
        ids = [vocabulary.id(key) for key in ("eos", "eot")]
        if ids[1] is None and LLAMA3_TURN_END in vocabulary.tokens:
            ids[1] = vocabulary.tokens.index(LLAMA3_TURN_END)
        return {
            "bos_token_id": vocabulary.id("bos"),
            "eos_token_id": list(dict.fromkeys(id for id in ids if id is not None)),
            "pad_token_id": vocabulary.id("padding"),
        }


def _json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

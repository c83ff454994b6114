"""The tokenizer and chat template in a GGUF file's metadata: read and written.

Knows byte-level BPE as llama.cpp stores it: tokens by id, merges "left right", a type per token.
These fields lack the rule that splits text into words, which ``tokenizer.ggml.pre`` only names. So
``tokenizer.huggingface.json`` (GGUF specification) is preferred, and written.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ...network.config import BitNetConfig
from .container import GgufFile, Value

__all__ = ["GgufText", "text_fields"]

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
LLAMA3 = ("llama-bpe", "llama3", "llama-v3")
# How LLaMA 3 splits text into words; the published GGUF of 2B-4T names no other way.
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_TURN_END = "<|eot_id|>"  # ends a turn; llama.cpp also finds it by its text
PLACEHOLDER = "BITNETAssistant"  # in the template that microsoft/BitNet's converter always writes
BESIDE = "put the model's own tokenizer.json and tokenizer_config.json beside the file"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
JSON_KEY, TEMPLATE_KEY = "tokenizer.huggingface.json", "tokenizer.chat_template"


class GgufText:
    """The text files made from a GGUF file's metadata; none where it has no tokenizer."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self._tokens: list[str] = []

    def files(self) -> dict[str, bytes]:
        """Return name -> content; raise CheckpointError for a tokenizer of an unsupported kind."""
        fields = self._file.fields
        if JSON_KEY not in fields and "tokenizer.ggml.model" not in fields:
            return {}
        self._tokens = self._texts("tokenizer.ggml.tokens")
        if JSON_KEY in fields:
            text = fields[JSON_KEY]
            if not isinstance(text, str):
                self._file.refuse(JSON_KEY, "is not a text, expected a tokenizer.json")
            tokenizer = text.encode()
        else:
            tokenizer = json.dumps(self._tokenizer(), ensure_ascii=False).encode()
        return {
            "tokenizer.json": tokenizer,
            "tokenizer_config.json": _json(self._tokenizer_config()),
            "generation_config.json": _json(self._generation_config()),
        }

    def _tokenizer(self) -> dict[str, Any]:
        kind = self._file.scalar("tokenizer.ggml.model")
        if kind != "gpt2":
            self._file.refuse("tokenizer.ggml.model", f"is {kind!r}, expected 'gpt2'", BESIDE)
        words = self._file.scalar("tokenizer.ggml.pre")
        if words not in (None, *LLAMA3):
            self._file.refuse(
                "tokenizer.ggml.pre", f"is {words!r}, expected one of: {', '.join(LLAMA3)}", BESIDE
            )
        tokens = self._tokens
        vocabulary = {token: id for id, token in enumerate(tokens)}
        if len(vocabulary) < len(tokens):
            twice = next(token for id, token in enumerate(tokens) if vocabulary[token] != id)
            self._file.refuse("tokenizer.ggml.tokens", f"holds {twice[:60]!r} twice", BESIDE)
        split = {"type": "Split", "pattern": {"Regex": LLAMA3_WORDS}, "behavior": "Isolated"}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_tokens(),
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{**split, "invert": False}, BYTES],
            },
            "post_processor": self._post_processor(),
            "decoder": {**BYTES, "add_prefix_space": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": True,  # as in LLaMA 3: a word that is a token is not merged
                "vocab": vocabulary,
                "merges": self._merges(vocabulary),
            },
        }

    def _added_tokens(self) -> list[dict[str, Any]]:
        """Return the tokens that are found in a text before it is split into words."""
        types = self._types()
        return [
            {
                "id": token_id,
                "content": self._tokens[token_id],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": int(types[token_id]) == CONTROL,
            }
            for token_id in np.flatnonzero(np.isin(types, (CONTROL, USER_DEFINED))).tolist()
        ]

    def _merges(self, vocabulary: dict[str, int]) -> list[list[str]]:
        merges = []
        for number, text in enumerate(self._texts("tokenizer.ggml.merges")):
            left, _, right = text.partition(" ")
            if not {left, right, left + right} <= vocabulary.keys():
                self._file.refuse(
                    "tokenizer.ggml.merges",
                    f"holds {text[:60]!r} at {number}, expected two tokens that join to a token",
                    BESIDE,
                )
            merges.append([left, right])
        return merges

    def _post_processor(self) -> dict[str, Any] | None:
        """Return the step that puts bos before every text, or None."""
        bos = self._token("tokenizer.ggml.bos_token_id")
        if bos is None or not self._adds_bos():
            return None
        first = {"SpecialToken": {"id": bos, "type_id": 0}}
        a, b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
        ids = [self._tokens.index(bos)]
        return {
            "type": "TemplateProcessing",
            "single": [first, a],
            "pair": [first, a, {"SpecialToken": {"id": bos, "type_id": 1}}, b],
            "special_tokens": {bos: {"id": bos, "ids": ids, "tokens": [bos]}},
        }

    def _tokenizer_config(self) -> dict[str, Any]:
        named = {
            name: self._token(f"tokenizer.ggml.{key}_token_id")
            for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        }
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "add_bos_token": self._adds_bos(),
            **{f"{name}_token": token for name, token in named.items() if token is not None},
        }
        template = self._file.fields.get(TEMPLATE_KEY)
        if isinstance(template, str) and PLACEHOLDER not in template:
            config["chat_template"] = template
        return config

    def _generation_config(self) -> dict[str, Any]:
        """Return bos, pad, and the ids that end an answer: eos and the end of a turn."""
        ids = [self._id(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot")]
        if ids[1] is None and LLAMA3_TURN_END in self._tokens:
            ids[1] = self._tokens.index(LLAMA3_TURN_END)
        return {
            "bos_token_id": self._id("tokenizer.ggml.bos_token_id"),
            "eos_token_id": list(dict.fromkeys(id for id in ids if id is not None)),
            "pad_token_id": self._id("tokenizer.ggml.padding_token_id"),
        }

    def _adds_bos(self) -> bool:
        return self._file.fields.get("tokenizer.ggml.add_bos_token") is not False

    def _texts(self, key: str) -> list[str]:
        texts = self._file.fields.get(key)
        if not isinstance(texts, list):
            self._file.refuse(key, "is missing or not an array of texts", BESIDE)
        return texts

    def _types(self) -> np.ndarray:
        types = self._file.fields.get("tokenizer.ggml.token_type")
        if types is None:
            return np.full(len(self._tokens), NORMAL)
        if not isinstance(types, np.ndarray) or len(types) != len(self._tokens):
            self._file.refuse(
                "tokenizer.ggml.token_type",
                f"is not an array of {len(self._tokens)} numbers, one per token",
                BESIDE,
            )
        return types

    def _id(self, key: str) -> int | None:
        id = self._file.scalar(key)
        if id is None:
            return None
        if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < len(self._tokens):
            self._file.refuse(key, f"is {id!r}, expected 0 to {len(self._tokens) - 1}", BESIDE)
        return id

    def _token(self, key: str) -> str | None:
        id = self._id(key)
        return None if id is None else self._tokens[id]


def text_fields(text_files: dict[str, bytes], config: BitNetConfig) -> dict[str, Value]:
    """Return the tokenizer fields of a GGUF file; llama.cpp reads those under ``ggml``.

    ``tokenizer.ggml.pre`` is ``llama-bpe``, or ``other`` for any other way to split words. No
    runtime knows ``other``, so none mistakes it for a known way. Raises CheckpointError for files
    that are damaged or that GGUF cannot hold.
    """
    fields: dict[str, Value] = {}
    ids = {"bos": config.bos_token_id, "padding": config.pad_token_id}
    generation = _parsed(text_files, "generation_config.json")
    ends = generation.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    eos = list(dict.fromkeys([*config.eos_token_id, *ends]))
    if len(eos) > 2:
        raise CheckpointError(
            f"eos_token_id is {eos} in the config and generation_config.json together, expected "
            "at most two: GGUF holds eos and eot"
        )
    ids |= dict(zip(("eos", "eot"), eos, strict=False))
    fields |= {f"tokenizer.ggml.{name}_token_id": id for name, id in ids.items() if id is not None}
    tokenizer = _parsed(text_files, "tokenizer.json")
    if not text_files.get("tokenizer.json"):
        return fields
    tokenizer_config = _parsed(text_files, "tokenizer_config.json")
    adds_bos = tokenizer_config.get("add_bos_token") is not False
    fields["tokenizer.ggml.add_bos_token"] = adds_bos and config.bos_token_id is not None
    try:
        fields |= _ggml_fields(tokenizer, config.vocab_size)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"tokenizer.json is of an unknown form: {error!r}") from error
    fields[JSON_KEY] = text_files["tokenizer.json"].decode()
    template = tokenizer_config.get("chat_template")
    if "chat_template.jinja" in text_files:
        try:
            template = text_files["chat_template.jinja"].decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"chat_template.jinja is not UTF-8: {error}") from error
    if isinstance(template, str):
        fields[TEMPLATE_KEY] = template
    return fields


def _ggml_fields(tokenizer: dict[str, Any], rows: int) -> dict[str, Value]:
    """Return tokens, types and merges of a byte-level BPE; of another kind no merges."""
    model = tokenizer.get("model") or {}
    added = tokenizer.get("added_tokens") or []
    vocabulary = model.get("vocab")
    vocabulary = vocabulary if isinstance(vocabulary, dict) else {}
    by_id = {id: token for token, id in vocabulary.items()}
    by_id |= {entry["id"]: entry["content"] for entry in added}
    if by_id and max(by_id) >= rows:
        raise CheckpointError(
            f"tokenizer.json holds the id {max(by_id)}, expected below vocab_size {rows}"
        )
    types = np.full(rows, UNUSED, np.int32)
    types[list(by_id)] = NORMAL
    for entry in added:
        types[entry["id"]] = CONTROL if entry.get("special") else USER_DEFINED
    fields: dict[str, Value] = {
        "tokenizer.ggml.tokens": [by_id.get(id, f"[PAD{id}]") for id in range(rows)],
        "tokenizer.ggml.token_type": types,
    }
    words = tokenizer.get("pre_tokenizer") or {}
    steps = words.get("pretokenizers", [words])
    if model.get("type") != "BPE" or not any(step.get("type") == "ByteLevel" for step in steps):
        return fields
    pairs = model.get("merges", [])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    llama3 = any(step.get("pattern") == {"Regex": LLAMA3_WORDS} for step in steps)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": LLAMA3[0] if llama3 else "other",
        **fields,
        "tokenizer.ggml.merges": merges,
    }


def _parsed(text_files: dict[str, bytes], name: str) -> dict[str, Any]:
    try:
        value = json.loads(text_files.get(name) or b"{}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is damaged: it is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} holds a {type(value).__name__}, expected an object")
    return value


def _json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

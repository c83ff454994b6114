"""The tokenizer and chat template of a checkpoint as fields of a GGUF file.

Knows byte-level BPE as llama.cpp stores it: tokens by id, merges "left right", a type per token.
The whole tokenizer.json goes into ``tokenizer.huggingface.json`` (GGUF specification) too, since
these fields only name the rule that cuts text into words.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ...network.config import BitNetConfig
from .metadata import Value
from .tokenizer import JSON_KEY, TEMPLATE_KEY
from .vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED
from .words import LLAMA3

__all__ = ["text_fields"]


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
    try:
        fields["tokenizer.ggml.add_bos_token"] = _adds_bos(tokenizer, config.bos_token_id)
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
    return fields | _template_fields(template)


def _template_fields(template: Any) -> dict[str, Value]:
    """Return one template, or a list of {"name", "template"}, under the keys that GGUF has."""
    if isinstance(template, str):
        return {TEMPLATE_KEY: template}
    if not isinstance(template, list):
        return {}
    try:
        named = {entry["name"]: entry["template"] for entry in template}
    except (LookupError, TypeError) as error:
        raise CheckpointError(
            "chat_template in tokenizer_config.json is of an unknown form, expected a text or a"
            ' list of {"name", "template"}'
        ) from error
    fields = {
        TEMPLATE_KEY if name == "default" else f"{TEMPLATE_KEY}.{name}": text
        for name, text in named.items()
    }
    return {**fields, f"{TEMPLATE_KEY}s": [name for name in named if name != "default"]}


def _adds_bos(tokenizer: dict[str, Any], bos: int | None) -> bool:
    """Say whether the post-processor, which decides, puts a bos before a text."""
    whole = tokenizer.get("post_processor") or {}
    for step in whole.get("processors", [whole]):
        first = (step.get("single") or [{}])[0].get("SpecialToken")
        if first is not None:
            return bos in step["special_tokens"][first["id"]]["ids"]
        if "cls" in step:  # of BERT and RoBERTa: [token, id]
            return bool(step["cls"][1] == bos)
    return False


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
    llama3 = any(step.get("pattern") == {"Regex": LLAMA3} for step in steps)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe" if llama3 else "other",
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

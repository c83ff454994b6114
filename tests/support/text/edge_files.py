"""Tokenizer files with every option that the engine for native apps knows, by a seed."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from bitnet_onnx.weights.gguf.words import GPT2, LLAMA3, QWEN2
from tests.support.text.edge import SCRIPTS

__all__ = ["made"]

Json = dict[str, Any]

GPT2_SHORT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = LLAMA3.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
DEMO = r"\d|[A-Z](?![a-z])| ?[A-Z]?[a-z]+| ?[^\sA-Za-z\d]+|\s+"
PATTERNS = [LLAMA3, QWEN2, GPT2, GPT2_SHORT, CL100K, DEMO, "[0-9][0-9][0-9]", r"\p{N}", r"[^\s]+"]
ADDED = [
    *"<|a|> <|ab|> <|a|>x ab é Å ñ 中国 <think> </think> ſ".split(),
    " lead",
    "foo bar",
    "[x] ",
]
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
CLASSES = """
PreTrainedTokenizerFast GPT2Tokenizer GPT2TokenizerFast Qwen2Tokenizer Qwen2TokenizerFast
GPTNeoXTokenizerFast CohereTokenizerFast Qwen3_5Tokenizer LlamaTokenizerFast
""".split()


@cache
def _trained() -> str:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(
        SCRIPTS * 3 + ["the quick then there 123 1234 don't éé"] * 5, trainer
    )
    return backend.to_str()


def made(folder: Path, seed: int) -> None:
    """Write a folder's tokenizer files."""
    chance = random.Random(seed)
    file = json.loads(_trained())
    _spoil_model(file["model"], chance)
    names = chance.sample(ADDED, chance.randint(2, 8))
    ids = _added(file, names, chance)
    file["normalizer"] = chance.choice(
        [None, {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}]
    )
    file["pre_tokenizer"] = _words(chance)
    file["decoder"] = {
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
    }  # fmt: skip
    file["post_processor"] = _post(names, ids, chance) if chance.random() < 0.6 else None
    files = {"tokenizer.json": file, "tokenizer_config.json": _config(file, names, chance)}
    last = max([*file["model"]["vocab"].values(), *ids.values()])
    if "added_tokens_decoder" not in files["tokenizer_config.json"]:
        if chance.random() < 0.3:
            files["added_tokens.json"] = {"<new>": last + 1}
        if chance.random() < 0.3:
            files["special_tokens_map.json"] = {"bos_token": chance.choice(names)}
    if chance.random() < 0.4:
        files["generation_config.json"] = {"eos_token_id": chance.choice([5, [last, 3], last])}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), "utf-8")


def _spoil_model(model: Json, chance: random.Random) -> None:
    model["ignore_merges"] = chance.random() < 0.5
    if chance.random() < 0.3:
        model["merges"] = [" ".join(merge) for merge in model["merges"]]
    if chance.random() < 0.2:
        model["dropout"] = 0.1
    if chance.random() < 0.15:  # bytes without a token
        missing = chance.sample(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)
        kept = [t for t in model["vocab"] if not any(letter in t for letter in missing)]
        model["vocab"] = {token: number for number, token in enumerate(kept)}
        model["merges"] = [m for m in model["merges"] if not any(x in "".join(m) for x in missing)]


def _flags(chance: random.Random) -> Json:
    return {name: chance.random() < 0.3 for name in FLAGS}


def _added(file: Json, names: list[str], chance: random.Random) -> dict[str, int]:
    vocabulary = file["model"]["vocab"]
    fresh = len(vocabulary)
    ids = {}
    for name in names:
        ids[name] = vocabulary.get(name, fresh)
        fresh += ids[name] == fresh
    file["added_tokens"] = [{"id": ids[n], "content": n} | _flags(chance) for n in names]
    return ids


def _words(chance: random.Random) -> Json:
    level = {
        "type": "ByteLevel", "add_prefix_space": chance.random() < 0.4, "trim_offsets": True,
        "use_regex": chance.random() < 0.5,
    }  # fmt: skip
    steps: list[Json] = []
    for _ in range(chance.randint(0, 2)):
        regex = {"Regex": chance.choice(PATTERNS)}
        kept = regex["Regex"] == LLAMA3 and chance.random() < 0.5
        steps.append(
            {"type": "Digits", "individual_digits": chance.random() < 0.5}
            if chance.random() < 0.2
            else {"type": "Split", "pattern": regex, "behavior": "Removed", "invert": True}
            if kept
            else {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
        )
    return {"type": "Sequence", "pretokenizers": [*steps, level]} if steps else level


def _post(names: list[str], ids: dict[str, int], chance: random.Random) -> Json:
    first, last = chance.sample(names, 2)
    single: list[Json] = [{"SpecialToken": {"id": first, "type_id": 0}}]
    single.append({"Sequence": {"id": "A", "type_id": 0}})
    if chance.random() < 0.4:
        single.append({"SpecialToken": {"id": last, "type_id": 0}})
    template = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in (first, last)},
    }
    level = {
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True,
    }  # fmt: skip
    both = {"type": "Sequence", "processors": [level, template]}
    return template if chance.random() < 0.5 else both


def _config(file: Json, names: list[str], chance: random.Random) -> Json:
    config: Json = {}
    if chance.random() < 0.6:
        config["tokenizer_class"] = chance.choice(CLASSES)
    if chance.random() < 0.3:
        config["add_prefix_space"] = chance.choice([True, False, None])
    if chance.random() < 0.5:
        config["bos_token"] = chance.choice(names)
    if chance.random() < 0.5:
        name = chance.choice(names)
        config["eos_token"] = chance.choice([name, {"content": name} | _flags(chance)])
    if chance.random() < 0.3:
        config["image_token"] = chance.choice([*names, "unheard of"])
    if chance.random() < 0.2:
        config["pad_token"] = None
    if chance.random() < 0.3:
        config["additional_special_tokens"] = chance.sample(names, 1)
    if chance.random() < 0.2:
        config["extra_special_tokens"] = {"foo_token": chance.choice(names)}
    if chance.random() < 0.2:
        config["split_special_tokens"] = chance.choice([True, False])
    if chance.random() < 0.4:
        fields = {
            str(t["id"]): {k: t[k] for k in ("content", *FLAGS)} for t in file["added_tokens"]
        }
        for token in fields.values():
            if chance.random() < 0.3:
                token |= _flags(chance)
            if chance.random() < 0.2:
                del token["normalized"]
        config["added_tokens_decoder"] = fields
    return config

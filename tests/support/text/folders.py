"""Small tokenizer folders, each with one oddity, as JSON by file name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

Json = dict[str, Any]
Files = dict[str, Json]

CLASSES = (
    "PreTrainedTokenizerFast",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "GPTNeoXTokenizer",
    "Qwen2Tokenizer",
    "LlamaTokenizerFast",
    "LlamaTokenizer",
    "TokenizersBackend",
)
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|eot_id|>"]
UNK, BOS, EOS, PAD, EOT = range(5)
CORPUS = [
    "User: hello world, it's 2024 and they'll count 1234 things!",
    "the cat sat  on the mat\n\nAssistant: hello there <x> é e\u0301 Ünïcode 你好 🙂",
    "HELLO World don't stop <s> and </s> or <|eot_id|> either",
] * 6
TEXTS = [
    "Hello , world . it 's n't",
    "a  b",
    " leading and trailing ",
    "hello cat KEY <think>x</think> y <|x|>  z",
    "Ünïcode é e\u0301 你好 😀",
    "<|eot_id|> after <s> and</s>x",
    "\n\n x\r\n\ty",
    "HELLO Cat 1234567 they'LL 3,5",
    "▁a ▁ b",
    "",
]


def write(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return folder


def bos_matrix(post: str) -> Iterator[tuple[str, Files]]:
    """Yield 72 folders that differ in what they say of bos; ``post`` is one of four."""
    tokenizer = json.loads(_alphabet(post).to_str())
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    for name, bos, add in product(CLASSES, ("<s>", None, "absent"), ("absent", True, False)):
        config: Json = {"tokenizer_class": name, "eos_token": "</s>", "pad_token": "<pad>"}
        config |= {} if bos == "absent" else {"bos_token": bos}
        config |= {} if add == "absent" else {"add_bos_token": add}
        yield (
            f"{post} {name} bos_token {bos} add_bos_token {add}",
            {
                "tokenizer.json": tokenizer,
                "tokenizer_config.json": config,
                "generation_config.json": ids,
            },
        )


def _alphabet(post: str) -> tokenizers.Tokenizer:
    names = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = tokenizers.Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<s>", "</s>"])
    single = {"bos": "<s> $A", "boseos": "<s> $A </s>"}.get(post)
    if single is not None:
        made.post_processor = processors.TemplateProcessing(
            single=single, pair="<s> $A <s> $B", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    if post == "bytelevel":
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    return made


def trained(kind: str) -> Json:
    """Return the tokenizer.json of a trained tokenizer: see ``_train`` for the kinds."""
    found: Json = json.loads(_train(kind))
    return found


@cache
def _train(kind: str) -> str:
    if kind == "byte":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = _bpe_trainer(SPECIAL, alphabet)
    elif kind == "metaspace":
        made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        made.model.byte_fallback = True
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        made.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        trainer = _bpe_trainer([*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))], [])
    elif kind == "unigram":
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    else:
        assert kind == "words", kind
        made = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    if kind == "metaspace":  # byte tokens are pieces of the vocabulary, not added tokens
        file = json.loads(made.to_str())
        file["added_tokens"] = file["added_tokens"][: len(SPECIAL)]
        return json.dumps(file)
    return made.to_str()


def _bpe_trainer(special: list[str], alphabet: list[str]) -> trainers.BpeTrainer:
    return trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )


def template(*single: str) -> Json:
    """Return a post-processor, of texts like "<s>" and "$A"."""
    used = [name for name in single if name != "$A"]
    made = processors.TemplateProcessing(
        single=" ".join(single), special_tokens=[(n, SPECIAL.index(n)) for n in dict.fromkeys(used)]
    )
    stepped = tokenizers.Tokenizer(models.BPE())
    stepped.post_processor = made
    found: Json = json.loads(stepped.to_str())["post_processor"]
    return found


def added(number: int, content: str, **flags: bool) -> Json:
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": number, "content": content, **{n: flags.get(n, False) for n in names}}


NAMED: Json = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}


def variants() -> dict[str, Files]:
    """Return folders of a byte-level tokenizer, each with one variation."""
    file = trained("byte") | {"post_processor": template("<s>", "$A")}
    model, old = file["model"], file["added_tokens"]
    size = len(model["vocab"])
    eot = {name: value for name, value in old[EOT].items() if name != "id"}
    with_added = {"think": added(size, "<think>"), "end": added(size + 1, "</think>")}

    def tokens(**flags: bool) -> Json:
        content = flags.pop("content", "<|x|>")
        return {"added_tokens": [*old, added(size, str(content), **flags)]}

    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding: Json = {"strategy": {"Fixed": 16}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": PAD, "pad_type_id": 0, "pad_token": "<pad>"}
    given: dict[str, tuple[Json, Json]] = {
        "plain": ({}, {}),
        "clean-up": ({}, {"clean_up_tokenization_spaces": True}),
        "clean-up-anyway": (
            {},
            {
                "clean_up_tokenization_spaces": True,
                "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
            },
        ),
        "thoughts": ({"added_tokens": [*old, *with_added.values()]}, {}),
        "lstrip-rstrip": (tokens(lstrip=True, rstrip=True, special=True), {}),
        "single-word": (tokens(content="cat", single_word=True), {}),  # type: ignore[arg-type]
        "normalized": (tokens(content="KEY", normalized=True), {}),  # type: ignore[arg-type]
        "nfc": ({"normalizer": {"type": "NFC"}}, {}),
        "lowercase": ({"normalizer": {"type": "Lowercase"}}, {}),
        "truncation-padding": ({"truncation": truncation, "padding": padding}, {}),
        "dropout": ({"model": model | {"dropout": 0.5}}, {}),
        "ignore-merges": ({"model": model | {"ignore_merges": True}}, {}),
        "merges-as-strings": (
            {"model": model | {"merges": [" ".join(pair) for pair in model["merges"]]}},
            {},
        ),
        "eos-as-object": ({}, {"eos_token": {"__type": "AddedToken"} | eot | {"content": "</s>"}}),
        "pad-unknown": ({}, {"pad_token": "[PAD]"}),
        "mask-and-sep-unknown": ({}, {"mask_token": "[MASK]", "sep_token": "[SEP]"}),
        "only-in-decoder": (
            {"added_tokens": old[:EOT]},
            {"added_tokens_decoder": {str(EOT): eot}},
        ),
        "new-in-decoder": ({}, {"added_tokens_decoder": {str(size): eot | {"content": "<|x|>"}}}),
        "decoder-changes-flags": (
            {},
            {"added_tokens_decoder": {str(EOT): eot | {"lstrip": True, "rstrip": True}}},
        ),
        "extra-in-vocabulary": (
            {"added_tokens": old[:EOT]},
            {"extra_special_tokens": [SPECIAL[EOT]]},
        ),
        "additional-in-vocabulary": (
            {"added_tokens": old[:EOT]},
            {"additional_special_tokens": [SPECIAL[EOT]]},
        ),
        "named-in-vocabulary": ({"added_tokens": old[:EOT]}, {"turn_token": SPECIAL[EOT]}),
        "extra-by-name": (
            {"added_tokens": old[:EOT]},
            {"extra_special_tokens": {"turn_token": SPECIAL[EOT]}},
        ),
        "split-special-tokens": ({}, {"split_special_tokens": True}),
        "model-max-length": ({}, {"model_max_length": 4}),
        "named-without-flag": (
            {"added_tokens": [token | {"special": False} for token in old]},
            {},
        ),
        "measures": ({}, {"chat_template": "{{ messages[0].content[:9] }}"}),
        "no-decoder": ({"decoder": None}, {}),
        "no-class": ({}, {"tokenizer_class": None}),
        "unknown-class": ({}, {"tokenizer_class": "NobodysTokenizer"}),
    }
    return {
        name: {"tokenizer.json": file | changes, "tokenizer_config.json": NAMED | config}
        for name, (changes, config) in given.items()
    }


def kinds() -> dict[str, Files]:
    """Return folders of other models, post-processors and classes."""
    byte, spaced, pieces, words = map(trained, ("byte", "metaspace", "unigram", "words"))
    bos = {"post_processor": template("<s>", "$A")}
    bert = {"sep": ["</s>", EOS], "cls": ["<s>", BOS]}
    several = {"type": "Sequence", "processors": [byte["decoder"], template("<s>", "$A")]}
    roberta = {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False} | bert
    found: dict[str, tuple[Json, Json]] = {
        "several-tokens": (byte | {"post_processor": template("<s>", "<pad>", "$A", "</s>")}, {}),
        "other-end": (byte | {"post_processor": template("$A", "<|eot_id|>")}, {}),
        "sequence": (byte | {"post_processor": several}, {}),
        "bert": (byte | {"post_processor": {"type": "BertProcessing"} | bert}, {}),
        "roberta": (byte | {"post_processor": roberta}, {}),
        "unigram": (pieces | bos, {}),
        "unigram-clean-up": (pieces | bos, {"clean_up_tokenization_spaces": True}),
        "words": (words | bos, {}),
        "words-clean-up": (words | bos, {"clean_up_tokenization_spaces": True}),
        "metaspace": (spaced | bos, {}),
    }
    for legacy, prefix in product((None, True, False), repeat=2):
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_prefix_space": prefix}
        given = {name: value for name, value in config.items() if value is not None}
        found[f"llama-legacy-{legacy}-prefix-{prefix}"] = (spaced | bos, given)
    found["gemma"] = (spaced | bos, {"tokenizer_class": "GemmaTokenizer"})
    for name in (*CLASSES[1:], "Qwen3_5Tokenizer", "CohereTokenizer"):
        normal = {"normalizer": {"type": "Lowercase"}}
        found[f"class-{name}"] = (byte | bos | normal, {"tokenizer_class": name})
        config = {"tokenizer_class": name, "add_prefix_space": True}
        found[f"prefix-{name}"] = (byte | bos, config)
    return {
        name: {"tokenizer.json": file, "tokenizer_config.json": NAMED | config}
        for name, (file, config) in found.items()
    }


def beside() -> dict[str, Files]:
    """Return folders where another file decides: config.json, and those of older versions."""
    file = trained("byte") | {"post_processor": template("<s>", "$A")}
    old, size = file["added_tokens"], len(file["model"]["vocab"])
    fewer = file | {"added_tokens": old[:EOT]}
    unnamed = {"tokenizer_class": None}
    tail = {"single_word": False, "lstrip": True, "rstrip": True, "normalized": False}
    found: dict[str, tuple[Json, Json, Files]] = {
        "map-names-more": (fewer, {}, {"special_tokens_map.json": {"sep_token": SPECIAL[EOT]}}),
        "map-lists-more": (
            fewer,
            {},
            {"special_tokens_map.json": {"additional_special_tokens": [SPECIAL[EOT]]}},
        ),
        "map-with-flags": (
            fewer,
            {},
            {"special_tokens_map.json": {"sep_token": {"content": SPECIAL[EOT]} | tail}},
        ),
        "map-changes-eos": (file, {}, {"special_tokens_map.json": {"eos_token": SPECIAL[EOT]}}),
        "map-not-read": (
            fewer,
            {"added_tokens_decoder": {}},
            {"special_tokens_map.json": {"sep_token": SPECIAL[EOT]}},
        ),
        "added-tokens": (file, {}, {"added_tokens.json": {"<|x|>": size, "KEY": size + 1}}),
        "added-tokens-in-list": (file, {}, {"added_tokens.json": {SPECIAL[EOT]: EOT}}),
        "added-tokens-named": (file, {"x_token": "<|x|>"}, {"added_tokens.json": {"<|x|>": size}}),
        "class-of-config": (
            file,
            unnamed,
            {"config.json": {"tokenizer_class": "GPTNeoXTokenizer"}},
        ),
        "class-of-model-type": (file, unnamed, {"config.json": {"model_type": "qwen3"}}),
        "class-beside-model-type": (file, {}, {"config.json": {"model_type": "qwen3"}}),
        "class-against-model-type": (
            file,
            {"tokenizer_class": "GPT2Tokenizer"},
            {"config.json": {"model_type": "qwen3"}},
        ),
        "llama-byte-level": (
            file,
            {"tokenizer_class": "LlamaTokenizerFast"},
            {"config.json": {"model_type": "llama"}},
        ),
        "bitnet": (file, unnamed, {"config.json": {"model_type": "bitnet"}}),
        "decoder-of-a-class": (
            fewer,
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "added_tokens_decoder": {
                    str(token["id"]): {name: token[name] for name in token if name != "id"}
                    for token in [*old, added(size, "<|x|>", special=True)]
                },
            },
            {},
        ),
        "fewer-in-decoder-of-a-class": (
            file,
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "added_tokens_decoder": {
                    str(BOS): {name: old[BOS][name] for name in old[BOS] if name != "id"}
                },
            },
            {},
        ),
    }
    return {
        name: {"tokenizer.json": file, "tokenizer_config.json": NAMED | config} | files
        for name, (file, config, files) in found.items()
    }

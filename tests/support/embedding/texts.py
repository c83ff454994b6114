"""A tokenizer and prompts for a tiny network that embeds texts. Does not know bitnet_onnx."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers

PROMPTS = {"query": "find: ", "document": ""}


def write_tokenizer(folder: Path, eos: str = "template") -> None:
    """Write a byte-level tokenizer of 96 tokens that ends texts with ``<eos>``.

    eos: ``template``, the file's own post-processor adds it; ``flag``, only ``add_eos_token`` of
    tokenizer_config.json says so; ``none``.
    """
    letters = [chr(c) for c in range(32, 126)]
    letters[0] = "Ġ"
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *letters])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<eos>"])
    if eos == "template":
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A <eos>", pair="$A <eos> $B <eos>", special_tokens=[("<eos>", 1)]
        )
    made.save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}
    config |= {"pad_token": "<pad>"} | ({"add_eos_token": True} if eos == "flag" else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_prompts(folder: Path, default: str | None = None) -> None:
    fields = {"__version__": {}, "prompts": PROMPTS, "default_prompt_name": default}
    fields["similarity_fn_name"] = "cosine"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(fields))

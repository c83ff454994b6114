"""How byte-level BPE cuts text into words, by the names that ``tokenizer.ggml.pre`` has for it.

Knows patterns; knows no file. GGUF stores a name only: patterns and defaults are those of
llama.cpp's src/llama-vocab.cpp, in the form that the models' own tokenizer.json have.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEFAULT", "LLAMA3", "WORDS", "Words"]


class Words(NamedTuple):
    """The rule of one or more names."""

    names: str
    patterns: tuple[str, ...]
    """Each isolates what it matches in the pieces that those before it left."""
    ignore_merges: bool = False
    """Whether a word that is a token is taken whole."""
    add_bos: bool = False
    """Whether a bos is added where ``tokenizer.ggml.add_bos_token`` is missing."""


DEFAULT = "default"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{PUNCTUATION}|{BLANKS}"
QWEN2 = rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{PUNCTUATION}|{BLANKS}"
QWEN35 = (
    rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{BLANKS}"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"
)
THREE_DIGITS = "[0-9][0-9][0-9]"
RULES = (
    Words(
        "llama-bpe llama3 llama-v3 falcon3 falcon_e falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        (LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    Words("dbrx smaug-bpe", (LLAMA3,)),
    Words("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan stablelm2", (QWEN2,)),
    Words("qwen35", (QWEN35,)),
    Words("starcoder refact command-r smollm codeshell exaone minerva-7b", (r"\p{N}", GPT2)),
    Words("gpt-2 phi-2 mpt olmo jais exaone4 granite-docling mellum", (GPT2,)),
    Words("falcon", (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, THREE_DIGITS)),
    Words(DEFAULT, (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", THREE_DIGITS)),
    Words("tekken", (TEKKEN,), ignore_merges=True, add_bos=True),
)
WORDS = {name: rule for rule in RULES for name in rule.names.split()}

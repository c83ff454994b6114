"""The tokenizer of the bundled model: byte-level BPE as in LLaMA 3, trained on its questions.

Knows how text is split; does not know the network. A digit is always one token, and so is a capital
in an all-capital word, so that the network sees the units of sums and spelling. A frequent word is
one token with the space before it.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

from training import data

VOCAB_SIZE = 832
BOS, END_OF_TEXT, EOT, PAD = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|pad|>")
SPECIAL = [BOS, END_OF_TEXT, EOT, PAD]  # ids 0 to 3
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
BOS_ID, END_OF_TEXT_ID, EOT_ID, PAD_ID = range(4)

# The template of microsoft/bitnet-b1.58-2B-4T, so that one template serves both models.
CHAT_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = message['role'] | capitalize + ': '+ message['content'] | trim"
    " + '<|eot_id|>' %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
# Single digits, single capitals (unless a small letter follows), words with the space before them.
SPLIT = r"\d|[A-Z](?![a-z])| ?[A-Z]?[a-z]+| ?[^\sA-Za-z\d]+|\s+"


def train(examples: int = 20_000, seed: int = 0) -> Tokenizer:
    """Train the tokenizer on a sample of the training stream."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        show_progress=False,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    stream = data.training(f"tokenizer {seed}", reach=3)
    texts = (
        text
        for example, _ in zip(stream, range(examples), strict=False)
        for text in (f"User: {example.question}", "Assistant: ", example.answer)
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def prompt(question: str) -> str:
    """Return one user turn as the chat template renders it, up to the answer."""
    return f"User: {question}{EOT}Assistant: "


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer files of a checkpoint folder."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": CHAT_TEMPLATE,
    }
    generation = {
        "bos_token_id": BOS_ID,
        "eos_token_id": [END_OF_TEXT_ID, EOT_ID],
        "pad_token_id": PAD_ID,
        "do_sample": False,
    }
    for name, fields in (
        ("tokenizer_config.json", config),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")

"""A tiny LLaMA of transformers with a tokenizer and a chat template. Does not know bitnet_onnx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from tests.support import float_networks
from tests.support import oracle_networks as oracle

VOCAB, CONTEXT = 320, 96
SPECIAL = ["<s>", "</s>"]
TEXT = """\
The miller keeps three cats. One is grey, one is white, and the third has no name at all.
In the morning the grey cat sits on the wall; in the evening it sits in front of the stove.
Nobody has counted the mice: the white cat says twelve, the miller: "too many" \u2014 na\u00efve!
    4 + 4 = 8, and 12 - 5 = 7; the third cat does not add.

When the wheel stops, the cats wake up. When the wheel turns, the cats sleep again.
"""
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def write_tokenizer(folder: Path, bos: bool) -> None:
    """Write a byte-level BPE of TEXT; bos: it puts ``<s>`` before a text."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet),
    )
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
    made.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    config |= {"chat_template": TEMPLATE} | ({"bos_token": "<s>"} if bos else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write(folder: Path, bos: bool = True, **changes: Any) -> Any:
    """Save the network and its tokenizer; return the network."""
    sizes = {"vocab_size": VOCAB, "max_position_embeddings": CONTEXT, **changes}
    network = float_networks.make("Llama", **sizes)
    network.lm_head.weight.data /= 16  # exact; without it, a token is a thousand times too unlikely
    oracle.save(network, folder)
    write_tokenizer(folder, bos)
    return network

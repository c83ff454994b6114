"""Falcon3 and Falcon-E as GGUF: I2_S, heads of 256, their cut into words and their chats.

The metadata is that of public listings (``general.architecture`` llama, ``tokenizer.ggml.pre``
falcon3, and falcon_e in TII's own files); a published file was not at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from torch import Tensor

from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.model import load
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.names import permute_heads
from bitnet_onnx.weights.gguf.words import WORDS
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import gguf_files
from tests.support import oracle_networks as oracle
from tests.support.checkpoints import close
from tests.support.text.published_templates import CONCATENATIONS
from tests.support.text.vocabularies import byte_level_fields

TEXTS = ["It's 1234 (x==$1)\n\n  then", "नमस्ते HTTPServer", "the 12345.67 then\n", " the  then"]
MARKS = ["<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# Name -> the cut into words, the template, the end of a turn, and the text of a question.
CHATS = {
    "Falcon3": ("falcon3", "Falcon3", "<eos>", "<|user|>\nthe\n<|assistant|>\n"),
    "Falcon-E": (
        "falcon_e", "ChatML", "<|im_end|>",
        "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n",
    ),
}  # fmt: skip


def fields_of(pre: str, template: str, end: str) -> dict[str, Any]:
    plain = byte_level_fields()
    tokens = [*plain["tokenizer.ggml.tokens"], *MARKS]
    types = [*plain["tokenizer.ggml.token_type"], *[3] * len(MARKS)]
    fields = byte_level_fields(pre=pre, tokens=tokens, token_type=types)
    fields["tokenizer.ggml.eos_token_id"] = tokens.index(end)
    return fields | {"tokenizer.chat_template": CONCATENATIONS[template]}


def falcon(folder: Path, name: str) -> tuple[Path, Any]:
    """Write a file with heads of 256; return it and transformers' network of its codes."""
    pre, template, end, _ = CHATS[name]
    metadata = fields_of(pre, template, end)
    config = oracle.llama_config(
        vocab_size=len(metadata["tokenizer.ggml.tokens"]), hidden_size=128, intermediate_size=256,
        num_attention_heads=2, num_key_value_heads=1, head_dim=256, num_hidden_layers=1,
        rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000042.0},
    )  # fmt: skip
    source = oracle.random_llama(config, 2)
    heads = {"q_proj": 2, "k_proj": 1}
    masters: dict[str, Tensor] = {}
    for tensor, weight in source.state_dict().items():
        count = heads.get(tensor.split(".")[-2])
        masters[tensor] = permute_heads(weight, count) if count else weight
    fields = json.loads(config.to_json_string()) | {"rope_theta": 1000042.0}
    sizes = dict.fromkeys(
        ("attention.key_length", "attention.value_length", "rope.dimension_count"), 256
    )
    keys = {f"llama.{key}": value for key, value in sizes.items()} | metadata
    folder.mkdir()
    path = gguf_files.write(
        folder / "ggml-model-i2_s.gguf", fields, masters, architecture="llama", metadata=keys
    )
    return path, oracle.quantized(source, "autobitlinear", "online")


@pytest.fixture(scope="module", params=CHATS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("falcon")
    path, theirs = falcon(folder / "c", request.param)
    export(path, folder / "a")
    return request.param, path, theirs, folder / "a"


@torch.no_grad()
def test_the_network_is_the_llama_of_transformers(made: Any) -> None:
    _, path, theirs, _ = made
    checkpoint = open_checkpoint(path)
    config = checkpoint.config
    assert (config.head_dim, config.rope_theta, config.num_key_value_heads) == (256, 1000042.0, 1)
    assert (config.group_size, config.float_activations) == (None, False)
    assert not any("int8 is assumed" in note for note in checkpoint.notes)
    ids = oracle.ids_of(20, 1)
    ours = BitNetForCausalLM.from_checkpoint(checkpoint)
    assert close(ours(ids).logits, theirs(ids).logits)


def test_its_ids_are_those_of_the_library_tokenizers(made: Any) -> None:
    """Its rule is that of LLaMA 3, spelled out here."""
    _, path, _, artifact = made
    fields = open_checkpoint(path).text_files()
    built = tokenizers.Tokenizer.from_str(fields["tokenizer.json"].decode())
    words = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(
                tokenizers.Regex(
                    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                "isolated",
            ),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.pre_tokenizer = words
    ours = Tokenizer.from_folder(artifact)
    for text in TEXTS:
        expected = built.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False) == expected
        assert ours.encode(text) == [256, *expected]
    assert WORDS["falcon_e"].patterns == WORDS["falcon3"].patterns


def test_a_chat_has_its_own_form_and_ends_its_turns(made: Any) -> None:
    name, _, _, artifact = made
    _, _, end, question = CHATS[name]
    tokenizer = Tokenizer.from_folder(artifact)
    messages = [{"role": "user", "content": "the"}]
    expected = tokenizer.encode(question, add_special_tokens=False)
    assert [id for id in tokenizer.encode_chat(messages) if id != 256] == expected
    assert tokenizer.eos_token_ids == tuple(tokenizer.encode(end, add_special_tokens=False))
    with load(artifact, threads=1) as model:
        assert len(model.generate(messages, max_new_tokens=4).text) > 0

"""GGUF files are read as the network that they hold: layouts, types, metadata, tokenizer."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.gguf.blocks import pack_i2s, unpack_i2s, unpack_tq1, unpack_tq2
from bitnet_onnx.weights.gguf.checkpoint import GgufCheckpoint
from bitnet_onnx.weights.gguf.names import permute_heads, unpermute_heads
from bitnet_onnx.weights.gguf.words import LLAMA3
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, gguf_files

SMALL: dict[str, Any] = {"hidden": 64, "heads": 2, "kv_heads": 1, "inner": 128, "layers": 1}
WIDE: dict[str, Any] = {"hidden": 256, "heads": 4, "kv_heads": 2, "inner": 512, "layers": 1}
Q = "model.layers.0.self_attn.q_proj"

# ---------------------------------------------------------------------------------- the layouts


@given(st.data(), st.sampled_from(["x86", "arm"]), st.integers(1, 5))
def test_i2s_packing_equals_the_layout_spelled_out(
    data: st.DataObject, layout: str, blocks: int
) -> None:
    count = blocks * gguf_files.BLOCKS[layout]
    codes = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    packed = torch.tensor(list(gguf_files.i2s(codes, 1.0, layout)[: count // 4]), dtype=torch.uint8)
    assert unpack_i2s(packed, layout).tolist() == codes
    assert torch.equal(pack_i2s(torch.tensor(codes, dtype=torch.uint8), layout), packed)


def test_the_first_byte_is_that_of_the_published_layout() -> None:
    codes = [1] * 128
    codes[0], codes[32], codes[64], codes[96] = 2, 0, 1, 2
    assert (
        gguf_files.i2s(codes, 1.0)[0] == pack_i2s(torch.tensor(codes, dtype=torch.uint8), "x86")[0]
    )
    assert gguf_files.i2s(codes, 1.0)[0] == 0b10_00_01_10


@pytest.mark.parametrize(("kind", "unpack"), [(Type.TQ1_0, unpack_tq1), (Type.TQ2_0, unpack_tq2)])
@given(st.data())
def test_the_ternary_types_of_llama_cpp_unpack_to_their_codes(
    kind: Type, unpack: Any, data: st.DataObject
) -> None:
    codes = data.draw(st.lists(st.integers(-1, 1), min_size=512, max_size=512).filter(any))
    scale = np.float32(np.float16(data.draw(st.floats(1e-3, 8.0))))
    values = np.array(codes, np.float32).reshape(1, 512) * scale
    blocks = torch.from_numpy(quantize(values, kind)).view(2, -1)
    found, scales = unpack(blocks)
    assert (found.int() - 1).tolist() == codes
    assert all(s in (0, scale) for s in scales.tolist())


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_rows_of_llama_are_permuted_as_llama_cpp_does(heads: int) -> None:
    rows = torch.arange(heads * 8).view(-1, 1).repeat(1, 3)
    stored = permute_heads(rows, heads)
    for head in range(heads):
        for i in range(4):
            for half in range(2):
                assert stored[head * 8 + 2 * i + half, 0] == head * 8 + half * 4 + i
    assert torch.equal(unpermute_heads(stored, heads), rows)


# ------------------------------------------------------------------------------------- the file


def assert_same(found: GgufCheckpoint, fields: dict[str, Any], masters: dict[str, Any]) -> None:
    for name in parts_of(found.config).linears:
        codes, scale = found.ternary(name)
        expected, mean = gguf_files.absmean(masters[f"{name}.weight"])
        assert (codes.flatten() + 1).tolist() == expected
        assert codes.dtype == torch.int8
        assert scale.item() == pytest.approx(mean, rel=5e-4)
        assert found.scale(name).item() == scale.item()
    for name in parts_of(found.config).norms:
        assert torch.equal(found.tensor(name).float(), masters[name].float())
    fields = {**fields, "tie_word_embeddings": "lm_head.weight" in masters}
    assert found.config.vocab_size == fields["vocab_size"]


@pytest.mark.parametrize("architecture", ["bitnet", "bitnet-25", "bitnet-b1.58"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_file_is_the_same_network_as_its_folder(
    tmp_path: Path, architecture: str, tied: bool
) -> None:
    path, fields, masters = gguf_files.make(
        tmp_path / "m.gguf", architecture=architecture, tied=tied, **SMALL
    )
    found = open_checkpoint(path)
    folder = open_checkpoint(gguf_files.twin(tmp_path / "folder", fields, masters))
    assert found.config == folder.config
    assert found.packed
    assert found.files() == [path]
    for name in parts_of(folder.config).linears:
        for ours, theirs in zip(found.ternary(name), folder.ternary(name), strict=True):
            assert torch.equal(ours, theirs)
    for name in (*parts_of(folder.config).norms, *parts_of(folder.config).tables):
        assert torch.equal(found.tensor(name).float(), folder.tensor(name).float())
    assert (len(found.notes) == 2) is (architecture == "bitnet")  # which leaves the activation open
    assert "x86 layout" in found.notes[-1]


@pytest.mark.parametrize("linear", ["x86", "arm", "TQ1_0", "TQ2_0"])
def test_every_ternary_type_is_read(tmp_path: Path, linear: str) -> None:
    path, fields, masters = gguf_files.make(tmp_path / "m.gguf", linear=linear, **WIDE)
    found = GgufCheckpoint(path, i2s_layout="arm" if linear == "arm" else "x86")
    assert_same(found, fields, masters)
    assert bool(found.notes) is (linear in gguf_files.BLOCKS)


TABLES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *gguf_files.UNMADE)


@pytest.mark.parametrize("kind", [*TABLES, "TQ1_0", "TQ2_0"])
def test_every_table_type_is_read(tmp_path: Path, kind: str) -> None:
    path, fields, masters = gguf_files.make(tmp_path / "m.gguf", table=kind, **WIDE)
    found = open_checkpoint(path).tensor("model.embed_tokens.weight")
    table = masters["model.embed_tokens.weight"]
    _, content = gguf_files.table_bytes(table, kind)
    raw = np.frombuffer(content, np.uint8).reshape(table.shape[0], -1)
    assert np.array_equal(found.float().numpy(), dequantize(raw, Type[kind]).reshape(table.shape))
    assert found.shape == (fields["vocab_size"], 256)
    step = {"Q8_0": 0.02, "F32": 0.0, "F16": 0.0, "BF16": 0.0}.get(kind, 0.5)
    if kind not in (*gguf_files.UNMADE, "TQ1_0", "TQ2_0"):
        assert (found.float() - table.float()).abs().max() <= step


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_every_norm_type_is_read(tmp_path: Path, kind: str) -> None:
    path, fields, masters = gguf_files.make(tmp_path / "m.gguf", norm=kind, **SMALL)
    assert_same(GgufCheckpoint(path), fields, masters)


def test_the_permuted_rows_of_a_llama_are_restored(tmp_path: Path) -> None:
    quantization = {"quant_method": "bitnet", "linear_class": "autobitlinear"}
    fields = {"model_type": "llama", "hidden_act": "silu", "quantization_config": quantization}
    sizes = checkpoints.config_fields(packed=False, **SMALL)
    config = BitNetConfig.from_dict({**sizes, **fields})
    masters = checkpoints.masters(sizes, 0)
    masters = {n: t for n, t in masters.items() if n in parts_of(config).norms or "norm" not in n}
    for name, heads in ((Q, 2), (Q.replace("q_proj", "k_proj"), 1)):
        masters[f"{name}.weight"] = permute_heads(masters[f"{name}.weight"], heads)
    path = gguf_files.write(tmp_path / "m.gguf", sizes, masters, architecture="llama")
    found = open_checkpoint(path)
    assert found.config == config
    expected = checkpoints.masters(sizes, 0)
    for name in parts_of(config).linears:
        codes = gguf_files.absmean(expected[f"{name}.weight"])[0]
        assert (found.ternary(name)[0].flatten() + 1).tolist() == codes


def test_a_folder_opens_its_only_gguf_file(tmp_path: Path) -> None:
    path, fields, masters = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    assert open_checkpoint(tmp_path).files() == [path]
    gguf_files.make(tmp_path / "n.gguf", **SMALL)
    with pytest.raises(CheckpointError, match=r"holds 2 \.gguf files"):
        open_checkpoint(tmp_path)
    gguf_files.twin(tmp_path, fields, masters)
    assert open_checkpoint(tmp_path).files()[-1].name == "model.safetensors"
    with pytest.raises(ConfigError, match="i2s_layout is 'sparc', expected one of: x86, arm"):
        open_checkpoint(path, i2s_layout="sparc")


def test_a_config_beside_the_file_is_preferred(tmp_path: Path) -> None:
    path, fields, _ = gguf_files.make(tmp_path / "m.gguf", architecture="bitnet", **SMALL)
    divide = {"quant_method": "bitnet", "linear_class": "bitlinear"}
    beside = {**fields, "max_position_embeddings": 48, "quantization_config": divide}
    (tmp_path / "config.json").write_text(json.dumps(beside))
    found = open_checkpoint(path)
    assert found.config.max_position_embeddings == 48
    assert not found.config.divide_by_scale
    assert [p.name for p in found.files()] == ["m.gguf", "config.json"]
    assert len(found.notes) == 1  # the config names the activation
    (tmp_path / "config.json").write_text(json.dumps({**beside, "intermediate_size": 160}))
    with pytest.raises(CheckpointError, match=r"m\.gguf: blk\.0\.ffn_gate\.weight has the shape"):
        open_checkpoint(path)


# ------------------------------------------------------------------------------------ the text

TEXTS = [
    "Hello, world! It's 12345 o'clock; they'LL see.",
    "  two  spaces\n\nand\tlines \r\n äöü ß 東京 🙂\n",
    "<|begin_of_text|>User: x<|eot_id|>Assistant: <|pad|>",
    "def f(x):\n    return x**2  # 3.14159\n",
]


def demo_tokens(demo: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the bundled tokenizer.json with the word split of LLaMA 3, and its GGUF fields."""
    original = json.loads((demo / "tokenizer.json").read_text())
    original["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": LLAMA3}
    model = original["model"]
    special = {entry["content"] for entry in original["added_tokens"]}
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return original, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.add_bos_token": True,
    }


@pytest.mark.parametrize("words", [None, "llama-bpe", "llama3"])
def test_a_tokenizer_is_built_from_the_metadata(
    tmp_path: Path, demo_checkpoint: Path, words: str | None
) -> None:
    original, metadata = demo_tokens(demo_checkpoint)
    metadata |= {"tokenizer.ggml.pre": words, "tokenizer.chat_template": "{{ messages }}"}
    path, _, _ = gguf_files.make(tmp_path / "m.gguf", vocab=832, metadata=metadata, **SMALL)
    files = open_checkpoint(path).text_files()
    built = json.loads(files["tokenizer.json"])
    for name in ("added_tokens", "pre_tokenizer", "decoder", "normalizer", "post_processor"):
        if name != "post_processor":
            assert built[name] == original[name]
    assert built["post_processor"]["single"] == original["post_processor"]["single"]
    assert built["model"] == {**original["model"], "ignore_merges": True}
    ours, theirs = (tokenizers.Tokenizer.from_str(json.dumps(t)) for t in (built, original))
    for text in TEXTS:
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs.encode(text).ids)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.bos_token_id == 0
    assert tokenizer.eos_token_ids == (1, 2)  # the text <|eot_id|> identifies the second
    assert tokenizer.has_chat_template


def test_the_placeholder_template_is_left_out(tmp_path: Path, demo_checkpoint: Path) -> None:
    _, metadata = demo_tokens(demo_checkpoint)
    template = "{% for m in messages %}Human: {{ m }}\n\nBITNETAssistant: {% endfor %}"
    metadata["tokenizer.chat_template"] = template
    path, _, _ = gguf_files.make(tmp_path / "m.gguf", vocab=832, metadata=metadata, **SMALL)
    config = json.loads(open_checkpoint(path).text_files()["tokenizer_config.json"])
    assert "chat_template" not in config
    assert config["bos_token"] == "<|begin_of_text|>"


def test_tokenizer_files_beside_the_gguf_file_are_preferred(
    tmp_path: Path, demo_checkpoint: Path
) -> None:
    metadata = {"tokenizer.ggml.model": "llama"}
    path, _, _ = gguf_files.make(tmp_path / "m.gguf", metadata=metadata, **SMALL)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert open_checkpoint(path).text_files() == {"tokenizer.json": b"{}"}
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.tokens") as caught:
        open_checkpoint(path).text_files()
    assert "tokenizer.json" in str(caught.value.hint)
    bare, _, _ = gguf_files.make(tmp_path / "bare.gguf", **SMALL)
    assert open_checkpoint(bare).text_files() == {}


TEXT_DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "wordpiece": (
        {"tokenizer.ggml.model": "bert"},
        "model is 'bert', expected one of: gpt2, llama",
    ),
    "no scores": ({"tokenizer.ggml.model": "llama"}, "scores is not an array of 3 numbers"),
    "other words": ({"tokenizer.ggml.pre": "qwen9"}, "pre is 'qwen9', expected one of: llama-bpe"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "tokens is missing"),
    "tokens are numbers": ({"tokenizer.ggml.tokens": [1, 2]}, "tokens is missing or not an array"),
    "twice": ({"tokenizer.ggml.tokens": ["a", "b", "a"]}, "holds 'a' twice"),
    "no merges": ({"tokenizer.ggml.merges": None}, "merges is missing"),
    "odd merge": ({"tokenizer.ggml.merges": ["ab"]}, "holds 'ab' at 0"),
    "types": ({"tokenizer.ggml.token_type": [1]}, "is not an array of 3 numbers"),
    "bos": ({"tokenizer.ggml.bos_token_id": 3}, "bos_token_id is 3, expected 0 to 2"),
    "json": ({"tokenizer.huggingface.json": 5}, r"huggingface\.json is not a text"),
}


@pytest.mark.parametrize("damage", TEXT_DAMAGE)
def test_a_tokenizer_that_cannot_be_built_is_refused(tmp_path: Path, damage: str) -> None:
    change, message = TEXT_DAMAGE[damage]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.token_type": [1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        **change,
    }
    path, _, _ = gguf_files.make(tmp_path / "m.gguf", metadata=metadata, **SMALL)
    checkpoint = open_checkpoint(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.text_files()
    assert str(path) in str(caught.value)


def test_the_scale_is_read_exactly(tmp_path: Path) -> None:
    path, _, masters = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    mean = gguf_files.absmean(masters[f"{Q}.weight"])[1]
    assert struct.pack("<f", open_checkpoint(path).scale(Q).item()) == struct.pack("<f", mean)

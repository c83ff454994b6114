"""Float linears in GGUF: every type that is read, as gguf's package and transformers read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import gguf_files
from tests.support.agreement import agrees
from tests.support.float_networks import variant

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
UP = "model.layers.1.mlp.up_proj.weight"


def pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder rows of q or k as llama.cpp's converter does."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def written(
    path: Path, kind: str, up: str | None = None, **changes: Any
) -> tuple[Path, Any, dict[str, torch.Tensor]]:
    """Write a LLaMA; return the file, its network as stored, and the stored tensors.

    up: the type of the matrices of up_proj, where it differs.
    """
    model = variant("llama", torch.float32, **changes)
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    stored = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = heads.get(name.split(".")[-2], 0)
        values = (pairs(tensor, count) if count else tensor).numpy()
        type = Type[(up if "up_proj" in name else None) or kind] if tensor.ndim == 2 else Type.F32
        packed = quantize(values, type)
        stem, _, part = name.rpartition(".")
        owner = gguf_files.stored_name(f"{stem}.weight").removesuffix("weight")
        writer.add_tensor(f"{owner}{part}", packed, raw_dtype=type)
        exact = torch.from_numpy(np.array(dequantize(packed, type)))
        if count:  # back to halves
            exact = exact.reshape(count, -1, 2, *exact.shape[1:]).swapaxes(1, 2)
        stored[name] = exact.reshape(tensor.shape).clone()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(stored, strict=not config.tie_word_embeddings)
    return path, model, stored


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_as_by_the_package_gguf(tmp_path: Path, kind: str) -> None:
    path, _, stored = written(tmp_path / "m.gguf", kind, attention_bias=kind in ("F16", "Q4_1"))
    checkpoint = open_checkpoint(path)
    assert checkpoint.config.float_linears
    parts = checkpoint.parts
    names = {f"{name}.weight" for name in parts.linears} | {*parts.tables, *parts.norms}
    assert names | {*parts.biases} == set(stored)
    for name, expected in stored.items():
        assert torch.equal(checkpoint.tensor(name).float(), expected), name


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "BF16"])
def test_transformers_reads_the_same_network(tmp_path: Path, kind: str) -> None:
    from transformers import AutoModelForCausalLM

    path, _, _ = written(tmp_path / "m.gguf", kind, tie_word_embeddings=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.float32
    ).eval()
    head = "bf16" if kind == "BF16" else "float32"
    agrees(path, theirs, tmp_path / "a", head)
    export(path, tmp_path / "b")
    artifact = Artifact.open(tmp_path / "b")
    assert (artifact.linears, artifact.head) == (head, head)


def test_biases_and_a_head_agree(tmp_path: Path) -> None:
    path, theirs, _ = written(tmp_path / "m.gguf", "Q5_1", attention_bias=True, mlp_bias=True)
    agrees(path, theirs, tmp_path / "a", "float32")


def test_a_config_beside_decides_with_the_types(tmp_path: Path) -> None:
    path, model, stored = written(tmp_path / "m.gguf", "Q8_0")
    model.config.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.config.float_linears
    assert torch.equal(checkpoint.tensor(UP), stored[UP])


@pytest.mark.parametrize(("kind", "other"), [("F16", "TQ2_0"), ("TQ2_0", "Q8_0")])
def test_types_of_two_kinds_are_refused(tmp_path: Path, kind: str, other: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256}
    path, *_ = written(tmp_path / "m.gguf", kind, up=other, **sizes)
    with pytest.raises(CheckpointError, match=rf"ffn_up\.weight is {other}, expected one of: "):
        open_checkpoint(path)


def test_a_float_file_of_a_ternary_network_is_refused(tmp_path: Path) -> None:
    path, *_ = gguf_files.make(tmp_path / "b.gguf", linear="F16")
    with pytest.raises(CheckpointError, match="is F16, expected one of: I2_S, TQ1_0"):
        open_checkpoint(path)


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path, *_ = written(tmp_path / "m.gguf", "F32")
    checkpoint = open_checkpoint(path)
    (info,) = checkpoint._where[UP]  # type: ignore[attr-defined]
    content = bytearray(path.read_bytes())
    content[info.start : info.start + 4] = np.float32(np.inf).tobytes()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"ffn_up\.weight holds a NaN or an infinity"):
        export(path, tmp_path / "a")
    assert not (tmp_path / "a").exists()

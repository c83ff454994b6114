"""GGUF files of networks that embed texts, as microsoft/BitNet's converter names their tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import bitnet_onnx
from bitnet_onnx.errors import BitNetError
from bitnet_onnx.exporter.pooling import notes
from bitnet_onnx.model import BitNetEmbedding
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.embedding import networks as oracle
from tests.support.gguf_files import LAYER, linear_bytes

GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TEXTS = [[5, 9, 40, 2, 3], [17], [8, 8, 8, 1]]


def stored_name(name: str, sandwich: bool) -> str:
    stem = name.removesuffix(".weight")
    if stem in ("embed_tokens", "norm"):
        return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[stem]
    _, layer, inner = stem.split(".", 2)
    names = LAYER | (GEMMA if sandwich else {})
    if inner.endswith("_proj.norm"):
        return f"blk.{layer}.{names[inner.removesuffix('.norm')]}_norm_in.weight"
    return f"blk.{layer}.{names[inner]}.weight"


def made(
    path: Path, kind: str, pooling: int | None = 3, **keys: Any
) -> tuple[Path, Path, dict[str, Any]]:
    """Write a GGUF file and the safetensors of the same network; return both, and the config."""
    body, stored = oracle.random_body(kind, intermediate_size=128)
    folder = oracle.save_body(path / "c", body, stored)
    config = json.loads((folder / "config.json").read_text())
    arch = "qwen3" if kind == "qwen3" else "gemma3"
    file = path / "gguf" / "model.gguf"
    file.parent.mkdir()
    writer = gguf.GGUFWriter(file, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if pooling is not None:
        writer.add_uint32(f"{arch}.pooling_type", pooling)
    for key, value in keys.items():
        writer.add_uint32(f"{arch}.{key.replace('__', '.')}", value)
    data = []
    for name, tensor in stored.items():
        if name.endswith("_proj.weight"):
            number, content = linear_bytes(tensor, "x86")
        else:
            own = kind != "qwen3" and tensor.ndim == 1 and "_proj.norm" not in name
            values = (tensor.float() + 1.0 if own else tensor.float()).numpy()
            number = int(gguf.GGMLQuantizationType.F16 if tensor.ndim == 2 else 0)
            content = values.astype(np.float16 if tensor.ndim == 2 else np.float32).tobytes()
        data.append(np.frombuffer(content, np.int8))
        # int8 stands for "bytes": the writer would work out a shape from uint8.
        writer.add_tensor_info(
            stored_name(name, kind != "qwen3"),
            tensor.shape,
            np.dtype(np.int8),
            len(content),
            raw_dtype=number,  # type: ignore[arg-type]  # its list lacks I2_S
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for stored_bytes in data:
        writer.write_tensor_data(stored_bytes)
    writer.close()
    return file, folder, config


@torch.no_grad()
def vectors(source: Path, mode: str) -> np.ndarray:
    checkpoint = open_checkpoint(source)
    network = BitNetEmbedding.from_checkpoint(checkpoint, checkpoint.pooling._replace(mode=mode))
    return np.stack([network(torch.tensor([ids]))[0].numpy() for ids in TEXTS])


@pytest.mark.parametrize(("pooling", "mode"), [(3, "last"), (1, "mean"), (None, "last")])
def test_a_qwen3_file_gives_the_vectors_of_its_masters(
    tmp_path: Path, pooling: int | None, mode: str
) -> None:
    file, folder, _ = made(tmp_path, "qwen3", pooling)
    checkpoint = open_checkpoint(file)
    assert (checkpoint.config.network, checkpoint.pooling.mode) == ("qwen3_embedding", mode)
    assert (checkpoint.pooling.note is None) is (pooling is not None)
    np.testing.assert_allclose(vectors(file, mode), vectors(folder, mode), atol=1e-6)
    if pooling == 1:
        bitnet_onnx.export(file, tmp_path / "a")
        with bitnet_onnx.load(tmp_path / "a", threads=1) as model:
            np.testing.assert_array_equal(model.embed(TEXTS), vectors(file, mode))


def test_a_gemma3_file_needs_the_config_json_beside_it(tmp_path: Path) -> None:
    file, folder, config = made(tmp_path, "gemma3_text", 1)
    with pytest.raises(BitNetError, match="are only in a config"):
        open_checkpoint(file)
    (file.parent / "config.json").write_text(json.dumps(config))
    assert open_checkpoint(file).pooling.mode == "mean"
    np.testing.assert_allclose(vectors(file, "mean"), vectors(folder, "mean"), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "keys", "what"),
    [
        ("qwen3", {"pooling": 2}, "pooling_type is 2 .cls., expected 1 .mean. or 3 .last."),
        ("qwen3", {"pooling": 0}, "pooling_type is 0 .none., expected 1"),
        ("qwen3", {"pooling": 4}, "pooling_type is 4 .rank., expected .* ranks texts has a head"),
        ("qwen3", {"pooling": 9}, "pooling_type is 9, expected 1"),
        ("gemma3_text", {"attention__sliding_window": 8}, "sliding_window is 8, but"),
        ("qwen3", {"attention__sliding_window": 8}, "sliding_window is 8"),
    ],
)
def test_other_metadata_is_refused(
    tmp_path: Path, kind: str, keys: dict[str, Any], what: str
) -> None:
    file, _, config = made(tmp_path, kind, **keys)
    if kind != "qwen3":
        (file.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(BitNetError, match=what):
        bitnet_onnx.export(file, tmp_path / "a")


@pytest.mark.parametrize(("pooling", "name"), [(0, "none"), (2, "cls"), (1, "mean"), (4, "rank")])
def test_an_option_takes_the_place_of_a_type_that_is_not_understood(
    tmp_path: Path, pooling: int, name: str
) -> None:
    """A network that ranks texts is another network, whatever is asked for."""
    file, _, _ = made(tmp_path, "qwen3", pooling)
    checkpoint = open_checkpoint(file)
    if name == "rank":
        with pytest.raises(BitNetError, match=r"pooling_type is 4 .rank., expected 1"):
            notes(checkpoint, "last")
        return
    said = f"the checkpoint says the pooling {name}, and last is asked for"
    assert notes(checkpoint, "last") == [said]
    if pooling != 1:
        with pytest.raises(BitNetError, match="pooling_type") as caught:
            BitNetEmbedding.from_checkpoint(checkpoint)
        assert "export it with --pooling last or mean" in str(caught.value.hint)
    assert vectors(file, "last").shape == (3, 64)

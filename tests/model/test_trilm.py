"""TriLM, BitCPM-CANN: a LLaMA stored as code times scale is computed so, never quantized again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import oracle_networks as oracle
from tests.support.agreement import agrees
from tests.support.checkpoints import close

UP = "model.layers.1.mlp.up_proj"
SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 96, "max_position_embeddings": 128,
}  # fmt: skip
ONLINE = {
    "quant_method": "bitnet",
    "linear_class": "autobitlinear",
    "quantization_mode": "online",
}


def trilm(folder: Path, dtype: torch.dtype = torch.float16, blocks: int = 1, axis: int = 0) -> Any:
    """Save a LLaMA of ternary weights with a scale for each block of rows (0) or columns (1)."""
    model = oracle.random_llama(oracle.llama_config(**SIZES), seed=4)
    random = torch.Generator().manual_seed(5)
    for name, linear in model.named_modules():
        if name.endswith("_proj"):
            codes = torch.randint(-1, 2, linear.weight.shape, generator=random).float()
            parts = codes.tensor_split(blocks, dim=axis)
            scaled = [part * (0.02 + 0.01 * i) for i, part in enumerate(parts)]
            linear.weight.data = torch.cat(scaled, dim=axis)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    oracle.save(model, folder, dtype)
    return model


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("dtype", "blocks", "axis"),
    [(torch.float16, 2, 0), (torch.bfloat16, 1, 0), (torch.float16, 3, 1)],
    ids=["blocks of rows", "bfloat16", "blocks of columns"],
)
def test_trilm_computes_what_transformers_computes(
    tmp_path: Path, dtype: torch.dtype, blocks: int, axis: int
) -> None:
    if axis == 1:  # only down_proj has several groups of 128
        model = trilm(tmp_path / "c", dtype)
        for layer in model.model.layers:
            weight = layer.mlp.down_proj.weight.data
            weight[:, 128:256] *= 2
        oracle.save(model, tmp_path / "c", dtype)
    else:
        model = trilm(tmp_path / "c", dtype, blocks)
    head = "bf16" if dtype == torch.bfloat16 else "float32"
    assert open_checkpoint(tmp_path / "c").config.float_activations
    agrees(tmp_path / "c", oracle.load(tmp_path / "c"), tmp_path / "a", head)


@pytest.mark.parametrize("network", ["llama", "bitnet_b1_58", "qwen3"])
def test_ternary_masters_are_not_quantized_again(tmp_path: Path, network: str) -> None:
    if network == "qwen3":
        oracle.save(oracle.qwen3(), tmp_path / "c", torch.float16)
        section = {"quant_method": "bitnet", "group_size": 128, "quantization_mode": "online"}
        change(tmp_path / "c", quantization_config=section)
    else:
        trilm(tmp_path / "c", blocks=2)
        change(tmp_path / "c", quantization_config=ONLINE)
    if network == "bitnet_b1_58":
        path = tmp_path / "c" / "model.safetensors"
        tensors = load_file(path)
        for layer in (0, 1):
            tensors[f"model.layers.{layer}.self_attn.inner_attn_ln.weight"] = torch.ones(128)
            tensors[f"model.layers.{layer}.mlp.ffn_layernorm.weight"] = torch.ones(384)
        save_file(tensors, path)
        change(tmp_path / "c", weight_bits=1, quantization_config=None)
    checkpoint = open_checkpoint(tmp_path / "c")
    for read in (checkpoint.ternary, lambda name: checkpoint.tensor(f"{name}.weight")):
        with pytest.raises(CheckpointError, match="a few magnitudes only, expected float masters"):
            read(UP)
    open_checkpoint(tmp_path / "c", allow_degenerate=True).ternary(UP)


@pytest.mark.parametrize("sizes", [SIZES, {}], ids=["groups", "sizes that are not of groups"])
def test_other_floats_are_float_linears_and_a_note_says_so(
    tmp_path: Path, sizes: dict[str, Any]
) -> None:
    oracle.save(oracle.random_llama(oracle.llama_config(**sizes), 1), tmp_path / "c")
    checkpoint = open_checkpoint(tmp_path / "c")
    assert checkpoint.config.float_linears
    (note,) = checkpoint.notes
    assert "'autobitlinear'" in note
    with pytest.raises(CheckpointError, match=f"{UP}.weight is float, expected a ternary weight"):
        checkpoint.ternary(UP)
    change(tmp_path / "c", quantization_config=ONLINE)  # what the note says
    open_checkpoint(tmp_path / "c").ternary(UP)


def test_blocks_that_cut_a_group_are_refused_and_not_called_masters(tmp_path: Path) -> None:
    trilm(tmp_path / "c", blocks=3, axis=1)
    with pytest.raises(
        CheckpointError, match=r"in row 0, group 0 of 128, expected 0 or ±"
    ) as found:
        open_checkpoint(tmp_path / "c")
    assert found.value.hint is None


# ------------------------------------------------------- BitCPM-CANN: LLaMA, positions of MiniCPM4


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1 + i / 10 for i in range(32)],
    "long_factor": [1 + i / 10 for i in range(32)],
    "original_max_position_embeddings": 128,
}
BITCPM = {"hidden_size": 256, "intermediate_size": 512, "rope_parameters": LONGROPE}


def bitcpm(folder: Path, size: int, pickled: bool = False) -> Any:
    """Save a LLaMA with LongRoPE and a scale for each ``size`` weights of a row, 0 for a row."""
    model = oracle.random_llama(oracle.llama_config(**SIZES | BITCPM), seed=4)
    random = torch.Generator().manual_seed(5)
    for name, linear in model.named_modules():
        if name.endswith("_proj"):
            weight = linear.weight.data
            codes = torch.randint(-1, 2, weight.shape, generator=random).float()
            groups = codes.unflatten(1, (-1, size or weight.shape[1]))
            scale = torch.rand(*groups.shape[:2], 1, generator=random) * 0.1 + 0.03
            linear.weight.data = (groups * scale).flatten(1)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    oracle.save(model, folder, torch.bfloat16)
    if pickled:
        path = folder / "model.safetensors"
        torch.save(load_file(path), folder / "pytorch_model.bin")
        path.unlink()
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    ("size", "pickled"), [(128, True), (256, False), (0, True)], ids=["128", "256", "a row"]
)
def test_scales_for_128_and_more_weights_are_recovered(
    tmp_path: Path, size: int, pickled: bool
) -> None:
    bitcpm(tmp_path / "c", size, pickled)
    checkpoint = open_checkpoint(tmp_path / "c")
    assert (checkpoint.config.group_size, checkpoint.config.float_activations) == (128, True)
    assert not checkpoint.notes
    ours, theirs = BitNetForCausalLM.from_checkpoint(checkpoint), oracle.load(tmp_path / "c")
    ids = oracle.ids_of(100, 3)
    assert close(ours(ids).logits, theirs(ids).logits)


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 32, 16])
def test_scales_for_fewer_weights_are_read_as_floats_and_a_note_says_so(
    tmp_path: Path, size: int
) -> None:
    bitcpm(tmp_path / "c", size)
    checkpoint = open_checkpoint(tmp_path / "c")
    assert checkpoint.config.float_linears
    (note,) = checkpoint.notes
    assert f"-s, 0 and +s for each {size} weights" in note
    ours, theirs = BitNetForCausalLM.from_checkpoint(checkpoint), oracle.load(tmp_path / "c")
    ids = oracle.ids_of(100, 3)
    assert close(ours(ids).logits, theirs(ids).logits)
    fields = {"model_type": "minicpm", "architectures": ["MiniCPMForCausalLM"]}
    change(tmp_path / "c", **fields, scale_emb=12, scale_depth=1.4, dim_model_base=64)
    with pytest.raises(
        CheckpointError, match=rf"has a scale for each {size} weights, expected one for each 128"
    ):
        open_checkpoint(tmp_path / "c").ternary(UP)

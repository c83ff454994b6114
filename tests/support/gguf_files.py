"""Make GGUF files with the gguf package and plain arithmetic, not with this package's writer."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize
from torch import Tensor

from tests.support import checkpoints
from tests.support import oracle_networks as oracle

I2_S, Q2_0, PQ2_0, PTQ1_0 = 36, 42, 142, 143
BLOCKS = {"x86": 128, "arm": 64}
UNMADE = {  # where the float16 scales of a block are
    "Q2_K": {80: 0.01, 82: 0.02},
    "Q3_K": {108: 0.01},
    "Q4_K": {0: 0.01, 2: 0.02},
    "Q5_K": {0: 0.01, 2: 0.02},
    "Q6_K": {208: 0.01},
}
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
}


def stored_name(name: str) -> str:
    name = name.removesuffix(".weight")
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    outer |= {factors: factors for factors in ("rope_factors_short", "rope_factors_long")}
    if name in outer:
        return f"{outer[name]}.weight"
    layer, inner = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER[inner]}.weight"


def i2s(codes: list[int], scale: float, layout: str = "x86") -> bytes:
    """Pack weights one by one: codes 0 to 2, then the scale eight times, as Microsoft does."""
    block = BLOCKS[layout]
    group = block // 4
    packed = bytearray(len(codes) // 4)
    for i, code in enumerate(codes):
        number, inner = divmod(i, block)
        packed[number * group + inner % group] |= code << (6 - 2 * (inner // group))
    return bytes(packed) + struct.pack("<f", scale) * 8


def absmean(weight: Tensor) -> tuple[list[int], float]:
    mean = weight.float().abs().mean().clamp(min=1e-5)
    codes = (weight.float() * (1.0 / mean)).round().clamp(-1, 1) + 1
    return codes.int().flatten().tolist(), mean.item()


def q2(weight: Tensor, block: int) -> bytes:
    """Pack dequantized weights as Q2_0, one by one: a float16 scale, then 2 bits a weight."""
    packed = bytearray()
    for group in weight.float().reshape(-1, block).tolist():
        scale = max(map(abs, group))
        packed += struct.pack("<e", scale)
        codes = [0 if not value else -1 if value < 0 else 1 for value in group]
        for i in range(0, block, 4):
            packed.append(sum((codes[i + j] + 1) << (2 * j) for j in range(4)))
    return bytes(packed)


def ptq1(weight: Tensor) -> bytes:
    """Pack dequantized weights as PTQ1_0: look for the byte of each group of digits."""
    bytes_of = {tuple((b * 3**n % 256) * 3 >> 8 for n in range(5)): b for b in range(256)}
    bytes_of |= {tuple((b * 3**n % 256) * 3 >> 8 for n in range(4)): b for b in range(256)}
    packed = bytearray()
    for group in weight.float().reshape(-1, 128).tolist():
        scale = max(map(abs, group))
        codes = [1 if not value else 0 if value < 0 else 2 for value in group]
        packed += bytes(bytes_of[tuple(codes[b:80:16])] for b in range(16))
        packed += bytes(bytes_of[tuple(codes[80 + b : 120 : 8])] for b in range(8))
        packed += bytes(bytes_of[tuple(codes[120 + b :: 2])] for b in range(2))
        packed += struct.pack("<e", scale)
    return bytes(packed)


def grouped_bytes(weight: Tensor, kind: str) -> tuple[int, bytes]:
    """Pack dequantized weights with group scales as Q2_0, "Q2_0 of 64" or a type of the package."""
    if kind == "PQ2_0":
        return PQ2_0, q2(weight, 128)
    if kind == "PTQ1_0":
        return PTQ1_0, ptq1(weight)
    if kind.startswith("Q2_0"):
        return Q2_0, q2(weight, int(kind.partition(" of ")[2] or 128))
    return int(Type[kind]), quantize(weight.float().numpy(), Type[kind]).tobytes()


def linear_bytes(weight: Tensor, kind: str) -> tuple[int, bytes]:
    codes, scale = absmean(weight)
    if kind in BLOCKS and len(codes) % BLOCKS[kind]:
        return I2_S, bytes(len(codes) // 4 + 32)  # quantizers do not write such a size
    if kind in BLOCKS:
        return I2_S, i2s(codes, scale, kind)
    scale = float(np.float16(scale))
    values = (np.array(codes, np.float32).reshape(weight.shape) - 1) * np.float32(scale)
    return int(Type[kind]), quantize(values, Type[kind]).tobytes()


def table_bytes(table: Tensor, kind: str) -> tuple[int, bytes]:
    if kind in UNMADE:  # the package cannot quantize to it: random blocks with usable scales
        size = gguf.GGML_QUANT_SIZES[Type[kind]][1]
        random = np.random.default_rng(0)
        blocks = random.integers(0, 256, (table.numel() // 256, size), np.uint8)
        for at, scale in UNMADE[kind].items():
            blocks[:, at : at + 2] = np.full((len(blocks), 1), scale, np.float16).view(np.uint8)
        return int(Type[kind]), blocks.tobytes()
    return int(Type[kind]), quantize(table.float().numpy(), Type[kind]).tobytes()


def make(
    path: Path, *, seed: int = 0, tied: bool = True, **options: Any
) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """Write a file; return it, the equivalent config.json, and the masters of its weights.

    options: those of ``write``, and the sizes of ``checkpoints.config_fields``.
    """
    names = ("architecture", "linear", "table", "norm", "metadata")
    how = {name: options.pop(name) for name in names if name in options}
    fields = checkpoints.config_fields(packed=False, tied=tied, **options)
    masters = checkpoints.masters(fields, seed)
    return write(path, fields, masters, **how), fields, masters


def write(
    path: Path,
    fields: dict[str, Any],
    masters: dict[str, Tensor],
    *,
    architecture: str = "bitnet-b1.58",
    linear: str = "x86",
    table: str = "F16",
    norm: str = "F32",
    metadata: dict[str, Any] | None = None,
    grouped: bool = False,
) -> Path:
    """Write a GGUF file of the masters.

    metadata: fields to add or replace, or, with None, to leave out. grouped: the masters are
    dequantized weights with group scales.
    """
    pack = grouped_bytes if grouped else linear_bytes
    writer = gguf.GGUFWriter(path, architecture)
    head_dim = fields["hidden_size"] // fields["num_attention_heads"]
    values: dict[str, Any] = {
        f"{architecture}.vocab_size": fields["vocab_size"],
        f"{architecture}.context_length": fields["max_position_embeddings"],
        f"{architecture}.embedding_length": fields["hidden_size"],
        f"{architecture}.block_count": fields["num_hidden_layers"],
        f"{architecture}.feed_forward_length": fields["intermediate_size"],
        f"{architecture}.rope.dimension_count": head_dim,
        f"{architecture}.attention.head_count": fields["num_attention_heads"],
        f"{architecture}.attention.head_count_kv": fields["num_key_value_heads"],
        f"{architecture}.attention.layer_norm_rms_epsilon": fields["rms_norm_eps"],
        f"{architecture}.rope.freq_base": fields["rope_theta"],
        "tokenizer.ggml.bos_token_id": fields["bos_token_id"],
        "tokenizer.ggml.eos_token_id": fields["eos_token_id"],
        **(metadata or {}),
    }
    for key, value in values.items():
        add(writer, key, value)
    data = []
    linears = checkpoints.linears(fields)
    for name, tensor in masters.items():
        if name in linears:
            kind, content = pack(tensor, linear)
        elif table.startswith(("Q2_0", "PQ2_0", "PTQ1_0")) and tensor.ndim == 2:
            kind, content = pack(tensor, table)
        else:
            kind, content = table_bytes(tensor, table if tensor.ndim == 2 else norm)
        # int8 stands for "bytes": the writer would work out a shape from uint8.
        writer.add_tensor_info(
            stored_name(name),
            tensor.shape,
            np.dtype(np.int8),
            len(content),
            raw_dtype=kind,  # type: ignore[arg-type]  # a type that its list may lack
        )
        data.append(np.frombuffer(content, np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for stored in data:
        writer.write_tensor_data(stored)
    writer.close()
    return path


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def twin(folder: Path, fields: dict[str, Any], masters: dict[str, Tensor]) -> Path:
    """Write the same network in the published packed layout, with unrounded scales."""
    fields = {**fields, "quantization_config": {**fields["quantization_config"]}}
    fields["quantization_config"]["quantization_mode"] = "offline"
    tensors = dict(masters)
    for name in checkpoints.linears(fields):
        tensors[name], scale = checkpoints.publish(masters[name])
        tensors[f"{name}_scale"] = scale.to(torch.float32)
    return checkpoints.write(folder, fields, tensors)


SMALL: dict[str, Any] = {"hidden": 32, "heads": 2, "kv_heads": 1, "inner": 64, "layers": 1}


def bonsai(
    folder: Path,
    linear: str,
    shared: int = 128,
    table: str = "F32",
    metadata: dict[str, Any] | None = None,
    **how: Any,
) -> tuple[Path, Any]:
    """Write a file; return it and transformers' network of the same weights.

    shared: the number of weights with one scale.
    """
    model = oracle.qwen3(intermediate_size=512, head_dim=64, **how)
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if shared > 128:  # the two groups of a TQ2_0 block get the scale of the first
        for name, weight in state.items():
            if "_proj" in name:
                groups = weight.unflatten(1, (-1, shared))
                first = groups.abs().amax(-1, keepdim=True)
                weight.copy_((groups.sign() * first).flatten(1))
        model.load_state_dict(state)
    config = model.config
    fields = json.loads(config.to_json_string())
    fields["rope_theta"] = fields["rope_parameters"]["rope_theta"]
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    sizes = {"attention.key_length": 64, "rope.dimension_count": 64, **(metadata or {})}
    keys = {f"qwen3.{key}": value for key, value in sizes.items()}
    write(
        folder / "m.gguf", fields, state, architecture="qwen3", linear=linear, grouped=True,
        table=table, metadata=keys,
    )  # fmt: skip
    return folder / "m.gguf", model

"""A checkpoint written as a GGUF file, one tensor at a time, in I2_S or TQ2_0.

I2_S has the published x86 layout. Knows the layout of the header (see ``container.py``), and what
the readers of microsoft/BitNet and llama.cpp expect in it.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType
from torch import Tensor
from tqdm import tqdm

from ...errors import CheckpointError
from ...files import new_file
from ...network.config import BitNetConfig
from ...network.records import of_architecture
from ..checkpoint.base import Checkpoint
from ..checkpoint.sentence import PROMPTS
from .blocks import I2S_BLOCKS, TQ_BLOCK, pack_i2s, pack_tq2
from .config import ACTIVATION
from .container import ALIGNMENT, I2_S, I2_S_TAIL
from .embedding import POOLING_KEY, number_of
from .metadata import SCALARS, Value
from .names import gguf_name, permute_heads, permuted_heads
from .text_write import text_fields

__all__ = ["write_gguf"]

VERSION = 3
ROWS_AT_A_TIME = 4096


class Entry(NamedTuple):
    """A tensor to be written: its shape, innermost size last, and a reader of its bytes."""

    name: str
    shape: tuple[int, ...]
    type: int
    size: int
    read: Callable[[], np.ndarray]


def write_gguf(
    path: str | Path, checkpoint: Checkpoint, *, llama_cpp: bool = False, progress: bool = False
) -> Path:
    """Write ``checkpoint`` as the new file ``path`` and return it.

    Codes and multipliers are exact; a source that divides has the multiplier ``1 / weight_scale``.
    Tables become F16 where that changes no value, else BF16, else F32; norms become F32.
    llama_cpp: write TQ2_0 and the architecture that llama.cpp itself loads, to measure it. It
    always computes SiLU, so its text is wrong for relu2.
    Raises CheckpointError naming what GGUF cannot hold, ConfigError when the file exists; nothing
    half-written stays behind.
    """
    config = checkpoint.config
    architecture = _architecture(checkpoint, llama_cpp)
    fields = _fields(config, architecture, checkpoint.path.resolve().stem)
    if config.record.task == "embedding":
        fields |= _vectors(checkpoint, architecture)
    fields |= text_fields(checkpoint.text_files(), config)
    if llama_cpp:
        fields.setdefault("tokenizer.ggml.model", "no_vocab")
    entries = _entries(checkpoint, architecture, llama_cpp)
    if len(of_architecture(architecture)) > 1:
        fields[ACTIVATION] = config.record.hidden_act
    header = _header(fields, entries)
    with new_file(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(header)
        bar = tqdm(entries, "tensors", unit="tensor", disable=not progress, file=sys.stderr)
        for entry in bar:
            content = entry.read()
            assert content.nbytes == entry.size, entry.name
            file.write(content.data)
            file.write(bytes(-entry.size % ALIGNMENT))
    return Path(path)


def _architecture(checkpoint: Checkpoint, llama_cpp: bool) -> str:
    config, network = checkpoint.config, checkpoint.config.record
    if config.float_linears:
        raise CheckpointError(
            f"{checkpoint.path}: the linears of this {network.model_type!r} are float, expected "
            "a ternary network for I2_S"
        )
    if config.group_size is not None or config.mixture is not None:
        each = "expert" if config.mixture else f"{config.group_size} weights of a row"
        raise CheckpointError(
            f"{checkpoint.path}: model_type {network.model_type!r} is not written as GGUF: "
            f"I2_S holds one scale per tensor and not one for each {each}"
        )
    if config.hadamard is not None:
        raise CheckpointError(
            f"{checkpoint.path}: its weights are in a rotated basis, expected none for a GGUF file "
            "of this package, which does not declare it"
        )
    if network.task == "embedding" and config.linear_norm_eps != config.rms_norm_eps:
        inside = f"norms of eps {config.linear_norm_eps}" if config.linear_norm_eps else "no norms"
        raise CheckpointError(
            f"{checkpoint.path}: there are {inside} inside linears, expected norms of rms_norm_eps "
            f"{config.rms_norm_eps}: by them a GGUF file shows that it embeds texts"
        )
    if config.attention_bias or config.mlp_bias:
        raise CheckpointError(
            f"{checkpoint.path}: a linear of this {network.model_type!r} has a bias, expected none "
            "for I2_S"
        )
    if not network.gguf.written or config.rope_scaling is not None:
        what = "rope_scaling" if network.gguf.written else network.architecture
        raise CheckpointError(f"{checkpoint.path}: {what} of this network has no place in GGUF")
    return (network.gguf.llama_cpp if llama_cpp else None) or network.gguf.architectures[0]


def _vectors(checkpoint: Checkpoint, architecture: str) -> dict[str, Value]:
    """Return how tokens become vectors, and how long a text may be; refuse prompts."""
    if checkpoint.text_files().get(PROMPTS):
        raise CheckpointError(
            f"{checkpoint.path}: {PROMPTS} has no place in a GGUF file, expected a folder without",
            hint="without it texts get no prompt; put prompts before the texts yourself",
        )
    pooling = checkpoint.pooling.computable()
    fields: dict[str, Value] = {f"{architecture}.{POOLING_KEY}": number_of(pooling)}
    if pooling.longest is not None:
        longest = min(pooling.longest, checkpoint.config.max_position_embeddings)
        fields[f"{architecture}.context_length"] = longest
    return fields


def _fields(config: BitNetConfig, architecture: str, name: str) -> dict[str, Value]:
    numbers = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    }
    return {
        "general.architecture": architecture,
        "general.name": name,
        "general.quantization_version": 2,
        **{f"{architecture}.{key}": value for key, value in numbers.items()},
    }


def _entries(checkpoint: Checkpoint, architecture: str, tq2: bool) -> list[Entry]:
    config = checkpoint.config
    parts = checkpoint.parts
    entries = [_table(checkpoint, name) for name in parts.tables]
    for name, size in parts.norms.items():
        entries.append(_entry(checkpoint, name, (size,), Type.F32))
    for name, linear in parts.linears.items():
        shape = linear.shape
        weights, block, type = prod(shape), I2S_BLOCKS["x86"], "I2_S"
        if tq2:
            weights, block, type = shape[1], TQ_BLOCK, "a row of TQ2_0"
        if weights % block:
            raise CheckpointError(
                f"{checkpoint.path}: {name} has {weights} weights, expected a multiple of "
                f"{block} for {type}"
            )
        heads = permuted_heads(config, architecture, name)
        entries.append(_linear(checkpoint, name, shape, heads, tq2))
    return entries


def _linear(
    checkpoint: Checkpoint, name: str, shape: tuple[int, int], heads: int, tq2: bool
) -> Entry:
    def read() -> np.ndarray:
        codes, scale = checkpoint.ternary(name)
        if scale.numel() != 1:
            raise CheckpointError(
                f"{checkpoint.path}: {name} has {scale.numel()} multipliers, expected one for I2_S"
            )
        if heads:
            codes = permute_heads(codes, heads)
        codes = (codes.reshape(-1) + 1).view(torch.uint8)
        if tq2:
            half = scale.to(torch.float16).view(1)
            if half.item() != scale.item():
                raise CheckpointError(
                    f"{checkpoint.path}: {name} has the multiplier {scale.item():g}, expected a "
                    "float16 for TQ2_0"
                )
            return pack_tq2(codes.view(-1, TQ_BLOCK), half).view(-1).numpy()
        packed = pack_i2s(codes, "x86")
        tail = np.zeros(I2_S_TAIL // 4, "<f4")
        tail[0] = scale.item()
        return np.concatenate([packed.numpy(), tail.view(np.uint8)])

    size = prod(shape) // TQ_BLOCK * 66 if tq2 else prod(shape) // 4 + I2_S_TAIL
    type = int(Type.TQ2_0) if tq2 else I2_S
    return Entry(_stored(checkpoint, f"{name}.weight"), shape, type, size, read)


def _table(checkpoint: Checkpoint, name: str) -> Entry:
    stored = checkpoint.tensor(name)
    shape = (stored.shape[0], stored.shape[1])
    for type, dtype in ((Type.F16, torch.float16), (Type.BF16, torch.bfloat16)):
        if _fits(stored, dtype):
            return _entry(checkpoint, name, shape, type, dtype)
    return _entry(checkpoint, name, shape, Type.F32)


def _fits(table: Tensor, dtype: torch.dtype) -> bool:
    parts = table.split(ROWS_AT_A_TIME)
    return all(torch.equal(part.to(dtype).to(part.dtype), part) for part in parts)


def _entry(
    checkpoint: Checkpoint,
    name: str,
    shape: tuple[int, ...],
    type: Type,
    dtype: torch.dtype = torch.float32,
) -> Entry:
    def read() -> np.ndarray:
        return checkpoint.tensor(name).to(dtype).contiguous().view(torch.uint8).numpy()

    size = prod(shape) * dtype.itemsize
    return Entry(_stored(checkpoint, name), shape, int(type), size, read)


def _stored(checkpoint: Checkpoint, name: str) -> str:
    stored = gguf_name(checkpoint.config.record, name)
    if stored is None:
        raise CheckpointError(f"{checkpoint.path}: the tensor {name} has no name in GGUF")
    return stored


def _header(fields: dict[str, Value], entries: list[Entry]) -> bytes:
    """Return everything before the tensor data, padded."""
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(entries), len(fields))]
    for key, value in fields.items():
        parts += [_text(key), _value(value)]
    offset = 0
    for entry in entries:
        sizes = struct.pack(f"<I{len(entry.shape)}Q", len(entry.shape), *reversed(entry.shape))
        parts += [_text(entry.name), sizes, struct.pack("<IQ", entry.type, offset)]
        offset += entry.size + -entry.size % ALIGNMENT
    header = b"".join(parts)
    return header + bytes(-len(header) % ALIGNMENT)


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _value(value: Value) -> bytes:
    """Return type and content of one field: an int as u32, a float as f32, an array as it is."""
    if isinstance(value, str):
        return struct.pack("<I", GGUFValueType.STRING) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<IB", GGUFValueType.BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", GGUFValueType.UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", GGUFValueType.FLOAT32, value)
    if isinstance(value, list):
        texts = b"".join(map(_text, value))
        return struct.pack("<IIQ", GGUFValueType.ARRAY, GGUFValueType.STRING, len(value)) + texts
    kind = next(type for type, form in SCALARS.items() if np.dtype(form) == value.dtype)
    return struct.pack("<IIQ", GGUFValueType.ARRAY, kind, len(value)) + value.tobytes()

"""Checkpoints written in the published packed layout.

Knows the file names and the shards of Hugging Face folders; knows no other format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...errors import ConfigError
from ...files import new_folder, write_text
from ...network.body import published
from ...network.config import BitNetConfig
from ...network.parts import parts_of
from ...network.pooling import Pooling
from ..ternary import absmean_experts, absmean_ternary, pack_published
from .experts import written_scales
from .files import INDEX, SINGLE
from .sentence import sentence_files

__all__ = ["save_packed", "tensors_of", "write_checkpoint", "write_packed"]

SHARD_BYTES = 1 << 29


def save_packed(
    output: str | Path,
    config: BitNetConfig,
    state: Mapping[str, Tensor],
    text_files: Mapping[str, bytes] | None = None,
    pooling: Pooling | None = None,
) -> Path:
    """Write a trained model's ``state_dict`` as a new checkpoint in the published packed layout.

    Float masters become ternary codes with one scale per tensor (absmean); norms and tables become
    bfloat16. text_files: as ``Checkpoint.text_files`` returns. pooling: of a network that embeds
    texts. Raises ConfigError where ``output`` exists or the network has no packed layout; nothing
    half-written stays behind.
    """
    return write_packed(output, config, tensors_of(config, state), text_files, pooling)


def write_packed(
    output: str | Path,
    config: BitNetConfig,
    tensors: Iterable[tuple[str, Tensor]],
    text_files: Mapping[str, bytes] | None = None,
    pooling: Pooling | None = None,
) -> Path:
    """Write packed ``tensors`` as the new folder ``output``, with a config that says so."""
    refuse_unpackable(config)
    if (config.record.task == "embedding") is (pooling is None):
        found = "no pooling is given" if pooling is None else f"pooling is {pooling.mode!r}"
        expected = "the pooling of a network that embeds texts"
        raise ConfigError(
            f"{found} for this {config.record.model_type!r}, expected "
            f"{expected if pooling is None else 'none for a network that generates'}",
            hint="give pooling=network.pooling" if pooling is None else "leave pooling out",
        )
    config = replace(config, quantization="offline", divide_by_scale=False)
    with new_folder(Path(output)) as folder:
        files = {**(text_files or {}), **sentence_files(config, pooling)}
        write_checkpoint(folder, config, tensors, files)
    return Path(output)


def tensors_of(config: BitNetConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the packed tensors of a trained model's ``state_dict`` with float masters."""
    refuse_unpackable(config)
    parts = parts_of(config)
    for name, tensor in state.items():
        linear = name.removesuffix(".weight")
        if linear in parts.experts:
            codes, scale = absmean_experts(tensor, parts.experts[linear].parts)
            yield name, pack_published(codes.to(torch.int8))
            yield f"{linear}.weight_scale", written_scales(scale).to(torch.bfloat16)
        elif linear in parts.linears:
            codes, scale = absmean_ternary(tensor)
            yield name, pack_published(codes.to(torch.int8))
            yield f"{linear}.weight_scale", scale.to(torch.bfloat16)
        else:
            yield name, tensor.to(torch.bfloat16)


def refuse_unpackable(config: BitNetConfig) -> None:
    """Raise ConfigError for a network without a packed layout."""
    if config.record.weights == "binary":
        raise ConfigError(
            f"model_type {config.record.model_type!r} has no packed layout, expected a ternary "
            "network",
            hint="store the float masters: the state_dict itself",
        )
    if config.float_linears:
        raise ConfigError(
            f"the linears of this {config.record.model_type!r} are float, expected a ternary "
            "network for the packed layout",
            hint="keep the checkpoint as it is: export reads it",
        )
    if config.attention_bias or config.mlp_bias:
        raise ConfigError(
            f"a linear of this {config.record.model_type!r} has a bias, expected none for the "
            "packed layout: transformers multiplies it by the weight_scale, which rounds it",
            hint="keep the checkpoint as it is: export reads it",
        )
    if config.group_size is not None:
        raise ConfigError(
            f"model_type {config.network!r} has no packed layout, which holds one scale per "
            f"tensor and not one for each {config.group_size} weights of a row",
            hint="keep the safetensors as they are: export reads them",
        )
    if config.hadamard is not None:
        raise ConfigError(
            "weights of this network are in a rotated basis, expected none for the packed layout, "
            "which cannot declare it",
            hint="keep the checkpoint as it is: export reads it",
        )


def write_checkpoint(
    folder: Path,
    config: BitNetConfig,
    tensors: Iterable[tuple[str, Tensor]],
    text_files: Mapping[str, bytes] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint into an existing folder, in shards so that memory stays bounded.

    Up to ``shard_bytes`` it is one file ``model.safetensors``; beyond, shards and an index.
    """
    shards: list[list[str]] = []
    pending: dict[str, Tensor] = {}
    total = size = 0

    def flush() -> None:
        nonlocal size
        save_file(pending, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()
        size = 0

    embeds = config.record.task == "embedding"
    for name, tensor in tensors:
        name = published(name) if embeds else name
        if pending and size + tensor.nbytes > shard_bytes:
            flush()
        pending[name] = tensor.contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards):
        last = len(shards)
        file = SINGLE if last == 1 else f"model-{i + 1:05d}-of-{last:05d}.safetensors"
        shard = (folder / f"shard-{i}").rename(folder / file)
        shard.chmod(0o644)  # safetensors makes files that only the owner may read
        weight_map.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_text(folder / INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")
    write_text(folder / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
    for name, content in (text_files or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

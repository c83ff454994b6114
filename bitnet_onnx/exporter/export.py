"""A checkpoint becomes an artifact folder: trace, attach the weights, save, describe.

The weights are packed and written one at a time from the mapped checkpoint. Knows the names of
the graph's initializers; how the graph is made is in ``graph.py``, what the folder looks like in
``artifact.py``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from tqdm import tqdm

from .. import __version__, native
from .. import operators as ops
from ..artifact import MODEL, TARGETS, WEIGHTS, write_manifest
from ..errors import CheckpointError, ConfigError
from ..files import new_folder, sha256, write_text
from ..model import rotary_tables
from ..network.config import BitNetConfig
from ..weights.checkpoint.base import Checkpoint, linear_shapes, norm_shapes, table_names
from ..weights.open import open_checkpoint
from ..weights.ternary import int8_rows, pack, row_bounds
from .optimize import PASSES, fuse_norms, fuse_projections, join_attention, skip_zeros
from .stock import PART, Reader, check_network, to_stock
from .trace import KEEP, attach_functions, trace
from .traced import HEADS, KV_CACHES, packed_parts

__all__ = ["HEADS", "export"]

SCAN_LIMIT = 2.0**46 / 127  # scales of rows for which ``row_bounds`` hold
INT8_HEAD = 512  # elements whose products fit an int32 sum
STORED_APART = 1024  # bytes: smaller initializers stay inside model.onnx


def export(
    checkpoint: Checkpoint | str | Path,
    output: str | Path,
    *,
    target: str = "native",
    head: str = "bf16",
    kv_cache: str = "float32",
    context_length: int | None = None,
    revision: str | None = None,
    passes: Collection[str] = PASSES,
    progress: bool = False,
) -> Path:
    """Write the artifact folder ``output`` and return it.

    checkpoint: open, or a folder, or a Hugging Face Hub id, of which ``revision`` is taken.
    target: ``native`` runs on our operators; ``stock`` holds none, for runtimes that load no
    library (``stock.py``).
    head: ``bf16`` keeps the table's stored bits, ``int8`` rounds each of its rows to 8 bits,
    ``float32`` is for tables that bfloat16 does not hold, ``two-step`` adds to bf16 a scan of
    int8 rows that finds the rows to read: the same 64 largest logits from fewer bytes.
    kv_cache: ``float16`` rounds keys and values: half the memory, and half the bytes that a step
    reads of them. ``int8`` keeps a scale for each position and head with 8-bit codes: a quarter,
    and integer sums (``model/exact.py``); onnxruntime-genai cannot feed such a cache.
    context_length: positions that may be fed, by default the config's.
    passes: those of ``optimize.py`` to run, as far as the target has their operators; the numbers
    are the same without, to the bit.
    Raises ConfigError, CheckpointError or LibraryError; nothing half-written is left behind.
    """
    for name, value, known in (
        ("head", head, HEADS),
        ("target", target, TARGETS),
        ("kv_cache", kv_cache, KV_CACHES),
    ):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}, expected one of: {', '.join(known)}")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, revision=revision)
    config = checkpoint.config
    context = config.max_position_embeddings if context_length is None else context_length
    if not 1 <= context <= config.max_position_embeddings:
        raise ConfigError(
            f"context_length is {context}, expected 1 to {config.max_position_embeddings}, the "
            "config's max_position_embeddings"
        )
    if unknown := sorted(set(passes) - set(PASSES)):
        raise ConfigError(f"passes names {unknown[0]!r}, expected some of: {', '.join(PASSES)}")
    if target == "stock":
        check_network(config, head, kv_cache)
    if kv_cache == "int8" and config.head_dim > INT8_HEAD:
        raise ConfigError(
            f"head_dim is {config.head_dim}, an int8 cache takes at most {INT8_HEAD}",
            hint="export with --kv-cache float16",
        )
    library = native.library_path() if target == "native" else None
    with new_folder(Path(output)) as folder:
        graph = trace(config, head, context, KV_CACHES[kv_cache])
        readers = weights(checkpoint, head, context)
        if "projections" in passes:
            for fused, parts in fuse_projections(graph).items():
                join(readers, fused, parts, [linear_shapes(config)[part][0] for part in parts])
        if "attention" in passes and target == "native":
            join_attention(graph)
        if "zeros" in passes and target == "native":
            for linear in skip_zeros(graph):
                readers[f"{linear}.weight"] = partial(packed_columns, checkpoint, linear)
                rows = linear_shapes(config)[linear][0]
                readers[f"{linear}.weight_scale"] = partial(row_scales, checkpoint, linear, rows)
        if "norms" in passes and target == "native":
            fuse_norms(graph)
        if target == "stock":
            to_stock(graph, config, readers)
        else:
            attach_functions(graph)
        save(graph, readers, folder, PART if target == "stock" else None, progress)
        for name, content in checkpoint.text_files().items():
            (folder / name).write_bytes(content)
        if library is not None:
            shutil.copyfile(library, folder / library.name)
        write_json(folder / "config.json", config.to_dict())
        if kv_cache != "int8":  # onnxruntime-genai knows no scales of a cache
            write_json(folder / "genai_config.json", genai_config(config, context, library))
        if not (folder / "generation_config.json").exists():
            write_json(folder / "generation_config.json", generation_config(config))
        write_manifest(folder, describe(checkpoint, target, head, kv_cache, context))
    return Path(output)


def weights(checkpoint: Checkpoint, head: str, context: int) -> dict[str, Reader]:
    """Initializer name -> a function that reads and packs it."""
    config = checkpoint.config
    tensors: dict[str, Reader] = {}
    for name in linear_shapes(config):
        for group, part in enumerate(packed_parts(config, name)):
            tensors[f"{part}.weight"] = partial(packed_codes, checkpoint, name, group)
            tensors[f"{part}.weight_scale"] = partial(multiplier, checkpoint, name, group)
    for name in norm_shapes(config):
        tensors[name] = partial(float32, checkpoint, name)
    *embedding, table = table_names(config)  # the last one is the head, tied or not
    read = float32 if head == "float32" else bf16_bits
    for name in embedding if head == "int8" else (*embedding, table):
        tensors[name] = partial(read, checkpoint, name)
    if head == "int8":
        rows = cached(lambda: int8_rows(checkpoint.tensor(table)), readers=2)
        tensors[table] = lambda: rows()[0].numpy()
        tensors[f"{table}_scale"] = lambda: rows()[1].numpy()
    if head == "two-step":
        tensors |= scan(checkpoint, table)
    half = config.head_dim // 2  # both halves hold the same angles; the operator wants one
    angles = rotary_tables(config, torch.arange(context).unsqueeze(0))
    for name, values in zip(("cos_cache", "sin_cache"), angles, strict=True):
        tensors[name] = partial(np.ascontiguousarray, values[0, :, :half].numpy())
    return tensors


def scan(checkpoint: Checkpoint, table: str) -> dict[str, Reader]:
    """The int8 copy of a head's table, with its scales and bounds."""

    def rounded_rows() -> tuple[torch.Tensor, torch.Tensor]:
        rounded, scales = int8_rows(checkpoint.tensor(table))
        if scales.max() >= SCAN_LIMIT:
            raise CheckpointError(
                f"{table} holds a weight of 2**46 or more, too large for --head two-step",
                hint="export with --head bf16",
            )
        return rounded, scales

    rows = cached(rounded_rows, readers=3)
    name = table.removesuffix(".weight")
    return {
        f"{name}.scan": lambda: rows()[0].numpy(),
        f"{name}.scan_scale": lambda: rows()[1].numpy(),
        f"{name}.scan_bound": lambda: row_bounds(checkpoint.tensor(table), *rows()).numpy(),
    }


def join(readers: dict[str, Reader], linear: str, parts: list[str], rows: list[int]) -> None:
    """In place of the parts' weights and scales: those of all rows, each row with its scale."""
    codes = [readers.pop(f"{part}.weight") for part in parts]
    scales = [readers.pop(f"{part}.weight_scale") for part in parts]

    def row_scales() -> np.ndarray:
        pairs = zip([np.asarray(read()) for read in scales], rows, strict=True)
        return np.concatenate([np.broadcast_to(x, (count, *x.shape[1:])) for x, count in pairs])

    readers[f"{linear}.weight"] = lambda: np.concatenate([np.asarray(read()) for read in codes])
    readers[f"{linear}.weight_scale"] = row_scales


def packed_codes(checkpoint: Checkpoint, linear: str, group: int) -> np.ndarray:
    codes = checkpoint.ternary(linear)[0]
    return pack(codes.chunk(checkpoint.config.quantization_groups, dim=1)[group]).numpy()


def packed_columns(checkpoint: Checkpoint, linear: str) -> np.ndarray:
    return pack(checkpoint.ternary(linear)[0].T.contiguous()).numpy()


def row_scales(checkpoint: Checkpoint, linear: str, rows: int) -> np.ndarray:
    return np.repeat(checkpoint.scale(linear).numpy(), rows)


def multiplier(checkpoint: Checkpoint, linear: str, group: int) -> np.ndarray:
    scale = checkpoint.scale(linear)
    return (scale if scale.ndim == 2 else scale[group : group + 1]).numpy()


def float32(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return checkpoint.tensor(name).float().numpy()


def cached(read: Callable[[], Any], readers: int) -> Callable[[], Any]:
    """Keep the result until so many readers have had it, then forget it: tables are large."""
    kept: list[Any] = []

    def once_more() -> Any:
        if not kept:
            kept.extend([read()] * readers)
        return kept.pop()

    return once_more


def bf16_bits(checkpoint: Checkpoint, name: str) -> ir.TensorProtocol:
    """A stored table as bfloat16; refused where that would change a value."""
    stored = checkpoint.tensor(name)
    bits = stored.to(torch.bfloat16)
    if stored.dtype != torch.bfloat16 and not torch.equal(bits.to(stored.dtype), stored):
        raise CheckpointError(
            f"{name} is {str(stored.dtype).removeprefix('torch.')} and does not fit bfloat16 "
            "without loss",
            hint="export with --head float32, or with --head int8 where this table is the head",
        )
    return ir.tensor(bits.view(torch.uint16).numpy().view(_BF16), name=name)


_BF16 = ir.DataType.BFLOAT16.numpy()


def save(
    model: ir.Model,
    tensors: dict[str, Reader],
    folder: Path,
    part: int | None,
    progress: bool,
) -> None:
    """Write model.onnx and model.onnx.data, reading each weight only when it is its turn.

    part: bytes from which on the data is split over several files.
    """
    assert set(tensors) <= set(model.graph.initializers), "a weight that the graph does not use"
    for name, value in model.graph.initializers.items():
        if value.const_value is None or name == KEEP:
            continue
        placeholder, read = value.const_value, tensors.get(name)
        if read is None:
            continue  # a small constant of the graph itself

        value.const_value = ir.LazyTensor(
            partial(evaluate, read, placeholder),
            dtype=placeholder.dtype,
            shape=ir.Shape(placeholder.shape.numpy()),
            name=name,
        )
    total = sum(1 for v in model.graph.initializers.values() if v.const_value is not None)
    with tqdm(
        total=total, desc="weights", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        ir.save(
            model,
            folder / MODEL,
            external_data=WEIGHTS,
            size_threshold_bytes=STORED_APART,
            max_shard_size_bytes=part,
            callback=lambda *_: bar.update(),
        )


def evaluate(read: Reader, like: ir.TensorProtocol) -> ir.TensorProtocol:
    stored = read()
    tensor = ir.tensor(stored) if isinstance(stored, np.ndarray) else stored
    assert (tensor.shape, tensor.dtype) == (like.shape, like.dtype), like.name
    return tensor


def genai_config(config: BitNetConfig, context: int, library: Path | None) -> dict[str, Any]:
    """What onnxruntime-genai reads; it knows this graph as a plain decoder."""
    special = generation_config(config)
    if special["pad_token_id"] is None:  # it wants one; the loop never feeds it
        special["pad_token_id"] = next(iter(config.eos_token_id), 0)
    options: dict[str, Any] = {"provider_options": []}
    if library is not None:
        options = {"custom_ops_library": library.name, **options}
    return {
        "model": {
            "type": "decoder",
            **{name: ids for name, ids in special.items() if ids is not None},
            "vocab_size": config.vocab_size,
            "context_length": context,
            "decoder": {
                "filename": MODEL,
                "head_size": config.head_dim,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": config.num_key_value_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "session_options": options,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": context,
            "past_present_share_buffer": True,
        },
    }


def generation_config(config: BitNetConfig) -> dict[str, Any]:
    """For a checkpoint that has none: the special ids of its config."""
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_id),
        "pad_token_id": config.pad_token_id,
    }


def describe(
    checkpoint: Checkpoint, target: str, head: str, kv_cache: str, context: int
) -> dict[str, Any]:
    """The manifest's fields besides the list of files."""
    config = checkpoint.config
    packages = ("torch", "onnx", "onnxscript", "onnx-ir")
    origin = {"name": checkpoint.path.resolve().name}
    if checkpoint.hub is not None:
        origin = dict(zip(("name", "commit"), checkpoint.hub, strict=True))
    return {
        "operator_domain_version": ops.VERSION,
        "target": target,
        "head": head,
        "kv_cache": kv_cache,
        "context_length": context,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "source": {
            **origin,
            "files": {path.name: sha256(path) for path in checkpoint.files()},
        },
        "tools": {"bitnet-onnx": __version__, **{name: version(name) for name in packages}},
    }


def write_json(path: Path, fields: dict[str, Any]) -> None:
    write_text(path, json.dumps(fields, indent=2) + "\n")

"""A checkpoint becomes an artifact folder: trace, attach the weights, save, describe.

The network is traced on the meta device, where tensors have shapes but no memory; the weights
are packed and written one at a time from the mapped checkpoint. Knows torch and ONNX; what the
folder looks like is in ``artifact.py``, what the operators are in ``ops.py``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from . import __version__, native, ops
from .artifact import MODEL, WEIGHTS, write_manifest
from .checkpoint import Checkpoint, linear_shapes, norm_shapes
from .config import BitNetConfig
from .errors import CheckpointError, ConfigError
from .files import new_folder, sha256, write_text
from .model import Attention, BitNetModel, KeyValue, rotary_tables
from .ternary import int8_rows, pack, packed_width

__all__ = ["HEADS", "export"]

HEADS = ("bf16", "int8")
EMBEDDING, UNTIED_HEAD = "model.embed_tokens.weight", "lm_head.weight"
STORED_APART = 1024  # bytes: smaller initializers stay inside model.onnx
IR_VERSION = 11  # the newest that ONNX Runtime 1.26 reads without complaint


def export(
    checkpoint: Checkpoint | str | Path,
    output: str | Path,
    *,
    head: str = "bf16",
    context_length: int | None = None,
    progress: bool = False,
) -> Path:
    """Write the artifact folder ``output`` and return it.

    head: ``bf16`` keeps the table's stored bits, ``int8`` rounds each of its rows to 8 bits.
    context_length: positions that may be fed, by default the config's.
    Raises ConfigError, CheckpointError or LibraryError; nothing half-written is left behind.
    """
    if head not in HEADS:
        raise ConfigError(f"head is {head!r}, expected one of: {', '.join(HEADS)}")
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    config = checkpoint.config
    context = context_length or config.max_position_embeddings
    if not 1 <= context <= config.max_position_embeddings:
        raise ConfigError(
            f"context_length is {context}, expected 1 to {config.max_position_embeddings}, the "
            "config's max_position_embeddings"
        )
    library = native.library_path()
    with new_folder(Path(output)) as folder:
        model = trace(config, head, context)
        finish_graph(model)
        tensors = weights(checkpoint, head, context)
        save(model, tensors, folder, progress)
        for file in checkpoint.text_files():
            shutil.copyfile(file, folder / file.name)
        shutil.copyfile(library, folder / library.name)
        write_json(folder / "config.json", config.to_dict())
        write_json(folder / "genai_config.json", genai_config(config, context, library.name))
        if not (folder / "generation_config.json").exists():
            write_json(folder / "generation_config.json", generation_config(config))
        write_manifest(folder, describe(checkpoint, head, context))
    return Path(output)


class TernaryLinear(nn.Module):
    """BitLinear as the operator sees it: packed codes and one scale."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        shape = (out_features, packed_width(in_features))
        self.register_buffer("weight", torch.empty(shape, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.empty(1))

    def forward(self, x: Tensor) -> Tensor:
        return ops.ternary_matmul(x, self.weight, self.weight_scale)


class FusedAttention(nn.Module):
    """Attention whose rotary positions, KV cache and softmax are one GroupQueryAttention."""

    def __init__(self, source: Attention) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = source.num_heads, source.num_kv_heads
        self.q_proj, self.k_proj, self.v_proj = source.q_proj, source.k_proj, source.v_proj
        self.o_proj, self.attn_sub_norm = source.o_proj, source.attn_sub_norm

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: tuple[Tensor, Tensor], past: KeyValue
    ) -> tuple[Tensor, KeyValue]:
        """rope: cos and sin of all positions; mask: valid positions - 1 [B] and T []."""
        y, key, value = ops.group_query_attention(
            self.q_proj(x),
            self.k_proj(x),
            self.v_proj(x),
            *past,
            *mask,
            *rope,
            self.num_heads,
            self.num_kv_heads,
        )
        return self.o_proj(self.attn_sub_norm(y)), (key, value)


class Table(nn.Module):
    """An embedding or head table [V, H] as stored, with its row scales when it is int8."""

    def __init__(self, rows: int, width: int, int8: bool) -> None:
        super().__init__()
        dtype = torch.int8 if int8 else torch.bfloat16
        self.register_buffer("weight", torch.empty(rows, width, dtype=dtype))
        if int8:
            self.register_buffer("weight_scale", torch.empty(rows))
        self.int8 = int8

    def embed(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.weight).float()
        return rows * F.embedding(ids, self.weight_scale.unsqueeze(-1)) if self.int8 else rows

    def logits(self, x: Tensor) -> Tensor:
        if self.int8:
            return ops.int8_matmul(x, self.weight, self.weight_scale)
        return ops.bf16_matmul(x, self.weight)


class TracedBitNet(nn.Module):
    """The network of model.py with its linears, attention and tables as operators."""

    def __init__(self, config: BitNetConfig, head: str, context: int) -> None:
        super().__init__()
        size, int8 = (config.vocab_size, config.hidden_size), head == "int8"
        self.model = BitNetModel(config)
        self.model.requires_grad_(False)
        self.model.embed_tokens = Table(*size, int8 and config.tie_word_embeddings)
        if not config.tie_word_embeddings:
            self.lm_head = Table(*size, int8)
        for name, (rows, features) in linear_shapes(config).items():
            self.set_submodule(name, TernaryLinear(features, rows))
        for layer in self.model.layers:
            layer.self_attn = FusedAttention(layer.self_attn)
        for name in ("cos_cache", "sin_cache"):
            self.register_buffer(name, torch.empty(context, config.head_dim // 2))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """past and the results after logits: key and value of each layer in turn."""
        lengths = attention_mask.sum(dim=1, dtype=torch.int32) - 1
        total = torch.scalar_tensor(attention_mask.shape[1], dtype=torch.int32)
        x = self.model.embed_tokens.embed(input_ids)
        presents: list[Tensor] = []
        for i, layer in enumerate(self.model.layers):
            rope = (self.cos_cache, self.sin_cache)
            x, present = layer(x, rope, (lengths, total), past[2 * i : 2 * i + 2])
            presents += present
        x = self.model.norm(ops.last_positions(x, logits_to_keep))
        head = getattr(self, "lm_head", self.model.embed_tokens)
        return head.logits(x), *presents


def trace(config: BitNetConfig, head: str, context: int) -> ir.Model:
    """The ONNX graph without weights; batch, sequence and past are dynamic."""
    batch, new, past = 2, 3, 5  # none of them 1: torch would take that for a constant
    layers = range(config.num_hidden_layers)
    with torch.device("meta"):
        network = TracedBitNet(config, head, context).eval()
        cache = (batch, config.num_key_value_heads, past, config.head_dim)
        example = (
            torch.zeros(batch, new, dtype=torch.int64),
            torch.zeros(batch, past + new, dtype=torch.int64),
            torch.zeros(1, dtype=torch.int64),
            *(torch.zeros(cache) for _ in layers for _ in range(2)),
        )
    dim = torch.export.Dim.DYNAMIC
    pasts = tuple({0: dim, 2: dim} for _ in layers for _ in range(2))
    shapes = {
        "input_ids": {0: dim, 1: dim},
        "attention_mask": {0: dim, 1: dim},
        "logits_to_keep": None,
        "past": pasts,
    }
    pairs = [f"{i}.{kind}" for i in layers for kind in ("key", "value")]
    with quiet():
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            opset_version=ops.OPSET,
            dynamic_shapes=shapes,
            custom_translation_table=ops.translations(),
            input_names=[
                "input_ids",
                "attention_mask",
                "logits_to_keep",
                *(f"past_key_values.{pair}" for pair in pairs),
            ],
            output_names=["logits", *(f"present.{pair}" for pair in pairs)],
            optimize=False,  # folding constants would read weights that are not there yet
            verbose=False,
        )
    assert program is not None
    return program.model


def finish_graph(model: ir.Model) -> None:
    """Name the dynamic dimensions, make logits_to_keep optional, strip what torch left behind."""
    graph = model.graph
    total = "past_length + sequence"
    dims = {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "total_length"],
        "logits": ["batch", "kept", None],
    }
    for value in (*graph.inputs, *graph.outputs):
        assert value.name is not None and value.shape is not None
        cache = ["batch", None, "past_length" if "past" in value.name else total, None]
        names = dims.get(value.name) or (cache if "." in value.name else [None])
        sizes = zip(names, value.shape, strict=True)
        value.shape = ir.Shape([size if name is None else name for name, size in sizes])
        assert all(isinstance(size, (int, ir.SymbolicDim)) for size in value.shape)
    keep = next(value for value in graph.inputs if value.name == "logits_to_keep")
    keep.const_value = ir.tensor(np.zeros(1, dtype=np.int64), name=keep.name)
    graph.register_initializer(keep)  # an input with a default: 0, the logits of all positions
    for function in ops.functions():
        model.functions[function.identifier()] = function
    model.opset_imports.update({ops.DOMAIN: ops.VERSION, "com.microsoft": 1})
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "bitnet_onnx", __version__
    model.doc_string = graph.doc_string = None
    model.metadata_props.clear()
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
            if output not in graph.outputs:
                output.shape = None  # torch's own symbols; ONNX Runtime infers shapes itself
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def weights(
    checkpoint: Checkpoint, head: str, context: int
) -> dict[str, Callable[[], np.ndarray | ir.TensorProtocol]]:
    """Initializer name -> a function that reads and packs it."""
    config = checkpoint.config
    tensors: dict[str, Callable[[], Any]] = {}
    for name in linear_shapes(config):
        tensors[f"{name}.weight"] = lambda n=name: pack(checkpoint.ternary(n)[0]).numpy()
        tensors[f"{name}.weight_scale"] = lambda n=name: checkpoint.ternary(n)[1].numpy()
    for name in norm_shapes(config):
        tensors[name] = lambda n=name: checkpoint.tensor(n).float().numpy()
    tables = {EMBEDDING: "bf16"} | ({} if config.tie_word_embeddings else {UNTIED_HEAD: "bf16"})
    tables[list(tables)[-1]] = head
    for name, kind in tables.items():
        if kind == "bf16":
            tensors[name] = lambda n=name: bf16_bits(checkpoint, n)
        else:
            rows = cached(lambda n=name: int8_rows(checkpoint.tensor(n)))
            tensors[name] = lambda r=rows: r()[0].numpy()
            tensors[f"{name}_scale"] = lambda r=rows: r()[1].numpy()
    cos, sin = rotary_tables(config, torch.arange(context).unsqueeze(0))
    half = config.head_dim // 2  # both halves hold the same angles; the operator wants one
    tensors["cos_cache"] = lambda: cos[0, :, :half].contiguous().numpy()
    tensors["sin_cache"] = lambda: sin[0, :, :half].contiguous().numpy()
    return tensors


def cached(read: Callable[[], Any]) -> Callable[[], Any]:
    """Keep the result for the second of two readers, then forget it: tables are large."""
    kept: list[Any] = []

    def once_more() -> Any:
        if kept:
            return kept.pop()
        kept.append(read())
        return kept[0]

    return once_more


def bf16_bits(checkpoint: Checkpoint, name: str) -> ir.TensorProtocol:
    """A stored table as bfloat16; refused where that would change a value."""
    stored = checkpoint.tensor(name)
    bits = stored.to(torch.bfloat16)
    if stored.dtype != torch.bfloat16 and not torch.equal(bits.to(stored.dtype), stored):
        raise CheckpointError(
            f"{name} is {str(stored.dtype).removeprefix('torch.')} and does not fit bfloat16 "
            "without loss",
            hint="export with --head int8, or store the checkpoint's table as bfloat16",
        )
    return ir.tensor(bits.view(torch.uint16).numpy().view(_BF16), name=name)


_BF16 = ir.DataType.BFLOAT16.numpy()


def save(
    model: ir.Model,
    tensors: dict[str, Callable[[], Any]],
    folder: Path,
    progress: bool,
) -> None:
    """Write model.onnx and model.onnx.data, reading each weight only when it is its turn."""
    for name, value in model.graph.initializers.items():
        if value.const_value is None or name == "logits_to_keep":
            continue
        placeholder, read = value.const_value, tensors.get(name)
        if read is None:
            continue  # a small constant of the graph itself

        def evaluate(read: Callable[[], Any] = read, like: Any = placeholder) -> ir.TensorProtocol:
            tensor = read()
            tensor = ir.tensor(tensor) if isinstance(tensor, np.ndarray) else tensor
            assert tensor.shape == like.shape and tensor.dtype == like.dtype, like.name
            return tensor

        value.const_value = ir.LazyTensor(
            evaluate, dtype=placeholder.dtype, shape=placeholder.shape, name=name
        )
    unused = set(tensors) - set(model.graph.initializers)
    assert not unused, f"weights that the graph does not use: {sorted(unused)[:3]}"
    total = sum(1 for v in model.graph.initializers.values() if v.const_value is not None)
    with tqdm(
        total=total, desc="weights", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        ir.save(
            model,
            folder / MODEL,
            external_data=WEIGHTS,
            size_threshold_bytes=STORED_APART,
            callback=lambda *_: bar.update(),
        )


def genai_config(config: BitNetConfig, context: int, library: str) -> dict[str, Any]:
    """What onnxruntime-genai reads; it knows this graph as a plain decoder."""
    eos = list(config.eos_token_id)
    return {
        "model": {
            "type": "decoder",
            "bos_token_id": config.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": config.pad_token_id if config.pad_token_id is not None else eos[0],
            "vocab_size": config.vocab_size,
            "context_length": context,
            "decoder": {
                "filename": MODEL,
                "head_size": config.head_dim,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": config.num_key_value_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "session_options": {"custom_ops_library": library, "provider_options": []},
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


def describe(checkpoint: Checkpoint, head: str, context: int) -> dict[str, Any]:
    """The manifest's fields besides the list of files."""
    config = checkpoint.config
    packages = ("torch", "onnx", "onnxscript", "onnx-ir")
    return {
        "operator_domain_version": ops.VERSION,
        "target": "native",
        "head": head,
        "context_length": context,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "source": {
            "name": checkpoint.folder.resolve().name,
            "files": {path.name: sha256(path) for path in checkpoint.files()},
        },
        "tools": {"bitnet-onnx": __version__, **{name: version(name) for name in packages}},
    }


def write_json(path: Path, fields: dict[str, Any]) -> None:
    write_text(path, json.dumps(fields, indent=2) + "\n")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch's exporter talks of its own internals, to nobody's use."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(level)

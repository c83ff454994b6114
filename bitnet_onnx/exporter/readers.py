"""Every weight of an artifact as a reader: a function that reads and packs it when it is called.

Passes compose readers, and ``save.py`` calls each of them once; nothing is read before. Knows an
open checkpoint and the layouts of the operators' weights; knows no graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from ..errors import CheckpointError
from ..model import rotary_tables
from ..model.hadamard import rotations_of
from ..network.config import BitNetConfig
from ..network.maple import maple_of
from ..network.parts import Linear
from ..weights.checkpoint.base import Checkpoint
from ..weights.levels import LevelRows, level_rows
from ..weights.ternary import int8_rows, pack, row_bounds
from .options import LEVEL_BITS, LEVEL_BOUNDS, Options
from .rope_tables import ROPE, rope_names

__all__ = ["Reader", "Readers", "rotary_readers", "weight_readers"]

Reader = Callable[[], "np.ndarray | ir.TensorProtocol"]
Readers = dict[str, Reader]  # by the name of the graph's initializer

SCAN_LIMIT = 2.0**46  # the bounds of the scans hold for weights below this
BF16 = ir.DataType.BFLOAT16.numpy()


def weight_readers(checkpoint: Checkpoint, options: Options) -> Readers:
    """Return a reader for each weight, by its name in the traced graph."""
    parts = checkpoint.parts
    readers: Readers = {}
    for linear in parts.linears.values():
        if checkpoint.config.float_linears:
            readers |= _float_linear(checkpoint, f"{linear.name}.weight", options.linears)
        else:
            readers |= _linear(checkpoint, linear)
    for name in parts.experts:
        readers |= _experts(checkpoint, name, options.linears)
    for name in (*parts.norms, *parts.biases, *parts.routers):
        readers[name] = partial(_float32, checkpoint, name)
    for name in parts.offset_norms:
        readers[name] = partial(_offset, checkpoint, name)
    table = _float32 if options.head == "float32" else _bf16
    if options.head == "int8":
        readers |= _int8_table(checkpoint, parts.head)
    # Int4 and int6 heads read their copy alone; the table stays where the embedding reads it.
    unread = options.head in ("int4", "int6") and len(parts.tables) == 2
    for name in parts.tables:
        if name != parts.head or not unread:
            readers.setdefault(name, partial(table, checkpoint, name))
    if options.head == "two-step":
        readers |= _scan(checkpoint, parts.head)
    if options.head in LEVEL_BITS:
        readers |= _levels(checkpoint, parts.head, options.head)
    maple = maple_of(checkpoint.config.mixture)
    if maple is None or any(maple.sliding):
        readers |= rotary_readers(checkpoint.config, options.context)
    still = still_readers(checkpoint.config, options.context)
    missing = [name for name in rope_names(checkpoint.config) if name not in readers]
    readers |= dict(zip(missing, still, strict=False))
    return readers | _rotations(checkpoint.config)


def _linear(checkpoint: Checkpoint, linear: Linear) -> Readers:
    readers: Readers = {}
    for split, name in enumerate(linear.operands):
        readers[f"{name}.weight"] = partial(_codes, checkpoint, linear, split)
        readers[f"{name}.weight_scale"] = partial(_multiplier, checkpoint, linear, split)
    return readers


def _float_linear(checkpoint: Checkpoint, name: str, linears: str) -> Readers:
    if linears == "int8":
        return _int8_table(checkpoint, name)
    return {name: partial(_float32 if linears == "float32" else _rounded, checkpoint, name)}


def _experts(checkpoint: Checkpoint, linear: str, linears: str) -> Readers:
    """Return readers of one linear of every expert."""
    if linears != "ternary":
        return _float_linear(checkpoint, f"{linear}.weight", linears)
    return {
        f"{linear}.weight": lambda: np.stack(
            [pack(codes).numpy() for codes in checkpoint.ternary(linear)[0]]
        ),
        f"{linear}.weight_scale": lambda: checkpoint.scale(linear).squeeze(1).numpy(),
    }


def _codes(checkpoint: Checkpoint, linear: Linear, split: int) -> np.ndarray:
    codes, _ = checkpoint.ternary(linear.name)
    return pack(codes.chunk(linear.splits or 1, dim=1)[split]).numpy()


def _multiplier(checkpoint: Checkpoint, linear: Linear, split: int) -> np.ndarray:
    scale = checkpoint.scale(linear.name)
    return (scale[split : split + 1] if scale.ndim == 1 else scale).numpy()


def _rotations(config: BitNetConfig) -> Readers:
    """Return readers of the signs by which activations are rotated, for each width."""
    rotations: dict[str, Any] = dict(rotations_of(config).items())
    return {f"model.rotations.{width}.signs": r.signs.numpy for width, r in rotations.items()}


def _float32(checkpoint: Checkpoint, name: str) -> np.ndarray:
    return checkpoint.tensor(name).float().numpy()


def _offset(checkpoint: Checkpoint, name: str) -> np.ndarray:
    """Read what a norm that stores the difference from 1 multiplies by."""
    found: np.ndarray = (1.0 + checkpoint.tensor(name).float()).numpy()
    return found


def _bf16(checkpoint: Checkpoint, name: str) -> ir.TensorProtocol:
    """Read a stored table as bfloat16; refuse a table that bfloat16 would change."""
    stored = checkpoint.tensor(name)
    bits = stored.to(torch.bfloat16)
    if stored.dtype != torch.bfloat16 and not torch.equal(bits.to(stored.dtype), stored):
        raise CheckpointError(
            f"{name} is {str(stored.dtype).removeprefix('torch.')} and does not fit bfloat16 "
            "without loss",
            hint="export with --head float32, or with --head int8 where this table is the head",
        )
    return _bits(bits, name)


def _rounded(checkpoint: Checkpoint, name: str) -> ir.TensorProtocol:
    """Read a weight as bfloat16, rounded where it does not fit."""
    return _bits(checkpoint.tensor(name).to(torch.bfloat16), name)


def _bits(stored: torch.Tensor, name: str) -> ir.TensorProtocol:
    return ir.tensor(stored.view(torch.uint16).numpy().view(BF16), name=name)


def _int8_table(checkpoint: Checkpoint, table: str) -> Readers:
    """Return readers of a table [V, H], or of the tables of all experts [E, N, K], in int8."""

    def rounded() -> tuple[torch.Tensor, torch.Tensor]:
        stored = checkpoint.tensor(table)
        rows, scales = int8_rows(stored.flatten(0, -2))
        return rows.view(stored.shape), scales.view(stored.shape[:-1])

    rows = _cached(rounded, readers=2)
    return {table: lambda: rows()[0].numpy(), f"{table}_scale": lambda: rows()[1].numpy()}


def _scan(checkpoint: Checkpoint, table: str) -> Readers:
    """Return readers of the int8 copy of a head's table, its scales and its bounds."""

    def rounded_rows() -> tuple[torch.Tensor, torch.Tensor]:
        rounded, scales = int8_rows(checkpoint.tensor(table))
        _check_size(127 * float(scales.max()), table, "two-step")
        return rounded, scales

    rows = _cached(rounded_rows, readers=3)
    name = table.removesuffix(".weight")
    return {
        f"{name}.scan": lambda: rows()[0].numpy(),
        f"{name}.scan_scale": lambda: rows()[1].numpy(),
        f"{name}.scan_bound": lambda: row_bounds(checkpoint.tensor(table), *rows()).numpy(),
    }


def _check_size(largest: float, table: str, head: str) -> None:
    """Refuse a table with a weight so large that the bounds of a scan do not hold."""
    if largest >= SCAN_LIMIT:
        raise CheckpointError(
            f"{table} holds a weight of 2**46 or more, expected less for --head {head}",
            hint="export with --head bf16",
        )


def _levels(checkpoint: Checkpoint, table: str, head: str) -> Readers:
    """Return readers of the copy of few bits, and of its bounds where the head has two steps."""
    name = table.removesuffix(".weight")
    bounds, _ = LEVEL_BOUNDS.get(head, (None, None))

    def made() -> LevelRows:
        rows = level_rows(checkpoint.tensor(table), LEVEL_BITS[head])
        if bounds:
            _check_size(127 * 2 ** (LEVEL_BITS[head] - 1) * float(rows.scale.max()), table, head)
        return rows

    rows = _cached(made, readers=3 + bool(bounds))
    parts: Readers = {
        f"{name}.{part}": partial(lambda part: getattr(rows(), part).numpy(), part)
        for part in LevelRows._fields
    }
    if bounds:
        parts[f"{name}.bound"] = lambda: bounds(checkpoint.tensor(table), rows()).numpy()
    return parts


def rotary_readers(config: BitNetConfig, context: int) -> Readers:
    """Return readers of cos and sin; both halves of a head have the same angles, one is stored."""
    angles = rotary_tables(config, torch.arange(context).unsqueeze(0))
    return {
        name: partial(np.ascontiguousarray, values[0, :, : config.head_dim // 2].numpy())
        for name, values in zip(ROPE, angles, strict=True)
    }


def still_readers(config: BitNetConfig, context: int) -> list[Reader]:
    """Return readers of a cos and a sin that rotate nothing."""
    shape = (context, config.head_dim // 2)
    return [partial(np.full, shape, value, np.float32) for value in (1.0, 0.0)]


def _cached(read: Callable[[], Any], readers: int) -> Callable[[], Any]:
    """Keep the result until this many readers have had it; tables are too large to keep longer."""
    kept: list[Any] = []

    def once_more() -> Any:
        if not kept:
            kept.extend([read()] * readers)
        return kept.pop()

    return once_more

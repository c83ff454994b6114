"""The networks of ``model/`` with their linears, attention and tables as operators.

``trace.py`` traces them. Modules of the network are replaced one for one, so its own code defines
what is between these modules. Knows torch and the operators; knows no checkpoint's weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import operators as ops
from ..artifact import OUTPUTS
from ..model import (
    Attend,
    BinaryLinear,
    BitLinear,
    BitNetModel,
    Experts,
    FloatLinear,
    GroupLinear,
    KeyValue,
    RMSNorm,
)
from ..network.config import BitNetConfig
from ..network.parts import parts_of
from ..weights.levels import code_bytes
from ..weights.ternary import packed_width
from .options import FLOAT_LINEARS, HEADS, LEVEL_BITS, Options
from .rope_tables import rope_names, rope_of
from .tracing.experts import TracedExperts
from .tracing.rotations import fuse_rotations

__all__ = ["TracedBitNet"]


class TernaryLinear(nn.Module):
    """BitLinear with the operator's weights: packed codes and one scale."""

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, source: BitLinear) -> None:
        super().__init__()
        self.rms_norm = source.rms_norm
        shape = (source.out_features, packed_width(source.in_features))
        self.register_buffer("weight", torch.empty(shape, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.empty(1))
        bias = None if source.bias is None else torch.empty(source.out_features)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.rms_norm is not None:
            x = self.rms_norm(x)
        y = ops.ternary_matmul(x, self.weight, self.weight_scale)
        return y if self.bias is None else y + self.bias


class PackedGroupLinear(TernaryLinear):
    """GroupLinear with the operators' weights: packed codes and a scale for each group."""

    def __init__(self, source: GroupLinear) -> None:
        super().__init__(source)
        shape = (source.out_features, source.in_features // source.group_size)
        self.register_buffer("weight_scale", torch.empty(shape))
        self.float_activations = source.float_activations

    def forward(self, x: Tensor) -> Tensor:
        multiply = ops.ternary_float_matmul if self.float_activations else ops.ternary_matmul
        return multiply(x, self.weight, self.weight_scale)


def packed(linear: Any, linears: str) -> nn.Module:
    """Return the module with operators for a linear of the network, stored as ``linears``."""
    if isinstance(linear, FloatLinear):
        return StoredLinear(linear, FLOAT_LINEARS[linears])
    if isinstance(linear, BinaryLinear):
        return PackedBinaryLinear(linear)
    return (PackedGroupLinear if isinstance(linear, GroupLinear) else TernaryLinear)(linear)


class PackedBinaryLinear(BinaryLinear):
    """BinaryLinear with an operator for each group's product, in a submodule named by its number.

    The operator's own quantizer changes nothing: the largest magnitude of its integers is 127.
    """

    def __init__(self, source: BinaryLinear) -> None:
        nn.Module.__init__(self)  # BinaryLinear's own would make a master weight
        self.groups = source.groups
        for group in range(self.groups):
            part = BitLinear(source.in_features // self.groups, source.out_features)
            self.add_module(str(group), TernaryLinear(part))

    def product(self, quantized: Tensor, group: int) -> Tensor:
        return self.get_submodule(str(group))(quantized)


class FusedNorm(nn.Module):
    """RMSNorm as one operator; its eps is a tensor of the graph."""

    weight: Tensor
    eps: Tensor

    def __init__(self, source: RMSNorm) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(source.weight.shape))
        self.register_buffer("eps", torch.tensor([source.eps], device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class FusedAttend(nn.Module):
    """Rotary positions, KV cache and softmax as one operator, chosen by the type of the cache."""

    def __init__(self, source: Attend) -> None:
        super().__init__()
        self.window = (source.window,) if source.window else ()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: tuple[Tensor, Tensor],
        past: KeyValue,
    ) -> tuple[Tensor, KeyValue]:
        """Attend. rope: cos, sin of all positions; mask: the last position of rows [B] and T []."""
        attend, scales = ops.group_query_attention, past[2:]
        if scales:
            attend = ops.group_query_attention_int8
        y, *present = attend(query, key, value, *past[:2], *mask, *rope, *scales, *self.window)
        return y, tuple(present)


class Table(nn.Module):
    """An embedding or head table [V, H] as stored, with row scales when it is int8."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(rows, width, dtype=dtype))
        if dtype == torch.int8:
            self.register_buffer("weight_scale", torch.empty(rows))
        self.dtype = dtype

    def embed(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.weight).float()
        if self.dtype != torch.int8:
            return rows
        return rows * F.embedding(ids, self.weight_scale.unsqueeze(-1))

    def logits(self, x: Tensor) -> Tensor:
        if self.dtype == torch.int8:
            return ops.int8_matmul(x, self.weight, self.weight_scale)
        if self.dtype == torch.bfloat16:
            return ops.bf16_matmul(x, self.weight)
        return F.linear(x, self.weight)  # ONNX Runtime keeps a second, packed copy


class StoredLinear(Table):
    """FloatLinear, whose weight is stored and multiplied as a table is."""

    bias: Tensor | None

    def __init__(self, source: FloatLinear, dtype: torch.dtype) -> None:
        super().__init__(source.out_features, source.in_features, dtype)
        bias = None if source.bias is None else torch.empty(source.out_features)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.logits(x)
        return y if self.bias is None else y + self.bias


class TwoStepTable(Table):
    """A bfloat16 table with an int8 copy, whose scan finds the rows that the head needs."""

    scan: Tensor
    scan_scale: Tensor
    scan_bound: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width, torch.bfloat16)
        self.register_buffer("scan", torch.empty(rows, width, dtype=torch.int8))
        self.register_buffer("scan_scale", torch.empty(rows))
        self.register_buffer("scan_bound", torch.empty(rows))

    def logits(self, x: Tensor) -> Tensor:
        return ops.two_step_matmul(x, self.weight, self.scan, self.scan_scale, self.scan_bound)


class LevelTable(Table):
    """A bfloat16 table with a copy of 4 or 6 bits, which the head reads."""

    codes: Tensor
    levels: Tensor
    scale: Tensor

    def __init__(self, rows: int, width: int, bits: int) -> None:
        super().__init__(rows, width, torch.bfloat16)
        size = code_bytes(width, bits)
        self.register_buffer("codes", torch.empty(rows, size, dtype=torch.uint8))
        self.register_buffer("levels", torch.empty(rows, size // (4 * bits), dtype=torch.int8))
        self.register_buffer("scale", torch.empty(rows))

    def logits(self, x: Tensor) -> Tensor:
        return ops.level_matmul(x, self.codes, self.levels, self.scale)


class TwoStepLevelTable(LevelTable):
    """A LevelTable whose copy finds the rows of the bfloat16 table that the head reads."""

    bound: Tensor

    def __init__(self, rows: int, width: int, bits: int) -> None:
        super().__init__(rows, width, bits)
        self.register_buffer("bound", torch.empty(rows))
        self.two_steps = ops.two_step_int4_matmul if bits == 4 else ops.two_step_int6_matmul

    def logits(self, x: Tensor) -> Tensor:
        return self.two_steps(x, self.weight, self.codes, self.levels, self.scale, self.bound)


def head_table(head: str, rows: int, width: int) -> Table:
    """Return the module of the head that this option names."""
    if head == "two-step":
        return TwoStepTable(rows, width)
    if head in LEVEL_BITS:
        level_table = TwoStepLevelTable if head.startswith("two-step") else LevelTable
        return level_table(rows, width, LEVEL_BITS[head])
    return Table(rows, width, HEADS[head])


class TracedBitNet(nn.Module):
    """A network of ``model/`` with its linears, norms, attention and tables as operators."""

    model: Any  # a BitNetModel whose submodules are those of this file
    lm_head: Any

    def __init__(self, config: BitNetConfig, options: Options) -> None:
        super().__init__()
        size, dtype = (config.vocab_size, config.hidden_size), HEADS[options.head]
        self.model = BitNetModel(config)
        self.model.requires_grad_(False)
        table = head_table(options.head, *size)
        if config.tie_word_embeddings:
            self.model.embed_tokens = table
        else:
            plain = torch.bfloat16 if dtype == torch.int8 else dtype
            self.model.embed_tokens = Table(*size, plain)
            self.lm_head = table
        for name in parts_of(config).linears:
            self.set_submodule(name, packed(self.get_submodule(name), options.linears))
        for name, module in list(self.named_modules()):
            if isinstance(module, Experts):
                self.set_submodule(name, TracedExperts(module, options.linears))
            if isinstance(module, RMSNorm):
                self.set_submodule(name, FusedNorm(module))
        fuse_rotations(self.model, config)
        for layer in self.model.layers:
            layer.self_attn.attend = FusedAttend(layer.self_attn.attend)
        for name in rope_names(config):
            self.register_buffer(name, torch.empty(options.context, config.head_dim // 2))
        self.kinds = [rope_of(config, i) for i in range(config.num_hidden_layers)]
        self.logits_scaling = config.logits_scaling
        self.shows_states = options.outputs == OUTPUTS[1]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Return logits, each layer's present KeyValue in turn, and hidden states, if asked for.

        past has the order of the presents. The states are the input of each layer and of the head.
        """
        lengths = attention_mask.sum(dim=1, dtype=torch.int32) - 1
        total = torch.scalar_tensor(attention_mask.shape[1], dtype=torch.int32)
        x = self.model.first(self.model.embed_tokens.embed(input_ids))
        presents, states = list[Tensor](), list[Tensor]()
        each = len(past) // len(self.model.layers)
        for i, (layer, names) in enumerate(zip(self.model.layers, self.kinds, strict=True)):
            rope = tuple(self.get_buffer(name) for name in names)
            if self.shows_states:
                states.append(ops.last_positions(x, logits_to_keep))
            x, present = layer(x, rope, (lengths, total), past[each * i : each * (i + 1)])
            presents += present
        x = self.model.last(ops.last_positions(x, logits_to_keep))
        head: Any = getattr(self, "lm_head", self.model.embed_tokens)
        logits = head.logits(x)
        if self.logits_scaling != 1:
            logits = logits / self.logits_scaling
        return logits, *presents, *([*states, x] if self.shows_states else [])

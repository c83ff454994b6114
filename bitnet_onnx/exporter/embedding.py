"""A network that embeds texts as an ONNX graph: ids and a mask in, one vector for each text out.

The modules of ``model/embedding.py`` are replaced one for one by operators, as in ``traced.py``.
There is no KV cache: attention gets an empty past. Knows torch and the operators; knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from .. import operators as ops
from ..model import Gated, RMSNorm
from ..model.embedding import EmbeddingBody, compact, local_config, pool, unit_norm
from ..network.config import BitNetConfig
from ..network.parts import parts_of
from ..network.pooling import Pooling
from ..weights.checkpoint.base import Checkpoint
from .options import HEADS, Options
from .readers import Readers, rotary_readers
from .trace import tidy, traced
from .traced import FusedAttend, FusedNorm, Table, packed
from .tracing.repeated import repeated

__all__ = ["embedding_readers", "trace_embedding"]

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "sentence_embedding"
# The same vectors, [B, 1, H], as those of one token: what sentence-transformers pools, and optimum
# asks for by this name.
ONLY_TOKEN = "last_hidden_state"
FULL = ("cos_cache", "sin_cache")
LOCAL = ("local_cos_cache", "local_sin_cache")  # of sliding layers, which turn by other angles
UNIT = "unit.weight"  # the weight of the norm that gives vectors the length 1


class FusedGated(nn.Module):
    """An activation times another linear's result as one operator."""

    def __init__(self, source: Gated) -> None:
        super().__init__()
        self.multiply = ops.gated_silu if source.activation == "silu" else ops.gated_gelu

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        y: Tensor = self.multiply(gate, up)
        return y


class TracedEmbedding(nn.Module):
    """A ``BitNetEmbedding`` with its linears, norms, attention and table as operators."""

    model: Any  # an EmbeddingBody whose submodules are operators
    cos_cache: Tensor
    sin_cache: Tensor

    def __init__(self, config: BitNetConfig, options: Options, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.past = config.num_key_value_heads, 0, config.head_dim
        self.model = EmbeddingBody(config)
        self.model.requires_grad_(False)
        size = (config.vocab_size, config.hidden_size)
        self.model.embed_tokens = Table(*size, HEADS[options.head])
        for name in parts_of(config).linears:
            self.set_submodule(name, packed(self.get_submodule(name), options.linears))
        for name, module in list(self.named_modules()):
            if isinstance(module, RMSNorm):
                self.set_submodule(name, FusedNorm(module))
            elif isinstance(module, Gated):
                self.set_submodule(name, FusedGated(module))
        for layer in self.model.layers:
            layer.self_attn.attend = FusedAttend(layer.self_attn.attend)
        if pooling.normalize:
            self.unit = FusedNorm(unit_norm(config.hidden_size))
        self.kinds: Sequence[bool] = (False,) * config.num_hidden_layers
        names = list(FULL)
        if config.gemma is not None:
            self.kinds = config.gemma.sliding
            names = [
                *(names if not all(self.kinds) else []),
                *(LOCAL if any(self.kinds) else []),
            ]
        for name in names:
            self.register_buffer(name, torch.empty(options.context, config.head_dim // 2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of ids and mask [B, S], as ``BitNetEmbedding`` does, in two shapes."""
        ids, counts = compact(input_ids, attention_mask)
        lengths = (counts - 1).clamp(min=0).to(torch.int32)
        total = torch.scalar_tensor(input_ids.shape[1], dtype=torch.int32)
        past = (ids.new_zeros(ids.shape[0], *self.past, dtype=torch.float32),) * 2
        x = self.model.first(self.model.embed_tokens.embed(ids))
        for layer, slides in zip(self.model.layers, self.kinds, strict=True):
            names = LOCAL if slides else FULL
            rope = tuple(self.get_buffer(name) for name in names)
            x = layer(x, rope, (lengths, total), past)
        if self.pooling.mode == "last":
            x = self.model.norm(pool(x, counts, "last"))
        else:
            x = pool(self.model.norm(x), counts, self.pooling.mode)
        y: Tensor = self.unit(x) if self.pooling.normalize else x
        return y, y.unsqueeze(1)


def embedding_readers(
    checkpoint: Checkpoint, options: Options, pooling: Pooling, readers: Readers
) -> None:
    """Complete the readers of all weights by those that only a network that embeds has."""
    config = checkpoint.config
    if config.gemma is not None:
        full = {name: readers.pop(name) for name in FULL}
        readers |= full if not all(config.gemma.sliding) else {}
        if any(config.gemma.sliding):
            local = rotary_readers(local_config(config), options.context)
            readers |= {name: local[plain] for name, plain in zip(LOCAL, FULL, strict=True)}
    if pooling.normalize:
        weight = unit_norm(config.hidden_size).weight
        readers[UNIT] = lambda: weight.detach().numpy()


def trace_embedding(config: BitNetConfig, options: Options, pooling: Pooling) -> ir.Model:
    """Return the finished graph; initializers have the checkpoint's names and hold no data."""
    batch, length = 2, 3  # neither is 1, which torch would take for a constant
    with torch.device("meta"):
        network = TracedEmbedding(config, options, pooling).eval()
        example = tuple(torch.zeros(batch, length, dtype=torch.int64) for _ in INPUTS)
    dim = torch.export.Dim.DYNAMIC
    shapes = {name: {0: dim, 1: dim} for name in INPUTS}

    def trace_layers(_: int, bounds: Sequence[str]) -> ir.Model:
        return traced(network, example, shapes, INPUTS, [OUTPUT, ONLY_TOKEN, *bounds])

    model = repeated(network, trace_layers)
    names: dict[str, list[str | None]] = {
        **{name: ["batch_size", "sequence_length"] for name in INPUTS},
        OUTPUT: ["batch_size", None],
        ONLY_TOKEN: ["batch_size", None, None],
    }
    tidy(model, names)
    return model

"""A network that turns a text into one vector: the body without a head, and pooling.

Sources: arXiv 2606.25674, and the Pooling and Normalize of sentence-transformers.
Shapes: B batch, S positions, H hidden, D head_dim. Knows tensors, the config and open checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..network.config import BitNetConfig
from ..network.pooling import Pooling
from ..weights.checkpoint.base import Checkpoint
from .causal_lm import causal_mask
from .decoder import KeyValue
from .layers import OffsetNorm, RMSNorm
from .rotary import rotary_tables

__all__ = ["BitNetEmbedding", "EmbeddingBody", "compact", "local_config", "pool", "unit_norm"]

LEAST_NORM = 1e-12  # of torch.nn.functional.normalize


class PlainLayer(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        network: Any = import_module(f"{__package__}.networks.{config.network}")
        norm = OffsetNorm if config.record.offset_norms else RMSNorm
        self.input_layernorm = norm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = network.Attention(config)
        self.post_attention_layernorm = norm(config.hidden_size, config.rms_norm_eps)
        self.mlp = network.MLP(config)

    def forward(self, x: Tensor, rope: Any, mask: Any, past: KeyValue | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, mask, past)[0]
        y: Tensor = self.mlp(self.post_attention_layernorm(x))
        return x + y


class SandwichLayer(PlainLayer):
    """``x + norm(attention(norm(x)))``, then ``x + norm(mlp(norm(x)))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__(config)
        norm = OffsetNorm if config.record.offset_norms else RMSNorm
        self.pre_feedforward_layernorm = norm(config.hidden_size, config.rms_norm_eps)
        self.post_feedforward_layernorm = norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rope: Any, mask: Any, past: KeyValue | None) -> Tensor:
        y = self.self_attn(self.input_layernorm(x), rope, mask, past)[0]
        x = x + self.post_attention_layernorm(y)
        y = self.mlp(self.pre_feedforward_layernorm(x))
        return x + self.post_feedforward_layernorm(y)


class EmbeddingBody(nn.Module):
    """Embedding, layers and final norm: the checkpoint's names, below ``model.`` here."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        layer = SandwichLayer if config.record.sandwich else PlainLayer
        self.layers = nn.ModuleList(layer(config) for _ in range(config.num_hidden_layers))
        norm = OffsetNorm if config.record.offset_norms else RMSNorm
        self.norm = norm(config.hidden_size, config.rms_norm_eps)
        self.multiplier = config.embedding_multiplier

    def first(self, x: Tensor) -> Tensor:
        """Turn rows of the embedding into the input of the first layer."""
        return x if self.multiplier == 1 else x * self.multiplier


class BitNetEmbedding(nn.Module):
    """The config's network with its pooling; float32 throughout."""

    def __init__(self, config: BitNetConfig, pooling: Pooling) -> None:
        super().__init__()
        self.config, self.pooling = config, pooling
        self.model = EmbeddingBody(config)
        self.unit = unit_norm(config.hidden_size)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, pooling: Pooling | None = None
    ) -> BitNetEmbedding:
        """Return the network with the checkpoint's weights and pooling, in evaluation mode."""
        parts = checkpoint.parts
        with torch.device("meta"):
            network = cls(checkpoint.config, pooling or checkpoint.pooling.computable())
        network.unit = unit_norm(checkpoint.config.hidden_size)
        for name in parts.linears:
            linear: Any = network.get_submodule(name)
            if checkpoint.packed:
                linear.set_ternary(*checkpoint.ternary(name))
            else:
                linear.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        for name in (*parts.norms, *parts.tables, *parts.biases):
            owner, _, kind = name.rpartition(".")
            value = nn.Parameter(checkpoint.tensor(name).float())
            setattr(network.get_submodule(owner), kind, value)
        return network.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the vectors [B, H] of texts [B, S]; mask [B, S] is 0 where a token is padding.

        Padding is before or after a text. It changes no bit of its vector.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        ids, counts = compact(input_ids, attention_mask)
        x = self.hidden(ids)
        if self.pooling.mode == "last":
            return self.finish(self.model.norm(pool(x, counts, "last")))
        return self.finish(pool(self.model.norm(x), counts, self.pooling.mode))

    def hidden(self, ids: Tensor) -> Tensor:
        """Return the last layer's output [B, S, H], before the final norm."""
        positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        ropes = [rotary_tables(self.config, positions)]
        sliding: tuple[bool, ...] = (False,) * len(self.model.layers)
        if self.config.gemma is not None:
            ropes.append(rotary_tables(local_config(self.config), positions))
            sliding = self.config.gemma.sliding
        mask = causal_mask(ids.shape[1], 0, None)
        if self.config.gemma is not None and self.config.gemma.window is not None:
            assert ids.shape[1] <= self.config.gemma.window, "beyond the sliding window"
        x = self.model.first(self.model.embed_tokens(ids).float())
        for layer, slides in zip(self.model.layers, sliding, strict=True):
            x = layer(x, ropes[slides], mask, None)
        return x

    def finish(self, vectors: Tensor) -> Tensor:
        """Give vectors [B, H] the length 1, where the checkpoint asks for it."""
        return self.unit(vectors) if self.pooling.normalize else vectors


def local_config(config: BitNetConfig) -> BitNetConfig:
    """Return the config whose rotary positions are those of sliding layers."""
    assert config.gemma is not None
    return replace(config, rope_theta=config.gemma.local_theta, rope_scaling=None)


def unit_norm(size: int) -> RMSNorm:
    """Return the norm that gives vectors the length 1: RMSNorm with the weight 1 / sqrt(H)."""
    norm = RMSNorm(size, LEAST_NORM * LEAST_NORM)
    del norm.weight
    norm.register_buffer("weight", torch.full((size,), 1 / math.sqrt(size)), persistent=False)
    return norm


def compact(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move padding behind the texts; return ids [B, S], and how many each text has [B].

    Layers look back only, so that a text does not see the padding after it.
    """
    mask = (mask != 0).long()
    steps = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    order = steps + mask.argmax(dim=1, keepdim=True)
    order = torch.where(order < ids.shape[1], order, order - ids.shape[1])
    return ids.gather(1, order), mask.sum(dim=1)


def pool(x: Tensor, counts: Tensor, mode: str) -> Tensor:
    """Pool x [B, S, H] over each text's positions: the ``last`` one, or their ``mean``.

    A mean is the float64 sum from the first position to the last, in this order, which padding
    behind does not change.
    """
    last = (counts - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, x.shape[2])
    if mode == "last":
        return x.gather(1, last).squeeze(1)
    sums = x.double().cumsum(dim=1).gather(1, last).squeeze(1)
    return (sums / counts.clamp(min=1).unsqueeze(1).double()).float()

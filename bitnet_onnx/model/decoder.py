"""The part that the networks share: the LLaMA decoder, with the config's kind of linears.

A network's own file derives ``Attention`` and ``MLP`` from these and defines what is special.
Knows tensors and the config; knows no network. Shapes: B batch, S new tokens, P past tokens,
T = P + S, H hidden, D head_dim.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..artifact import int4_bytes
from ..network.config import BitNetConfig
from .exact import attention, attention_int8, attention_shares, kept_int8
from .int4 import attention_int4, held_int4, kept_int4, turned_back
from .layers import RMSNorm
from .linears import linear
from .rotary import rotate

__all__ = ["MLP", "Attend", "Attention", "DecoderLayer", "KeyValue", "empty"]

# Keys and values, each [B, num_key_value_heads, T, D]; with int8 also the scales of the keys and of
# the values, each [B, num_key_value_heads, T]. With int4, whose type is uint8, rows are packed.
KeyValue = tuple[Tensor, ...]
SCALED = {torch.int8: kept_int8, torch.uint8: kept_int4}  # caches with scales


class DecoderLayer(nn.Module):
    """Attention and a feed-forward network, each with a norm before it and a residual around it."""

    def __init__(self, config: BitNetConfig, number: int = 0) -> None:
        super().__init__()
        network: Any = import_module(f"{__package__}.networks.{config.network}")
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.add_attention(network, config, number)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.add_feed_forward(network, config)

    def add_attention(self, network: Any, config: BitNetConfig, number: int) -> None:
        """Make the attention of the layer of this number."""
        self.self_attn = network.Attention(config)

    def add_feed_forward(self, network: Any, config: BitNetConfig) -> None:
        """Make the modules that ``feed_forward`` calls."""
        self.mlp = network.MLP(config)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        y, present = self.self_attn(self.input_layernorm(x), rope, mask, past)
        x = x + y
        return x + self.feed_forward(self.post_attention_layernorm(x)), present


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; each network defines ``project``."""

    turns = True
    """Whether queries and keys are rotated by their positions."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        width = config.num_attention_heads * config.head_dim
        kv_width = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = linear(config, config.hidden_size, width, bias)
        self.k_proj = linear(config, config.hidden_size, kv_width, bias)
        self.v_proj = linear(config, config.hidden_size, kv_width, bias)
        self.o_proj = linear(config, width, config.hidden_size, bias)
        self.attend = Attend(config.num_attention_heads, config.num_key_value_heads)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """Attend. x [B, S, H], rope: cos, sin [B, S, D], mask bool [B, 1, S, T] or None: causal."""
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query, key = self.prepare(query, key)
        y, present = self.attend(query, key, value, rope, mask, past)
        return self.project(y), present

    def prepare(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, which some networks change before they are rotated."""
        return query, key

    def project(self, y: Tensor) -> Tensor:
        """Project the heads' results [B, S, heads * D] -> [B, S, H]."""
        raise NotImplementedError


class Attend(nn.Module):
    """Rotary positions, KV cache and softmax: attention without its linears."""

    window = 0
    """Positions up to its own that each one sees; 0: all."""

    def __init__(self, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: KeyValue | None,
    ) -> tuple[Tensor, KeyValue]:
        """Attend. query [B, S, heads * D], key and value [B, S, kv heads * D] -> like query, cache.

        Keys and values are rounded to the type of the past, where there is one.
        """
        query = rotate(heads(query, self.num_heads), rope)
        key = rotate(heads(key, self.num_kv_heads), rope)
        value = heads(value, self.num_kv_heads)
        present: KeyValue = (key, value)
        if past is not None:
            kept = keep((key, value), past[0].dtype)
            present = tuple(torch.cat(pair, dim=2) for pair in zip(past, kept, strict=True))
        mask = self.windowed(mask, query, present[0])
        if self.training:
            key, value = present
            y = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
            )
        else:
            key, value, *scales = present
            if scales:
                attend = attention_int4 if key.dtype == torch.uint8 else attention_int8
                y = attend(query, key, value, scales[0], scales[1], seen(query, mask))
            else:
                y = attention(query, key, value, seen(query, mask))
        return y.transpose(1, 2).flatten(2), present

    def shares(
        self, query: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, present: KeyValue
    ) -> Tensor:
        """Return the softmax weights of query [B, S, heads * D]: [B, heads, S, T]."""
        query = rotate(heads(query, self.num_heads), rope)
        mask, key = self.windowed(mask, query, present[0]), present[0]
        if key.dtype == torch.uint8:
            query, key = turned_back(query), held_int4(key, query.shape[-1])
        return attention_shares(query, key, present[2:3], seen(query, mask))

    def windowed(self, mask: Tensor | None, query: Tensor, present: Tensor) -> Tensor | None:
        """Return the mask without the positions before the window."""
        new, total = query.shape[2], present.shape[2]
        if self.window == 0 or total <= self.window:
            return mask
        near = torch.ones(new, total, dtype=torch.bool, device=query.device)
        mask = seen(query, mask) & near.triu(total - new - self.window + 1)
        return mask | ~mask.any(dim=-1, keepdim=True)  # padding rows stay finite: they are not read


def seen(query: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask, without one the causal mask of query [B, heads, S, D]."""
    if mask is not None:
        return mask
    count = query.shape[2]
    return torch.ones(1, 1, count, count, dtype=torch.bool, device=query.device).tril()


def keep(new: tuple[Tensor, Tensor], dtype: torch.dtype) -> KeyValue:
    """Return key and value as a cache of this type holds them."""
    if dtype not in SCALED:
        return new[0].to(dtype), new[1].to(dtype)
    (key, key_scale), (value, value_scale) = map(SCALED[dtype], new)
    return key, value, key_scale, value_scale


def empty(rows: tuple[int, int, int], width: int, dtype: torch.dtype) -> KeyValue:
    """Return a cache of zeros of this type; rows: B, num_key_value_heads and T, width: D."""
    width = int4_bytes(width) if dtype == torch.uint8 else width
    caches = [torch.zeros(*rows, width, dtype=dtype) for _ in range(2)]
    return (*caches, *(torch.zeros(rows) for _ in range(2 if dtype in SCALED else 0)))


def heads(x: Tensor, count: int) -> Tensor:
    """Split [B, S, count * D] into heads [B, count, S, D]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


class MLP(nn.Module):
    """The three linears of the gated feed-forward; each network defines ``forward``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = linear(config, hidden, inner, bias)
        self.up_proj = linear(config, hidden, inner, bias)
        self.down_proj = linear(config, inner, hidden, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Compute x [B, S, H] -> [B, S, H]."""
        raise NotImplementedError

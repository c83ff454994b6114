"""The network of BitNet b1.58 2B-4T in torch: this file says exactly what BitNet computes.

Everything else is compared with it. Module attributes carry the checkpoint's tensor names, so
weights need no rename table. Knows tensors, the config and open checkpoints; knows no ONNX.
Sources: arXiv 2504.12285, arXiv 2402.17764, and transformers' ``BitNetForCausalLM``.

Shapes: B batch, S new tokens, P past tokens, T = P + S, H hidden, V vocabulary, D head_dim.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import Checkpoint, linear_shapes, norm_shapes, table_names
from .config import BitNetConfig
from .ternary import absmax_int8, absmean_ternary

__all__ = ["BitLinear", "BitNetForCausalLM", "CausalLMOutput", "KeyValue"]

KeyValue = tuple[Tensor, Tensor]  # keys and values, each [B, num_key_value_heads, T, D]
IGNORED = -100  # a label that does not count


class CausalLMOutput(NamedTuple):
    """``loss`` is None without labels; ``logits`` [B, S or logits_to_keep, V] float32."""

    loss: Tensor | None
    logits: Tensor
    past_key_values: list[KeyValue]


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * weight`` over the last axis, in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class BitLinear(nn.Module):
    """``y = (int8(x) · Wᵀ) * weight_scale / act_scale``, W in {-1, 0, +1}: W1.58A8.

    ``weight`` [N, K] is either the float master, quantized at each call, or, once
    ``set_ternary`` was called, the stored int8 codes with their ``weight_scale`` [1].
    """

    weight: Tensor
    weight_scale: Tensor | None

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features).normal_(0, 0.02))
        self.register_buffer("weight_scale", None)

    def set_ternary(self, codes: Tensor, scale: Tensor) -> None:
        """Store int8 codes [N, K] and their multiplier [1] instead of a master weight."""
        del self.weight
        self.register_buffer("weight", codes.to(torch.int8))
        self.weight_scale = scale.float().reshape(1)

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Codes (float32 [N, K]) and scale (float32 [1]), whichever way they are stored."""
        if self.weight_scale is not None:
            return self.weight.float(), self.weight_scale
        return absmean_ternary(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.weight_scale is None:
            return self._forward_straight_through(x)
        codes, weight_scale = self.ternary()
        quantized, act_scale = absmax_int8(x)
        # Whole numbers below 128 * K <= 2**24: this float32 product is exact in any order.
        sums = F.linear(quantized, codes)
        return sums * (weight_scale / act_scale)

    def _forward_straight_through(self, x: Tensor) -> Tensor:
        """The same values up to rounding; gradients pass both quantizers unchanged."""
        with torch.no_grad():
            codes, weight_scale = absmean_ternary(self.weight)
            quantized, act_scale = absmax_int8(x)
            weight, rounded = codes.mul_(weight_scale), quantized.div_(act_scale)
        return F.linear(
            StraightThrough.apply(x, rounded), StraightThrough.apply(self.weight, weight)
        )


class StraightThrough(torch.autograd.Function):
    """``rounded`` forward, the gradient of ``x`` backward (arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: object, x: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Attention(nn.Module):
    """Grouped-query attention with rotary positions and a norm before the output projection."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        width, kv_width = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.q_proj = BitLinear(config.hidden_size, width)
        self.k_proj = BitLinear(config.hidden_size, kv_width)
        self.v_proj = BitLinear(config.hidden_size, kv_width)
        self.o_proj = BitLinear(width, config.hidden_size)
        self.attn_sub_norm = RMSNorm(width, config.rms_norm_eps)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """x [B, S, H], rope: cos and sin [B, S, D], mask bool [B, 1, S, T] or None: causal."""
        query = rotate(self._heads(self.q_proj(x), self.num_heads), rope)
        key = rotate(self._heads(self.k_proj(x), self.num_kv_heads), rope)
        value = self._heads(self.v_proj(x), self.num_kv_heads)
        if past is not None:
            key = torch.cat([past[0], key], dim=2)
            value = torch.cat([past[1], value], dim=2)
        y = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )
        y = y.transpose(1, 2).flatten(2)
        return self.o_proj(self.attn_sub_norm(y)), (key, value)

    def _heads(self, x: Tensor, count: int) -> Tensor:
        """[B, S, count * D] -> [B, count, S, D]."""
        return x.unflatten(-1, (count, self.head_dim)).transpose(1, 2)


class MLP(nn.Module):
    """``down(norm(relu(gate(x))² * up(x)))``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.gate_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.up_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.down_proj = BitLinear(config.intermediate_size, config.hidden_size)
        self.ffn_sub_norm = RMSNorm(config.intermediate_size, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.gate_proj(x))
        return self.down_proj(self.ffn_sub_norm(gate * gate * self.up_proj(x)))


class DecoderLayer(nn.Module):
    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        y, present = self.self_attn(self.input_layernorm(x), rope, mask, past)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), present


class BitNetModel(nn.Module):
    """Embedding, decoder layers and final norm: the checkpoint's names below ``model.``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class BitNetForCausalLM(nn.Module):
    """BitNet b1.58 with its language-model head; float32 throughout."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.config = config
        self.model = BitNetModel(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            nn.init.normal_(self.lm_head.weight, std=0.02)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> BitNetForCausalLM:
        """The network with the checkpoint's weights, in evaluation mode.

        Linear weights are int8 codes, or float masters where the checkpoint holds masters, so
        that those can be trained on.
        """
        with torch.device("meta"):
            model = cls(checkpoint.config)
        for name in linear_shapes(checkpoint.config):
            linear: Any = model.get_submodule(name)
            if checkpoint.packed:
                linear.set_ternary(*checkpoint.ternary(name))
            else:
                linear.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        for name in (*norm_shapes(checkpoint.config), *table_names(checkpoint.config)):
            owner = model.get_submodule(name.removesuffix(".weight"))
            owner.weight = nn.Parameter(checkpoint.tensor(name).float())
        return model.eval()

    @property
    def head_weight(self) -> Tensor:
        """[V, H]: the embedding table itself when tied."""
        tied = self.config.tie_word_embeddings
        return self.model.embed_tokens.weight if tied else self.lm_head.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: list[KeyValue] | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> CausalLMOutput:
        """Arguments and results mean what they mean in transformers.

        input_ids [B, S]; attention_mask [B, T], 0 where a token is padding; position_ids [B, S],
        by default P, P+1, ... (as transformers: not derived from the mask); labels [B, S], -100
        where none is asked for, shifted by one here; logits_to_keep: only that many last
        positions, 0 for all.
        """
        past_length = past_key_values[0][0].shape[2] if past_key_values else 0
        if position_ids is None:
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            position_ids = (past_length + steps).unsqueeze(0)
        rope = rotary_tables(self.config, position_ids)
        mask = causal_mask(input_ids.shape[1], past_length, attention_mask)
        x = self.model.embed_tokens(input_ids).float()
        present: list[KeyValue] = []
        for i, layer in enumerate(self.model.layers):
            x, key_value = layer(x, rope, mask, past_key_values[i] if past_key_values else None)
            present.append(key_value)
        x = self.model.norm(x[:, -logits_to_keep:])
        logits = F.linear(x, self.head_weight.float())
        loss = None if labels is None else next_token_loss(logits, labels)
        return CausalLMOutput(loss, logits, present)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, max_new_tokens: int, eos_token_ids: Collection[int] = ()
    ) -> Tensor:
        """Greedy, without a cache, one sequence [1, S] -> [1, S + new]: the specification."""
        for _ in range(max_new_tokens):
            logits = self(input_ids, logits_to_keep=1).logits
            token = logits[:, -1].argmax(dim=-1, keepdim=True)
            input_ids = torch.cat([input_ids, token], dim=1)
            if token.item() in eos_token_ids:
                break
        return input_ids


def rotary_tables(config: BitNetConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [B, S] -> cos and sin [B, S, D]; both halves of D hold the same angles."""
    pairs = torch.arange(0, config.head_dim, 2, device=position_ids.device).float()
    frequencies = 1.0 / config.rope_theta ** (pairs / config.head_dim)
    angles = position_ids.unsqueeze(-1).float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves (not interleaved pairs) of x [B, heads, S, D] by its position."""
    cos, sin = rope[0].unsqueeze(1), rope[1].unsqueeze(1)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def causal_mask(new: int, past: int, attention_mask: Tensor | None) -> Tensor | None:
    """Bool [B or 1, 1, S, T], True where attended; None for plain causal without past."""
    if attention_mask is None and past == 0:
        return None
    device = None if attention_mask is None else attention_mask.device
    mask = torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)[None, None]
    if attention_mask is None:
        return mask
    mask = mask & attention_mask.bool()[:, None, None, :]
    # A padding row that may attend to nothing attends to everything: finite, and never read.
    return mask | ~mask.any(dim=-1, keepdim=True)


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of logits [B, S, V] at s against labels [B, S] at s + 1."""
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )

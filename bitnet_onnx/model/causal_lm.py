"""A network with its embedding, head, loss and the naive greedy loop: the specification.

Sources: arXiv 2504.12285, arXiv 2402.17764, and transformers' ``BitNetForCausalLM``.
Shapes: B batch, S new tokens, P past tokens, T = P + S, H hidden, V vocabulary, D head_dim.
Knows tensors, the config and open checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.config import BitNetConfig
from ..weights.checkpoint.base import Checkpoint
from .decoder import KeyValue, empty
from .layers import RMSNorm
from .rotary import rotary_tables

__all__ = ["IGNORED", "BitNetForCausalLM", "BitNetModel", "CausalLMOutput"]

IGNORED = -100  # the label of a position without loss


class CausalLMOutput(NamedTuple):
    """``loss`` is None without labels; ``logits`` [B, S or logits_to_keep, V] float32."""

    loss: Tensor | None
    logits: Tensor
    past_key_values: list[KeyValue]


class DecoderLayer(nn.Module):
    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        network: Any = import_module(f"{__package__}.networks.{config.network}")
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = network.Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = network.MLP(config)

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
        self.scale_emb = config.scale_emb * config.embedding_multiplier
        self.width = config.hidden_size / (config.dim_model_base or config.hidden_size)

    def first(self, x: Tensor) -> Tensor:
        """Turn rows of the embedding into the input of the first layer."""
        return x if self.scale_emb == 1 else x * self.scale_emb

    def last(self, x: Tensor) -> Tensor:
        """Turn the last layer's output into the input of the head."""
        x = self.norm(x)
        return x if self.width == 1 else x / self.width


class BitNetForCausalLM(nn.Module):
    """The config's network with its language-model head; float32 throughout."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.config = config
        self.model = BitNetModel(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            nn.init.normal_(self.lm_head.weight, std=0.02)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> BitNetForCausalLM:
        """Return the network with the checkpoint's weights, in evaluation mode.

        Linear weights are int8 codes, or floats, which can be trained further, where the
        checkpoint holds masters or float linears.
        """
        with torch.device("meta"):
            model = cls(checkpoint.config)
        for name in checkpoint.parts.linears:
            linear: Any = model.get_submodule(name)
            if checkpoint.packed:
                linear.set_ternary(*checkpoint.ternary(name))
            else:
                linear.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        parts = checkpoint.parts
        for name in (*parts.norms, *parts.tables, *parts.biases):
            owner, _, kind = name.rpartition(".")
            setattr(model.get_submodule(owner), kind, nn.Parameter(checkpoint.tensor(name).float()))
        return model.eval()

    @property
    def head_weight(self) -> Tensor:
        """The table of the head [V, H]: the embedding itself when tied."""
        tied = self.config.tie_word_embeddings
        return self.model.embed_tokens.weight if tied else self.lm_head.weight

    def empty_cache(self, dtype: torch.dtype) -> list[KeyValue]:
        """Return ``past_key_values`` of one sequence without positions, kept as ``dtype``."""
        rows = (1, self.config.num_key_value_heads, 0)
        return [empty(rows, self.config.head_dim, dtype)] * self.config.num_hidden_layers

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: list[KeyValue] | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> CausalLMOutput:
        """Compute logits and the loss; arguments and results mean the same as in transformers.

        input_ids [B, S]; attention_mask [B, T], 0 where a token is padding; position_ids [B, S],
        by default P, P+1, ... (as in transformers, not derived from the mask); labels [B, S], -100
        where a position has no loss, shifted by one here; logits_to_keep: the number of last
        positions to keep, 0 for all.
        """
        past_length = past_key_values[0][0].shape[2] if past_key_values else 0
        if position_ids is None:
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            position_ids = (past_length + steps).unsqueeze(0)
        rope = rotary_tables(self.config, position_ids)
        mask = causal_mask(input_ids.shape[1], past_length, attention_mask)
        x = self.model.first(self.model.embed_tokens(input_ids).float())
        present: list[KeyValue] = []
        for i, layer in enumerate(self.model.layers):
            x, key_value = layer(x, rope, mask, past_key_values[i] if past_key_values else None)
            present.append(key_value)
        x = self.model.last(x[:, -logits_to_keep:])
        logits = F.linear(x, self.head_weight.float())
        if self.config.logits_scaling != 1:
            logits = logits / self.config.logits_scaling
        loss = None if labels is None else next_token_loss(logits, labels)
        return CausalLMOutput(loss, logits, present)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, max_new_tokens: int, eos_token_ids: Collection[int] = ()
    ) -> Tensor:
        """Generate greedily, without a cache: the specification. [1, S] -> [1, S + new]."""
        for _ in range(max_new_tokens):
            logits = self(input_ids, logits_to_keep=1).logits
            token = logits[:, -1].argmax(dim=-1, keepdim=True)
            input_ids = torch.cat([input_ids, token], dim=1)
            if token.item() in eos_token_ids:
                break
        return input_ids


def causal_mask(new: int, past: int, attention_mask: Tensor | None) -> Tensor | None:
    """Return a bool mask [B or 1, 1, S, T], True where attended; None: causal without a past."""
    if attention_mask is None and past == 0:
        return None
    device = None if attention_mask is None else attention_mask.device
    mask = torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)[None, None]
    if attention_mask is None:
        return mask
    mask = mask & attention_mask.bool()[:, None, None, :]
    # A padding row without a position to attend to attends to all: finite, and never read.
    return mask | ~mask.any(dim=-1, keepdim=True)


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of logits [B, S, V] at s and labels [B, S] at s + 1."""
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )

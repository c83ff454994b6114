"""A network with its embedding, head, loss and the naive greedy loop: the specification.

Sources: arXiv 2504.12285, arXiv 2402.17764, and transformers' ``BitNetForCausalLM``.
Shapes: B batch, S new tokens, P past tokens, T = P + S, H hidden, V vocabulary, D head_dim.
Knows tensors, the config and open checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..network.config import BitNetConfig
from ..weights.checkpoint.base import Checkpoint
from .decoder import DecoderLayer, KeyValue, empty
from .experts import balance_loss
from .hadamard import rotate_inputs, rotations_of
from .layers import RMSNorm
from .outputs import CausalLMOutput, past_of, recording, returned
from .rotary import rotary_tables

__all__ = ["IGNORED", "BitNetForCausalLM", "BitNetModel"]

IGNORED = -100  # the label of a position without loss


class BitNetModel(nn.Module):
    """Embedding, decoder layers and final norm: the checkpoint's names below ``model.``."""

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        network: Any = import_module(f"{__package__}.networks.{config.network}")
        layer = getattr(network, "DecoderLayer", DecoderLayer)
        self.layers = nn.ModuleList(layer(config, n) for n in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotations = rotations_of(config)
        rotate_inputs(self, config)
        self.scale_emb = config.scale_emb * config.embedding_multiplier
        self.width = config.hidden_size / (config.dim_model_base or config.hidden_size)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: list[KeyValue],
    ) -> tuple[list[Tensor], list[KeyValue]]:
        """Compute the input of each layer, then that of the head, and each layer's cache.

        x: rows of the embedding [B, S, H]; rope: cos, sin [B, S, D]; mask bool [B, 1, S, T] or None
        where each position sees itself and those before; past: empty without one.
        """
        states, presents = [self.first(x.float())], []
        still = torch.ones_like(rope[0]), torch.zeros_like(rope[1])  # rotates nothing
        layers: Any = self.layers
        for i, layer in enumerate(layers):
            turned = rope if layer.self_attn.turns else still
            x, present = layer(states[-1], turned, mask, past[i] if past else None)
            states.append(x)
            presents.append(present)
        states[-1] = self.last(states[-1])
        return states, presents

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
        for name in (*checkpoint.parts.linears, *checkpoint.parts.experts):
            linear: Any = model.get_submodule(name)
            if checkpoint.packed:
                linear.set_ternary(*checkpoint.ternary(name))
            else:
                linear.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        parts = checkpoint.parts
        for name in (*parts.norms, *parts.tables, *parts.biases, *parts.routers):
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
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_router_logits: bool | None = None,
        cache: Any = None,
    ) -> CausalLMOutput:  # long: what each of transformers' arguments means
        """Compute logits and the loss; arguments and results mean the same as in transformers.

        input_ids [B, S], or inputs_embeds [B, S, H] in their place; attention_mask [B, T], 0 where
        a token is padding; position_ids [B, S], by default P, P+1, ... (as in transformers, not
        derived from the mask); past_key_values, or ``cache``: an earlier result's, or a
        DynamicCache, which is extended; labels [B, S], -100 where a position has no loss, shifted
        by one here; logits_to_keep: the number of last positions to keep, 0 for all, or a tensor of
        positions. With output_router_logits, by default the config's, the loss has the routers'
        balance loss in it. Raises ConfigError for a wrong argument.
        """
        given = cache if past_key_values is None else past_key_values
        past = past_of(given)
        past_length = past[0][0].shape[2] if past else 0
        x = self.embedded(input_ids, inputs_embeds)
        if position_ids is None:
            position_ids = past_length + torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        rope = rotary_tables(self.config, position_ids)
        mask = causal_mask(x.shape[1], past_length, attention_mask)
        mixture = self.config.mixture
        if output_router_logits is None:
            output_router_logits = mixture is not None and mixture.output_router_logits
        with recording(self, output_attentions, output_router_logits) as found:
            states, present = self.model(x, rope, mask, past)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = F.linear(states[-1][:, kept], self.head_weight.float())
        if self.config.logits_scaling != 1:
            logits = logits / self.config.logits_scaling
        loss = None if labels is None else next_token_loss(logits, labels)
        balance = None
        if mixture is not None and found.router_logits:
            k = mixture.num_experts_per_tok
            balance = balance_loss(found.router_logits, k, attention_mask)
            loss = None if loss is None else loss + mixture.router_aux_loss_coef * balance
        return CausalLMOutput(
            loss,
            logits,
            returned(given, present, past_length, use_cache is not False),
            tuple(states) if output_hidden_states else None,
            tuple(found.attentions) or None,
            tuple(found.router_logits) or None,
            balance,
        )

    def embedded(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """Return the rows of the embedding [B, S, H] of one of the two."""
        if (input_ids is None) == (inputs_embeds is None):
            both = "neither" if input_ids is None else "both"
            raise ConfigError(f"{both} of input_ids and inputs_embeds is given, expected one")
        return self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds

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

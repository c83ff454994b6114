"""GraniteMoe networks of transformers' own classes, and the same with ternary experts.

Knows transformers; does not know bitnet_onnx.
"""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["SHARED", "SIZES", "VARIANTS", "absmean", "bitlinear", "draw", "save", "ternary"]

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
    "tie_word_embeddings": True,
}
SHARED: dict[str, Any] = {"shared": 24}
ODD = {
    "embedding_multiplier": 11.3,
    "attention_multiplier": 0.0371,
    "residual_multiplier": 0.219,
    "logits_scaling": 5.7,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "8 experts": {},
    "4 experts, 1 of them": {"num_local_experts": 4, "num_experts_per_tok": 1},
    "5 experts, all of them": {"num_local_experts": 5, "num_experts_per_tok": 5},
    "32 experts, 8 of them": {"num_local_experts": 32, "num_experts_per_tok": 8},
    "40 experts, 8 of them": {"num_local_experts": 40, "num_experts_per_tok": 8} | ODD,
    "8 experts, all, untied": {"num_experts_per_tok": 8, "tie_word_embeddings": False},
    "32 experts, 1, untied": {
        "num_local_experts": 32,
        "num_experts_per_tok": 1,
        "tie_word_embeddings": False,
    },
    "1 expert": {"num_local_experts": 1, "num_experts_per_tok": 1},
    "heads not grouped": {"num_key_value_heads": 4, "num_local_experts": 5},
    "one kv head, odd multipliers": {"num_key_value_heads": 1} | ODD,
    "biases": {"attention_bias": True},
    "biases, 40 experts": {"attention_bias": True, "num_local_experts": 40, **ODD},
    "head_dim 20": {"hidden_size": 80, "intermediate_size": 36},
    "head_dim 12, 3 heads": {
        "hidden_size": 36,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "num_experts_per_tok": 3,
    },
    "multipliers of 1": dict.fromkeys(ODD, 1.0),
}


def draw(shared: int = 0, seed: int = 0, **changes: Any) -> Any:
    """Return a float32 GraniteMoe, with a shared network of ``shared`` features where not 0.

    Its values fit bfloat16. Router weights are so large that no two logits are nearly equal.
    """
    transformers = pytest.importorskip("transformers", minversion="5.0")
    kind = "GraniteMoeShared" if shared else "GraniteMoe"
    sizes = SIZES | changes | ({"shared_intermediate_size": shared} if shared else {})
    config = getattr(transformers, f"{kind}Config")(**sizes)
    torch.manual_seed(seed)
    network = getattr(transformers, f"{kind}ForCausalLM")._from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    )
    for name, parameter in network.named_parameters():
        mean, std = (1.0, 0.2) if "norm" in name else (0.0, 0.15)
        if "embed_tokens" in name or "lm_head" in name or "router" in name:
            std = 0.5
        torch.nn.init.normal_(parameter, mean=mean, std=std)
        parameter.data = parameter.data.bfloat16().float()
    return network.eval()


def save(network: Any, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    state = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    network.save_pretrained(folder, state_dict=state)
    return folder


def absmean(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codes of a matrix and its scale, as transformers' AutoBitLinear computes them."""
    scale = 1.0 / weight.abs().mean().clamp(min=1e-5)
    return (weight * scale).round().clamp(-1, 1), 1.0 / scale


def bitlinear(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """Multiply as W1.58A8 says."""
    act = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return F.linear((x * act).round().clamp(-128, 127), codes) * (scale / act)


def ternary(network: Any) -> Any:
    """Make the linears and experts of a GraniteMoe those of W1.58A8, quantized from its floats."""
    for name, module in network.named_modules():
        if name.endswith("_proj") or (".shared_mlp." in name and name.endswith("_linear")):
            codes, scale = absmean(module.weight.detach())
            module.forward = lambda x, codes=codes, scale=scale: bitlinear(x, codes, scale)
        elif name.endswith("block_sparse_moe.experts"):
            module.forward = MethodType(ternary_experts, module)
    return network


def ternary_experts(module: Any, x: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """Take the place of ``GraniteMoeExperts.forward``; gate, up and down are matrices each."""
    total = torch.zeros_like(x)
    for expert in range(module.num_experts):
        tokens, places = torch.where(chosen == expert)
        gate, up = module.gate_up_proj[expert].chunk(2)
        rows = x[tokens]
        inner = F.silu(bitlinear(rows, *absmean(gate))) * bitlinear(rows, *absmean(up))
        y = bitlinear(inner, *absmean(module.down_proj[expert])) * shares[tokens, places, None]
        total.index_add_(0, tokens, y)
    return total

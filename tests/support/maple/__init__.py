"""Maple in plain torch, as the ``modeling_maple.py`` of deepgrove/maple-preview computes it.

transformers has no class for it. Written from its formulas, one token and one expert at a time;
they use no line of bitnet_onnx. Weights are ternary times a scale for each row, as published.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from bitnet_onnx.exporter.export import export

__all__ = ["CONFIG", "draw", "logits", "save", "windowed"]

# The published config.json with other sizes; it has no model_type.
CONFIG: dict[str, Any] = {
    "architectures": ["MapleForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_maple.MapleForCausalLM"},
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "dtype": "bfloat16",
    "embedding_dropout": 0.0,
    "eos_token_id": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
    "max_position_embeddings": 64,
    "max_window_layers": 24,
    "moe_intermediate_size": 24,
    "moe_router_enable_expert_bias": False,
    "nope_on_global_attention": True,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_shared_experts": 0,
    "output_dropout": 0.0,
    "output_router_logits": False,
    "pad_token_id": None,
    "partial_rotary_factor": 0.5,
    "preaffine": False,
    "quantize": True,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 10000,
    "router_dtype": "fp32",
    "sliding_window": 5,
    "tie_word_embeddings": False,
    "transformers_version": "4.57.1",
    "use_cache": True,
    "use_qk_norm": True,
    "use_rmsnorm": True,
    "vocab_size": 97,
}


def draw(fields: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Return random weights by their published names; half of the gates exceed the limit of 7."""
    random = torch.Generator().manual_seed(seed)
    hidden, inner = fields["hidden_size"], fields["moe_intermediate_size"]
    width = fields["num_attention_heads"] * fields["head_dim"]
    kv_width = fields["num_key_value_heads"] * fields["head_dim"]

    def normal(*size: int, mean: float = 0.0, std: float = 0.5) -> Tensor:
        return torch.randn(*size, generator=random).mul(std).add(mean).bfloat16()

    def ternary(rows: int, columns: int, size: float) -> Tensor:
        codes = torch.randint(-1, 2, (rows, columns), generator=random)
        scale = size * (0.5 + torch.rand(rows, 1, generator=random)) / columns**0.5
        return (codes * scale.bfloat16().float()).bfloat16()

    made = {
        "model.word_embeddings.weight": normal(fields["vocab_size"], hidden),
        "model.norm.weight": normal(hidden, mean=1, std=0.2),
        "lm_head.weight": normal(fields["vocab_size"], hidden),
    }
    if fields["tie_word_embeddings"]:
        del made["lm_head.weight"]
    for layer in range(fields["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            made[f"{name}{norm}.weight"] = normal(hidden, mean=1, std=0.2)
        for norm in ("q_norm", "k_norm"):
            made[f"{name}self_attn.{norm}.weight"] = normal(fields["head_dim"], mean=1, std=0.2)
        for linear, rows in (("q", width), ("k", kv_width), ("v", kv_width)):
            made[f"{name}self_attn.{linear}_proj.weight"] = ternary(rows, hidden, 1)
        made[f"{name}self_attn.o_proj.weight"] = ternary(hidden, width, 1)
        made[f"{name}mlp.gate.weight"] = normal(fields["num_experts"], hidden).float()
        for expert in range(fields["num_experts"]):
            for linear, size in (("gate", 12), ("up", 12)):
                key = f"{name}mlp.experts.{expert}.{linear}_proj.weight"
                made[key] = ternary(inner, hidden, size)
            made[f"{name}mlp.experts.{expert}.down_proj.weight"] = ternary(hidden, inner, 0.1)
    return made


def save(folder: Path, fields: dict[str, Any], weights: dict[str, Tensor], shards: int = 1) -> Path:
    """Save a checkpoint folder; several shards have an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return folder
    names = sorted(weights)
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        some = names[shard::shards]  # an expert's matrices are in different files
        save_file({name: weights[name] for name in some}, folder / file)
        places |= dict.fromkeys(some, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def windowed(factory: pytest.TempPathFactory, kv_cache: str) -> Path:
    """Return an artifact whose context is much longer than its windows, made once for all tests."""
    if kv_cache not in _WINDOWED:
        folder = factory.mktemp("windowed")
        fields = {**CONFIG, "max_position_embeddings": 512, "vocab_size": 300}
        checkpoint = save(folder / "checkpoint", fields, draw(fields))
        artifact = folder / "artifact"
        export(checkpoint, artifact, kv_cache=kv_cache, outputs="hidden-states", copy_library=False)
        _WINDOWED[kv_cache] = artifact
    return _WINDOWED[kv_cache]


_WINDOWED: dict[str, Path] = {}


@torch.no_grad()
def logits(fields: dict[str, Any], weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Return float32 logits [S, V] of ids [S]."""
    w = {name: tensor.float() for name, tensor in weights.items()}
    x = w["model.word_embeddings.weight"][ids]
    for layer, kind in enumerate(fields["layer_types"]):
        name = f"model.layers.{layer}."
        part = {k.removeprefix(name): v for k, v in w.items() if k.startswith(name)}
        y = norm(x, part["input_layernorm.weight"], fields)
        x = x + attention(y, part, fields, kind == "sliding_attention")
        y = norm(x, part["post_attention_layernorm.weight"], fields)
        x = x + torch.stack([experts(token, part, fields) for token in y])
    head = "model.word_embeddings" if fields["tie_word_embeddings"] else "lm_head"
    return norm(x, w["model.norm.weight"], fields) @ w[f"{head}.weight"].T


def norm(x: Tensor, weight: Tensor, fields: dict[str, Any]) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + fields["rms_norm_eps"]) * weight


def attention(x: Tensor, part: dict[str, Tensor], fields: dict[str, Any], slides: bool) -> Tensor:
    width, count = fields["head_dim"], len(x)
    query, key, value = (
        (x @ part[f"self_attn.{name}_proj.weight"].T).view(count, -1, width) for name in "qkv"
    )
    query = norm(query, part["self_attn.q_norm.weight"], fields)
    key = norm(key, part["self_attn.k_norm.weight"], fields)
    if slides:
        query, key = (rotated(z, fields) for z in (query, key))
    group = query.shape[1] // key.shape[1]
    key, value = (z.repeat_interleave(group, dim=1) for z in (key, value))
    rows = []
    for at in range(count):
        # FlashAttention's window_size is (sliding_window, 0): so many positions before its own.
        first = max(0, at - fields["sliding_window"]) if slides else 0
        scores = torch.einsum("hd,thd->ht", query[at], key[first : at + 1]) * width**-0.5
        shares = scores.softmax(-1)
        rows.append(torch.einsum("ht,thd->hd", shares, value[first : at + 1]).flatten())
    return torch.stack(rows) @ part["self_attn.o_proj.weight"].T


def rotated(x: Tensor, fields: dict[str, Any]) -> Tensor:
    """Rotate the halves of the first elements of each head; the others pass."""
    turned = int(fields["head_dim"] * fields["partial_rotary_factor"])
    frequencies = fields["rope_theta"] ** -(torch.arange(0, turned, 2).float() / turned)
    angles = (torch.arange(len(x)).float()[:, None] * frequencies).repeat(1, 2)[:, None]
    first, rest = x[..., :turned], x[..., turned:]
    low, high = first.chunk(2, dim=-1)
    first = first * angles.cos() + torch.cat([-high, low], dim=-1) * angles.sin()
    return torch.cat([first, rest], dim=-1)


def experts(x: Tensor, part: dict[str, Tensor], fields: dict[str, Any]) -> Tensor:
    """Softmax over all experts, the largest k of it, divided by their sum."""
    scores = (x @ part["mlp.gate.weight"].T).softmax(-1)
    kept, chosen = scores.topk(fields["num_experts_per_tok"])
    total = torch.zeros_like(x)
    for share, expert in zip(kept / (kept.sum() + 1e-20), chosen.tolist(), strict=True):
        matrix = {n: part[f"mlp.experts.{expert}.{n}_proj.weight"] for n in ("gate", "up", "down")}
        gate = (x @ matrix["gate"].T).clamp(max=7.0)
        up = (x @ matrix["up"].T).clamp(min=-7.0, max=7.0)
        total = total + share * ((F.silu(gate) * up) @ matrix["down"].T)
    return total

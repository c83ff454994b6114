"""Random networks made with transformers' own classes, and written by its own save_pretrained.

Knows transformers; knows nothing of bitnet_onnx, so that the readers are tested against the
format and the networks against their source.
"""

from __future__ import annotations

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers wraps its unpacking in torch.compile

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

torch.set_num_threads(1)

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def llama_config(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    pytest.importorskip("accelerate")  # its quantized loader asks for it
    sizes = {
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
    }
    return transformers.LlamaConfig(**sizes | changes)


def random_llama(config: Any, seed: int) -> Any:
    """LlamaForCausalLM in float32, whose values bfloat16 holds; norms differ from 1."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.normal_(1.0, 0.2)
            elif "proj" in name:
                parameter.normal_(0.0, 0.05)
            else:
                parameter.normal_(0.0, 1.0)
            parameter.copy_(parameter.bfloat16().float())
    return model


def quantized(source: Any, linear_class: str, mode: str, use_rms_norm: bool = False) -> Any:
    """The same network with transformers' AutoBitLinear or BitLinear for its linears."""
    from transformers import LlamaForCausalLM
    from transformers.integrations.bitnet import pack_weights, replace_with_bitnet_linear
    from transformers.utils.quantization_config import BitNetQuantConfig

    settings = BitNetQuantConfig(
        linear_class=linear_class, quantization_mode=mode, use_rms_norm=use_rms_norm
    )
    model = LlamaForCausalLM(source.config)
    model = replace_with_bitnet_linear(model, ["lm_head"], settings)
    state = source.state_dict()
    random = torch.Generator().manual_seed(1)
    for name, module in model.named_modules():
        if type(module).__name__ not in ("AutoBitLinear", "BitLinear"):
            continue
        weight = state[f"{name}.weight"]
        if linear_class == "bitlinear" or mode == "offline":
            mean = weight.abs().mean()
            codes = (weight * (1.0 / mean)).round().clamp(-1, 1)
            divides = linear_class == "bitlinear"
            state[f"{name}.weight"] = pack_weights(codes) if divides else codes
            state[f"{name}.weight_scale"] = (1.0 / mean if divides else mean).reshape(1)
        if use_rms_norm:
            norm = torch.randn(weight.shape[1], generator=random) * 0.2 + 1.0
            state[f"{name}.rms_norm.weight"] = norm.bfloat16().float()
    model.load_state_dict(state, assign=True)
    model.config.quantization_config = settings
    return model.eval()


def one_bit_llm(source: Any) -> tuple[Any, dict[str, Tensor]]:
    """1bitLLM's network: (a LLaMA with a norm before o_proj and down_proj, what its file holds).

    Their code is not part of transformers; the norms are put where it puts them.
    """
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    model = quantized(source, "autobitlinear", "online")
    state = source.state_dict()
    random = torch.Generator().manual_seed(2)
    for i, layer in enumerate(model.model.layers):
        places = (
            ("self_attn.o_proj", "self_attn.inner_attn_ln"),
            ("mlp.down_proj", "mlp.ffn_layernorm"),
        )
        for linear_name, name in places:
            linear = layer.get_submodule(linear_name)
            norm = LlamaRMSNorm(linear.in_features, model.config.rms_norm_eps)
            weight = torch.randn(linear.in_features, generator=random) * 0.2 + 1.0
            norm.weight.data = weight.bfloat16().float()
            linear.register_forward_pre_hook(lambda _, inputs, norm=norm: (norm(inputs[0]),))
            state[f"model.layers.{i}.{name}.weight"] = norm.weight.data
    return model, state


class PaperBitLinear(torch.nn.Module):
    """arXiv 2310.11453, equations 1 to 4, 11, 12 and section 2.2, as they stand; in float64."""

    def __init__(self, weight: Tensor, groups: int) -> None:
        super().__init__()
        self.weight, self.groups = weight, groups

    def forward(self, x: Tensor) -> Tensor:
        result = torch.zeros(*x.shape[:-1], self.weight.shape[0], dtype=torch.float64)
        parts = zip(x.chunk(self.groups, -1), self.weight.chunk(self.groups, 1), strict=True)
        for part, weight in parts:
            mean, variance = part.mean(-1, keepdim=True), part.var(-1, keepdim=True, correction=0)
            normalized = (part - mean) / (variance + 1e-5).sqrt()
            gamma = normalized.abs().amax(-1, keepdim=True)
            quantized = (normalized * 128 / gamma).round().clamp(-127, 127)
            signs = torch.ones_like(weight)
            signs[weight - weight.mean() <= 0] = -1
            beta = weight.double().abs().mean()
            result += quantized.double() @ signs.double().T * beta * gamma.double() / 128
        return result.float()


def bitnet_2023(source: Any, groups: int) -> Any:
    """A LLaMA whose linears are those of the first BitNet."""
    for name, module in list(source.named_modules()):
        if name.endswith("_proj"):
            source.set_submodule(name, PaperBitLinear(module.weight.detach(), groups))
    return source


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return torch.nn.Module.float(model).eval()  # unpacked linear weights stay bf16 otherwise


def ids_of(length: int, seed: int, batch: int = 1, vocab: int = 96) -> Tensor:
    return torch.randint(2, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def greedy(model: Any, ids: Tensor, count: int) -> list[int]:
    """One sequence, fed whole at each step: no cache of transformers' is trusted."""
    for _ in range(count):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0].tolist()

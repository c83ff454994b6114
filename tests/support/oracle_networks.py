"""Make random networks with transformers' own classes, written by its own save_pretrained.

Knows transformers; does not know bitnet_onnx, so that the readers are tested against the format and
the networks against their source.
"""

from __future__ import annotations

import json
import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers wraps its unpacking in torch.compile

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
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
    """Return a float32 LlamaForCausalLM, whose values fit bfloat16; norms differ from 1."""
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
    """Replace the linears of a network by transformers' AutoBitLinear or BitLinear."""
    from transformers.integrations.bitnet import pack_weights, replace_with_bitnet_linear
    from transformers.utils.quantization_config import BitNetQuantConfig

    settings = BitNetQuantConfig(
        linear_class=linear_class, quantization_mode=mode, use_rms_norm=use_rms_norm
    )
    model = type(source)(source.config)
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
    """Return 1bitLLM's network, a LLaMA with norms before o_proj and down_proj, and its tensors.

    1bitLLM's code is not part of transformers; the norms are placed as in that code.
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
    """The equations 1 to 4, 11, 12 and section 2.2 of arXiv 2310.11453 as printed, in float64."""

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
    """Replace the linears of a LLaMA by those of the first BitNet."""
    for name, module in list(source.named_modules()):
        if name.endswith("_proj"):
            source.set_submodule(name, PaperBitLinear(module.weight.detach(), groups))
    return source


def group_weights(model: Any, dtype: torch.dtype, seed: int) -> Any:
    """Set every linear of a decoder to 0 or +-s, with s drawn for each 128 weights along K."""
    random = torch.Generator().manual_seed(seed)
    for name, linear in model.named_modules():
        if not name.endswith("_proj"):
            continue
        rows, features = linear.weight.shape
        codes = torch.randint(-1, 2, (rows, features // 128, 128), generator=random).float()
        scales = torch.rand(rows, features // 128, 1, generator=random) * 0.1 + 0.03
        codes[0, 0] = 0  # a group of zeros
        linear.weight.data = (codes * scales).flatten(1)
    for parameter in model.parameters():  # model.to would also round the rotary buffer
        parameter.data = parameter.data.to(dtype).float()
    return model


def qwen3(dtype: torch.dtype = torch.float16, seed: int = 0, **changes: Any) -> Any:
    """Return a float32 Qwen3ForCausalLM, dequantized in ``dtype`` as Ternary-Bonsai is stored."""
    transformers = pytest.importorskip("transformers", minversion="5.0")
    sizes = {
        "vocab_size": 96,
        "hidden_size": 256,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes | changes)).eval()
    for name, parameter in model.named_parameters():
        parameter.data.normal_(1.0, 0.2) if "norm" in name else parameter.data.normal_()
    return group_weights(model, dtype, seed)


def int8_activations(model: Any) -> Any:
    """Quantize the linears' inputs to int8 per token, with float64 sums; their hooks stay."""

    def forward(weight: Tensor, x: Tensor) -> Tensor:
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        rounded = (x * scale).round().clamp(-128, 127)
        return (rounded.double() @ weight.double().T / scale.double()).float()

    for name, linear in model.named_modules():
        if name.endswith("_proj"):
            linear.forward = partial(forward, linear.weight.detach())
    return model


MINICPM = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 64}


def minicpm(
    seed: int = 0, dtype: torch.dtype = torch.bfloat16, **changes: Any
) -> tuple[Any, dict[str, Any]]:
    """Return a LLaMA of transformers, scaled where MiniCPM scales, and its config.json.

    transformers lacks MiniCPM4; its ``minicpm3`` has the same three scales in the same places.
    """
    sizes = {"hidden_size": 256, "intermediate_size": 384, "tie_word_embeddings": True}
    source = random_llama(llama_config(max_position_embeddings=128, **sizes | changes), seed)
    group_weights(source, dtype, seed)
    config = source.config
    residual = MINICPM["scale_depth"] / config.num_hidden_layers**0.5
    for name, module in source.named_modules():
        factor = {
            "model.embed_tokens": MINICPM["scale_emb"],
            "model.norm": MINICPM["dim_model_base"] / config.hidden_size,
        }.get(name, residual if name.endswith(("o_proj", "down_proj")) else None)
        if factor is not None:
            module.register_forward_hook(lambda _, inputs, y, factor=factor: y * factor)
    fields = json.loads(config.to_json_string()) | MINICPM
    rope = fields.pop("rope_parameters")
    fields |= {"model_type": "minicpm", "architectures": ["MiniCPMForCausalLM"]}
    fields |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    return source, fields


def save(model: Any, folder: Path, dtype: torch.dtype | None = None) -> Path:
    state = {name: tensor.to(dtype or tensor.dtype) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    return folder


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return torch.nn.Module.float(model).eval()  # unpacked linear weights stay bf16 otherwise


def ids_of(length: int, seed: int, batch: int = 1, vocab: int = 96) -> Tensor:
    return torch.randint(2, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def greedy(model: Any, ids: Tensor, count: int) -> list[int]:
    """Continue one sequence, fed whole at each step, so that transformers' cache is not used."""
    for _ in range(count):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0].tolist()


LLAMA: dict[str, tuple[tuple[str, str, bool], dict[str, Any]]] = {
    "bitlinear": (("bitlinear", "offline", False), {}),
    "bitlinear, a norm in each linear": (("bitlinear", "offline", True), {}),
    "autobitlinear": (("autobitlinear", "offline", False), {"tie_word_embeddings": True}),
    "autobitlinear, online": (("autobitlinear", "online", False), {}),
    "autobitlinear, online, norms": (("autobitlinear", "online", True), {}),
    "wide heads": (("bitlinear", "offline", False), {"head_dim": 32}),
    "llama3 rope": (
        ("bitlinear", "offline", False),
        {"head_dim": 32, "rope_parameters": LLAMA3},
    ),
    "linear rope": (
        ("autobitlinear", "online", False),
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3}},
    ),
}


def make_llama(folder: Path, variant: str, seed: int = 2, **sizes: Any) -> Path:
    kind, changes = LLAMA[variant]
    source = random_llama(llama_config(**sizes | changes), seed)
    return save(quantized(source, *kind), folder)


def make_2023(folder: Path, groups: int, seed: int = 1) -> tuple[Path, Any]:
    source = random_llama(llama_config(), seed)
    fields = json.loads(source.config.to_json_string())
    fields |= {"model_type": "bitnet_2023", "architectures": None, "quantization_groups": groups}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(source.state_dict(), folder / "model.safetensors")
    return folder, bitnet_2023(source, groups)

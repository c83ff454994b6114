"""Make random networks that embed texts with transformers' own bodies, and compute with these.

Each projection is wrapped as microsoft/BitNet defines it: an RMSNorm, int8 activations for each
token, ternary weights with one scale for each matrix. Knows transformers; does not know
bitnet_onnx.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

torch.set_num_threads(1)

QWEN3 = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
GEMMA3 = QWEN3 | {
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "query_pre_attn_scalar": 32,
    "sliding_window": 512,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


TIE = 1e-3  # of a code: activations that close to a half may round to either side


class Projection(nn.Module):
    """``ternary(int8(norm(x)))`` in plain arithmetic.

    Ties are rounded as in ``like``, the input of another network's quantizer, where it is given.
    """

    like: Tensor | None = None

    def __init__(self, linear: nn.Linear, norm: Tensor | None, eps: float) -> None:
        super().__init__()
        self.weight, self.norm, self.eps = linear.weight.detach(), norm, eps

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.norm
        scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        scaled = x * scale
        quantized = scaled.round().clamp(-128, 127)
        if self.like is not None:
            tie = ((scaled - scaled.floor()) - 0.5).abs() < TIE
            scale_of_like = 127.0 / self.like.abs().amax(-1, keepdim=True).clamp(min=1e-5)
            quantized = torch.where(tie, (self.like * scale_of_like).round(), quantized)
        mean = self.weight.abs().mean().clamp(min=1e-5)
        codes = (self.weight / mean).round().clamp(-1, 1)
        return F.linear(quantized, codes) / scale * mean


def plain_body(kind: str, seed: int = 0, **changes: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return a body of transformers with random weights that fit bfloat16, and its tensors.

    kind: ``qwen3`` or ``gemma3_text``.
    """
    transformers = pytest.importorskip("transformers", minversion="5.0")
    sizes = (QWEN3 if kind == "qwen3" else GEMMA3) | changes
    names = ("Qwen3Config", "Qwen3Model")
    if kind != "qwen3":
        names = ("Gemma3TextConfig", "Gemma3TextModel")
    config = getattr(transformers, names[0])(**sizes)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    body = getattr(transformers, names[1])(config).eval()
    middle = 1.0 if kind == "qwen3" else 0.0  # Gemma's norms store the difference from 1
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            if name.endswith("norm.weight"):
                parameter.normal_(middle, 0.2)
            else:
                parameter.normal_(0.0, 0.05 if "proj" in name else 1.0)
            parameter.copy_(parameter.bfloat16().float())
    return body, {name: tensor.clone() for name, tensor in body.state_dict().items()}


def random_body(
    kind: str, seed: int = 0, norms: bool = True, **changes: Any
) -> tuple[Any, dict[str, Tensor]]:
    """Return such a body whose projections are wrapped, and the tensors of its checkpoint."""
    body, stored = plain_body(kind, seed, **changes)
    for name, linear in list(body.named_modules()):
        if not name.endswith("_proj"):
            continue
        norm = None
        if norms:
            norm = (1.0 + 0.2 * torch.randn(linear.in_features)).bfloat16().float()
            stored[f"{name}.norm.weight"] = norm
        body.set_submodule(name, Projection(linear, norm, body.config.rms_norm_eps))
    return body, stored


def save_body(
    folder: Path,
    body: Any,
    stored: dict[str, Tensor],
    prefix: str = "",
    dtype: torch.dtype = torch.bfloat16,
    **changes: Any,
) -> Path:
    """Write config.json and model.safetensors; ``changes`` replace or add fields of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = json.loads(body.config.to_json_string())
    fields = {name: value for name, value in fields.items() if not name.startswith("_attn")}
    fields |= {"quantization_config": ONLINE, "architectures": [type(body).__name__]} | changes
    (folder / "config.json").write_text(json.dumps(fields))
    tensors = {f"{prefix}{name}": tensor.to(dtype) for name, tensor in stored.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_modules(folder: Path, mode: str, normalize: bool = True, **sentence: Any) -> None:
    """Write the files of sentence-transformers; mode: ``lasttoken`` or ``mean_tokens``."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": paths[i],
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    flags = {f"pooling_mode_{name}": name == mode for name in ("lasttoken", "mean_tokens")}
    pooling = {"word_embedding_dimension": width, **flags, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if sentence:
        (folder / "sentence_bert_config.json").write_text(json.dumps(sentence))


@torch.no_grad()
def embed_alike(network: Any, body: Any, ids: list[int], mode: str) -> tuple[Tensor, Tensor]:
    """Embed one text with a network under test, and with a body that rounds ties alike."""
    hooks, projections = [], []
    for name, projection in body.named_modules():
        if not isinstance(projection, Projection):
            continue
        linear = network.get_submodule(f"model.{name}")

        def keep(_: Any, inputs: Any, output: Any = None, to: Any = projection) -> None:
            to.like = inputs[0] if output is None else output

        if linear.rms_norm is None:
            hooks.append(linear.register_forward_pre_hook(keep))
        else:
            hooks.append(linear.rms_norm.register_forward_hook(keep))
        projections.append(projection)
    found = network(torch.tensor([ids]))[0]
    expected = embed(body, ids, mode)
    for hook in hooks:
        hook.remove()
    for projection in projections:
        projection.like = None
    return found, expected


@torch.no_grad()
def embed(body: Any, ids: list[int], mode: str, normalize: bool = True) -> Tensor:
    """Embed one text with a body of transformers."""
    hidden = body(torch.tensor([ids])).last_hidden_state[0]
    vector = hidden[-1] if mode == "last" else hidden.mean(dim=0)
    return F.normalize(vector, dim=0) if normalize else vector


def cosine(found: Tensor, expected: Tensor) -> float:
    return float(F.cosine_similarity(found.double(), expected.double(), dim=0))

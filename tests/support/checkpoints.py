"""Make tiny random checkpoints, in the published packed layout or as masters.

They are written with safetensors directly, not with bitnet_onnx's own writer, so that the reader is
tested against the format and not against that writer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.exporter.export import export
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.weights.checkpoint.base import Checkpoint

torch.set_num_threads(1)  # a second thread makes operations on such small tensors slower

FRAGILE = 1e-5  # bound on what another order of float32 sums changes, as a share of the largest


def config_fields(
    *,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    inner: int = 160,
    layers: int = 2,
    vocab: int = 96,
    context: int = 64,
    tied: bool = True,
    packed: bool = True,
    **changes: Any,
) -> dict[str, Any]:
    """Return a config.json; ``changes`` replace or add fields, also by None."""
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_act": "relu2",
        "max_position_embeddings": context,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "bfloat16",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline" if packed else "online",
        },
        **changes,
    }


def linears(fields: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return tensor name -> (N, K) of every ternary weight, spelled out as published."""
    hidden, inner = fields["hidden_size"], fields["intermediate_size"]
    kv = hidden // fields["num_attention_heads"] * fields["num_key_value_heads"]
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {
        f"model.layers.{i}.{name}.weight": shape
        for i in range(fields["num_hidden_layers"])
        for name, shape in shapes.items()
    }


def masters(fields: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Draw bf16 tensors under the published names; norms differ from 1, so that each matters."""
    random = torch.Generator().manual_seed(seed)
    hidden, inner = fields["hidden_size"], fields["intermediate_size"]

    def normal(*shape: int, std: float, mean: float = 0.0) -> Tensor:
        return (torch.randn(*shape, generator=random) * std + mean).bfloat16()

    tensors = {name: normal(*shape, std=0.05) for name, shape in linears(fields).items()}
    norms = {"model.norm": hidden}
    for i in range(fields["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        norms |= {
            f"{layer}.input_layernorm": hidden,
            f"{layer}.post_attention_layernorm": hidden,
            f"{layer}.self_attn.attn_sub_norm": hidden,
            f"{layer}.mlp.ffn_sub_norm": inner,
        }
    for name, size in norms.items():
        tensors[f"{name}.weight"] = normal(size, std=0.2, mean=1.0)
    tensors["model.embed_tokens.weight"] = normal(fields["vocab_size"], hidden, std=1.0)
    if not fields["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(fields["vocab_size"], hidden, std=1.0)
    return tensors


def publish(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize by absmean and pack as published, in plain arithmetic: uint8 [N/4, K], mean [1]."""
    mean = weight.float().abs().mean().clamp(min=1e-5)
    codes = (weight.float() * (1.0 / mean)).round().clamp(-1, 1).to(torch.int64) + 1
    quarter = codes.shape[0] // 4
    packed = sum(codes[i * quarter : (i + 1) * quarter] << (2 * i) for i in range(4))
    assert isinstance(packed, Tensor)
    return packed.to(torch.uint8), mean.reshape(1)


def tensors(
    fields: dict[str, Any], seed: int = 0, scale_dtype: torch.dtype = torch.bfloat16
) -> dict[str, Tensor]:
    """Return the tensors of the weights files, by the quantization mode of the config."""
    made = masters(fields, seed)
    if fields["quantization_config"]["quantization_mode"] == "online":
        return made
    for name in linears(fields):
        made[name], scale = publish(made[name])
        made[f"{name}_scale"] = scale.to(scale_dtype)
    return made


def write(folder: Path, fields: dict[str, Any], made: dict[str, Tensor], shards: int = 1) -> Path:
    """Write config.json, and the tensors to one file or to several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    if shards == 1:
        save_file(made, folder / "model.safetensors")
        return folder
    where: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: made[name] for name in sorted(made)[i::shards]}
        save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def make(
    folder: Path,
    *,
    seed: int = 0,
    shards: int = 1,
    scale_dtype: torch.dtype = torch.bfloat16,
    **sizes: Any,
) -> Path:
    """Write a checkpoint folder; ``sizes`` are those of ``config_fields``."""
    fields = config_fields(**sizes)
    return write(folder, fields, tensors(fields, seed, scale_dtype), shards)


def pickle_weights(folder: Path, **how: Any) -> None:
    """Turn the safetensors of a folder, and their index, into what older transformers wrote."""
    names = {}
    for path in sorted(folder.glob("model*.safetensors")):
        name = f"pytorch_{path.stem}.bin"
        torch.save(load_file(path), folder / name, **how)
        names[path.name] = name
        path.unlink()
    index = folder / "model.safetensors.index.json"
    if index.exists():
        found = json.loads(index.read_text())
        found["weight_map"] = {key: names[file] for key, file in found["weight_map"].items()}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(found))
        index.unlink()


def make_grouped(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny Ternary-Bonsai: dequantized bf16 weights with a scale for each 128 along K."""
    fields = config_fields(
        hidden=128, heads=4, kv_heads=2, inner=128, layers=1, model_type="qwen3",
        hidden_act="silu", head_dim=32, quantization_config=None,
        rope_scaling={"rope_type": "yarn", "factor": 4.0}, **changes,
    )  # fmt: skip
    made = {name: t for name, t in masters(fields, seed).items() if "sub_norm" not in name}
    for name in linears(fields):
        scale = made[name].abs().amax(dim=1, keepdim=True)
        made[name] = (made[name] / scale * 1.4).round().clamp(-1, 1) * scale
    for norm in ("q_norm", "k_norm"):
        made[f"model.layers.0.self_attn.{norm}.weight"] = made["model.norm.weight"][:32].clone()
    return write(folder, fields, made)


# The number of damaged files in each test of them: BITNET_ONNX_DAMAGES=10000 takes two minutes.
DAMAGES = int(os.environ.get("BITNET_ONNX_DAMAGES", "700"))


def exported(
    factory: pytest.TempPathFactory,
    head: str = "bf16",
    context_length: int | None = None,
    outputs: str = "logits",
    **sizes: Any,
) -> tuple[Path, Path]:
    """Return a checkpoint and its artifact, made once for all tests: tracing takes seconds."""
    key = f"{head} {context_length} {outputs} {sizes}"
    if key not in _EXPORTED:
        root = factory.mktemp("exported")
        make(root / "checkpoint", **sizes)
        (root / "checkpoint" / "tokenizer.json").write_text("{}")
        options: dict[str, Any] = {"head": head, "context_length": context_length}
        export(root / "checkpoint", root / "artifact", outputs=outputs, **options)
        _EXPORTED[key] = (root / "checkpoint", root / "artifact")
    return _EXPORTED[key]


_EXPORTED: dict[str, tuple[Path, Path]] = {}
TIED: dict[str, Any] = {}
HIDDEN: dict[str, Any] = {"outputs": "hidden-states"}
UNTIED: dict[str, Any] = {
    "head": "int8",
    "context_length": 40,
    "tied": False,
    "shards": 2,
    "kv_heads": 1,
}


def read_all(checkpoint: Checkpoint) -> None:
    """Read everything that a checkpoint holds."""
    for name in parts_of(checkpoint.config).linears:
        checkpoint.ternary(name)
    for name in (*parts_of(checkpoint.config).norms, *parts_of(checkpoint.config).tables):
        checkpoint.tensor(name).sum()
    checkpoint.text_files()


def close(found: Tensor, expected: Tensor, bound: float = FRAGILE) -> bool:
    """Check the largest difference relative to the largest expected value."""
    error = (found.double() - expected.double()).abs().max()
    return bool(error <= bound * expected.double().abs().max())

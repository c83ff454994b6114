"""Every body that transformers loads with a ``quantization_config`` of BitNet, as it computes it.

Its own classes draw the weights, its integration replaces the linears, and its ``save_pretrained``
writes the files. Rounding ties are resolved by ``verify``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.verification.reference import TieBreaker
from bitnet_onnx.weights.checkpoint.base import Checkpoint
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import float_networks, gguf_files
from tests.support import oracle_networks as oracle
from tests.support.checkpoints import close
from tests.support.oracle_networks import LLAMA3, ids_of
from tests.support.ties import recorded

STEPS = 24
BIASES = {"attention_bias": True}
Kind = tuple[str, str, bool]
PACKED: Kind = ("bitlinear", "offline", False)
PACKED_NORMS: Kind = ("bitlinear", "offline", True)
CODES: Kind = ("autobitlinear", "offline", False)
CODES_NORMS: Kind = ("autobitlinear", "offline", True)
MASTERS: Kind = ("autobitlinear", "online", False)
MASTERS_NORMS: Kind = ("autobitlinear", "online", True)
# Name -> the class, its fields, and linear_class, quantization_mode, use_rms_norm.
BODIES: dict[str, tuple[str, dict[str, Any], Kind]] = {
    "qwen3, packed": ("Qwen3", {"head_dim": 24}, PACKED),
    "qwen3, packed, norms, tied": (
        "Qwen3", {"head_dim": 16, "tie_word_embeddings": True}, PACKED_NORMS),
    "qwen3, codes, biases": ("Qwen3", {"head_dim": 24, **BIASES}, CODES),
    "qwen3, codes, norms": ("Qwen3", {"head_dim": 32, "num_key_value_heads": 1}, CODES_NORMS),
    "qwen3, masters, tied": ("Qwen3", {"head_dim": 40, "tie_word_embeddings": True}, MASTERS),
    "qwen3, masters, norms, biases": ("Qwen3", {"head_dim": 16, **BIASES}, MASTERS_NORMS),
    "qwen3, packed, norms, biases, its own head_dim": ("Qwen3", BIASES, PACKED_NORMS),
    "granite, codes, norms": ("Granite", float_networks.GRANITE, CODES_NORMS),
    "granite, packed, biases": (
        "Granite", float_networks.GRANITE | BIASES | {"mlp_bias": True}, PACKED),
    "llama, masters, biases": ("Llama", BIASES | {"mlp_bias": True}, MASTERS),
    "llama, codes, mlp biases, llama3": (
        "Llama", {"mlp_bias": True, "rope_parameters": LLAMA3}, CODES),
}  # fmt: skip


def made(folder: Path, name: str, seed: int = 0) -> Path:
    kind, changes, how = BODIES[name]
    source = float_networks.make(kind, seed=seed, **changes)
    return oracle.save(oracle.quantized(source, *how), folder)


@torch.no_grad()
def agrees_but_for_ties(checkpoint: Checkpoint, theirs: Any) -> None:
    """Feed a batch in three pieces, with both caches."""
    ours = BitNetForCausalLM.from_checkpoint(checkpoint)
    breaker, past, cache = TieBreaker(theirs, linears := list(checkpoint.parts.linears)), None, None
    for ids in ids_of(30, 5, batch=2).split([21, 1, 8], dim=1):
        with recorded(ours, linears) as inputs:
            found = ours(ids, past_key_values=past)
        with breaker.against(inputs):
            expected = theirs(ids, past_key_values=cache, use_cache=True)
        past, cache = found.past_key_values, expected.past_key_values
        assert close(found.logits, expected.logits)
        assert torch.equal(found.logits.argmax(-1), expected.logits.argmax(-1))
    assert breaker.non_ties == 0


@torch.no_grad()
@pytest.mark.parametrize("name", BODIES)
def test_a_bitnet_body_computes_what_transformers_computes(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "c", name)
    checkpoint, theirs = open_checkpoint(folder), oracle.load(folder)
    _, changes, (_, mode, norms) = BODIES[name]
    config = checkpoint.config
    assert (config.quantization, config.linear_norm_eps is not None) == (mode, norms)
    assert (config.group_size, config.float_activations) == (None, False)
    assert config.attention_bias is changes.get("attention_bias", False)
    assert BitNetConfig.from_dict(config.to_dict()) == config
    agrees_but_for_ties(checkpoint, theirs)


@pytest.mark.parametrize(
    "name", ["qwen3, packed, norms, tied", "qwen3, codes, biases", "granite, packed, biases"]
)
def test_an_artifact_of_it_agrees_with_transformers(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "c", name)
    export(folder, tmp_path / "a")
    checkpoint, artifact = open_checkpoint(folder), Artifact.open(tmp_path / "a")
    prompt = ids_of(9, 5)[0].tolist()
    (result,) = verify(checkpoint, artifact, [prompt], STEPS, against="transformers")
    assert result.agrees, result
    native, plain = (
        torch.from_numpy(Session(tmp_path / "a", threads=1, custom_ops=ops).prefill(prompt))
        for ops in (True, False)
    )
    assert close(native, plain)


def test_a_bias_of_codes_is_multiplied_by_their_scale(tmp_path: Path) -> None:
    """AutoBitLinear of transformers multiplies the sum of product and bias; BitLinear adds last."""
    name, bias = "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.k_proj.bias"
    for body, scaled in (
        ("qwen3, codes, biases", True),
        ("granite, packed, biases", False),
        ("qwen3, masters, norms, biases", False),
    ):
        folder = made(tmp_path / body, body)
        stored = load_file(folder / "model.safetensors")[bias].float()
        checkpoint = open_checkpoint(folder)
        expected = stored * checkpoint.scale(name) if scaled else stored
        assert torch.equal(checkpoint.tensor(bias).float(), expected)


def test_biases_are_not_written_in_other_formats(tmp_path: Path) -> None:
    folder = made(tmp_path / "c", "llama, masters, biases")
    with pytest.raises(ConfigError, match=r"linear of this 'llama' has a bias.* packed layout"):
        convert(folder, tmp_path / "p", to="packed")
    with pytest.raises(CheckpointError, match="linear of this 'llama' has a bias"):
        convert(folder, tmp_path / "g.gguf", to="gguf")


def test_a_bias_that_lacks_or_is_not_declared_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "c", "qwen3, codes, biases")
    path, fields = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    tensors, name = load_file(path), "model.layers.0.self_attn.o_proj.bias"
    save_file({k: v for k, v in tensors.items() if k != name}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"lacks the tensor {name}"):
        open_checkpoint(folder)
    save_file(tensors, path, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(fields | {"attention_bias": False}))
    with pytest.raises(CheckpointError, match=r"k_proj\.bias' is not a tensor of this network"):
        open_checkpoint(folder)


@pytest.mark.parametrize("model_type", ["mistral", "qwen2", "phi3", "gemma2", "olmo2"])
def test_other_bodies_are_refused_by_name(tmp_path: Path, model_type: str) -> None:
    folder = made(tmp_path / "c", "llama, masters, biases")
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"model_type": model_type}))
    with pytest.raises(ConfigError, match=f"model_type is '{model_type}', expected one of: "):
        open_checkpoint(folder)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_a_qwen3_of_i2s_in_gguf_is_a_bitnet(tmp_path: Path, tied: bool) -> None:
    """llama.cpp's names for it; its rows of q and k are not permuted."""
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "tie_word_embeddings": tied,
    }
    source = float_networks.make("Qwen3", head_dim=64, **sizes)
    state = {k: v for k, v in source.state_dict().items() if not (tied and k == "lm_head.weight")}
    fields = json.loads(source.config.to_json_string()) | {"rope_theta": 1e4}
    keys = dict.fromkeys(("attention.key_length", "rope.dimension_count"), 64)
    path = gguf_files.write(
        tmp_path / "m.gguf", fields, state, architecture="qwen3",
        metadata={f"qwen3.{key}": value for key, value in keys.items()},
    )  # fmt: skip
    checkpoint = open_checkpoint(path)
    assert (checkpoint.config.group_size, checkpoint.config.float_activations) == (None, False)
    agrees_but_for_ties(checkpoint, oracle.quantized(source, *MASTERS))

"""GGUF files of GraniteMoe are read as the safetensors that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from torch import Tensor

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.weights.checkpoint.base import Checkpoint
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.granite import files as granite_gguf
from tests.support.granite import networks as granite_networks
from tests.support.oracle_networks import ids_of

NETWORKS: dict[str, dict[str, Any]] = {
    "8 experts": {},
    "5 experts, all of them": granite_networks.VARIANTS["5 experts, all of them"],
    "untied": {"tie_word_embeddings": False, "num_local_experts": 3},
    "biases": {"attention_bias": True, "num_key_value_heads": 1},
    "shared": {"shared": 32},
}


def near(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@torch.no_grad()
def logits(checkpoint: Checkpoint) -> Tensor:
    network = BitNetForCausalLM.from_checkpoint(checkpoint)
    return network(ids_of(9, seed=1, batch=2, vocab=97)).logits


@torch.no_grad()
@pytest.mark.parametrize("kind", ["F32", "BF16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_holds_the_network_that_it_was_made_from(
    tmp_path: Path, name: str, kind: str
) -> None:
    theirs = granite_networks.draw(**NETWORKS[name])
    checkpoint = open_checkpoint(granite_gguf.write(tmp_path / "m.gguf", theirs, kind))
    expected = theirs(ids_of(9, seed=1, batch=2, vocab=97)).logits
    assert near(logits(checkpoint), expected)
    folder = open_checkpoint(granite_networks.save(theirs, tmp_path / "c"))
    assert torch.equal(logits(folder), logits(checkpoint))
    assert checkpoint.config.mixture == folder.config.mixture


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_granite_has_the_same_multipliers(tmp_path: Path, bias: bool) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    sizes = {k: v for k, v in granite_networks.SIZES.items() if "experts" not in k}
    torch.manual_seed(6)
    config = transformers.GraniteConfig(**sizes, attention_bias=bias, mlp_bias=bias)
    theirs = transformers.GraniteForCausalLM(config).eval()
    for name, parameter in theirs.named_parameters():
        parameter.data.normal_(1.0, 0.2) if "norm" in name else parameter.data.normal_(0, 0.2)
    path = granite_gguf.write(tmp_path / "m.gguf", theirs, architecture="granite")
    expected = theirs(ids_of(9, seed=1, batch=2, vocab=97)).logits
    assert near(logits(open_checkpoint(path)), expected)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_1", "F16"])
def test_quantized_experts_are_those_of_the_gguf_package(tmp_path: Path, kind: str) -> None:
    theirs = granite_networks.draw(intermediate_size=64)
    checkpoint = open_checkpoint(granite_gguf.write(tmp_path / "m.gguf", theirs, kind))
    name = "model.layers.1.block_sparse_moe"
    both = checkpoint.tensor(f"{name}.input_linear.weight")
    weights = theirs.state_dict()[f"{name}.experts.gate_up_proj"].numpy()
    expected = dequantize(quantize(weights, Type[kind]), Type[kind])
    assert torch.equal(both.float(), torch.from_numpy(expected))
    assert logits(checkpoint).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_ternary_experts_have_a_scale_each(tmp_path: Path, kind: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_local_experts": 3}
    theirs = granite_networks.draw(num_hidden_layers=1, **sizes)
    for parameter in (theirs.model.layers[0].block_sparse_moe.experts.gate_up_proj,):
        for expert, factor in enumerate((1.0, 2.0, 4.0)):
            parameter[expert] *= factor
    checkpoint = open_checkpoint(granite_gguf.write(tmp_path / "m.gguf", theirs, kind))
    codes, scale = checkpoint.ternary("model.layers.0.block_sparse_moe.input_linear")
    weights = theirs.model.layers[0].block_sparse_moe.experts.gate_up_proj
    for expert in range(3):
        halves = zip(codes[expert].chunk(2), weights[expert].chunk(2), strict=True)
        for part, (found, masters) in enumerate(halves):
            wanted, multiplier = granite_networks.absmean(masters)
            assert torch.equal(found.float(), wanted)
            assert scale[expert, part] == multiplier.half().float()
    assert logits(checkpoint).isfinite().all()


@torch.no_grad()
def test_multipliers_that_a_file_leaves_out_are_those_of_llama_cpp(tmp_path: Path) -> None:
    """0 stands for one that is not given, and attention divides by sqrt(head_dim) without one."""
    ones: dict[str, Any] = {
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 0.25,
    }
    theirs = granite_networks.draw(**ones)
    expected = open_checkpoint(granite_networks.save(theirs, tmp_path / "c")).config
    for absent in (None, 0.0):
        keys = ("embedding_scale", "residual_scale", "attention.scale")
        changes = dict.fromkeys(keys, absent)
        path = granite_gguf.write(tmp_path / f"{absent}.gguf", theirs, **changes)
        found = open_checkpoint(path).config
        for name in (*ones, "logits_scaling"):
            assert getattr(found, name) == getattr(expected, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logit_scale": None}, "logit_scale is missing"),
        ({"expert_count": None}, "expert_count is missing"),
        ({"expert_used_count": None}, "expert_used_count is missing"),
        ({"expert_used_count": 9}, "num_experts_per_tok is 9, expected at most"),
        ({"expert_count": 4}, r"shape \[8, .*\], expected \[4"),
        ({"rope.scaling.finetuned": False}, "without rotary positions is not supported"),
        ({"expert_weights_norm": True}, "expert_weights_norm"),
        ({"expert_gating_func": 2}, "expert_gating_func"),
        ({"expert_shared_feed_forward_length": 16}, "ffn_gate_shexp.weight is missing"),
        ({"logit_scale": 0.0}, "logits_scaling is 0"),
    ],
)
def test_what_the_metadata_declares_is_obeyed_or_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = granite_gguf.write(tmp_path / "m.gguf", granite_networks.draw(), **changes)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        open_checkpoint(path)

"""Synthesized checkpoints have random weights, and the requested share of closed gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetEmbedding, BitNetForCausalLM
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.network.pooling import Pooling
from bitnet_onnx.network.records import RECORDS
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights import synthesize as module
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.synthesize import synthesize

TINY: dict[str, Any] = {
    **module.PRESETS["2b-4t"],
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": [1],
}
TOLERANCE = 0.02


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.PRESETS, "tiny", TINY)


def shares(folder: Path) -> list[float]:
    """Return by layer the share of gates that are not above 0, over 48 random tokens."""
    network = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder)).eval()
    found: list[float] = []

    def count(_: object, inputs: object, gates: Tensor) -> None:
        found.append((gates <= 0).float().mean().item())

    for name, linear in network.named_modules():
        if name.endswith("gate_proj"):
            linear.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.from_numpy(np.random.default_rng(0).integers(0, 96, (1, 48))))
    assert len(found) == TINY["num_hidden_layers"]
    return found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 0.9, 0.99])
def test_the_share_of_closed_gates_is_met_in_every_layer(tmp_path: Path, share: float) -> None:
    found = shares(synthesize("tiny", tmp_path / "c", ffn_zeros=share))
    assert found == pytest.approx([share] * len(found), abs=TOLERANCE)


def test_synthesized_codes_stay_random_in_every_linear(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(synthesize("tiny", tmp_path / "c", ffn_zeros=0.8))
    for name in parts_of(checkpoint.config).linears:
        codes = checkpoint.ternary(name)[0].float()
        assert codes.unique().tolist() == [-1, 0, 1]
        assert codes.square().mean().item() == pytest.approx(2 / 3, abs=0.03)


def test_torch_and_onnx_give_the_same_ids(tmp_path: Path) -> None:
    folder = synthesize("tiny", tmp_path / "c", ffn_zeros=0.9)
    artifact = Artifact.open(export(folder, tmp_path / "a"))
    (result,) = verify(open_checkpoint(folder), artifact, [[5, 6, 7]], 8)
    assert result.agrees


@pytest.mark.parametrize("share", ["-0.1", "1", "nan"])
def test_a_share_out_of_reach_is_refused(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["synthesize", "--preset", "tiny", "-o", str(tmp_path / "c")]
    assert main([*arguments, f"--ffn-zeros={share}"]) == 2
    assert "expected 0 to 0.99" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_gates_that_are_never_zero_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silu = replace(RECORDS["bitnet"], hidden_act="silu")  # the presets do not have such a network
    monkeypatch.setattr(BitNetConfig, "record", silu)
    with pytest.raises(ConfigError, match="hidden_act is 'silu', expected 'relu2'"):
        synthesize("tiny", tmp_path / "c", ffn_zeros=0.5)


SMALL = {
    "vocab_size": 96,
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 10,
    "num_experts_per_tok": 3,
    "attention_multiplier": 1 / 32,
}


@pytest.mark.parametrize("name", ["powermoe-3b", "granite-1b-a400m"])
@pytest.mark.parametrize("kind", ["", "-ternary"])
def test_a_mixture_of_experts_uses_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    preset = module.PRESETS[f"{name}{kind}"]
    monkeypatch.setitem(module.PRESETS, "small", preset | SMALL)
    folder = synthesize("small", tmp_path / "c", layers=3)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config.float_linears == (kind == "")
    assert checkpoint.config.embedding_multiplier == 12
    network = BitNetForCausalLM.from_checkpoint(checkpoint)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 96, (1, 48)))
    with torch.inference_mode():
        found = network(ids, output_router_logits=True, output_hidden_states=True)
    assert found.router_logits is not None
    assert found.hidden_states is not None
    for logits in found.router_logits:
        assert len(logits.topk(3).indices.unique()) == 10
    assert all(0.1 < x.std() < 100 for x in found.hidden_states)
    again = synthesize("small", tmp_path / "d", layers=3)
    for file in ("model.safetensors", "config.json"):
        assert (folder / file).read_bytes() == (again / file).read_bytes()


@pytest.mark.parametrize(("name", "active", "total"), [("powermoe-3b", 0.8e9, 3.3e9)])
def test_presets_have_the_published_number_of_weights(
    name: str, active: float, total: float
) -> None:
    config = BitNetConfig.from_dict(module.PRESETS[name])
    parts, mixture = parts_of(config), config.mixture
    assert mixture is not None
    linears = sum(linear.rows * linear.features for linear in parts.linears.values())
    experts = sum(e.count * e.rows * e.features for e in parts.experts.values())
    share = mixture.num_experts_per_tok / mixture.num_local_experts
    table = config.vocab_size * config.hidden_size
    assert linears + experts + table == pytest.approx(total, rel=0.05)
    assert linears + experts * share + table == pytest.approx(active, rel=0.15)


def test_zeros_cannot_be_asked_for_where_gates_are_never_zero(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hidden_act is 'silu'"):
        synthesize("powermoe-3b-ternary", tmp_path / "c", ffn_zeros=0.5)


@pytest.mark.parametrize("name", ["bitnet-embedding-0.6b", "bitnet-embedding-270m"])
def test_a_network_that_embeds_has_its_published_names_and_pooling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sizes = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 1)
    monkeypatch.setitem(module.PRESETS, "small", module.PRESETS[name] | sizes | ids)
    folder = synthesize("small", tmp_path / "c", layers=2)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config.record.task == "embedding"
    assert checkpoint.config.linear_norm_eps == 1e-6
    assert checkpoint.pooling == Pooling("last")
    assert not (folder / "generation_config.json").exists()
    network = BitNetEmbedding.from_checkpoint(checkpoint)
    ids_of_texts = torch.from_numpy(np.random.default_rng(0).integers(0, 96, (3, 8)))
    with torch.inference_mode():
        vectors = network(ids_of_texts)
        stream = network.hidden(ids_of_texts)
    assert 0.1 < stream.std() < 100
    assert (vectors[0] @ vectors[1]).abs() < 0.99
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("name", "linears"), [("bitnet-embedding-0.6b", 440.4e6), ("bitnet-embedding-270m", 100.3e6)]
)
def test_embedding_presets_have_the_published_sizes(name: str, linears: float) -> None:
    config = BitNetConfig.from_dict(module.PRESETS[name])
    found = sum(linear.rows * linear.features for linear in parts_of(config).linears.values())
    assert found == pytest.approx(linears, rel=0.001)

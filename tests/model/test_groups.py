"""Networks with a scale for each 128 weights along K: file -> torch -> artifact -> ids.

Ternary-Bonsai is compared with transformers' ``Qwen3ForCausalLM`` on files of its own
``save_pretrained``. transformers lacks BitCPM4: its oracle is a LLaMA of transformers, scaled where
MiniCPM scales (``oracle_networks.py``). Float activations are not rounded, so they have no ties;
ties of int8 activations are resolved (``ties.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.checkpoint.write import save_packed
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import group_absmean, group_sums, group_ternary, spread
from tests.support import oracle_networks as oracle
from tests.support.agreement import STEPS, YARN, agrees
from tests.support.checkpoints import close
from tests.support.oracle_networks import ids_of
from tests.support.ties import MaskedTieBreaker, recorded

UP = "model.layers.1.mlp.up_proj"
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1 + i / 4 for i in range(32)],
    "long_factor": [2.0] * 32,
    "original_max_position_embeddings": 128,
}
INT8 = {"quant_method": "bitnet", "group_size": 128, "activations": "int8"}

# --------------------------------------------------------------------------------- the numbers


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000), st.booleans())
def test_dequantized_weights_give_back_their_codes(
    rows: int, groups: int, seed: int, half: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(-1, 2, (rows, groups * 128), generator=random)
    scale = torch.rand(rows, groups, generator=random).to(torch.float16 if half else torch.bfloat16)
    weight = spread(codes.to(scale.dtype), scale)
    found, scales = group_ternary(weight, 128)
    assert (found.dtype, scales.dtype) == (torch.int8, torch.float32)
    used = codes.unflatten(1, (-1, 128)).any(-1)
    assert torch.equal(scales, torch.where(used, scale.float(), 0.0))
    assert torch.equal(spread(found.float(), scales), weight.float())


def test_absmean_quantizes_each_group_separately() -> None:
    codes, scale = group_absmean(torch.tensor([[0.5, -0.5, 1.5, -1.5, 0.0, 0.0, 0.0, 0.4]]), 4)
    assert codes.tolist() == [[0, 0, 1, -1, 0, 0, 0, 1]]  # 0.5 / 1 rounds half to even
    assert scale.tolist() == [[1.0, pytest.approx(0.1)]]
    assert group_absmean(torch.zeros(2, 8), 4)[1].tolist() == [[pytest.approx(1e-5)] * 2] * 2


def test_sums_of_groups_are_added_in_float64() -> None:
    """float32 loses 1 beside 2**30; float64 keeps it, and the last group subtracts 2**30."""
    quantized, codes = torch.ones(1, 3), torch.ones(1, 3)
    scale = torch.tensor([[2.0**30, 1.0, -(2.0**30)]])
    assert group_sums(quantized, codes, scale).tolist() == [[1.0]]


# ------------------------------------------------------------------------------ file -> ids


@torch.no_grad()
def agrees_but_for_ties(folder: Path, theirs: Any, artifact: Path) -> None:
    """Compare 64 steps of torch with the oracle, and of ONNX with torch, rounding ties resolved."""
    checkpoint = open_checkpoint(folder)
    ours = BitNetForCausalLM.from_checkpoint(checkpoint)
    linears = list(parts_of(checkpoint.config).linears)
    breaker, past, cache = MaskedTieBreaker(theirs, linears), None, None
    ids, others = ids_of(9, 5), ids_of(STEPS, 7)[0]
    for step in range(STEPS):
        with recorded(ours, linears) as inputs:
            found = ours(ids, past_key_values=past)
        with breaker.against(inputs):
            expected = theirs(ids, past_key_values=cache, use_cache=True)
        past, cache = found.past_key_values, expected.past_key_values
        assert close(found.logits, expected.logits)
        chosen = found.logits[:, -1:].argmax(-1)
        assert torch.equal(chosen, expected.logits[:, -1:].argmax(-1))
        ids = others[step].view(1, 1) if step % 4 == 3 else chosen
    assert breaker.non_ties == 0
    assert max(breaker.input_differences.values()) <= 1e-5
    export(folder, artifact)
    (result,) = verify(checkpoint, Artifact.open(artifact), [ids_of(9, 5)[0].tolist()], STEPS)
    assert result.agrees, result


def write(folder: Path, fields: dict[str, Any], model: Any, dtype: torch.dtype) -> Path:
    """Write the folder of a network that transformers cannot save."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    state = {name: tensor.to(dtype).clone() for name, tensor in model.state_dict().items()}
    if fields["tie_word_embeddings"]:
        del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors")
    return folder


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


BONSAI: dict[str, tuple[torch.dtype, dict[str, Any], str]] = {
    "tied, a head_dim that attention pads": (
        torch.bfloat16,
        {"tie_word_embeddings": True, "head_dim": 40, "hidden_size": 128,
         "num_attention_heads": 16},
        "bf16",
    ),
    "yarn, float16": (torch.float16, {"rope_parameters": YARN, "head_dim": 64}, "float32"),
}  # fmt: skip


@pytest.mark.parametrize("variant", BONSAI)
def test_bonsai_computes_what_transformers_computes(tmp_path: Path, variant: str) -> None:
    dtype, changes, head = BONSAI[variant]
    oracle.save(oracle.qwen3(dtype, **changes), tmp_path / "c", dtype)
    agrees(tmp_path / "c", oracle.load(tmp_path / "c"), tmp_path / "a", head)


def test_minicpm_scales_where_openbmb_scales(tmp_path: Path) -> None:
    theirs, fields = oracle.minicpm(rope_parameters=LONGROPE, num_attention_heads=4)
    write(tmp_path / "c", fields, theirs, torch.bfloat16)
    agrees(tmp_path / "c", theirs, tmp_path / "a")


@pytest.mark.parametrize("network", ["qwen3", "minicpm"])
def test_int8_activations_agree_with_rounding_ties_resolved(tmp_path: Path, network: str) -> None:
    if network == "qwen3":
        theirs = oracle.qwen3(torch.bfloat16)
        oracle.save(theirs, tmp_path / "c", torch.bfloat16)
    else:
        theirs, fields = oracle.minicpm()
        write(tmp_path / "c", fields, theirs, torch.bfloat16)
    change(tmp_path / "c", quantization_config=INT8)
    agrees_but_for_ties(tmp_path / "c", oracle.int8_activations(theirs), tmp_path / "a")


def test_masters_are_quantized_group_by_group(tmp_path: Path) -> None:
    """Weights that are quantized and dequantized plainly give the network of mode "online"."""
    theirs = oracle.qwen3(num_hidden_layers=1)
    for name, linear in theirs.named_modules():
        if name.endswith("_proj"):
            linear.weight.data.normal_(0, 0.05)
    oracle.save(theirs, tmp_path / "c")
    change(tmp_path / "c", quantization_config={**INT8, "activations": None,
                                                "quantization_mode": "online"})  # fmt: skip
    for name, linear in theirs.named_modules():
        if name.endswith("_proj"):
            for group in linear.weight.data.split(128, dim=1):
                mean = group.abs().mean(dim=1, keepdim=True)
                group.copy_((group / mean).round().clamp(-1, 1) * mean)
    agrees(tmp_path / "c", theirs, tmp_path / "a", "float32")


def test_float_activations_have_no_rounding_ties(tmp_path: Path) -> None:
    oracle.save(oracle.qwen3(), tmp_path / "c", torch.float16)
    export(tmp_path / "c", tmp_path / "a", head="float32")
    checkpoint, artifact = open_checkpoint(tmp_path / "c"), Artifact.open(tmp_path / "a")
    for against in ("torch", "transformers"):
        (result,) = verify(checkpoint, artifact, [[3, 4, 5]], 8, against=against)
        assert result.agrees, result
        assert result.difference_resolved == result.difference_as_is
        assert result.ties == 0
        assert max(result.input_differences.values()) <= 1e-5
    weight = f"{UP}.weight"
    path = tmp_path / "c" / "model.safetensors"
    tensors = load_file(path)
    tensors[weight][3, :128] *= -1
    save_file(tensors, path, metadata={"format": "pt"})
    (result,) = verify(open_checkpoint(tmp_path / "c"), artifact, [[3, 4, 5]], 8)
    assert not result.agrees
    assert result.first_difference == "model.layers.1.mlp.down_proj"


# -------------------------------------------------------------------------------- refusals


@pytest.fixture(scope="module")
def bonsai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracle.save(oracle.qwen3(), tmp_path_factory.mktemp("bonsai") / "c", torch.float16)


def damaged(folder: Path, source: Path, name: str, tensor: Any) -> Path:
    """Copy a checkpoint with one tensor replaced by a function of it."""
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    tensors = load_file(source / "model.safetensors")
    tensors[name] = tensor(tensors[name])
    save_file(tensors, folder / "model.safetensors")
    return folder


def other(value: float) -> Any:
    def put(weight: torch.Tensor) -> torch.Tensor:
        weight[7, 200] = value
        return weight

    return put


@pytest.mark.parametrize("value", [1e-3, -0.029, 6e-8, 9.0])
def test_a_group_with_a_third_magnitude_is_refused(
    tmp_path: Path, bonsai: Path, value: float
) -> None:
    folder = damaged(tmp_path / "c", bonsai, f"{UP}.weight", other(value))
    place = rf"model\.safetensors: {UP}\.weight holds \S+ in row 7, group 1 of 128"
    with pytest.raises(CheckpointError, match=f"{place}, expected 0 or ±"):
        open_checkpoint(folder).ternary(UP)
    if value == 9.0:  # the largest, so the other weights of the group are the wrong ones
        with pytest.raises(CheckpointError, match=f"{place}, expected 0 or ±9:"):
            export(folder, tmp_path / "a", head="float32")
        assert not (tmp_path / "a").exists()


def test_wrong_values_types_and_shapes_are_refused(tmp_path: Path, bonsai: Path) -> None:
    folder = damaged(tmp_path / "nan", bonsai, f"{UP}.weight", other(float("nan")))
    with pytest.raises(CheckpointError, match=rf"{UP}\.weight holds a NaN"):
        open_checkpoint(folder).ternary(UP)
    folder = damaged(tmp_path / "codes", bonsai, f"{UP}.weight", lambda w: w.to(torch.uint8))
    with pytest.raises(CheckpointError, match=rf"{UP}\.weight is uint8, expected bfloat16"):
        open_checkpoint(folder)
    folder = damaged(tmp_path / "tiny", bonsai, f"{UP}.weight", lambda w: w.sign().float() * 1e-39)
    with pytest.raises(CheckpointError, match=rf"{UP}\.weight makes the multiplier"):
        open_checkpoint(folder).ternary(UP)
    norm = "model.layers.0.self_attn.q_norm.weight"
    folder = damaged(tmp_path / "norm", bonsai, norm, lambda w: w[:-1].clone())
    with pytest.raises(CheckpointError, match=r"q_norm\.weight has the shape \[31\]"):
        open_checkpoint(folder)


def test_scales_can_be_read_without_codes(bonsai: Path) -> None:
    checkpoint = open_checkpoint(bonsai)
    assert checkpoint.packed
    for name, linear in parts_of(checkpoint.config).linears.items():
        scale = checkpoint.scale(name)
        assert torch.equal(scale, checkpoint.ternary(name)[1])
        assert tuple(scale.shape) == linear.scale_shape == (linear.rows, linear.features // 128)
        assert scale[0, 0] == 0  # a group of zeros


def test_group_scales_are_not_written_as_packed_or_gguf(tmp_path: Path, bonsai: Path) -> None:
    with pytest.raises(ConfigError, match="'qwen3' has no packed layout"):
        convert(bonsai, tmp_path / "p", to="packed")
    with pytest.raises(CheckpointError, match="'qwen3' is not written as GGUF"):
        convert(bonsai, tmp_path / "g.gguf", to="gguf")
    with pytest.raises(ConfigError, match="'qwen3' has no packed layout"):
        save_packed(tmp_path / "s", open_checkpoint(bonsai).config, {})
    assert not any(tmp_path.iterdir())


def test_networks_unknown_to_transformers_are_not_compared_with_it(
    tmp_path: Path, bonsai: Path
) -> None:
    theirs, fields = oracle.minicpm()
    write(tmp_path / "m", fields, theirs, torch.bfloat16)
    with pytest.raises(ConfigError, match="transformers has no class MiniCPMForCausalLM"):
        load_reference(open_checkpoint(tmp_path / "m"), "transformers", "bf16")
    folder = damaged(tmp_path / "b", bonsai, f"{UP}.weight", lambda weight: weight)
    change(folder, quantization_config=INT8)
    with pytest.raises(ConfigError, match=r"does not know quantization_config\.group_size"):
        load_reference(open_checkpoint(folder), "transformers", "bf16")

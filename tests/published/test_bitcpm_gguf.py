"""GGUF files of BitCPM4 and BitCPM-CANN: ``minicpm`` from its metadata alone, and LLaMA bodies.

What is stored where follows llama.cpp's conversion/minicpm.py. A published file was not at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.weights.gguf.multipliers import shortest
from bitnet_onnx.weights.gguf.names import permute_heads
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import spread
from tests.support import gguf_files
from tests.support import oracle_networks as oracle
from tests.support.agreement import agrees

UP = "model.layers.1.mlp.up_proj"
FACTORS: dict[str, list[float]] = {
    "short_factor": [1 + i / 10 for i in range(32)],
    "long_factor": [2.0 + i for i in range(32)],
}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 128, **FACTORS,
}  # fmt: skip
SCALES: dict[str, Any] = {
    "embedding_scale": 12.0,
    "residual_scale": 1.4 / 2**0.5,
    "logit_scale": 256 / 64,
    "rope.scaling.type": "longrope",
}
SIZES: dict[str, Any] = {"rope_parameters": LONGROPE, "intermediate_size": 512}


def stored(network: Any, factors: bool = True) -> dict[str, Tensor]:
    """Return the tensors as llama.cpp's converter stores them, by their names in safetensors."""
    config = network.config
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    for name, weight in state.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        if count := heads.get(name.split(".")[-2]):
            state[name] = permute_heads(weight, count)
    for name, values in FACTORS.items() if factors else ():
        state[f"rope_factors_{name.partition('_')[0]}.weight"] = torch.tensor(values)
    return state


def written(
    folder: Path, linear: str = "Q2_0", metadata: dict[str, Any] | None = None, **sizes: Any
) -> tuple[Path, Any, dict[str, Any]]:
    """Write a MiniCPM with two groups in a row and more; return also its oracle and config.json."""
    theirs, fields = oracle.minicpm(dtype=torch.float16, **SIZES | sizes)
    if linear.startswith("TQ"):
        share_scales(theirs, 256)
    keys = {f"minicpm.{key}": value for key, value in (SCALES | (metadata or {})).items()}
    path = gguf_files.write(
        folder / "m.gguf", fields, stored(theirs), architecture="minicpm", linear=linear,
        grouped=True, table="F32", metadata=keys,
    )  # fmt: skip
    return path, theirs, fields


def share_scales(network: Any, size: int) -> None:
    """Give each ``size`` weights of a row one scale, other than that of the next."""
    for name, linear in network.named_modules():
        if name.endswith("_proj"):
            groups = linear.weight.data.unflatten(1, (-1, size))
            scale = groups.abs().amax(-1, keepdim=True)
            scale[:, ::2] *= 2  # which float16 holds
            linear.weight.data = (groups.sign() * scale).flatten(1)


def same_weights(path: Path, network: Any) -> None:
    found, state = open_checkpoint(path), network.state_dict()
    for name in found.parts.linears:
        codes, scale = found.ternary(name)
        assert torch.equal(spread(codes.float(), scale), state[f"{name}.weight"]), name
        assert torch.equal(found.scale(name), scale)
    for name in (*found.parts.norms, *found.parts.tables):
        assert torch.equal(found.tensor(name).float(), state[name])


@pytest.mark.parametrize("tied", [True, False])
def test_the_metadata_of_a_minicpm_suffices(tmp_path: Path, tied: bool) -> None:
    path, theirs, fields = written(tmp_path, tie_word_embeddings=tied)
    checkpoint = open_checkpoint(path)
    config = checkpoint.config
    assert (config.scale_emb, config.scale_depth, config.dim_model_base) == (12, 1.4, 64)
    assert config.tie_word_embeddings is tied
    assert config.rope_scaling is not None
    assert list(config.rope_scaling.short_factor) == FACTORS["short_factor"]
    (tmp_path / "config.json").write_text(json.dumps(fields | {"tie_word_embeddings": tied}))
    assert open_checkpoint(path).config == config
    (tmp_path / "config.json").unlink()
    if not tied:
        agrees(path, theirs, tmp_path / "a", "float32")


@pytest.mark.parametrize("linear", ["TQ2_0", "TQ1_0", "PQ2_0", "F16", "F32"])
def test_every_type_gives_the_weights_of_a_minicpm(tmp_path: Path, linear: str) -> None:
    path, theirs, _ = written(tmp_path, linear)
    same_weights(path, theirs)


@pytest.mark.parametrize("layers", [1, 7, 24, 32, 52, 80])
@pytest.mark.parametrize("depth", [1.4, 3.0, 0.37, 1.2345678])
def test_the_depth_of_a_minicpm_is_the_one_that_was_written(layers: int, depth: float) -> None:
    residual = np.float32(depth / layers**0.5)
    found = shortest(float(str(residual)), layers**0.5)
    assert np.float32(found / layers**0.5) == residual
    assert found == depth or len(str(depth)) > 8


def test_factors_of_another_number_or_kind_of_positions_are_refused(tmp_path: Path) -> None:
    path, *_ = written(tmp_path, metadata={"rope.scaling.type": "none"})
    with pytest.raises(CheckpointError, match=r"rope_factors_.*\.weight is not a tensor of this"):
        open_checkpoint(path)
    path, *_ = written(tmp_path, metadata={"attention.key_length": 32})
    with pytest.raises(ConfigError, match="short_factor has 32, expected a list of 16 numbers"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("embedding_scale", None, r"minicpm\.embedding_scale is missing"),
        ("residual_scale", None, r"minicpm\.residual_scale is missing"),
        ("logit_scale", None, r"minicpm\.logit_scale is missing"),
        ("embedding_scale", 0.0, r"minicpm\.embedding_scale as scale_emb is 0\.0, expected"),
        ("residual_scale", -1.0, r"minicpm\.residual_scale as scale_depth is -1\.0, expected"),
        ("residual_scale", float("inf"), r"minicpm\.residual_scale as scale_depth is inf"),
        ("residual_scale", "x", r"minicpm\.residual_scale as scale_depth is 'x'"),
        ("residual_scale", True, r"minicpm\.residual_scale as scale_depth is True"),
        ("logit_scale", float("nan"), r"minicpm\.logit_scale as dim_model_base is nan"),
        ("logit_scale", 1.7, r"minicpm\.logit_scale is 1\.7, expected hidden_size 256 divided"),
        ("logit_scale", 1e9, r"minicpm\.logit_scale is 1000000000\.0, expected hidden_size 256"),
        ("rope.scaling.attn_factor", 1.19, r"minicpm\.rope\.scaling\.attn_factor is 1\.19"),
        ("rope.scaling.original_context_length", 32, "original_max_position_embeddings is 32"),
        ("rope.scaling.factor", 4.0, "factor is 4.0, expected"),
        ("attention.scale", 0.5, r"minicpm\.attention\.scale is 0\.5"),
    ],
)
def test_a_multiplier_that_lacks_or_is_impossible_is_refused(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    path, _, _ = written(tmp_path, metadata={key: value})
    with pytest.raises((CheckpointError, ConfigError), match=message) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    if value is None:
        assert "beside the file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_depth": 1.5}, "residual_scale is .*, but scale_depth is 1.5 in the config"),
        ({"scale_emb": 11}, "embedding_scale is 12.0, but scale_emb is 11.0 in the config"),
        ({"dim_model_base": 128}, "logit_scale is 4.0, but dim_model_base is 128 in the config"),
        ({"short_factor": [1.5] * 32}, r"rope_factors_short\.weight differs from rope_scaling\.s"),
        ({"long_factor": [1.5] * 32}, r"rope_factors_long\.weight differs from rope_scaling\.l"),
    ],
)
def test_a_config_beside_that_contradicts_the_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path, _, fields = written(tmp_path)
    for name in FACTORS.keys() & changes.keys():
        changes = {"rope_scaling": fields["rope_scaling"] | {name: changes[name]}}
    (tmp_path / "config.json").write_text(json.dumps(fields | changes))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


# ----------------------------------------------------------------- LLaMA: BitCPM-CANN and TriLM


def llama(folder: Path, linear: str, size: int, **how: Any) -> tuple[Path, Any]:
    """Write a LLaMA with a scale for each ``size`` weights, 0 for one scale for each linear."""
    config = oracle.llama_config(
        hidden_size=256, intermediate_size=512, max_position_embeddings=128,
        rope_parameters=how.pop("rope_parameters", {"rope_type": "default", "rope_theta": 1e4}),
    )  # fmt: skip
    network = oracle.group_weights(oracle.random_llama(config, 3), torch.float16, 3)
    if size:
        share_scales(network, size)
    else:
        for name, module in network.named_modules():
            if name.endswith("_proj"):
                module.weight.data = module.weight.data.sign() * 0.0625
    fields = json.loads(config.to_json_string())
    fields["rope_theta"] = 1e4
    keys = {f"llama.{key}": value for key, value in how.pop("metadata", {}).items()}
    path = gguf_files.write(
        folder / "m.gguf", fields, stored(network, how.pop("factors", False)), linear=linear,
        architecture="llama", grouped=True, table="F32", metadata=keys,
    )  # fmt: skip
    return path, network


def test_blocks_with_several_scales_are_those_of_float_activations(tmp_path: Path) -> None:
    """BitCPM-CANN of 1B and 3B is a LLaMA with the positions of MiniCPM4."""
    how: dict[str, Any] = {
        "rope_parameters": LONGROPE,
        "metadata": {"rope.scaling.type": "longrope"},
    }
    path, network = llama(tmp_path, "TQ2_0", 256, factors=True, **how)
    checkpoint = open_checkpoint(path)
    assert (checkpoint.config.group_size, checkpoint.config.float_activations) == (128, True)
    assert not any("int8 is assumed" in note for note in checkpoint.notes)
    same_weights(path, network)
    agrees(path, network, tmp_path / "a", "float32")
    llama(tmp_path, "TQ2_0", 256, **how)
    with pytest.raises(CheckpointError, match=r"rope_factors_short\.weight is missing") as caught:
        open_checkpoint(path)
    assert "config.json" in str(caught.value.hint)
    network.config.save_pretrained(tmp_path)  # as a converter may have left them out
    assert open_checkpoint(path).config == checkpoint.config


def test_one_scale_is_taken_for_a_bitnet_and_a_config_beside_decides(tmp_path: Path) -> None:
    path, network = llama(tmp_path, "TQ2_0", 0)
    checkpoint = open_checkpoint(path)
    assert (checkpoint.config.group_size, checkpoint.config.float_activations) == (None, False)
    assert any("int8 is assumed" in note for note in checkpoint.notes)
    network.config.save_pretrained(tmp_path)
    beside = open_checkpoint(path)
    assert (beside.config.group_size, beside.config.float_activations) == (128, True)
    assert not any("int8 is assumed" in note for note in beside.notes)
    same_weights(path, network)


def test_groups_of_64_columns_that_do_not_fill_128_are_refused(tmp_path: Path) -> None:
    path, network = llama(tmp_path, "Q2_0 of 64", 64)
    with pytest.raises(CheckpointError, match=r"in row .*, group .* of 128, expected one finite"):
        open_checkpoint(path).ternary(UP)
    config = network.config
    fields = json.loads(config.to_json_string()) | {"hidden_size": 192, "intermediate_size": 320}
    narrow = oracle.random_llama(oracle.llama_config(hidden_size=192, intermediate_size=320), 3)
    for name, module in narrow.named_modules():
        if name.endswith("_proj"):
            module.weight.data = module.weight.data.sign() * 0.0625
    gguf_files.write(
        path, fields | {"rope_theta": 1e4}, stored(narrow, False), linear="Q2_0 of 64",
        architecture="llama", grouped=True, table="F32",
    )  # fmt: skip
    narrow.config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="192 features, expected a multiple of 128"):
        open_checkpoint(path)

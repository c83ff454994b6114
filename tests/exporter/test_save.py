"""What reading a weight raises while the graph is written comes out as itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.exporter.export import export
from tests.support import checkpoints

LAYER = "model.layers.0"
NOT_FINITE, NO_TRAINED = "holds a NaN or an infinity", "which no trained network has"


@pytest.mark.parametrize("target", ["native", "stock"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [  # onnx_ir reads what stays inside model.onnx in another place than what does not
        (f"{LAYER}.input_layernorm.weight", float("nan"), NOT_FINITE),
        (f"{LAYER}.mlp.ffn_sub_norm.weight", 0.0, NO_TRAINED),
        ("model.norm.weight", float("-inf"), NOT_FINITE),
        (f"{LAYER}.mlp.up_proj.weight_scale", float("inf"), NOT_FINITE),
        (f"{LAYER}.self_attn.q_proj.weight_scale", -0.5, "is -0.5, expected ab"),
        ("model.embed_tokens.weight", float("nan"), NOT_FINITE),
    ],
)
def test_a_damaged_tensor_of_any_size_is_named(
    tmp_path: Path, target: str, name: str, value: float, message: str
) -> None:
    made = checkpoints.make(tmp_path / "c", layers=1) / "model.safetensors"
    damaged = load_file(made)
    if value:
        damaged[name].view(-1)[-1] = value
    else:
        damaged[name].zero_()
    save_file(damaged, made)
    with pytest.raises(CheckpointError, match=message) as caught:
        export(tmp_path / "c", tmp_path / "out", target=target)
    assert name in str(caught.value)
    assert (caught.value.hint is not None) == (message == NO_TRAINED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_a_damaged_norm_of_the_heads_is_named(tmp_path: Path) -> None:
    made = checkpoints.make_grouped(tmp_path / "c") / "model.safetensors"
    damaged, name = load_file(made), f"{LAYER}.self_attn.q_norm.weight"
    damaged[name][1] = float("inf")
    save_file(damaged, made)
    with pytest.raises(CheckpointError, match=f"{name} {NOT_FINITE}"):
        export(tmp_path / "c", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]

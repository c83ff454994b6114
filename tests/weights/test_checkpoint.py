"""Checkpoints on disk: both layouts agree, and every damage is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.weights.checkpoint.write import tensors_of, write_checkpoint
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints

SMALL: dict[str, Any] = {"hidden": 32, "heads": 2, "kv_heads": 1, "inner": 48, "layers": 1}
Q = "model.layers.0.self_attn.q_proj"


# ---------------------------------------------------------------------------------- the layouts


def test_packed_and_master_are_the_same_network(tmp_path: Path) -> None:
    packed = open_checkpoint(checkpoints.make(tmp_path / "p", scale_dtype=torch.float32, **SMALL))
    master = open_checkpoint(checkpoints.make(tmp_path / "m", packed=False, **SMALL))
    assert packed.packed
    assert not master.packed
    for name in parts_of(packed.config).linears:
        for found, expected in zip(packed.ternary(name), master.ternary(name), strict=True):
            # The master's scale is 1 / (1 / mean), which rounds twice.
            torch.testing.assert_close(found, expected, rtol=2.5e-7, atol=0)
    for name in (*parts_of(packed.config).norms, *parts_of(packed.config).tables):
        assert torch.equal(packed.tensor(name), master.tensor(name))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_sharded_and_single_files_hold_the_same_network(
    tmp_path: Path, packed: bool, tied: bool
) -> None:
    single = open_checkpoint(checkpoints.make(tmp_path / "1", packed=packed, tied=tied, **SMALL))
    parts = open_checkpoint(
        checkpoints.make(tmp_path / "3", shards=3, packed=packed, tied=tied, **SMALL)
    )
    assert len(single.files()) == 2
    assert len(parts.files()) == 4
    for name in parts_of(single.config).linears:
        for found, expected in zip(parts.ternary(name), single.ternary(name), strict=True):
            assert torch.equal(found, expected)
    for name in (*parts_of(single.config).norms, *parts_of(single.config).tables):
        assert torch.equal(parts.tensor(name), single.tensor(name))
    assert ("lm_head.weight" in parts_of(single.config).tables) is not tied


def test_bitlinear_divides_by_the_stored_scale(tmp_path: Path) -> None:
    divide = {"quant_method": "bitnet", "linear_class": "bitlinear"}
    folder = checkpoints.make(tmp_path / "a", **SMALL)
    _, multiplied = open_checkpoint(folder).ternary(Q)
    fields = checkpoints.config_fields(**SMALL, quantization_config=divide)
    (folder / "config.json").write_text(json.dumps(fields))
    _, divided = open_checkpoint(folder).ternary(Q)
    assert divided.item() == (1.0 / multiplied).item()


def test_codes_stored_as_floats_equal_packed_codes(tmp_path: Path) -> None:
    """transformers saves an unpacked checkpoint in this form."""
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    before = open_checkpoint(folder)
    expected = {name: before.ternary(name) for name in parts_of(before.config).linears}
    edit(
        folder,
        lambda tensors: tensors.update(
            {f"{name}.weight": codes.bfloat16() for name, (codes, _) in expected.items()}
        ),
    )
    after = open_checkpoint(folder)
    for name, (codes, scale) in expected.items():
        assert torch.equal(after.ternary(name)[0], codes)
        assert torch.equal(after.ternary(name)[1], scale)


@pytest.mark.parametrize("shard_bytes", [1 << 20, 3000])
def test_written_checkpoints_read_back(tmp_path: Path, shard_bytes: int) -> None:
    source = open_checkpoint(checkpoints.make(tmp_path / "in", packed=False, **SMALL))
    (tmp_path / "in" / "tokenizer.json").write_text("{}")
    model = BitNetForCausalLM.from_checkpoint(source)
    config = checkpoints.config_fields(**SMALL)
    (tmp_path / "out").mkdir()
    write_checkpoint(
        tmp_path / "out",
        type(source.config).from_dict(config),
        tensors_of(source.config, model.state_dict()),
        source.text_files(),
        shard_bytes,
    )
    written = open_checkpoint(tmp_path / "out")
    assert (len(written.files()) == 2) is (shard_bytes == 1 << 20)
    for name in parts_of(source.config).linears:
        codes, scale = source.ternary(name)
        assert torch.equal(written.ternary(name)[0], codes)
        assert written.ternary(name)[1].item() == scale.bfloat16().item()
    for name in (*parts_of(source.config).norms, *parts_of(source.config).tables):
        assert torch.equal(written.tensor(name), source.tensor(name))
    assert list(written.text_files()) == ["tokenizer.json"]
    assert not list((tmp_path / "out").glob("shard-*"))


# ----------------------------------------------------------------------------------- the damage


def edit(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = {name: t.clone() for name, t in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.update({name: tensor})


NORM, TABLE = "model.norm.weight", "model.embed_tokens.weight"
TENSOR_DAMAGE: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop(f"{Q}.weight"), f"lacks the tensor {Q}.weight"),
    "missing scale": (lambda t: t.pop(f"{Q}.weight_scale"), f"{Q}.weight_scale"),
    "missing norm": (lambda t: t.pop(NORM), NORM),
    "unknown": (put("model.rotary.inv_freq", torch.ones(2)), "'model.rotary.inv_freq' is not a"),
    "head of a tied network": (put("lm_head.weight", torch.ones(96, 16)), "lm_head.weight has"),
    "shape": (put(f"{Q}.weight", torch.ones(32, 32, dtype=torch.uint8)), r"expected \[8, 32\]"),
    "rank": (put(f"{Q}.weight", torch.ones(256, dtype=torch.uint8)), r"the shape \[256\]"),
    "norm shape": (put(NORM, torch.ones(31)), rf"{NORM} has the shape \[31\]"),
    "table shape": (put(TABLE, torch.ones(95, 32)), rf"{TABLE} has the shape \[95, 32\]"),
    "empty": (put(f"{Q}.weight", torch.ones(0, 32, dtype=torch.uint8)), r"the shape \[0, 32\]"),
    "dtype": (put(f"{Q}.weight", torch.ones(8, 32).char()), f"{Q}.weight is I8, expected uint8"),
    "codes as floats, packed": (put(f"{Q}.weight", torch.ones(8, 32)), r"expected \[32, 32\]"),
    "odd dtype": (
        put(NORM, torch.ones(32, dtype=torch.int64)),
        f"{NORM} is I64, expected bfloat16",
    ),
    "float64": (put(NORM, torch.ones(32).double()), f"{NORM} is F64"),
}
VALUE_DAMAGE: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "a float that is not a code": (put(f"{Q}.weight", torch.full((32, 32), 0.5)), "-1, 0 and 1"),
    "a float far from a code": (put(f"{Q}.weight", torch.full((32, 32), 257.0)), "-1, 0 and 1"),
    "a code of 2 as a float": (put(f"{Q}.weight", torch.full((32, 32), 2.0)), "-1, 0 and 1"),
    "code 3": (put(f"{Q}.weight", torch.full((8, 32), 0xC0, dtype=torch.uint8)), "the code 3"),
    "scale nan": (put(f"{Q}.weight_scale", torch.tensor([torch.nan])), "weight_scale holds a NaN"),
    "scale zero": (put(f"{Q}.weight_scale", torch.zeros(1)), r"weight_scale is 0\.0"),
    "scale negative": (put(f"{Q}.weight_scale", torch.tensor([-1.0])), r"weight_scale is -1\.0"),
    "scale infinite": (
        put(f"{Q}.weight_scale", torch.tensor([torch.inf])),
        "weight_scale holds a NaN",
    ),
}


@pytest.mark.parametrize("damage", TENSOR_DAMAGE)
def test_a_wrong_tensor_is_refused_at_open(tmp_path: Path, damage: str) -> None:
    change, message = TENSOR_DAMAGE[damage]
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("damage", VALUE_DAMAGE)
def test_a_wrong_value_is_refused_when_read(tmp_path: Path, damage: str) -> None:
    change, message = VALUE_DAMAGE[damage]
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(folder).ternary(Q)
    assert f"model.safetensors: {Q}" in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_master_weight_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    folder = checkpoints.make(tmp_path / "c", packed=False, **SMALL)
    edit(folder, lambda tensors: tensors[f"{Q}.weight"].view(-1)[7].fill_(value))
    with pytest.raises(CheckpointError, match=f"{Q}.weight holds a NaN or an infinity"):
        open_checkpoint(folder).ternary(Q)


@pytest.mark.parametrize("name", [NORM, TABLE])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_norm_or_table_that_is_not_finite_is_refused(
    tmp_path: Path, name: str, value: float
) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    edit(folder, lambda tensors: tensors[name].view(-1)[7].fill_(value))
    with pytest.raises(CheckpointError, match=f"{name} holds a NaN or an infinity"):
        BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))


def header(fields: Any) -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text


FILES = {
    "empty": b"",
    "short": b"\x08\x00",
    "garbage": bytes(range(256)) * 16,
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "huge header": (1 << 62).to_bytes(8, "little") + b"{}",
    "no json": header(b"{" * 64),
    "not utf-8": header(b'{"\xff": 1}'),
    "a list": header([1]),
    "no tensors": header({}),
    "outside": header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "overflow": header({"x": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 0]}}),
    "negative": header({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}),
    "dtype": header({"x": {"dtype": "Q2", "shape": [0], "data_offsets": [0, 0]}}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    (folder / "model.safetensors").write_bytes(FILES[kind])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable"):
        open_checkpoint(folder)


def test_a_missing_folder_file_or_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist, expected a folder"):
        open_checkpoint(tmp_path / "nowhere")
    folder = checkpoints.make(tmp_path / "c", shards=3, **SMALL)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors does not exist"):
        open_checkpoint(folder)
    single = checkpoints.make(tmp_path / "s", **SMALL)
    (single / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not exist") as caught:
        open_checkpoint(single)
    assert caught.value.hint
    (single / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json does not exist"):
        open_checkpoint(single)


@pytest.mark.parametrize("task", ["text-generation", "embedding"])
def test_an_artifact_is_refused_as_one(task: str, demo_artifact: Path, tmp_path: Path) -> None:
    """Its config.json names an architecture that other tools know, not the checkpoint's."""
    folder = demo_artifact
    if task == "embedding":
        folder = tmp_path
        for name, text in (("config.json", '{"model_type": "gemma"}'), ("model.onnx", "")):
            (folder / name).write_text(text)
        (folder / "manifest.json").write_text('{"task": "embedding"}')
    with pytest.raises(CheckpointError, match="is an artifact that an export made") as caught:
        open_checkpoint(folder)
    assert "that was exported" in str(caught.value.hint)


def test_a_checkpoint_may_have_a_graph_beside_it(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    for name in ("model.onnx", "manifest.json"):
        (folder / name).write_text("{}")
    assert open_checkpoint(folder).packed


def index_of(folder: Path, **more: str) -> dict[str, str]:
    """Write an index of the folder's one file that names more tensors; return what it maps."""
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names | more}))
    return names


@pytest.mark.parametrize(
    "more",
    [
        {"lm_head.weight": "model.safetensors"},
        {"model.layers.0.self_attn.rotary_emb.inv_freq": "model.safetensors"},
        {"lm_head.weight": "model-00002-of-00002.safetensors"},
        {"vision.weight": "vision.safetensors", "vision.bias": "vision.safetensors"},
    ],
    ids=["head", "inv_freq", "head in a missing shard", "a missing shard"],
)
def test_an_index_may_name_what_the_network_does_not_need(
    tmp_path: Path, more: dict[str, str]
) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    index_of(folder, **more)
    assert [path.name for path in open_checkpoint(folder).files()][1:] == ["model.safetensors"]


def test_an_index_must_not_misplace_a_needed_tensor(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    index_of(folder, **{f"{Q}.weight": "other.safetensors"})
    with pytest.raises(CheckpointError, match=r"other\.safetensors does not exist"):
        open_checkpoint(folder)
    save_file({"x": torch.ones(1)}, folder / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"says that other\.safetensors holds the tensor"):
        open_checkpoint(folder)


@pytest.mark.parametrize("shape", [(), (1, 1)])
@pytest.mark.parametrize("divides", [True, False])
def test_a_scale_of_another_rank_is_the_same_number(
    tmp_path: Path, shape: tuple[int, ...], divides: bool
) -> None:
    section = {"linear_class": "bitlinear" if divides else "autobitlinear"}
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    fields = checkpoints.config_fields(**SMALL, quantization_config=section)
    (folder / "config.json").write_text(json.dumps(fields))
    before = open_checkpoint(folder).scale(Q)
    edit(
        folder,
        lambda tensors: tensors.update(
            {name: t.reshape(shape) for name, t in tensors.items() if name.endswith("_scale")}
        ),
    )
    assert torch.equal(open_checkpoint(folder).scale(Q), before)
    edit(folder, put(f"{Q}.weight_scale", torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"weight_scale has the shape \[2\], expected \[1\]"):
        open_checkpoint(folder)


def test_names_in_capital_letters_are_found(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    (folder / "model.safetensors").rename(folder / "MODEL.SAFETENSORS")
    assert [path.name for path in open_checkpoint(folder).files()][1:] == ["MODEL.SAFETENSORS"]


def test_a_tokenizer_that_is_not_read_is_noted(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    for name in ("tokenizer.model", "vocab.json"):
        assert open_checkpoint(folder).notes == ()
        (folder / name).write_text("x")
        (note,) = open_checkpoint(folder).notes
        assert f"the tokenizer is only in {name}, which is not read" in note
        (folder / name).unlink()
    (folder / "tokenizer.model").write_text("x")
    (folder / "tokenizer.json").write_text("{}")
    assert open_checkpoint(folder).notes == ()


@pytest.mark.parametrize("name", ["adapter_config.json", "hadamard.json"])
def test_a_file_beside_that_changes_the_network_is_refused(tmp_path: Path, name: str) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    (folder / name).write_text("{}")
    with pytest.raises(ConfigError, match=f"{name} declares a") as caught:
        open_checkpoint(folder)
    assert f"--ignore-key {name}" in (caught.value.hint or "")
    assert open_checkpoint(folder, ignore_keys=[name]).ignored_keys == (name,)


INDEXES: dict[str, bytes] = {
    "empty": b"",
    "no map": b"{}",
    "a list": b"[]",
    "map is a list": b'{"weight_map": ["model.safetensors"]}',
    "nested": b'{"weight_map": {"x": ["a"]}}',
    "a number": b'{"weight_map": {"x": 3}}',
    "escape": b'{"weight_map": {"x": "../x"}}',
    "absolute": b'{"weight_map": {"x": "/etc/passwd"}}',
    "parent": b'{"weight_map": {"x": ".."}}',
    "nul": b'{"weight_map": {"x": "a\\u0000b"}}',
    "nothing": b'{"weight_map": {}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", INDEXES)
def test_a_wrong_index_is_refused(tmp_path: Path, kind: str) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    (folder / "model.safetensors.index.json").write_bytes(INDEXES[kind])
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value)

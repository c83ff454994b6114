"""MLX's packs of 2 bits (Ternary-Bonsai), alone and in a rotated basis: file -> torch -> ids.

The tests write the packs from the description of MLX's affine quantization, with plain arithmetic;
a published file was not available. The oracle is transformers' network on the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.errors import BitNetError, CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import spread
from tests.support import oracle_networks as oracle
from tests.support.checkpoints import close

UP = "model.layers.0.mlp.up_proj"
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
HADAMARD = {
    "version": 1,
    "block_size": 64,
    "transform": "normalized-sylvester-walsh-hadamard",
    "axis": "input-last-dimension",
    "sign_mode": "explicit",
}


def words(codes: Tensor) -> Tensor:
    """Pack codes 0 to 3 [N, K] into uint32 [N, K / 16], the first one lowest."""
    groups = codes.numpy().astype(np.uint32).reshape(len(codes), -1, 16)
    packed = np.zeros(groups.shape[:2], np.uint32)
    for j in range(16):
        packed |= groups[:, :, j] << np.uint32(2 * j)
    return torch.from_numpy(packed)


def ternary(weight: Tensor, size: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Pack a weight of groups -s, 0 and +s; every second group has a negative scale."""
    groups = weight.unflatten(1, (-1, size))
    scales = groups.abs().amax(-1)
    scales[:, ::2] *= -1
    codes = (groups.sign() * scales.sign()[..., None] + 1).flatten(1)
    zero = scales == 0  # as MLX's quantizer packs zeros: a small scale, the bias 0, the code 0
    codes[zero.repeat_interleave(size, 1)] = 0
    biases = torch.where(zero, 0.0, -scales)
    scales = torch.where(zero, 1e-4, scales)
    return {"weight": words(codes), "scales": scales.to(dtype), "biases": biases.to(dtype)}


def table(rows: int, width: int, size: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Draw a table of four levels in each group."""
    random = torch.Generator().manual_seed(9)
    codes = torch.randint(0, 4, (rows, width), generator=random)
    scales = (torch.rand(rows, width // size, generator=random) + 0.1).to(dtype)
    biases = torch.randn(rows, width // size, generator=random).to(dtype)
    return {"weight": words(codes), "scales": scales, "biases": biases, "codes": codes}


def values(packed: dict[str, Tensor]) -> Tensor:
    codes = packed.pop("codes").double()
    groups = codes.unflatten(1, (packed["scales"].shape[1], -1))
    wide = groups * packed["scales"].double()[..., None] + packed["biases"].double()[..., None]
    return wide.flatten(1).float()


def make(
    folder: Path, *, size: int = 128, dtype: torch.dtype = torch.float16, tied: bool = True,
    rotated: Callable[[str], str] | None = None, **fields: Any,
) -> Any:  # fmt: skip
    """Write a pack; return the network of transformers with the same weights.

    rotated: the name of a tensor in hadamard.json; None: the folder has none.
    """
    network = oracle.qwen3(
        dtype, intermediate_size=512, head_dim=64, num_hidden_layers=1, tie_word_embeddings=tied
    )
    state, turned = network.state_dict(), []
    tensors: dict[str, Tensor] = {}
    for name, weight in list(state.items()):
        owner, _, kind = name.rpartition(".")
        if owner in (EMBEDDING, HEAD):
            rows, width = weight.shape
            packed = table(rows, width, size, dtype)
            weight.copy_(values(packed))
        elif weight.ndim == 2:
            packed = ternary(weight, size, dtype)
        else:
            packed = {kind: weight.to(dtype)}
        if owner != HEAD or not tied:
            tensors |= {f"{owner}.{part}": tensor for part, tensor in packed.items()}
            turned += [name] if weight.ndim == 2 else []
    if rotated is not None:
        turn(folder, state, turned, rotated, tensors)
    config = json.loads(network.config.to_json_string())
    config |= {"quantization": {"group_size": size, "bits": 2}} | fields
    config.setdefault("quantization_config", config["quantization"])  # mlx-lm writes both
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    return network


def turn(
    folder: Path, state: dict[str, Tensor], names: list[str], rotated: Callable[[str], str],
    tensors: dict[str, Tensor],
) -> None:  # fmt: skip
    """Write hadamard.json, add the signs to the pack, and turn the oracle's weights back."""
    whole = torch.ones(1, 1, dtype=torch.float64)
    while len(whole) < 64:
        whole = torch.cat([torch.cat([whole, whole], 1), torch.cat([whole, -whole], 1)])
    random = torch.Generator().manual_seed(4)
    signs = {w: torch.randint(0, 2, (w,), generator=random) * 2.0 - 1 for w in (256, 512)}
    for name in names:
        weight = state[name]
        blocks = weight.double().unflatten(1, (-1, 64)) @ whole / 8
        weight.copy_(blocks.flatten(1) * signs[weight.shape[1]])
        tensors[f"{name.removesuffix('.weight')}.signs"] = signs[weight.shape[1]].clone()
    rows = [name for name in names if name.startswith(EMBEDDING)]
    fields = HADAMARD | {
        "sign_widths": list(signs),
        "sign_values": torch.cat(list(signs.values())).tolist(),
        "weight_names": [rotated(name) for name in names if name not in rows],
        "inverse_weight_names": [rotated(name) for name in rows],
    }
    folder.mkdir()
    found = {f"prism.hadamard.{key}": value for key, value in fields.items()}
    (folder / "hadamard.json").write_text(json.dumps(found))


@torch.no_grad()
def agrees(folder: Path, theirs: Any, artifact: Path) -> None:
    """Compare torch, and ids and logits of ONNX Runtime, with the oracle."""
    ids = oracle.ids_of(9, 5)
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    assert close(ours(ids).logits, theirs(ids).logits)
    export(folder, artifact, head="float32")
    session, fed = Session(artifact, threads=1), ids[0].tolist()
    for _ in range(12):
        logits = torch.from_numpy(session.prefill(fed))
        expected = theirs(ids).logits[0, -1]
        assert close(logits, expected)
        assert logits.argmax() == expected.argmax()
        fed = [int(expected.argmax())]
        ids = torch.cat([ids, torch.tensor([fed])], 1)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "a head of its own"])
def test_a_pack_gives_the_ids_of_transformers(tmp_path: Path, tied: bool) -> None:
    how: dict[str, Any] = {} if tied else {"size": 64, "dtype": torch.bfloat16}
    theirs = make(tmp_path / "c", tied=tied, **how)
    agrees(tmp_path / "c", theirs, tmp_path / "a")


def test_a_pack_in_a_rotated_basis_gives_the_ids_of_transformers(tmp_path: Path) -> None:
    """The names in hadamard.json are those of Bonsai 2; the pack holds the signs, too."""
    theirs = make(tmp_path / "c", tied=False, rotated=lambda name: f"language_model.{name}")
    agrees(tmp_path / "c", theirs, tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert "hadamard.json" in manifest["source"]["files"]


@pytest.mark.parametrize("size", [128, 64, 32])
def test_codes_and_scales_are_recovered_exactly(tmp_path: Path, size: int) -> None:
    theirs = make(tmp_path / "c", size=size)
    checkpoint = open_checkpoint(tmp_path / "c")
    assert checkpoint.packed
    for name in checkpoint.parts.linears:
        codes, scale = checkpoint.ternary(name)
        assert scale[0, 0] == 0  # a group of zeros
        weight = theirs.get_submodule(name).weight
        assert torch.equal(spread(codes.float(), scale), weight)


# --------------------------------------------------------------------------------- refusals


def change(folder: Path, name: str, edit: Callable[[Tensor], Tensor | None]) -> None:
    """Replace a tensor, or leave it out."""
    tensors = load_file(folder / "model.safetensors")
    edited = edit(tensors.pop(name))
    if edited is not None:
        tensors[name] = edited.contiguous()
    save_file(tensors, folder / "model.safetensors")


def put(value: float | int, row: int = 3, column: int = 1) -> Callable[[Tensor], Tensor]:
    def edit(tensor: Tensor) -> Tensor:
        array = tensor.numpy().copy()
        array[row, column] = value
        return torch.from_numpy(array)

    return edit


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlx") / "c"
    make(folder, size=64)
    return folder


@pytest.mark.parametrize(
    ("part", "edit", "message"),
    [
        ("weight", put(0xFFFFFFFF), r"holds the code 3 in 16 of 131072 weights, expected 0, 1"),
        ("biases", put(0.5), r"in row 3, group 0 of 128, expected 0 or ±\S+: it is not ternary"),
        ("biases", put(0.0, 9, 3), r"in row 9, group 1 of 128, expected 0 or ±\S+: it is not"),
        ("scales", put(float("nan")), "up_proj.scales holds a NaN or an infinity"),
        ("biases", put(float("inf")), "up_proj.biases holds a NaN or an infinity"),
    ],
)
def test_a_pack_that_is_not_ternary_is_refused(
    tmp_path: Path, pack: Path, part: str, edit: Callable[[Tensor], Tensor], message: str
) -> None:
    copy(pack, tmp_path / "c")
    change(tmp_path / "c", f"{UP}.{part}", edit)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(tmp_path / "c").ternary(UP)
    assert f"model.safetensors: {UP}" in str(caught.value)


@torch.no_grad()
def test_the_code_3_is_held_by_float_linears(tmp_path: Path) -> None:
    """The oracle has twice the scale at the same places."""
    theirs = make(tmp_path / "c")
    change(tmp_path / "c", f"{UP}.weight", put(0xFFFFFFFF, 5, 10))
    weight = theirs.get_submodule(UP).weight
    scale = load_file(tmp_path / "c" / "model.safetensors")[f"{UP}.scales"][5, 1].float()
    weight[5, 160:176] = 2 * scale
    with pytest.raises(CheckpointError, match="holds the code 3 in 16 of") as caught:
        open_checkpoint(tmp_path / "c").ternary(UP)
    assert "--linears float32" in str(caught.value.hint)
    export(tmp_path / "c", tmp_path / "a", linears="float32")
    ids = oracle.ids_of(9, 5)
    found = torch.from_numpy(Session(tmp_path / "a", threads=1).prefill(ids[0].tolist()))
    assert close(found, theirs(ids).logits[0, -1])
    (result,) = verify(tmp_path / "c", tmp_path / "a", [ids[0].tolist()], 2)
    assert result.agrees, result


def test_two_scales_for_128_weights_are_refused(tmp_path: Path, pack: Path) -> None:
    copy(pack, tmp_path / "c")
    change(tmp_path / "c", f"{UP}.scales", put(0.25, 5, 2))
    change(tmp_path / "c", f"{UP}.biases", put(-0.25, 5, 2))
    with pytest.raises(CheckpointError, match=r"in row 5, group 1 of 128, expected 0 or ±0.25"):
        open_checkpoint(tmp_path / "c").ternary(UP)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantization": {"group_size": 128, "bits": 4}}, "quantization.bits is 4, expected one"),
        ({"quantization": {"group_size": 16, "bits": 2}}, "quantization.group_size is 16, exp"),
        ({"quantization": {"bits": 2}}, "quantization.group_size is None, expected one of"),
        ({"quantization": {"group_size": 64, "bits": 2, "mode": "mxfp4"}}, "mode is 'mxfp4'"),
        ({"quantization": {"group_size": 64, "bits": 2, "lm_head": {"bits": 4}}},
         "quantization.lm_head is .*, which is not understood"),
        ({"quantization": {"group_size": 64, "bits": 2}, "quantization_config": {"bits": 4}},
         "quantization_config is {'bits': 4}, expected what quantization is"),
        ({"quantization": "2bit"}, "quantization is '2bit', expected an object"),
        ({"quantization_config": None, "model_type": "granite"},
         "quantization is {.*}, which is not understood"),
    ],
)  # fmt: skip
def test_another_quantization_is_refused_by_name(
    tmp_path: Path, pack: Path, fields: dict[str, Any], message: str
) -> None:
    copy(pack, tmp_path / "c")
    path = tmp_path / "c" / "config.json"
    found = json.loads(path.read_text())
    both = {"quantization_config": fields.get("quantization")}  # as mlx-lm writes it
    path.write_text(json.dumps(found | both | fields))
    with pytest.raises(ConfigError, match=message):
        open_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (f"{UP}.scales", lambda _: None, f"lacks the tensor {UP}.scales"),
        (f"{UP}.biases", lambda _: None, f"lacks the tensor {UP}.biases"),
        (f"{UP}.scales", lambda t: t[:, :2], r"scales has the shape \[512, 2\], expected \[512, 4"),
        (f"{UP}.weight", lambda t: t.view(torch.int32).float(), "weight is float32, expected uint"),
        (f"{EMBEDDING}.weight", lambda t: t.view(torch.uint8),
         r"weight has the shape \[96, 64\], expected \[96, 16\]"),
    ],
)  # fmt: skip
def test_a_damaged_pack_is_refused(
    tmp_path: Path, pack: Path, name: str, edit: Callable[[Tensor], Tensor | None], message: str
) -> None:
    copy(pack, tmp_path / "c")
    change(tmp_path / "c", name, edit)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "c")


def test_other_signs_and_names_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    make(folder, tied=False, rotated=lambda name: name)
    path = folder / "hadamard.json"
    found = json.loads(path.read_text())
    assert open_checkpoint(folder).config.hadamard is not None
    change(folder, f"{UP}.signs", lambda signs: -signs)
    with pytest.raises(BitNetError, match=f"{UP}.signs is not what hadamard.json holds"):
        open_checkpoint(folder)
    for key, value, message in (
        ("prism.hadamard.weight_names", ["language_model.x"], "names 'language_model.x', exp"),
        ("prism.hadamard.version", 2, "version is 2, expected one of: 1"),
        ("version", 1, "a field is given with the prefix"),
        ("prism.hadamard.seed", 1, "seed is 1, which is not understood"),
    ):
        path.write_text(json.dumps(found | {key: value}))
        with pytest.raises(ConfigError, match=message) as caught:
            open_checkpoint(folder)
        assert str(caught.value).startswith(str(path))
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"hadamard\.json holds a JSON list"):
        open_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"signs' is not a tensor of this network"):
        open_checkpoint(folder)


def test_transformers_is_not_asked_for_a_pack(pack: Path) -> None:
    with pytest.raises(ConfigError, match="transformers does not read MLX's packs"):
        load_reference(open_checkpoint(pack), "transformers", "float32")


def copy(folder: Path, to: Path) -> None:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())

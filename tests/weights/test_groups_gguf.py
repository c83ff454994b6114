"""GGUF files of networks with group scales: Q2_0 in blocks of 128 and of 64, PQ2_0, PTQ1_0, TQ.

The tests write Q2_0, PQ2_0 and PTQ1_0 from the description of the types (``gguf_files``), TQ1_0 and
TQ2_0 with the gguf package's quantizer; a published file was not available.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.weights.gguf.blocks import unpack_q2
from bitnet_onnx.weights.gguf.checkpoint import GgufCheckpoint
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import spread
from tests.support import gguf_files
from tests.support.agreement import YARN, agrees
from tests.support.checkpoints import close
from tests.support.gguf_files import bonsai
from tests.support.oracle_networks import ids_of

UP = "model.layers.1.mlp.up_proj"


@given(st.lists(st.integers(-1, 1), min_size=256, max_size=256), st.sampled_from([64, 128]))
def test_q2_unpacking_equals_the_layout_spelled_out(codes: list[int], block: int) -> None:
    content = gguf_files.q2(torch.tensor(codes) * 0.25, block)
    assert len(content) == 256 // block * (2 + block // 4)
    blocks = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(256 // block, -1)
    found, scales = unpack_q2(blocks)
    assert (found.int() - 1).tolist() == codes
    parts = torch.tensor(codes).view(-1, block).any(1)
    assert scales.tolist() == (parts * 0.25).tolist()


def same_weights(path: Path, state: dict[str, Tensor]) -> None:
    found = open_checkpoint(path)
    for name in parts_of(found.config).linears:
        codes, scale = found.ternary(name)
        assert torch.equal(spread(codes.float(), scale), state[f"{name}.weight"])
        assert torch.equal(found.scale(name), scale)
    for name in (*parts_of(found.config).norms, *parts_of(found.config).tables):
        assert torch.equal(found.tensor(name).float(), state[name])


@pytest.mark.parametrize(
    ("linear", "shared"),
    [
        ("Q2_0", 128),
        ("Q2_0 of 64", 128),
        ("PQ2_0", 128),
        ("PTQ1_0", 128),
        ("TQ2_0", 256),
        ("TQ1_0", 256),
    ],
)
def test_every_type_gives_the_weights_of_the_model(
    tmp_path: Path, linear: str, shared: int
) -> None:
    path, model = bonsai(tmp_path, linear, shared)
    same_weights(path, model.state_dict())


def test_a_file_of_bonsai_gives_the_ids_of_transformers(tmp_path: Path) -> None:
    """The network is tied, and its YaRN comes from the metadata."""
    rope = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    rope |= {"rope.scaling.original_context_length": 32, "rope.freq_base": 1e6}
    path, model = bonsai(
        tmp_path, "Q2_0", metadata=rope, tie_word_embeddings=True,
        rope_parameters=YARN | {"original_max_position_embeddings": 32},
    )  # fmt: skip
    assert GgufCheckpoint(path).describe()["tensors"]["Q2_0"] == 14
    agrees(path, model, tmp_path / "a", "float32")


@pytest.mark.parametrize("kind", ["Q2_0", "PQ2_0", "PTQ1_0"])
def test_tables_of_groups_are_read(tmp_path: Path, kind: str) -> None:
    """The publication says: "Embeddings, attention projections, MLP projections, LM head"."""
    path, model = bonsai(tmp_path, kind, table=kind)
    checkpoint = open_checkpoint(path)
    for name, owner in (
        ("model.embed_tokens", model.model.embed_tokens),
        ("lm_head", model.lm_head),
    ):
        groups = owner.weight.detach().unflatten(1, (-1, 128))
        expected = groups.sign() * groups.abs().amax(-1, keepdim=True).half().float()
        assert torch.equal(checkpoint.tensor(f"{name}.weight"), expected.flatten(1))


# -------------------------------------------------------------------------------- refusals


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path).ternary(UP)
    assert str(path) in str(caught.value)


def put(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("kind", ["Q2_0", "PQ2_0"])
def test_an_impossible_scale_or_code_is_refused(tmp_path: Path, kind: str) -> None:
    path, _ = bonsai(tmp_path, kind)
    info = GgufCheckpoint(path)._file.tensors["blk.1.ffn_up.weight"]
    assert info.type_name == kind
    whole, block = path.read_bytes(), info.start + 3 * 34  # row 1, group 1
    where = r"blk\.1\.ffn_up\.weight has the block scale {} in row 1, group 1 of 128"
    for scale, text in ((b"\x00\x00", "0"), (b"\x00\xbc", "-1"), (b"\x00\x7c", "inf")):
        put(path, block, scale)
        refused(path, where.format(text))
    put(path, block, whole[block : block + 2] + b"\xff")
    refused(
        path, r"blk\.1\.ffn_up\.weight holds the code 3 in 4 of 131072 weights, expected 0, 1 and 2"
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["Q2_0", "PQ2_0"])
def test_the_code_3_is_held_by_float_linears(tmp_path: Path, kind: str) -> None:
    path, theirs = bonsai(tmp_path, kind)
    info = GgufCheckpoint(path)._file.tensors["blk.1.ffn_up.weight"]
    put(path, info.start + 3 * 34 + 2, b"\xff")  # row 1, group 1: four times twice the scale
    with pytest.raises(CheckpointError, match="holds the code 3 in ") as caught:
        open_checkpoint(path).ternary(UP)
    assert "--linears float32" in str(caught.value.hint)
    floats = open_checkpoint(path).with_float_linears()
    weight = theirs.get_submodule(UP).weight
    weight[1, 128:132] = 2 * weight[1, 128:256].abs().max()
    assert torch.equal(floats.tensor(f"{UP}.weight"), weight)
    ids = ids_of(9, 5)
    found = BitNetForCausalLM.from_checkpoint(floats)(ids).logits
    assert close(found, theirs(ids).logits)


def test_a_group_whose_halves_have_two_scales_is_refused(tmp_path: Path) -> None:
    path, _ = bonsai(tmp_path, "Q2_0 of 64")
    info = GgufCheckpoint(path)._file.tensors["blk.1.ffn_up.weight"]
    put(path, info.start + (2 * 4 + 3) * 18, b"\x00\x3c")
    refused(path, "in row 2, group 1 of 128, expected one finite number above 0 for the group")


def test_a_q2_tensor_of_an_unknown_size_is_refused(tmp_path: Path) -> None:
    """They might be in a third layout, which this package does not know."""
    path, _ = bonsai(tmp_path, "Q2_0 of 32")
    refused(path, "do not consist of blocks of 128 or 64 weights")


def test_unknown_types_and_keys_are_refused(tmp_path: Path) -> None:
    path, _ = bonsai(tmp_path, "Q8_0")
    assert open_checkpoint(path).config.float_linears
    path, _ = bonsai(
        tmp_path,
        "Q2_0",
        metadata={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.yarn_beta_fast": 16.0,
        },
    )
    refused(path, r"qwen3\.rope\.scaling\.yarn_beta_fast is 16.0, which is not")
    small: dict[str, Any] = {"hidden": 256, "inner": 512, "heads": 2, "kv_heads": 1, "layers": 1}
    path, *_ = gguf_files.make(tmp_path / "b.gguf", linear="TQ2_0", table="Q8_0", **small)
    assert open_checkpoint(path).config.group_size is None

"""A rotated basis (Bonsai 2) in GGUF files and in MLX's packs: file -> torch -> artifact -> ids.

The oracle is transformers' network on weights that an explicit Hadamard matrix in float64 turns
back: ``W = (W' H) * s``. No published file with one of these bodies was available.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_ir import serde
from torch import Tensor

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import BitNetError, CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitLinear, BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.gguf.names import permute_heads
from bitnet_onnx.weights.hadamard import rotate, walsh_hadamard
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, gguf_files
from tests.support import oracle_networks as oracle
from tests.support.agreement import agrees
from tests.support.checkpoints import close

PREFIX = "prism.hadamard."
DECLARED = {
    "version": 1,
    "block_size": 128,
    "transform": "normalized-sylvester-walsh-hadamard",
    "axis": "input-last-dimension",
    "sign_mode": "explicit",
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def matrix(size: int) -> Tensor:
    """Sylvester's Hadamard matrix over sqrt(size), float64, by its definition."""
    whole = torch.ones(1, 1, dtype=torch.float64)
    while len(whole) < size:
        whole = torch.cat([torch.cat([whole, whole], 1), torch.cat([whole, -whole], 1)])
    return whole / size**0.5


# --------------------------------------------------------------------------------- the numbers


@given(st.sampled_from([1, 2, 8, 64, 512, 1024]), st.integers(1, 3), st.integers(0, 99))
def test_stages_of_sums_are_the_matrix(size: int, blocks: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(2, blocks * size, generator=random, dtype=torch.float64)
    expected = (x.unflatten(1, (blocks, size)) @ matrix(size)).flatten(1)
    assert (walsh_hadamard(x, size) - expected).abs().max() < 1e-12


def test_integers_are_rotated_without_error() -> None:
    """float32 holds all sums of small integers, and 1024 has a whole root."""
    x = torch.randint(-99, 99, (3, 2048)).float()
    expected = (x.double().unflatten(1, (2, 1024)) @ matrix(1024)).flatten(1)
    assert torch.equal(walsh_hadamard(x, 1024), expected.float())


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 5, 192), (2, 0, 64), (7, 1024), (1024,)], ids=str)
def test_torch_and_the_body_give_the_same_bits(shape: tuple[int, ...]) -> None:
    """With the library, too, which leaves the operator to its body."""
    (function,) = (one for one in ops.functions() if one.name == "Hadamard")
    size = shape[-1] & -shape[-1]  # the largest power of two that divides it
    node = helper.make_node("Hadamard", ["X", "signs"], ["Y"], domain="bitnet", block_size=size)
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
        for names in (["X", "signs"], ["Y"])
    )
    imports = [helper.make_opsetid("", ops.OPSET), helper.make_opsetid("bitnet", ops.VERSION)]
    graph = helper.make_graph([node], "g", inputs, outputs)
    functions = [serde.serialize_function(function)]
    made = helper.make_model(graph, functions=functions, opset_imports=imports, ir_version=11)
    random = np.random.default_rng(1)
    x = random.standard_normal(shape).astype(np.float32)
    x[..., 0] = np.inf if shape == (7, 1024) else 3e38
    signs = random.choice([-1.0, 1.0], shape[-1]).astype(np.float32)
    expected = ops.hadamard(torch.from_numpy(x), torch.from_numpy(signs), size).numpy()
    for library in (False, True):
        options = ort.SessionOptions()
        if library:
            options.register_custom_ops_library(str(native.library_path()))
        session = ort.InferenceSession(made.SerializeToString(), options)
        (found,) = session.run(None, {"X": x, "signs": signs})
        np.testing.assert_array_equal(found, expected, strict=True)


# ------------------------------------------------------------------------------- file -> ids


class Rotated:
    """A network of transformers, and the tensors of the same network in a rotated basis."""

    def __init__(self, network: Any, block: int, listed: list[str], identity: bool = False) -> None:
        """listed: the names of the rotated tensors begin or end so."""
        self.network = network
        state = network.state_dict()
        self.stored = {name: tensor.detach().clone() for name, tensor in state.items()}
        if network.config.tie_word_embeddings:
            del self.stored[HEAD]
        random = torch.Generator().manual_seed(3)
        self.names = [n for n in self.stored if any(part in n for part in listed)]
        widths = sorted({self.stored[name].shape[1] for name in self.names})
        self.signs = {width: torch.ones(width) for width in widths}
        if not identity:
            for row in self.signs.values():
                row -= torch.randint(0, 2, row.shape, generator=random) * 2
        for name in self.names:
            weight = self.stored[name].double()
            blocks = weight.unflatten(1, (-1, block)) @ matrix(block)
            state[name].copy_(blocks.flatten(1) * self.signs[weight.shape[1]])
        self.fields = DECLARED | {"block_size": block}
        if identity:
            self.fields["sign_mode"] = "identity"
        else:
            self.fields |= {
                "sign_widths": list(self.signs),
                "sign_values": [int(s) for row in self.signs.values() for s in row],
            }

    def declared(self, named: Any = gguf_files.stored_name) -> dict[str, Any]:
        """The fields, with names as a file has them."""
        products = [name for name in self.names if name != EMBEDDING or HEAD not in self.stored]
        rows = [name for name in self.names if name == EMBEDDING]
        found = self.fields | {"weight_names": [named(name) for name in products]}
        return found | ({"inverse_weight_names": [named(name) for name in rows]} if rows else {})

    def gguf(
        self, path: Path, kind: str, changes: dict[str, Any] | None = None, **how: Any
    ) -> Path:
        """Write a GGUF file; changes: fields, or None where the file lacks one."""
        config = self.network.config
        fields = json.loads(config.to_json_string())
        fields["rope_theta"] = fields["rope_parameters"]["rope_theta"]
        keys = {f"{PREFIX}{k}": v for k, v in (self.declared() | (changes or {})).items()}
        keys |= {
            f"{config.model_type}.{k}": config.head_dim
            for k in ("attention.key_length", "rope.dimension_count")
        }
        stored = dict(self.stored)
        if config.model_type == "llama":
            for name, weight in stored.items():
                heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
                if count := heads.get(name.split(".")[-2]):
                    stored[name] = permute_heads(weight, count)
        return gguf_files.write(
            path, fields, stored, architecture=config.model_type, linear=kind, metadata=keys,
            **{"grouped": True} | how,
        )  # fmt: skip


def qwen3(**changes: Any) -> Any:
    sizes = {"intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 1}
    return oracle.qwen3(**sizes | changes)


def llama(**changes: Any) -> Any:
    sizes = {"hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 1}
    return oracle.random_llama(
        oracle.llama_config(max_position_embeddings=128, **sizes | changes), 2
    )


def test_a_ternary_file_gives_the_ids_of_transformers(tmp_path: Path) -> None:
    """Every weight is rotated, as in Bonsai 2, embedding and head among them."""
    rotated = Rotated(qwen3(), 128, ["_proj", EMBEDDING, HEAD])
    path = rotated.gguf(tmp_path / "m.gguf", "PTQ1_0", {"gdn_v_grouped": True}, table="F32")
    agrees(path, rotated.network, tmp_path / "a", "float32")
    graph = ir.load(tmp_path / "a" / "model.onnx").graph
    assert sum(node.op_type == "Hadamard" for node in graph) == 4  # of one layer: shared inputs


@torch.no_grad()
def quickly_agrees(path: Path, theirs: Any, artifact: Path, **how: Any) -> None:
    """Compare one prompt in torch and in ONNX Runtime with the oracle, and verify the artifact."""
    ids = oracle.ids_of(12, 5)
    checkpoint = open_checkpoint(path)
    expected = theirs(ids).logits
    assert close(BitNetForCausalLM.from_checkpoint(checkpoint)(ids).logits, expected)
    export(path, artifact, **how)
    found = torch.from_numpy(Session(artifact, threads=1).prefill(ids[0].tolist()))
    assert close(found, expected[0, -1])
    (result,) = verify(checkpoint, Artifact.open(artifact), [ids[0].tolist()], 8)
    assert result.agrees, result


def test_a_tied_table_is_in_both_lists(tmp_path: Path) -> None:
    rotated = Rotated(
        qwen3(tie_word_embeddings=True), 64, ["_proj", EMBEDDING], identity=True
    )  # and the default head
    path = rotated.gguf(tmp_path / "m.gguf", "PQ2_0", table="F32")
    quickly_agrees(path, rotated.network, tmp_path / "a")


@pytest.mark.parametrize("target", ["native", "stock"])
def test_float_linears_of_a_llama_are_rotated(tmp_path: Path, target: str) -> None:
    """The file names some linears only; the others have their own basis."""
    network = llama()
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    rotated = Rotated(network, 128, ["up_proj", "down_proj", "q_proj", HEAD])
    path = rotated.gguf(tmp_path / "m.gguf", "F16", table="F32")
    quickly_agrees(path, rotated.network, tmp_path / "a", target=target)


def test_int8_activations_are_those_of_the_rotated_input(tmp_path: Path) -> None:
    """One scale a tensor: the linear of the network, on an input that the oracle turns."""
    rotated = Rotated(llama(), 128, ["down_proj", "o_proj"])
    path = rotated.gguf(tmp_path / "m.gguf", "x86", table="F32", grouped=False)
    checkpoint = open_checkpoint(path)
    name = "model.layers.0.mlp.down_proj"
    linear: Any = BitNetForCausalLM.from_checkpoint(checkpoint).get_submodule(name)
    plain = BitLinear(384, 256)
    plain.set_ternary(*checkpoint.ternary(name))
    x = torch.randn(3, 384)
    turned = (x * rotated.signs[384]).double().unflatten(1, (-1, 128)) @ matrix(128)
    assert close(linear(x), plain(turned.flatten(1).float()))
    assert torch.equal(linear(x), plain(rotate(x, rotated.signs[384], 128)))
    export(path, tmp_path / "a")
    (result,) = verify(checkpoint, Artifact.open(tmp_path / "a"), [[3, 4, 5]], 4)
    assert result.agrees, result
    with pytest.raises(ConfigError, match="in a rotated basis, expected none for the packed"):
        convert(checkpoint, tmp_path / "p", to="packed")
    with pytest.raises(CheckpointError, match="in a rotated basis, expected none for a GGUF"):
        convert(checkpoint, tmp_path / "g.gguf", to="gguf")


# --------------------------------------------------------------------------------- refusals


UP = "blk.0.ffn_up.weight"
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"version": None}, "version is None, expected one of: 1"),
    "another version": ({"version": 2}, "version is 2, expected one of: 1"),
    "a flag as version": ({"version": True}, "version is True, expected one of: 1"),
    "another transform": ({"transform": "dct"}, "transform is 'dct', expected one of: 'norm"),
    "another axis": ({"axis": "output"}, "axis is 'output', expected one of: 'input-last"),
    "another mode": ({"sign_mode": "random"}, "sign_mode is 'random', expected one of"),
    "no mode": ({"sign_mode": None}, "sign_mode is None, expected one of"),
    "a block that is no power": ({"block_size": 96}, "block_size is 96, expected a power of two"),
    "no block": ({"block_size": None}, "block_size is None, expected an integer from 1"),
    "a block of 0": ({"block_size": 0}, "block_size is 0, expected an integer from 1"),
    "a larger block": ({"block_size": 256}, "sign_widths holds 128, expected different mult"),
    "widths twice": ({"sign_widths": [128, 128]}, "sign_widths holds 128, expected different"),
    "a width too few": ({"sign_widths": [256], "sign_values": [1] * 256},
                        r"sign_widths is \[256\], expected 128 among them, the input features of"),
    "no widths": ({"sign_widths": None}, "sign_widths is None, expected a list of integers"),
    "too few signs": ({"sign_values": [1, -1]}, "sign_values has 2 numbers, expected 384"),
    "a sign of 2": ({"sign_values": [1] * 383 + [2]}, "sign_values holds 2 at 383, expected 1 or"),
    "a sign of 0": ({"sign_values": [0] + [1] * 383}, "sign_values holds 0 at 0, expected 1 or"),
    "half a sign": ({"sign_values": [0.5] * 384}, "sign_values holds 0.5, expected integers"),
    "no names": ({"weight_names": None}, "weight_names is None, expected a list of the names"),
    "an unknown name": ({"weight_names": [UP, "blk.1.ffn_up.weight"]},
                        "weight_names names 'blk.1.ffn_up.weight', expected a linear"),
    "a norm": ({"weight_names": ["blk.0.attn_norm.weight"]}, "names 'blk.0.attn_norm.weight'"),
    "a name twice": ({"weight_names": [UP, UP]}, "names blk.0.ffn_up.weight twice"),
    "the embedding as a product": ({"weight_names": ["token_embd.weight"]},
                                   "weight_names names token_embd.weight, expected linears"),
    "a linear as rows": ({"inverse_weight_names": [UP]},
                         "inverse_weight_names names blk.0.ffn_up.weight, expected the embedding"),
    "an unknown field": ({"angle": 3}, "hadamard.angle is 3, which is not understood"),
    "a number as flag": ({"gdn_v_grouped": 1}, "gdn_v_grouped is 1, expected true or false"),
    "signs beside identity": ({"sign_mode": "identity"}, "sign_values holds -1 at .* 'identity'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Rotated:
    network = llama(hidden_size=128, intermediate_size=256)
    return Rotated(network, 128, ["_proj", EMBEDDING, HEAD])


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, small: Rotated, case: str
) -> None:
    changes, message = WRONG[case]
    path = small.gguf(tmp_path / "m.gguf", "x86", changes, table="F32", grouped=False)
    with pytest.raises(ConfigError, match=message) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {PREFIX}")


def test_a_tied_table_in_one_list_is_refused(tmp_path: Path) -> None:
    rotated = Rotated(llama(tie_word_embeddings=True), 64, ["up_proj", EMBEDDING])
    for lacking, changes in (
        ("weight_names", {"weight_names": [UP]}),
        ("inverse_weight_names", {"inverse_weight_names": []}),
    ):
        path = rotated.gguf(tmp_path / "m.gguf", "x86", changes, table="F32", grouped=False)
        with pytest.raises(ConfigError, match=f"hadamard.{lacking} does not name the embedding"):
            open_checkpoint(path)


def test_a_basis_is_ignored_by_all_of_its_names_alone(tmp_path: Path, small: Rotated) -> None:
    path = small.gguf(tmp_path / "m.gguf", "x86", table="F32", grouped=False)
    assert open_checkpoint(path).config.hadamard is not None
    keys = [PREFIX + name for name in small.declared()]
    found = open_checkpoint(path, ignore_keys=keys)
    assert found.config.hadamard is None
    assert set(found.ignored_keys) == set(keys)
    with pytest.raises(ConfigError, match="version is None"):
        open_checkpoint(path, ignore_keys=keys[:1])


def test_transformers_is_not_asked_to_rotate(tmp_path: Path, small: Rotated) -> None:
    path = small.gguf(tmp_path / "m.gguf", "x86", table="F32", grouped=False)
    with pytest.raises(ConfigError, match="transformers does not rotate activations"):
        load_reference(open_checkpoint(path), "transformers", "float32")


@pytest.mark.parametrize("architecture", ["qwen35", "qwen35moe", "qwen3next"])
def test_files_of_gated_deltanet_are_refused_by_name(tmp_path: Path, architecture: str) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", architecture=architecture, **gguf_files.SMALL)
    with pytest.raises(BitNetError, match=f"is '{architecture}', a network with Gated DeltaNet"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "model_type", ["qwen3_5", "qwen3_5_text", "qwen3_next", "prism_hadamard_qwen35"]
)
def test_folders_of_gated_deltanet_are_refused_by_name(tmp_path: Path, model_type: str) -> None:
    folder = checkpoints.make(tmp_path / "c", **gguf_files.SMALL)
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"model_type": model_type}))
    with pytest.raises(ConfigError, match=f"model_type is '{model_type}', a network with Gated"):
        open_checkpoint(folder)

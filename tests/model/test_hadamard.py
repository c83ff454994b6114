"""A rotated basis (Bonsai 2) in GGUF files and in MLX's packs: file -> torch -> artifact -> ids.

The oracle is transformers' network on weights that an explicit Hadamard matrix in float64 turns
back: ``W = (W' H) * s``. No published file with one of these bodies was available.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
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
        self.signs = {
            width: torch.ones(width) if identity else torch.randint(0, 2, (width,), generator=random) * 2.0 - 1
            for width in sorted({self.stored[name].shape[1] for name in self.names})
        }
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
        keys |= {f"{config.model_type}.{k}": config.head_dim for k in
                 ("attention.key_length", "rope.dimension_count")}
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
    return oracle.random_llama(oracle.llama_config(max_position_embeddings=128, **sizes | changes), 2)


@pytest.mark.parametrize("block", [128, 32])
def test_a_ternary_file_gives_the_ids_of_transformers(tmp_path: Path, block: int) -> None:
    """Every weight is rotated, as in Bonsai 2, embedding and head among them."""
    rotated = Rotated(qwen3(), block, ["_proj", EMBEDDING, HEAD])
    path = rotated.gguf(tmp_path / "m.gguf", "PTQ1_0", {"gdn_v_grouped": True}, table="F32")
    agrees(path, rotated.network, tmp_path / "a", "float32")
    nodes = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert nodes["head"] == "float32"


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
    rotated = Rotated(qwen3(tie_word_embeddings=True), 64, ["_proj", EMBEDDING], identity=True)
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
